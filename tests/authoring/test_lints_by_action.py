"""The lints look at the rules of each action by themselves: one about entries says nothing of one about runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authoring.test_lint import AT, HEAD, allow, deny, found, ids, require

BY_URL = 'workflowUrl: {exact: ["https://a.example/x"]}'
LOOKED_UP = "resolve: true, runs: {max: 9}"
FAILED = f"action: restart_dlq, {BY_URL}, {LOOKED_UP}"
SWITCHED = "action: [pause, resume]"
UNLIKE = {
    "a deny of all, about runs": deny("label: {any_of: [x]}") + allow(f"{FAILED}, label: {{any_of: [x]}}"),
    "a deny of all, about entries": (
        deny("action: restart_dlq, workflowUrl: {exact: ['https://a.example/x']}") + allow(BY_URL)
    ),
    "a deny about one of two actions": (
        deny(f"action: delete_dlq, {BY_URL}") + allow(f"action: [delete_dlq, restart_dlq], {BY_URL}, {LOOKED_UP}")
    ),
    "a require about runs": require("label: {any_of: [w]}") + allow(FAILED),
    "a smaller cap about runs": require("count: {cap: 5}") + allow(f"{FAILED}, count: {{cap: 50}}"),
    "a cap about one of two actions": (
        require("action: delete_dlq, count: {cap: 5}")
        + allow(f"action: [delete_dlq, restart_dlq], {BY_URL}, {LOOKED_UP}, count: {{cap: 50}}")
    ),
    "a look-up of entries beside an optional field of runs": (
        require(f"action: restart_dlq, {LOOKED_UP}") + allow(f"{BY_URL}, label: {{any_of: [x], optional: true}}")
    ),
    "a deny of another kind of name": (
        deny("action: pause, flowControlKey: {any_of: [a]}") + allow(f"{SWITCHED}, queue: {{any_of: [a]}}")
    ),
    "a deny of other names": (
        deny("action: pause, queue: {any_of: [b]}") + allow(f"{SWITCHED}, queue: {{any_of: [a]}}")
    ),
    "a pause of any queue": allow(f"{SWITCHED}, queue: {{any: true}}"),
    "a count of runs where entries are bounded": (
        require("count: {cap: 9}") + allow(f"action: delete_dlq, {BY_URL}, {LOOKED_UP}, count: {{cap: 5}}")
    ),
}


@pytest.mark.parametrize("name", UNLIKE)
def test_a_rule_about_another_action_changes_nothing(tmp_path: Path, name: str) -> None:
    """No lint is about a pair of rules that are never judged together."""
    assert ids(found(tmp_path, HEAD + UNLIKE[name])) == []


ALIKE = {
    "a deny of all": (deny(f"action: restart_dlq, {BY_URL}") + allow(FAILED), [("always-refused", 7)]),
    "a deny of every action": (deny("action: any, selects: [filter]") + allow(FAILED), [("always-refused", 7)]),
    "a deny about both of its actions": (
        deny("action: [delete_dlq, resume_dlq, restart_dlq], selects: [ids]")
        + allow("action: [delete_dlq, restart_dlq], dlqIds: {max: 3}, owner: unchecked"),
        [("always-refused", 7), ("owner-unchecked", 7)],
    ),
    "a deny of its names": (
        deny(f"{SWITCHED}, queue: {{any_of: [a, b]}}") + allow(f"{SWITCHED}, queue: {{any_of: [a]}}"),
        [("always-refused", 7)],
    ),
    "a require of other names": (
        require(f"{SWITCHED}, queue: {{any_of: [b]}}") + allow(f"{SWITCHED}, queue: {{any_of: [a]}}"),
        [("always-refused", 7)],
    ),
    "a require of other IDs": (
        require("action: cancel_messages, messageIds: {prefix: [a_]}")
        + allow("action: cancel_messages, messageIds: {prefix: [b_]}, owner: unchecked"),
        [("always-refused", 7), ("owner-unchecked", 7)],
    ),
    "a smaller cap": (
        require("action: restart_dlq, count: {cap: 5}") + allow(f"{FAILED}, count: {{cap: 50}}"),
        [("cap-above-guardrail", 7)],
    ),
    "more entries than a look-up finds": (
        allow(f"action: restart_dlq, {BY_URL}, resolve: true, runs: {{max: 10001}}"),
        [("runs-above-lookup", 5)],
    ),
    "an optional field of entries": (
        allow(f"{FAILED}, label: {{any_of: [x], optional: true}}"),
        [("optional-not-compared", 5)],
    ),
    "an approval that the budget comes before": (
        allow(f"{FAILED}, budget: {{runs: 50, per: 1h}}, approve: {{by: [a], over: 50}}"),
        [("approve-idle", 5)],
    ),
    "a budget that never counts": (
        allow(
            "action: retry_message_dlq, dlqIds: {max: 10}, owner: unchecked, budget: {runs: 50, requests: 5, per: 1h}"
        ),
        [("budget-idle", 5), ("owner-unchecked", 5)],
    ),
    "ended": (allow(f"{FAILED}, until: 2020-01-01"), [("passed", 5)]),
}


@pytest.mark.parametrize(("text", "expected"), ALIKE.values(), ids=ALIKE)
def test_rules_about_one_action_are_held_against_each_other(
    tmp_path: Path, text: str, expected: list[tuple[str, int]]
) -> None:
    """Every lint that looks at pairs of rules, or at what is looked up, does so for each action."""
    assert ids(found(tmp_path, HEAD + text)) == expected


@pytest.mark.parametrize("rule", [FAILED, f"{SWITCHED}, queue: {{any: true}}"])
def test_a_team_that_may_do_one_action_may_do_something(tmp_path: Path, rule: str) -> None:
    """A caller whose team may only restart, or only pause, is not said to be without an allow."""
    assert [one.id for one in found(tmp_path, HEAD + allow(rule))] == []
    (tmp_path / "t.yaml").unlink()
    only = found(tmp_path, HEAD + require("action: any, reason: true"))
    assert [(one.id, one.place) for one in only] == [("team-without-allow", AT)]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (
            FAILED,
            "also name label, flowControlKey, callerIp, created, workflowRunId.",
        ),
        (
            "action: cancel_messages, messageIds: {max: 3}, resolve: true, runs: {max: 3}",
            "it admits message IDs and no",
        ),
    ],
)
def test_what_a_look_up_admits_besides_are_fields_of_its_action(tmp_path: Path, rule: str, said: str) -> None:
    """A host is no field of an entry, and no filter one of messages."""
    [finding] = found(tmp_path, HEAD + allow(rule), aside=False)
    assert finding.id == "resolve-admits-more"
    assert said in finding.message


def test_a_count_is_advisory_only_where_a_filter_is_sent(tmp_path: Path) -> None:
    """That is for cancels of runs alone: all else is ordered by ID."""
    entries = HEAD + require("action: [delete_dlq, restart_dlq], count: {cap: 100}") + allow(FAILED)
    assert ids(found(tmp_path, entries, contract="2026-09")) == []
