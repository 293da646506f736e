"""The lints of actions say what is taken on trust, and which pause nobody may undo; old rules are linted as before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authoring.test_lint import found

LOOK_UP = 'workflowUrl: {prefix: ["https://a.example/x"]}, resolve: true, runs: {max: 5}'

ENTRIES = "entry IDs carry no owner, and this rule does not look the entries up."
Q = "queue: {any_of: [q]}"


def linted(directory: Path, *rules: str, more: str = "", aside: bool = True) -> dict[str, str]:
    """The message of each lint about `allow` rules."""
    lines = [f"  - {{id: r{number}, {rule}}}\n" for number, rule in enumerate(rules)]
    text = f"version: 1\nname: t\nteams: [a]\n{more}allow:\n{''.join(lines)}"
    return {one.id: one.message for one in found(directory, text, aside=aside)}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("workflowRunIds: {max: 2}", "run IDs carry no owner, and this rule does not look the runs up."),
        ("action: delete_dlq, dlqIds: {max: 2}", ENTRIES),
        (
            "action: cancel_messages, messageIds: {max: 2}",
            "message IDs carry no owner, and a message may be a step of a workflow, whose run may then never end.",
        ),
        (
            "action: [delete_message_dlq, retry_message_dlq], dlqIds: {max: 2}",
            "entry IDs carry no owner, nothing shows it, and an entry may be a step of a workflow.",
        ),
    ],
)
def test_what_is_taken_on_trust_is_linted_with_its_reason(tmp_path: Path, rule: str, said: str) -> None:
    """Of messages and of what nothing lists it says what is at stake."""
    assert linted(tmp_path, f"{rule}, owner: unchecked") == {"owner-unchecked": f"t/r0: {said}"}


@pytest.mark.parametrize(
    ("rules", "for_good"),
    [
        (["action: pause, queue: {any_of: [q]}"], True),
        (["action: pause, queue: {any: true}", "action: resume, queue: {any_of: [q]}"], True),
        (["action: pause, queue: {any_of: [q]}", "action: resume, schedule: {any_of: [q]}"], True),
        (["action: pause, queue: {any_of: [q]}", "action: resume, queue: {any_of: [q]}, mode: shadow"], True),
        (["action: [pause, resume], queue: {any_of: [q]}"], False),
        (["action: pause, queue: {any_of: [q, s]}", f"action: resume, {Q}"], True),
        (
            [
                "action: pause, queue: {any_of: [q, s]}",
                f"action: resume, {Q}",
                "action: resume, queue: {any_of: [q, s]}",
            ],
            False,
        ),
        (["action: pause, queue: {any_of: [q]}", "action: resume, queue: {any: true}"], False),
        (["action: resume, queue: {any_of: [q]}"], False),
    ],
)
def test_a_pause_that_nobody_may_undo_is_found(tmp_path: Path, rules: list[str], *, for_good: bool) -> None:
    """By the same field and for every name; a rule in shadow mode resumes nothing."""
    assert ("pause-for-good" in linted(tmp_path, *rules)) is for_good


def test_a_guard_of_another_action_refuses_nothing_here(tmp_path: Path) -> None:
    """A rule is held against those that are about all of its actions."""
    deny = "deny:\n  - {id: halt, action: ACTION}\n"
    rule = f"action: [delete_dlq, restart_dlq], {LOOK_UP}"
    others = [linted(tmp_path, rule, more=deny.replace("ACTION", name)) for name in ("cancel_runs", "delete_dlq")]
    assert [lints.keys() for lints in others] == [set()] * 2
    assert linted(tmp_path, rule, more=deny.replace("ACTION", "any")).keys() >= {"always-refused"}


def test_what_a_look_up_of_entries_admits_is_said_of_entries(tmp_path: Path) -> None:
    """With the filters that entries have."""
    assert linted(tmp_path, f"action: delete_dlq, {LOOK_UP}", aside=False)["resolve-admits-more"] == (
        "t/r0 has the entries looked up: it admits requests that also name label, flowControlKey, callerIp, created, "
        "workflowRunId."
    )
    by_id = linted(tmp_path, f"action: delete_dlq, dlqIds: {{max: 2}}, {LOOK_UP}", aside=False)["resolve-admits-more"]
    assert by_id == (
        "t/r0 has the entries looked up: it admits entry IDs and no filter, so nothing beyond what it mentions."
    )


def test_selects_ids_is_what_such_a_rule_has(tmp_path: Path) -> None:
    """It is no rule that never matches."""
    rules = ["action: retry_message_dlq, selects: [ids], dlqIds: {max: 2}, owner: unchecked"]
    rules += ["action: [pause, resume], selects: [ids], queue: {any_of: [q]}"]
    assert linted(tmp_path, *rules).keys() == {"owner-unchecked"}
