"""A request of any action is read, explained, told and judged again as the gateway reads and judges it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.authoring.explain import explain, implied
from gateway.authoring.history import replay
from gateway.authoring.offers import offers
from gateway.authoring.question import Headers, Question, from_line, from_wire, line_of
from gateway.core.errors import Refusal
from gateway.core.parse import Body
from gateway.core.plan import Permit
from gateway.core.request import CANCEL_RUNS, Action, ActionRequest, ByFilter, filter_with, wires_of
from gateway.operations.operation import Asked
from gateway.operations.table import OPERATIONS, asked_by
from gateway.policy.conditions import FAILED
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.rules import Policies
from tests.authoring.actions import ASKED, HEADERS, LINES, POLICY, read
from tests.authoring.logs import BILLING, record_of
from tests.core.strategies import NOW_MS, RUN_IDS, counts, filters, some

EACH = pytest.mark.parametrize(("action", "line", "headers"), ASKED, ids=[f"{one[0]}: {one[1]}" for one in ASKED])


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    """The policy that has a rule about each action."""
    (tmp_path / "own.yaml").write_text(POLICY)
    return load_policies(tmp_path)


def test_every_action_has_examples() -> None:
    """One that is added is asked about here."""
    assert OPERATIONS.keys() <= LINES.keys()


@EACH
def test_a_line_is_read_as_the_call_itself(action: Action, line: str, headers: Headers) -> None:
    """By the reader of the action, with the ID in the path, the query and the headers."""
    method, target = line.split(" ")
    path, _, query = target.partition("?")
    found = asked_by(method, path)
    assert found is not None
    operation, form = found
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    asked = Asked(
        form.named(path), query.encode(), Body(), lambda wanted: [value for name, value in raw if name == wanted], raw
    )
    request = read(line, headers)
    assert (request, request.action) == (operation.read(form, asked), action)


@EACH
def test_what_is_on_record_is_read_as_it_was(action: Action, line: str, headers: Headers) -> None:
    """What the record keeps in `asked`, beside the action, is all that the judgement needs; headers with it."""
    request = read(line, headers)
    assert from_wire(json.loads(json.dumps(request.wire())), action=action) == request


@EACH
def test_a_request_line_that_is_shown_asks_for_the_same(action: Action, line: str, headers: Headers) -> None:
    """Whoever pastes it asks for what was shown."""
    request = read(line, headers)
    assert request.action is action
    assert from_line(line_of(request), headers=request.overrides) == request


@st.composite
def on_failed_runs(draw: st.DrawFn) -> ActionRequest:
    """A filter of failed runs, with headers where its action takes some."""
    asked = draw(filters().filter(lambda one: not one.by_prefix))
    members = {name: getattr(asked, name) for name in wires_of(ByFilter)}
    runs = draw(st.one_of(st.just(()), some(RUN_IDS)))
    action = draw(st.sampled_from(sorted(FAILED)))
    headers = HEADERS if action is not Action.DELETE_DLQ and draw(st.booleans()) else ()
    filtered = filter_with({**members, "failed_run_ids": runs}, failed=True)
    return ActionRequest(filtered, draw(counts), action=action, overrides=headers)


@given(on_failed_runs())
def test_any_filter_of_failed_runs_is_read_as_it_was(request: ActionRequest) -> None:
    """From the record and from the line that is shown, whatever it names: nothing is lost and nothing widened."""
    assert from_wire(request.wire(), action=request.action) == request
    assert from_line(line_of(request), headers=request.overrides) == request


def test_a_pause_that_ends_by_itself_is_asked_about_with_its_resume(policies: Policies) -> None:
    """As the gateway judges it: under rules for both, or not at all, and the sentence says which is missing."""
    until = (("Gateway-Until", "90m"),)
    both = Question(BILLING, from_line("POST /v2/flowControl/k/pause", headers=until), NOW_MS)
    assert isinstance(both.judged(policies), Permit)
    half = Question(BILLING, from_line("POST /v2/queues/mail/pause", headers=until), NOW_MS)
    refused = explain(policies, half).members()
    assert refused["enforced"] == "deny"
    assert "Rule own/queue allows the pause, but no rule allows the resume" in str(refused["reason"])
    assert isinstance(replace(half, request=replace(half.request, overrides=())).judged(policies), Permit)


def test_a_query_asks_for_the_action_that_is_said() -> None:
    """Without one for a cancel of runs; a line that is the call of another action is refused."""
    assert from_line("count=5").action is CANCEL_RUNS
    assert from_line("count=5", action=CANCEL_RUNS).action is CANCEL_RUNS
    with pytest.raises(ValueError, match="this call is cancel_runs, not pause"):
        from_line("DELETE /v2/workflows/runs?count=5", action=Action.PAUSE)
    with pytest.raises(ValueError, match="says in its path what it is about: write"):
        from_line("count=5", action=Action.PAUSE)


@pytest.mark.parametrize(
    "members",
    [
        {}, {"queue": ["a", "b"]}, {"queue": ["a"], "schedule": ["b"]}, {"queue": ["a/b"]}, {"queue": [""]},
        {"queue": ["a"], "count": 2}, {"label": ["a"]}, {"queue": ["a"], "Upstash-Retries": "3"},
        {"queue": ["a"], "X": 3},
    ],
)  # fmt: skip
def test_fields_that_no_pause_has_are_none(members: dict[str, object]) -> None:
    """A record or case of an action says what its call could say, or is an error."""
    with pytest.raises((Refusal, ValueError)):
        from_wire(members, action=Action.PAUSE)


@EACH
def test_an_explanation_is_about_the_rules_of_the_action(
    policies: Policies, action: Action, line: str, headers: Headers
) -> None:
    """The decision is the gateway's, the parts imply it, and no rule about another action has one.

    A pause that ends by itself may be refused for its resume: the parts are those of the pause.
    """
    question = Question(BILLING, read(line, headers), NOW_MS)
    explanation = explain(policies, question)
    about = {rule.name for rule in policies.rules if action in rule.actions}
    assert explanation.decision == question.judged(policies)
    assert {part.rule for part in explanation.parts} == about
    alone = decide(policies, BILLING, question.request, NOW_MS)
    assert implied(explanation.parts)[0] == (alone.rule if isinstance(alone, Permit) else None)
    assert explanation.members()["action"] == action


@EACH
def test_a_record_of_any_action_is_judged_again_as_it_was(
    policies: Policies, action: Action, line: str, headers: Headers
) -> None:
    """The policy that decided changes nothing; one about cancels of runs alone allows nothing else."""
    request = read(line, headers)
    sealed = record_of(policies, "d", BILLING, request, NOW_MS)
    members = {"event": sealed.event, "ts": "2026-09-21T14:13:20.000000Z", **json.loads(json.dumps(sealed.members))}
    decision = Question(BILLING, request, NOW_MS).judged(policies)
    looked_up = isinstance(decision, Permit) and decision.resolution is not None
    record = members | {"action": action.value} | ({"plan": "p"} if looked_up else {})
    result = replay(policies, [("here", record)])
    assert (result.judged, result.totals.total(), result.unread.total()) == (1, 0, 0)
    only = Policies(tuple(replace(rule, actions=frozenset((CANCEL_RUNS,))) for rule in policies.rules[:1]), "")
    changed = replay(only, [("here", record)])
    lost = isinstance(decision, Permit) and action is not CANCEL_RUNS
    assert [group.action for group in changed.changes] == [action] * lost


@pytest.mark.parametrize("action", OPERATIONS)
def test_a_team_is_told_what_it_may_do_of_each_action(policies: Policies, action: Action) -> None:
    """For each rule about it a request line; sent as it stands it is allowed, by that rule."""
    told = {offer.rule: offer for offer in offers(policies, BILLING.team, NOW_MS, action)}
    assert told.keys() == {rule.name for rule in policies.rules if action in rule.actions}
    for name, offer in told.items():
        assert offer.line is not None
        asked = from_line(offer.line)
        assert asked.action is action
        decision = Question(BILLING, asked, NOW_MS).judged(policies)
        assert isinstance(decision, Permit)
        assert (decision.rule, decision.effective.wire()) == (name, offer.example)


WORDS = {
    (Action.RESTART_DLQ, "own/entries"): "at most 20 of the entries that are named by ID (at most 20 IDs)",
    (Action.DELETE_DLQ, "own/failed"): (
        "at most 50 of the entries of exactly https://billing.example.com/api/invoice; the entries are looked up "
        "first: more than 50 left are refused; further filters may be named, they only narrow"
    ),
    (Action.CANCEL_MESSAGES, "own/messages"): (
        "at most 9 of the messages that are named by ID (at most 9 IDs); the messages are looked up first: "
        "more than 9 left are refused"
    ),
    (Action.PAUSE, "own/key"): "one flow-control key at a time: k",
    (Action.PAUSE, "own/queue"): "one queue at a time: any value",
}


@pytest.mark.parametrize(("action", "rule"), [one for one in WORDS if one[0] in OPERATIONS])
def test_an_offer_says_what_it_is_about(policies: Policies, action: Action, rule: str) -> None:
    """Entries, messages and queues are not called runs."""
    assert {offer.rule: offer.words for offer in offers(policies, BILLING.team, NOW_MS, action)}[rule] == WORDS[
        action, rule
    ]
