"""The record says of each decision which action it was, and every reader of it keeps them apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.decisions.joined import Owners, RecordedDecision
from gateway.audit.evidence import ocsf
from gateway.audit.evidence.decisions import lines
from gateway.audit.record import denied_members, intent_members, outcome_members
from gateway.core.outcome import Cancelled, Closing, Made
from gateway.core.plan import Order, Permit, Plan
from gateway.core.request import Action, ActionRequest, ByIds
from tests.audit.samples import DENIAL, ID, KEY, UPSTREAM, ZEROS
from tests.audit.test_joined import Members, chunk, counted, intent, outcome

PAUSED = ActionRequest(ByIds(("gpu-1",), "flowControlKey"), 1, action=Action.PAUSE, in_path=True)
RESTARTED = ActionRequest(
    ByIds(("dlq_1", "dlq_2"), "dlqIds"), 2, action=Action.RESTART_DLQ, overrides=(("Upstash-Retries", "3"),)
)


def begun(asked: ActionRequest) -> Members:
    """The intent of a request that is sent as it is."""
    order = Order(asked.selection, asked.count, asked.action, asked.overrides)  # type: ignore[arg-type]
    permit = Permit("billing/own", "permit", None, asked)
    return intent_members(Plan(ID, KEY, asked, permit, (order,), ZEROS, None), upstream=UPSTREAM)


@pytest.mark.parametrize(
    ("asked", "orders", "says"),
    [
        (PAUSED, ["flowControlKey=gpu-1"], {"flowControlKey": ["gpu-1"], "count": 1}),
        (
            RESTARTED,
            ["dlqIds=dlq_1&dlqIds=dlq_2"],
            {"dlqIds": ["dlq_1", "dlq_2"], "count": 2, "Upstash-Retries": "3"},
        ),
    ],
)
def test_an_intent_names_what_it_is_about(asked: ActionRequest, orders: list[str], says: Members) -> None:
    """The action, the names or IDs, and the headers that change what is done."""
    members = begun(asked)
    assert (members["action"], members["orders"], members["asked"]) == (asked.action.value, orders, says)
    assert members["selects"] == "run_ids"


def test_a_refusal_names_its_action() -> None:
    """As a decision it says that too."""
    members = denied_members(
        ID, principal=KEY, asked=PAUSED, denial=DENIAL, remote=None, policy_digest=ZEROS, upstream=UPSTREAM
    )
    decision = RecordedDecision(ID)
    decision.take({"event": "denied", **members})
    assert (members["action"], decision.members()["action"]) == ("pause", "pause")


def test_what_came_into_being_is_on_record() -> None:
    """The run that was started in the place of each entry; no member without one."""
    made = Cancelled(200, 2, made=(Made("wfr_3", 1_700_000_000_003), Made("wfr_4")))
    members = outcome_members(ID, Closing(made, 0, 7, caller_gone=False))
    assert members["made"] == [["wfr_3", 1_700_000_000_003], ["wfr_4", None]]
    assert "made" not in outcome_members(ID, Closing(Cancelled(200, 2), 0, 7, caller_gone=False))


ACTIONS = st.sampled_from((None, *(action.value for action in Action), "melt_dlq"))


@given(st.lists(st.tuples(ACTIONS, st.lists(st.integers(0, 100), max_size=3)), max_size=8))
def test_the_sum_of_each_action_is_what_upstream_did(decisions: list[tuple[str | None, list[int]]]) -> None:
    """Also of one that this version does not know; runs are the sum of what cancels runs."""
    records: list[Members] = []
    truth: dict[str, int] = {}
    for number, (action, orders) in enumerate(decisions):
        name = str(number)
        records.append(intent(name) | ({} if action is None else {"action": action}))
        records += [chunk(name, "cancelled", one) for one in orders]
        records.append(outcome(name, "cancelled", sum(orders)))
        truth[action or "cancel_runs"] = truth.get(action or "cancel_runs", 0) + sum(orders)
    stats = counted(records)
    assert {action: stats.done[action] for action in truth} == truth
    assert stats.cancelled == truth.get("cancel_runs", 0) == sum(stats.runs.values())
    assert sum(stats.actions.values()) == len(decisions)


def test_statistics_say_what_other_actions_did() -> None:
    """In their words; a record of cancels alone reads as it always did."""
    deleted = [intent("a") | {"action": "delete_dlq"}, outcome("a", "cancelled", 3)]
    cancelled = [intent("b"), outcome("b", "cancelled", 1)]
    said = [" ".join(line.split()) for line in lines(counted([*deleted, *cancelled]))]
    assert "action delete_dlq 1 decision, 3 entries deleted" in said
    assert "action cancel_runs 1 decision, 1 run cancelled" in said
    assert "outcome cancelled 2 decisions, 1 run cancelled" in said
    assert not any(line.startswith("action") for line in lines(counted(cancelled)))


@pytest.mark.parametrize(
    ("asked", "activity"), [(PAUSED, ocsf.UPDATE), (RESTARTED, ocsf.UPDATE)], ids=lambda one: str(one)[:8]
)
def test_an_exported_record_names_the_operation(asked: ActionRequest, activity: int) -> None:
    """What deletes or cancels is a deletion, the rest an update; an outcome is of the action of its intent."""
    owners = Owners()
    for event, members in (
        ("intent", begun(asked)),
        ("outcome", outcome_members(ID, Closing(Cancelled(200, 1), 0, 7, caller_gone=False))),
    ):
        envelope = {"v": 1, "seq": 1, "ts": "2026-11-30T10:00:00.000000Z", "event": event, "instance": "i"}
        record = json.loads(json.dumps({**envelope, **members, "prev": None, "mac": None}))
        exported = ocsf.event(record, owners.of(record))
        api = exported["api"]
        assert isinstance(api, dict)
        assert (exported["activity_id"], api["operation"]) == (activity, asked.action.value)
