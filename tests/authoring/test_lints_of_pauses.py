"""The lint of pauses finds one that nobody may undo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authoring.test_lint import found

PAUSE, RESUME = "action: pause, queue: {any_of: [q, s]}", "action: resume, queue: "


@pytest.mark.parametrize(
    ("rules", "for_good"),
    [
        ([PAUSE], True),
        ([PAUSE, f"{RESUME}{{any_of: [q]}}"], True),
        (["action: pause, queue: {any: true}", f"{RESUME}{{any_of: [q]}}"], True),
        ([PAUSE, "action: resume, schedule: {any_of: [q, s]}"], True),
        ([PAUSE, f"{RESUME}{{any: true}}, mode: shadow"], True),
        (["action: [pause, resume], queue: {any_of: [q]}"], False),
        ([PAUSE, f"{RESUME}{{any_of: [q]}}", f"{RESUME}{{any_of: [s]}}"], False),
        ([PAUSE, f"{RESUME}{{any: true}}"], False),
        ([f"{PAUSE}, mode: shadow"], False),
        ([f"{RESUME}{{any_of: [q]}}"], False),
    ],
)
def test_a_pause_that_nobody_may_undo_is_found(tmp_path: Path, rules: list[str], *, for_good: bool) -> None:
    """By the same field and for every name; a rule in shadow mode resumes nothing, and pauses nothing."""
    lines = [f"  - {{id: r{number}, {rule}}}\n" for number, rule in enumerate(rules)]
    lints = found(tmp_path, f"version: 1\nname: t\nteams: [a]\nallow:\n{''.join(lines)}")
    assert [one.id for one in lints] == ["pause-for-good"] * for_good
    if for_good:
        assert lints[0].message.startswith("t/r0 allows to pause queue: ")
