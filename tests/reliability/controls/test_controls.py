"""A short form of the controls, for every run of the suite; the whole is `python -m tests.reliability.controls`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reliability.controls.__main__ import report
from tests.reliability.controls.bugs import BUGS
from tests.reliability.controls.copy import (
    Edit,
    Result,
    StaleEditError,
    Verdict,
    copied,
    judge,
    limit_s,
    origin_of_code,
    run_tests,
)
from tests.support.project import ROOT
from tests.support.waiting import until

IN_SHORT = ("startswith for an exact match", "the last duplicate wins", "Upgrade not refused")


@pytest.mark.parametrize("name", IN_SHORT)
def test_a_seeded_bug_fails_the_suite(name: str) -> None:
    """The tests of a wrong copy fail."""
    bug = next(bug for bug in BUGS if bug.name == name)
    result = judge(bug)
    assert result.verdict is Verdict.CAUGHT, result.output


def test_every_edit_still_fits_the_code(tmp_path: Path) -> None:
    """A change of the code that an edit replaces is seen at once, not in the next long run."""
    with copied() as root:
        assert origin_of_code(root).is_relative_to(root)
        for edit in (edit for bug in BUGS for edit in bug.edits):
            assert (root / edit.path).read_text().count(edit.right) == 1, edit


def test_an_edit_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    """A bug that was not put in cannot be called caught."""
    (tmp_path / "code.py").write_text("x = 1\nx = 1\n")
    for right in ("x = 1", "x = 2"):
        with pytest.raises(StaleEditError):
            Edit("code.py", right, "x = 3").apply(tmp_path)


def test_every_part_of_the_suite_that_a_bug_names_is_there() -> None:
    """A test that was moved would catch nothing, and say so only in the next long run."""
    assert [(bug.name, path) for bug in BUGS for path in bug.tests if not (ROOT / path).exists()] == []


def test_bugs_have_names_of_their_own() -> None:
    """The table names each once."""
    names = [bug.name for bug in BUGS]
    assert len(set(names)) == len(names)


def test_a_busy_machine_gives_no_bug_up() -> None:
    """What the tests take without a bug, however long that is, bounds what they may take with one."""
    assert limit_s(("a", "b"), {"a": 400.0, "b": 200.0, "c": 1.0}) == 10 * 600.0
    assert limit_s(("c",), {"a": 400.0, "c": 1.0}) == 120.0


def _lives(pid: str) -> bool:
    try:
        return "Z (zombie)" not in Path("/proc", pid, "status").read_text()
    except OSError:  # it is gone, before or while it is read
        return False


LEAVES_ONE = """import subprocess
def test_it():
    open("left", "w").write(str(subprocess.Popen(["sleep", "600"]).pid))
"""


def test_what_a_run_leaves_behind_ends_with_it(tmp_path: Path) -> None:
    """A bug may keep a process from ending; neither the verdict nor the machine waits for it."""
    (tmp_path / "test_left.py").write_text(LEAVES_ONE)
    assert run_tests(tmp_path, ["test_left.py"]).verdict is Verdict.SURVIVED
    pid = (tmp_path / "left").read_text()
    until(lambda: not _lives(pid))


def test_the_table_names_what_was_not_caught() -> None:
    """By kind how many were tried and caught, in all as well; then what survived or could not be judged."""
    verdicts = dict(zip((bug.name for bug in BUGS), (Verdict.CAUGHT, Verdict.SURVIVED, Verdict.UNCLEAR), strict=False))
    lines = report({name: Result(verdict, "", "") for name, verdict in verdicts.items()}, took_s=1).splitlines()
    assert "| reading and judging | 3 | 1 |" in lines
    assert "| all | 3 | 1 |" in lines
    assert [line for line in lines if line.endswith(("| SURVIVED |", "| UNCLEAR |"))] == [
        f"| {name} | {verdict.value} |" for name, verdict in verdicts.items() if verdict is not Verdict.CAUGHT
    ]
