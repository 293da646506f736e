"""The last line of `.ci/run` says what the reports say, and a run without a report has failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.project import ROOT

REPORT = (
    '<?xml version="1.0"?><testsuites name="pytest tests">'
    '<testsuite name="pytest" errors="{}" failures="{}" skipped="{}" tests="{}">'
)
GOOD: dict[str, tuple[int, ...]] = {"together": (0, 0, 3, 100), "alone": (0, 0, 0, 7)}
CASES: dict[str, tuple[dict[str, tuple[int, ...]], int, str]] = {
    "both parts pass": (GOOD, 0, "104 passed, 0 failed, 3 skipped"),
    "failures and errors of both": (
        {"together": (1, 2, 3, 100), "alone": (1, 0, 1, 7)},
        1,
        "99 passed, 4 failed, 4 skipped",
    ),
    "a failure that make did not tell": ({**GOOD, "alone": (0, 1, 0, 7)}, 0, "103 passed, 1 failed, 3 skipped"),
    "a part that crashed": ({"together": GOOD["together"]}, 1, "97 passed, 1 failed, 3 skipped"),
    "a part that collected nothing": ({**GOOD, "alone": (0, 0, 0, 0)}, 0, "97 passed, 1 failed, 3 skipped"),
    "a part that skipped everything": ({**GOOD, "alone": (0, 0, 7, 7)}, 0, "97 passed, 1 failed, 10 skipped"),
    "no report at all": ({}, 1, "0 passed, 2 failed, 0 skipped"),
    "broken off with good reports": (GOOD, 2, "104 passed, 1 failed, 3 skipped"),
}


def ran(root: Path, make: str) -> tuple[str, int]:
    """The last line and the exit code of the script at the root of another project, with this in the place of make."""
    (root / ".ci").mkdir()
    shutil.copy2(ROOT / ".ci" / "run", root / ".ci" / "run")
    (root / "tools").mkdir()
    tools = dict.fromkeys(("strace", "curl", "openssl", "cc", "valgrind", "nginx", "chromium"), "exit 1")
    for tool, text in {**tools, "make": make}.items():
        (root / "tools" / tool).write_text(f"#!/bin/sh\n{text}\n")
        (root / "tools" / tool).chmod(0o755)
    environment = {**os.environ, "PATH": f"{root / 'tools'}:{os.environ['PATH']}"}
    done = subprocess.run([root / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    return done.stdout.splitlines()[-1], done.returncode


@pytest.mark.parametrize("case", CASES)
def test_the_last_line_adds_up_what_both_parts_reported(tmp_path: Path, case: str) -> None:
    """A part that left no report, or in which nothing passed or failed, is one failure; the exit code agrees."""
    reports, status, said = CASES[case]
    written = "".join(f"echo '{REPORT.format(*counts)}' > build/junit/{part}.xml\n" for part, counts in reports.items())
    line, code = ran(tmp_path, f"[ $1 = test ] || exit 0\nmkdir -p build/junit\n{written}exit {status}")
    assert line == said
    assert (code == 0) == (" 0 failed" in said)


def test_reports_of_an_earlier_run_are_not_counted(tmp_path: Path) -> None:
    """They are removed first: a run that ends before its tests has not passed those of another."""
    (tmp_path / "build" / "junit").mkdir(parents=True)
    for part, counts in GOOD.items():
        (tmp_path / "build" / "junit" / f"{part}.xml").write_text(REPORT.format(*counts))
    assert ran(tmp_path, "[ $1 = test ] || exit 0\nexit 1") == ("0 passed, 2 failed, 0 skipped", 1)


def test_a_request_that_takes_more_instructions_is_one_failure(tmp_path: Path) -> None:
    """The micro-benchmarks are for reading only, but a costlier request fails the run, whatever the tests said."""
    written = "".join(f"echo '{REPORT.format(*counts)}' > build/junit/{part}.xml\n" for part, counts in GOOD.items())
    costlier = f"mkdir -p build/junit\ncase $2 in instructions|microbench) exit 2;; esac\n{written}"
    assert ran(tmp_path, costlier) == ("104 passed, 1 failed, 3 skipped", 1)
