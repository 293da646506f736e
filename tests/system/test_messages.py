"""The calls on messages and failed messages through a gateway in a process of its own, with what the account loses.

What each accident does to an account that nothing stands in front of: `tests/simulator/test_destroyed.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.files import recorded_actions
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.holdings import FAILED_MESSAGES, FAILED_RUNS, MESSAGES, NOW_MS, RUNS, small_holdings

CANCEL, DELETE, RETRY = "DELETE /v2/messages", "DELETE /v2/dlq", "POST /v2/dlq/retry"
NAMES = {CANCEL: "messageIds", DELETE: "dlqIds", RETRY: "dlqIds"}

POLICIES = {
    "billing.yaml": """\
version: 1
name: looked
teams: [billing]
allow:
  - {id: messages, action: cancel_messages, messageIds: {max: 100}, resolve: true, runs: {max: 100}}
  - {id: failed, action: [delete_message_dlq, retry_message_dlq], dlqIds: {max: 100}, owner: unchecked}
""",
    "oncall.yaml": """\
version: 1
name: trusted
teams: [oncall]
allow:
  - {id: messages, action: cancel_messages, messageIds: {any: true}, owner: unchecked}
  - {id: few, action: delete_message_dlq, dlqIds: {max: 1, prefix: [d]}, owner: unchecked}
""",
    "search.yaml": """\
version: 1
name: everything
teams: [search]
allow:
  - {id: ids, workflowRunIds: {any: true}, owner: unchecked}
  - {id: runs, selects: [everything], resolve: true, runs: {max: 1000}}
""",
}
"""Billing's messages are looked at, those of people on call are not; search may do everything to runs."""


class Account:
    """A simulated account and the gateway before it."""

    def __init__(self, simulator: SimulatorServer, gateway: RunningGateway) -> None:
        self.simulator, self.gateway = simulator, gateway

    def ask(self, line: str, body: str = "", *, team: str = "billing") -> Answer:
        """What the gateway answers to one request line."""
        method, _, target = line.partition(" ")
        headers = {"Content-Type": "application/json"} if body else {}
        return self.gateway.request(method, target, team=team, headers=headers, body=body.encode() or None)

    @property
    def done(self) -> list[Entry]:
        """What was done to the account."""
        return list(self.simulator.ledger)

    @property
    def hit(self) -> list[str]:
        """Every thing that was hit, as often as it was."""
        return sorted(one for entry in self.done for one in entry.hit)

    @property
    def looked_at(self) -> list[str]:
        """The messages that were read, in order."""
        return [
            reading.call.path.rpartition("/")[2]
            for reading in self.simulator.simulator.readings
            if reading.kind is Kind.MESSAGE
        ]


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    """Three failed runs and two failed messages in the queue; four messages, one of them a step of a run."""
    simulator = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(simulator, token=REAL_TOKEN, read_token=READ_TOKEN, clock=lambda: NOW_MS) as server:
        upstream = ", read_token: {file: read-token}"
        setup = Setup(server.url, tmp_path / "gateway", policies=POLICIES, upstream=upstream)
        with RunningGateway(setup) as gateway:
            yield Account(server, gateway)


# ---------------------------------------------------------------- what is done


@pytest.mark.parametrize("team", ["billing", "oncall"])
@pytest.mark.parametrize(
    ("line", "body", "hit"),
    [
        (f"{CANCEL}?messageIds=m", "", ["m"]),
        (f"{CANCEL}?messageIds=m2&messageIds=m", "", ["m", "m2"]),
        (CANCEL, '{"messageIds": ["m1", "m2"]}', ["m1", "m2"]),
        (f"{CANCEL}/m1", "", ["m1"]),
    ],
)
def test_exactly_the_messages_named_are_cancelled(
    account: Account, team: str, line: str, body: str, hit: list[str]
) -> None:
    """By one call with their IDs and nothing else, whichever way they were named; the answer says how many."""
    answer = account.ask(line, body, team=team)
    assert (answer.status, answer.json()) == (200, {"cancelled": len(hit)})
    [entry] = account.done
    assert (entry.kind, entry.call.path, sorted(entry.hit)) == (Kind.CANCEL_MESSAGES, "/v2/messages", hit)
    assert sorted(entry.call.query.split("&")) == [f"messageIds={one}" for one in hit]
    assert set(account.looked_at) == (set(hit) if team == "billing" else set())
    assert [record["action"] for record in account.gateway.records("intent")] == ["cancel_messages"]


def test_each_message_is_looked_at_again_before_it_is_cancelled(account: Account) -> None:
    """The first look says that it may be, the second that it still is."""
    account.ask(f"{CANCEL}/m")
    assert account.looked_at == ["m", "m"]


@pytest.mark.parametrize("line", [f"{DELETE}?dlqIds=d&dlqIds=e", DELETE])
def test_exactly_the_failed_messages_named_are_deleted(account: Account, line: str) -> None:
    """The answer ends a documented loop, which goes on while there is a cursor."""
    answer = account.ask(line, "" if "?" in line else '{"dlqIds": ["d", "e"]}')
    assert (answer.status, answer.json(), account.hit) == (200, {"cursor": "", "deleted": 2}, ["d", "e"])


def test_a_single_delete_is_answered_without_a_body(account: Account) -> None:
    """As QStash answers it; that there was nothing to delete is said."""
    answer = account.ask(f"{DELETE}/d")
    assert (answer.status, answer.body, account.hit) == (200, b"", ["d"])
    again = account.ask(f"{DELETE}/d")
    assert (again.status, again.json()) == (200, {"cursor": "", "deleted": 0})
    assert {(entry.call.path, entry.call.query) for entry in account.done} == {("/v2/dlq", "dlqIds=d")}


def test_failed_messages_are_sent_again_once(account: Account) -> None:
    """Each becomes a new message, which the answer names; the repeat finds none, and nobody knows what came of it."""
    answer = account.ask(f"{RETRY}?dlqIds=d&dlqIds=e")
    members: dict[str, Any] = answer.json()
    assert (answer.status, members["cursor"], account.hit) == (200, "", ["d", "e"])
    made = {one["messageId"] for one in members["responses"]}
    assert made == account.simulator.simulator.holdings.messages.keys() - MESSAGES
    repeat = account.ask(f"{RETRY}?dlqIds=d&dlqIds=e")
    assert (repeat.status, repeat.json()["code"], account.hit) == (504, "outcome_unknown", ["d", "e"])


def test_a_single_retry_is_answered_with_its_message(account: Account) -> None:
    """The object alone."""
    answer = account.ask(f"{RETRY}/e")
    [made] = account.simulator.simulator.holdings.messages.keys() - MESSAGES
    assert (answer.status, answer.json(), account.hit) == (200, {"messageId": made}, ["e"])


def test_a_preview_looks_at_the_messages_and_sends_nothing(account: Account) -> None:
    """Its plan is applied once, with a look of its own before the order."""
    shown = account.ask(CANCEL.replace("/v2", "/preview/v2") + "?messageIds=m&messageIds=m2")
    members: dict[str, Any] = shown.json()
    assert (shown.status, members["code"], members["action"], members["runs"]) == (409, "preview", "cancel_messages", 2)
    assert {one["messageId"] for one in members["sample"]} == {"m", "m2"}
    assert account.done == []
    applied = account.ask(f"POST /gateway/v1/plans/{members['plan']}/apply")
    assert (applied.status, applied.json(), account.hit) == (200, {"cancelled": 2}, ["m", "m2"])
    assert sorted(account.looked_at) == ["m", "m", "m2", "m2"]


@pytest.mark.parametrize("line", ["DELETE /preview/v2/dlq/d", "POST /preview/v2/dlq/retry/d"])
def test_failed_messages_have_no_preview(account: Account, line: str) -> None:
    """Nothing shows whose they are, and the answer says so instead of asking for a token."""
    answer = account.ask(line)
    assert (answer.status, account.done) == (404, [])
    assert "there is no plan or preview of it: send the call itself" in str(answer.json()["error"])


# ---------------------------------------------------------------- what is not known to be nobody's


def said_of(answer: Answer, one: str) -> str:
    """A refusal, without the ID that it names."""
    return str(answer.json()["error"]).replace(one, "ID")


def test_a_step_of_a_workflow_one_that_cannot_be_read_and_none_are_refused_alike(account: Account) -> None:
    """In the same words, so that nobody learns which IDs others have; and the run goes on."""
    holdings = account.simulator.simulator.holdings
    holdings.add(messages=[replace(holdings.messages["m"], message_id="odd", url="https://u@a.example/../x")])
    answers = {one: account.ask(f"{CANCEL}?messageIds={one}") for one in ("step", "odd", "gone")}
    assert {answer.status for answer in answers.values()} == {403}
    assert len({said_of(answer, one) for one, answer in answers.items()}) == 1
    assert "ID: there is no such message" in said_of(answers["step"], "step")
    assert (account.done, account.gateway.records("intent")) == ([], [])
    assert all(run.running for run in account.simulator.simulator.runs)


def test_one_of_several_that_may_not_be_cancelled_stops_them_all(account: Account) -> None:
    """Nothing is cut down to what is allowed."""
    assert account.ask(f"{CANCEL}?messageIds=m&messageIds=step").status == 403
    assert account.done == []


def test_without_a_look_a_step_is_cancelled_and_its_run_with_it(account: Account) -> None:
    """That is what `owner: unchecked` says, and what the lint warns of."""
    assert account.ask(f"{CANCEL}/step", team="oncall").status == 200
    assert account.done[0].run_ids == ("wfr_1",)


def test_a_message_that_cannot_be_looked_at_ends_the_cancel(account: Account) -> None:
    """QStash's failure is no answer about the message: nothing is sent, and the caller is told to try again."""
    account.simulator.simulator.script(Fault(on=Kind.MESSAGE, status=500, body="{}"))
    answer = account.ask(f"{CANCEL}?messageIds=m&messageIds=m1")
    assert (answer.status, answer.json()["code"], account.done) == (502, "lookup_failed", [])


def test_a_message_that_became_a_step_between_the_looks_is_left_out(account: Account) -> None:
    """What was seen first is not sent on trust."""
    shown = account.simulator.simulator.holdings.messages["m"].wire()
    step = {**shown, "header": {"Upstash-Workflow-RunId": ["wfr_1"]}}
    account.simulator.simulator.script(
        Fault(on=Kind.MESSAGE, status=200, body=json.dumps(shown)),
        Fault(on=Kind.MESSAGE, status=200, body=json.dumps(step)),
    )
    answer = account.ask(f"{CANCEL}/m")
    assert (answer.status, answer.json(), account.done) == (200, {"cancelled": 0}, [])
    assert answer.headers["gateway-skipped"] == 'finished=("m");n=1'
    assert "m" in account.simulator.simulator.holdings.messages


# ---------------------------------------------------------------- accidents

FILTERS = ("label=l", "url=https%3A%2F%2Fa.example%2Fhook", "fromDate=1790000000000", "queueName=qn", "messageId=m")
ACCIDENTS = ("", "?count=100", "?count=1", *(f"?{one}&count=100" for one in FILTERS), "?cursor=c", "?all=true")
BODIES = ("{}", '{"messageIds": []}', '{"dlqIds": []}', '{"dlqIds": null}', '{"label": "l"}', '{"count": 100}')


@pytest.mark.parametrize("line", NAMES)
def test_an_accident_is_refused_in_words_and_reaches_nothing(account: Account, line: str) -> None:
    """Everything, every filter, every empty list: not an order and not a reading, in whosever name."""
    name = NAMES[line]
    asked = [
        (f"{line}{query}", "") for query in (*ACCIDENTS, f"?{name}=a&count=100", f"?{name}=", f"?{name}=undefined")
    ]
    asked += [(line, body) for body in (*BODIES, f'{{"{name}": ["a"], "label": "l"}}', f'{{"{name}": [""]}}')]
    for team in ("billing", "oncall", "search"):
        for one, body in asked:
            answer = account.ask(one, body, team=team)
            assert answer.status in (400, 403), (one, body)
            assert name in str(answer.json()["error"]) or "'" in str(answer.json()["error"]), (one, body)
    assert (account.done, account.simulator.simulator.readings, account.gateway.records("intent")) == ([], (), [])


def test_a_path_that_leads_elsewhere_reaches_nothing(account: Account) -> None:
    """Clients splice what they are given into paths, and QStash resolves dots."""
    for line in NAMES:
        for segment in ("", "/", "undefined", "..", "../dlq", "..%2Fdlq", "m%2F..", "a/../m"):
            assert account.ask(f"{line}/{segment}", team="oncall").status == 404, (line, segment)
    assert account.done == []


def test_rules_about_runs_admit_none_of_it(account: Account) -> None:
    """However much they allow."""
    for line, name in NAMES.items():
        for target in (f"{line}?{name}=m", f"{line}/m"):
            assert account.ask(target, team="search").status == 403, target
    assert account.done == []


def test_a_rule_bounds_what_it_takes_on_trust(account: Account) -> None:
    """How many IDs, and how they begin; and it is about no other action."""
    assert account.ask(f"{DELETE}?dlqIds=d&dlqIds=d1", team="oncall").status == 403
    assert account.ask(f"{DELETE}/e", team="oncall").status == 403
    assert account.ask(f"{RETRY}/d", team="oncall").status == 403
    assert account.done == []
    assert account.ask(f"{DELETE}/d", team="oncall").status == 200
    assert account.hit == ["d"]


def test_more_than_one_order_takes_is_refused_in_words(account: Account) -> None:
    """413, before any message is read."""
    ids = "&".join(f"messageIds=m{number}" for number in range(101))
    answer = account.ask(f"{CANCEL}?{ids}", team="oncall")
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert "At most 100 IDs" in str(answer.json()["error"])
    assert (account.done, account.looked_at) == ([], [])


def test_an_answer_that_says_that_something_went_wrong_is_unknown(account: Account) -> None:
    """Whatever number stands beside it; nothing is sent again."""
    account.simulator.simulator.script(
        Fault(
            on=Kind.DELETE_MESSAGE_DLQ, acts=True, status=200, body='{"cursor": "", "deleted": 1, "error": "partial"}'
        )
    )
    answer = account.ask(f"{DELETE}?dlqIds=d")
    assert (answer.status, answer.json()["code"], len(account.done)) == (504, "outcome_unknown", 1)


# ---------------------------------------------------------------- what clients were recorded to send

RECORDED = [one for one in recorded_actions() if f"{one['method']} {one['target']}".startswith(tuple(NAMES))]
DONE = {
    "/v2/messages/m": ["m"],
    "/v2/messages?messageIds=m1&messageIds=m2": ["m1", "m2"],
    "/v2/dlq/d": ["d"],
    "/v2/dlq?dlqIds=d1&dlqIds=d2": ["d1", "d2"],
    "/v2/dlq?dlqIds=d1": ["d1"],
}
"""The recorded targets that name IDs, and what they may hit; a body may name them as well."""


@pytest.mark.parametrize("recorded", RECORDED, ids=lambda one: f"{one['call']}@{one['versions'][0]}")
def test_a_recorded_request_is_done_exactly_or_refused(account: Account, recorded: dict[str, Any]) -> None:
    """What names IDs hits these; what a client sends for everything, or by accident, hits nothing."""
    hit = ["d1", "d2"] if '["d1", "d2"]' in recorded["body"] else DONE.get(recorded["target"], [])
    # The only header that was recorded with these is the type of a body, which `ask` sends.
    answer = account.ask(f"{recorded['method']} {recorded['target']}", recorded["body"])
    assert (answer.status == 200, account.hit) == (bool(hit), hit)
    assert hit or answer.status in (400, 403)


def test_the_recorded_ones_have_an_accident_for_each_call() -> None:
    """So that none of the three is left out by a change of the file."""
    accidents = {one["target"] for one in RECORDED if one["target"] not in DONE}
    assert {"/v2/messages?count=100", "/v2/dlq?count=100", "/v2/dlq/retry?count=100"} <= accidents
    assert {"d1", "d2"} <= FAILED_RUNS
    assert {"d", "e"} == FAILED_MESSAGES
