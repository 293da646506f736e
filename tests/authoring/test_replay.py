"""A candidate policy is judged by the requests on record, and nothing on record is passed over in silence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.record import denied_members, intent_members
from gateway.authoring.history import Change, replay
from gateway.core.plan import Denial, Permit, Plan, order_of
from gateway.core.request import Action, ActionRequest, ByFilter, ByIds, Principal
from gateway.core.run import Resolution
from gateway.policy.conditions import CountCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.authoring.logs import BASE, BILLING, LABELLED, TS, candidate, log_of, write_log
from tests.cli.running import command
from tests.core.rules import allow, label, rule
from tests.core.strategies import NOW_MS, TEAM, counted, fitting, policies, requests, rule_sets

OLD_CHAIN = Path(__file__).with_name("before_actions.jsonl")
OF_THE_OLD_CHAIN = """\
version: 1
name: own
teams: [billing]
allow:
  - {id: nightly, label: {any_of: [nightly]}, count: {cap: 50}}
  - {id: ids, workflowRunIds: {max: 5, prefix: [wfr_billing_]}, owner: unchecked}
"""
"""A chain that a version without actions wrote, and the policies that decided what is on it."""
NOW_TS = "2026-09-21T14:13:20.000000Z"


def recorded(rules: Policies, request: ActionRequest, principal: Principal = TEAM) -> dict[str, object]:
    """The record that the gateway would make of a request at `NOW_MS`."""
    decision = decide(rules, principal, request, NOW_MS)
    if isinstance(decision, Denial):
        members = denied_members(
            "d", principal=principal, asked=request, denial=decision, remote=None, policy_digest="", upstream=""
        )
        return {"event": "denied", "ts": NOW_TS, **members}
    plan = Plan("d", principal, request, decision, (order_of(decision.effective),), "", None)
    return json.loads(json.dumps({"event": "intent", "ts": NOW_TS, **intent_members(plan, upstream="")}))


@st.composite
def judged(draw: st.DrawFn) -> tuple[tuple[Rule, ...], ActionRequest]:
    """Rules, and a request that mostly fits one of their allows."""
    rules = draw(rule_sets())
    made_for = draw(st.sampled_from([each for each in rules if each.effect is Effect.ALLOW]))
    return rules, draw(st.one_of(requests(), fitting(made_for), fitting(made_for)))


@given(judged())
def test_the_policy_that_made_the_record_changes_nothing(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """Every recorded decision can be judged again, and comes out as it was."""
    rules, request = case
    result = replay(policies(*rules), [("here", recorded(policies(*rules), request))])
    assert (result.judged, result.totals.total(), result.unread.total()) == (1, 0, 0)


@given(judged(), rule_sets())
def test_a_candidate_is_judged_by_the_gateways_own_judgement(
    case: tuple[tuple[Rule, ...], ActionRequest], candidates: tuple[Rule, ...]
) -> None:
    """The change that is reported is the difference of the two decisions."""
    rules, request = case
    result = replay(policies(*candidates), [("here", recorded(policies(*rules), request))])
    before, after = (decide(policies(*each), TEAM, request, NOW_MS) for each in (rules, candidates))
    expected: list[Change] = []
    if isinstance(before, Permit) and isinstance(after, Denial):
        expected = [Change.PERMIT_TO_DENY]
    elif isinstance(before, Denial) and isinstance(after, Permit):
        expected = [Change.DENY_TO_PERMIT]
    elif isinstance(before, Permit) and isinstance(after, Permit) and before.effective != after.effective:
        expected = [Change.COUNT]
    assert list(result.totals) == expected
    assert [(group.rule_before, group.rule_after) for group in result.changes] == [(before.rule, after.rule)] * len(
        expected
    )


def test_a_recorded_reason_counts_for_a_candidate_that_asks_for_one() -> None:
    """Who gave a reason is not refused for the lack of it."""
    lenient = policies(allow(label=label("x")))
    strict = policies(allow(label=label("x")), replace(rule(Effect.REQUIRE, "why"), reason_required=True))
    asked = ActionRequest(ByFilter(labels=("x",)), 1)
    records = [("1", recorded(lenient, asked)), ("2", recorded(lenient, replace(asked, reason="stuck")))]
    assert replay(strict, records).totals == {Change.PERMIT_TO_DENY: 1}


def test_what_would_be_looked_up_from_now_on_is_a_change() -> None:
    """The same number by ID is not the same as a filter sent on; once it was looked up, nothing changes."""
    direct, asked = allow(label=label("x")), ActionRequest(ByFilter(labels=("x",)), 1)
    resolving = policies(replace(direct, resolution=Resolution(5)))
    before = recorded(policies(direct), asked)
    assert replay(resolving, [("1", before)]).totals == {Change.LOOK_UP: 1}
    assert replay(resolving, [("1", before | {"plan": "p1"})]).totals == {}


def test_what_was_refused_for_its_runs_is_taken_to_be_refused_again() -> None:
    """The runs of then are not on record; a rule that is gone refuses nobody."""
    own, asked = (
        replace(allow("own", label=label("x")), resolution=Resolution(5)),
        ActionRequest(ByFilter(labels=("x",)), 1),
    )
    deny = rule(Effect.DENY, "d", workflowUrl=UrlCondition(prefix=("https://a.example/p",)))
    refused = recorded(policies(), asked) | {"rule": "p/d"}
    assert replay(policies(own, deny), [("1", refused)]).totals == {}
    assert replay(policies(own), [("1", refused)]).totals == {Change.DENY_TO_PERMIT: 1}


def broken_records() -> Iterator[tuple[str, dict[str, object] | str]]:
    """One of each kind that cannot be judged again."""
    good = recorded(policies(allow(label=label("x"))), ActionRequest(ByFilter(labels=("x",)), 1))
    yield "torn", "not JSON"
    yield "asked", good | {"asked": {"label": ["x"], "count": 1, "host": "y"}}
    yield "widened", good | {"asked": {"label": "x", "count": 1}}
    yield "time", good | {"ts": "yesterday"}
    yield "team", good | {"team": "other"}
    yield "enforced", good | {"enforced": "maybe"}
    yield "decision", good | {"decision_id": None}
    yield "effective", good | {"effective": None}


def test_what_cannot_be_rebuilt_is_counted_and_named() -> None:
    """Each such line is counted by its cause, with the place of the first."""
    records = list(broken_records())
    result = replay(policies(allow(label=label("x"))), records)
    assert result.judged == 0
    assert result.unread.total() == len(records)
    assert set(result.unread_at.values()) <= {where for where, _ in records}


def test_other_events_are_no_decisions() -> None:
    """What was only asked, joined or refused before policy is not judged again."""
    record = recorded(policies(allow(label=label("x"))), ActionRequest(ByFilter(labels=("x",)), 1))
    others = [("here", record | {"event": event}) for event in ("explained", "joined", "outcome", "refused", "start")]
    assert replay(policies(), others).judged == 0


def test_memory_is_bounded_by_the_groups() -> None:
    """Beyond the most groups changes are counted together, and still counted."""
    everyone = policies(allow(label=label("x")))
    records = [
        ("here", recorded(everyone, ActionRequest(ByFilter(labels=("x",)), 1), Principal(f"t{number}", "k")))
        for number in range(5)
    ]
    result = replay(policies(allow(label=label("y"))), records, max_groups=2)
    assert (len(result.changes), result.more_changes, result.totals[Change.PERMIT_TO_DENY]) == (2, 3, 5)


def test_a_list_of_ids_is_rebuilt_whole() -> None:
    """Run IDs are judged by their number and names."""
    record = recorded(policies(*LABELLED), counted(ByIds(("a", "b")), 1))
    few = Rule("p", "ids", Effect.ALLOW, {}, CountCondition(max=1))
    assert replay(policies(few), [("here", record)]).judged == 1


@pytest.mark.parametrize(
    ("rules", "fail_on", "code"),
    [
        ("deny", None, 1), ("deny", "permit-to-deny", 1), ("deny", "deny-to-permit", 0), ("deny", "any", 1),
        ("permit", None, 0), ("permit", "deny-to-permit", 1), ("permit", "any", 1),
        ("cap", None, 0), ("cap", "any", 1), ("same", "any", 0),
    ],
)  # fmt: skip
def test_the_exit_code_is_about_the_change_that_was_asked_for(
    tmp_path: Path, rules: str, fail_on: str | None, code: int
) -> None:
    """By default only a permit that would become a deny fails."""
    write_log(tmp_path / "audit")
    more = [] if fail_on is None else ["--fail-on", fail_on]
    done = command("replay", "--policies", str(candidate(tmp_path / "new", rules)), *more, str(tmp_path / "audit"))
    assert (done.returncode, done.stderr) == (code, "")


def test_changes_are_listed_by_team_and_rule_with_an_example(tmp_path: Path) -> None:
    """The report says how often, from which rule to which, and shows one request of each kind."""
    write_log(tmp_path / "audit")
    new = candidate(tmp_path / "new", "deny")
    done = command("replay", "--policies", str(new), str(tmp_path / "audit"))
    assert "permit-to-deny  billing  own/nightly -> own/no-nightly  2 times" in done.stdout
    assert "such as d1: label nightly; count 100" in done.stdout
    found = json.loads(command("replay", "--json", "--policies", str(new), str(tmp_path / "audit")).stdout)
    [change] = found["changes"]
    assert (change["change"], change["times"], change["example"]["decision_id"]) == ("permit-to-deny", 2, "d1")
    assert found["not_judged"] == []


def test_a_copy_of_a_chain_changes_no_number(tmp_path: Path) -> None:
    """Each record is judged once, also where a backup is read beside its chain."""
    log, new = write_log(tmp_path / "audit"), candidate(tmp_path / "new", "deny")
    (tmp_path / "backup").mkdir()
    (tmp_path / "backup" / log.name).write_bytes(log.read_bytes())
    alone = command("replay", "--policies", str(new), str(tmp_path / "audit"))
    both = command("replay", "--policies", str(new), str(tmp_path / "audit"), str(tmp_path / "backup"))
    assert (both.returncode, both.stdout) == (alone.returncode, alone.stdout)


def test_a_torn_line_fails_the_replay_and_is_named(tmp_path: Path) -> None:
    """Where a decision may be missing, the candidate is not called harmless."""
    log = write_log(tmp_path / "audit")
    with log.open("ab") as file:
        file.write(b'{"v":1,"seq"')
    done = command("replay", "--policies", str(candidate(tmp_path / "new", "same")), str(tmp_path / "audit"))
    assert done.returncode == 1
    assert f"1 line could not be judged again (not a record), first {log}:5" in done.stdout


def test_a_replay_of_nothing_is_a_usage_error(tmp_path: Path) -> None:
    """No log is not a log without changes."""
    new = candidate(tmp_path / "new", "same")
    (tmp_path / "empty").mkdir()
    assert command("replay", "--policies", str(new), str(tmp_path / "empty")).returncode == 2
    assert command("replay", "--policies", str(new), str(tmp_path / "absent")).returncode == 2
    assert command("replay", "--policies", str(tmp_path / "empty"), str(tmp_path)).returncode == 3


def test_the_times_of_a_log_are_the_gateways(tmp_path: Path) -> None:
    """A window judges a recorded request at the time of its record."""
    write_log(tmp_path / "audit")
    new = candidate(tmp_path / "new", "window")
    done = command("replay", "--policies", str(new), "--fail-on", "any", str(tmp_path / "audit"))
    assert (done.returncode, TS[0] < TS[1]) == (1, True)
    assert "permit-to-deny  billing  own/nightly -> own/freeze  1 time" in done.stdout


def test_a_chain_of_before_the_actions_is_read_as_cancels_of_runs(tmp_path: Path) -> None:
    """An earlier version named no action on record: nothing changes by the policy that decided, and each is judged."""
    (tmp_path / "own.yaml").write_text(OF_THE_OLD_CHAIN)
    records = [(str(number), json.loads(line)) for number, line in enumerate(OLD_CHAIN.read_text().splitlines(), 1)]
    assert all("action" not in members for _, members in records)
    result = replay(load_policies(tmp_path), records)
    assert (result.judged, result.totals.total(), result.unread.total()) == (4, 0, 0)
    (tmp_path / "own.yaml").write_text(OF_THE_OLD_CHAIN.replace("cap: 50", "cap: 5").replace("max: 5", "max: 1"))
    assert replay(load_policies(tmp_path), records).totals == {Change.COUNT: 1, Change.PERMIT_TO_DENY: 1}


def test_a_change_for_another_action_names_it(tmp_path: Path) -> None:
    """Changes are counted for each action by itself; of cancels of runs nothing is said."""
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "own.yaml").write_text(BASE)
    held = replace(allow("hold", queue=ValueCondition("queue", any=True)), actions=frozenset((Action.PAUSE,)))
    asked = ActionRequest(ByIds(("mail",), "queue"), 1, action=Action.PAUSE)
    log_of(tmp_path / "audit", policies(held), [(BILLING, asked, TS[0])])
    done = command("replay", "--policies", str(tmp_path / "new"), str(tmp_path / "audit"))
    assert "permit-to-deny  billing  pause  p/hold -> default  1 time" in done.stdout
    assert "such as d1: queue mail; count 1" in done.stdout
    found = json.loads(command("replay", "--json", "--policies", str(tmp_path / "new"), str(tmp_path / "audit")).stdout)
    assert [change["action"] for change in found["changes"]] == ["pause"]


def test_an_action_of_another_version_is_not_judged_as_a_cancel() -> None:
    """Whoever reads a newer record is told so."""
    record = recorded(policies(allow(label=label("x"))), ActionRequest(ByFilter(labels=("x",)), 1))
    for action in ("rotate_keys", None, ["cancel_runs"]):
        result = replay(policies(allow(label=label("x"))), [("here", record | {"action": action})])
        assert (result.judged, dict(result.unread)) == (0, {"an action that this version does not know": 1})
