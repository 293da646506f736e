"""A copy of the project with one bug in it, and what its own tests say of that."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

PROJECT = Path(__file__).parents[3]
COPIED = ("gateway", "tests", "policies", "docs", "pyproject.toml", "config.example.yaml", "README.md")
LONGEST_S = 3600.0
"""No run of tests takes longer, on any machine; where it is known how long they take without a bug, that counts."""
TIMES_CLEAN = 10
LEAST_S = 120.0
"""A bug may hang its tests: they are given up after ten times what they take without it, at the least two minutes."""
ALL_PASSED, SOME_FAILED = 0, 1

_FAILED = re.compile(r"^FAILED (?P<test>\S+)", re.MULTILINE)


class StaleEditError(Exception):
    """The code that an edit replaces is not there exactly once: the code has changed, and the edit has to follow."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One exact text of a file and what a wrong programmer wrote instead."""

    path: str
    right: str
    wrong: str

    def apply(self, root: Path) -> None:
        """Puts the bug in. Raises: StaleEditError."""
        path = root / self.path
        text = path.read_text()
        if text.count(self.right) != 1:
            raise StaleEditError(f"{self.path} has {text.count(self.right)} times, not once: {self.right!r}")
        path.write_text(text.replace(self.right, self.wrong))


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug, and the part of the suite that is expected to fail; a part that passes leaves the bug alive."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


class Verdict(Enum):
    """What the tests made of a bug."""

    CAUGHT = "caught"
    SURVIVED = "SURVIVED"
    UNCLEAR = "UNCLEAR"
    """no test failed, but the run did not end well either: an import error proves nothing"""


@dataclass(frozen=True, slots=True)
class Result:
    """A verdict, the first test that failed, the end of what was printed, and how long it took."""

    verdict: Verdict
    failed: str
    output: str
    took_s: float = 0.0


def limit_s(tests: Sequence[str], clean_s: Mapping[str, float]) -> float:
    """Returns how long these tests may take with a bug, by what each takes without one."""
    if not clean_s:
        return LONGEST_S
    return max(LEAST_S, TIMES_CLEAN * sum(clean_s[test] for test in tests))


@contextmanager
def copied() -> Iterator[Path]:
    """The project in a directory of its own, without environments and what was built."""
    with tempfile.TemporaryDirectory(prefix="controls-") as name:
        root = Path(name)
        for part in COPIED:
            source = PROJECT / part
            if source.is_dir():
                shutil.copytree(source, root / part, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
            else:
                shutil.copy2(source, root / part)
        yield root


def judge(bug: Bug, *, longest_s: float = LONGEST_S) -> Result:
    """Puts one bug into a fresh copy and runs its tests until one fails. Raises: StaleEditError."""
    with copied() as root:
        for edit in bug.edits:
            edit.apply(root)
        return run_tests(root, bug.tests, longest_s=longest_s)


def run_tests(root: Path, tests: Sequence[str], *, longest_s: float = LONGEST_S) -> Result:
    """Runs tests of a copy, with that copy's code, until one fails or `longest_s` is over."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider", *tests]
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("HYPOTHESIS_PROFILE", None)
    started_s = time.monotonic()
    status, said = _ran(command, root, environment, longest_s=longest_s)
    took_s = time.monotonic() - started_s
    if status is None:
        return Result(Verdict.UNCLEAR, "", f"not ended after {longest_s:.0f} s", took_s)
    failed, output = _FAILED.search(said), said[-3000:]
    if status == SOME_FAILED and failed is not None:
        return Result(Verdict.CAUGHT, failed["test"], output, took_s)
    return Result(Verdict.SURVIVED if status == ALL_PASSED else Verdict.UNCLEAR, "", output, took_s)


def _ran(
    command: Sequence[str], root: Path, environment: Mapping[str, str], *, longest_s: float
) -> tuple[int | None, str]:
    """Runs a command in a process group that ends with it; its exit code, None if it was given up, and what it said."""
    # Into a file: a process that a bug leaves behind would hold a pipe open for ever.
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, cwd=root, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            status = process.wait(longest_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return status, said.read().decode(errors="replace")


def origin_of_code(root: Path) -> Path:
    """Where a process in the copy takes the gateway from: a control of the installed project would prove nothing."""
    command = [sys.executable, "-c", "import gateway; print(gateway.__file__)"]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    said = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return Path(said.stdout.strip())
