"""The micro-benchmarks: they run, and their changes are told so that another machine shows none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.micro.changes import BASELINE, change, main, read, relatives, report

ROOT = Path(__file__).parents[2]
RESULT = {
    "benchmarks": [
        {"name": "test_calibration", "stats": {"min": 4e-6}},
        {"name": "test_read", "stats": {"min": 12e-6}},
    ]
}


def test_every_part_runs() -> None:
    """Once, without measuring, as the suite's own check that they have not fallen behind the code."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "benchmarks/micro",
        "-q",
        "--benchmark-disable",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout


def test_a_machine_twice_as_fast_shows_no_change() -> None:
    """Every part is told in multiples of a loop of the same run."""
    slow = read(RESULT)
    assert relatives({part: value / 2 for part, value in slow.items()}) == relatives(slow) == {"read": 3.0}


@pytest.mark.parametrize(
    ("value", "before", "words"),
    [(3.0, None, "new"), (3.0, 3.0, "+0%"), (4.0, 3.0, "+33% slower"), (2.0, 3.0, "-33% faster"), (3.3, 3.0, "+10%")],
)
def test_a_change_is_told_in_words_where_it_is_notable(value: float, before: float | None, words: str) -> None:
    """Small ones are noise."""
    assert change(value, before) == words


def test_a_part_that_is_gone_is_said_to_be_gone() -> None:
    """A benchmark that was removed or renamed is not passed over."""
    assert "| decide | - | - | 2.00 | gone |" in report(read(RESULT), {"read": 3.0, "decide": 2.0})


def test_showing_changes_never_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Not without a result, and not with one that is ten times as slow."""
    assert main([str(tmp_path / "nothing")]) == 0
    slow = json.loads(json.dumps(RESULT))
    slow["benchmarks"][1]["stats"]["min"] = 1.0
    (tmp_path / "result.json").write_text(json.dumps(slow))
    assert main([str(tmp_path / "result.json")]) == 0
    assert "slower" in capsys.readouterr().out


def test_the_baseline_names_the_parts_that_exist() -> None:
    """So that every part is compared."""
    command = [sys.executable, "-m", "pytest", "benchmarks/micro", "-q", "--collect-only", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    parts = {line.partition("::test_")[2] for line in done.stdout.splitlines() if "::test_" in line}
    assert parts - {"calibration"} == set(json.loads(BASELINE.read_text()))
