"""The suite knows no date: its parts that have to do with dates hold tomorrow and next year."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.calendar import DAY_S, built, environment

ROOT = Path(__file__).parents[2]
PARTS = (
    "tests/cli/test_demo.py",
    "tests/config/test_commands.py",
    "tests/callers/test_documented_callers.py",
    "tests/upstream/runs/test_look_up.py",
    "tests/policy/test_documented_examples.py",
    "tests/policy/test_windows.py",
    "tests/authoring/test_cases.py",
    "tests/authoring/test_explain_commands.py",
    "tests/authoring/test_rollout.py",
    "tests/serving/test_parts.py",
    "tests/execution/follow_up/test_with_the_simulator.py",
    "tests/simulator/test_contract.py",
    "tests/system/test_smoke.py",
    "tests/edge/test_whoami.py",
)
"""What reads a clock or holds a date. The whole suite under another date: `make calendar`."""
SHARES = 3
"""Tests that each run some of the parts, so that several workers can; each loads everything anew."""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = built(tmp_path_factory.mktemp("calendar"))
    if found is None:
        assert os.environ.get("CI") != "true", "a C compiler is missing"
        pytest.skip("there is no C compiler here")
    return found


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("days", [1, 400])
def test_the_parts_that_have_to_do_with_dates_hold_on_another_day(library: Path, days: int, share: int) -> None:
    """No test rests on the day it was written, nor do the demo, the examples and the documented commands."""
    parts = PARTS[share::SHARES]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "-p", "no:cacheprovider", *parts]
    # The date is what matters here; how many cases are generated is the matter of the laws themselves.
    moved = {**environment(library, days=days), "HYPOTHESIS_PROFILE": "quick"}
    ended = subprocess.run(command, cwd=ROOT, env=moved, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout[-5000:] + ended.stderr[-2000:]


@pytest.mark.parametrize("days", [1, 400])
def test_the_calendar_is_moved_for_a_process_and_for_what_it_starts(library: Path, days: int) -> None:
    """A law under a date that did not move would prove nothing."""
    code = "import subprocess, time; print(time.time(), subprocess.check_output(['date', '+%s']).decode())"
    moved = environment(library, days=days)
    said = subprocess.run([sys.executable, "-c", code], env=moved, capture_output=True, text=True, check=True).stdout
    for text in said.split():
        assert abs(float(text) - time.time() - days * DAY_S) < DAY_S / 2
