"""The command: `python -m tests.reliability.controls [--bug WORD] [--jobs N]`; exits 1 if a bug survives.

First the same tests pass in a copy without a bug; a test that always fails would catch everything.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.reliability.controls.bugs import BUGS
from tests.reliability.controls.copy import (
    Bug,
    Result,
    StaleEditError,
    Verdict,
    copied,
    judge,
    origin_of_code,
    run_tests,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Judges the bugs and prints a line for each."""
    arguments = _arguments(argv)
    bugs = [bug for bug in BUGS if arguments.bug in bug.name]
    if not arguments.skip_clean and not _is_clean(bugs):
        return 1
    caught = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for bug, result in zip(bugs, pool.map(_judged, bugs), strict=True):
            caught += result.verdict is Verdict.CAUGHT
            _say(f"{result.verdict.value:9} {bug.name:58} {result.failed.removeprefix('tests/')}")
            if result.verdict is not Verdict.CAUGHT:
                _say(result.output)
    _say(f"{caught} of {len(bugs)} caught")
    return 0 if bugs and caught == len(bugs) else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.controls", description=__doc__)
    parser.add_argument("--bug", default="", help="only those with this word in their name")
    parser.add_argument("--jobs", type=int, default=1, help="bugs at once")
    parser.add_argument("--skip-clean", action="store_true", help="leave out the run without a bug")
    return parser.parse_args(argv)


def _is_clean(bugs: Sequence[Bug]) -> bool:
    tests = tuple(dict.fromkeys(test for bug in bugs for test in bug.tests))
    with copied() as root:
        if not origin_of_code(root).is_relative_to(root):
            _say("the tests would not run the copy's code")
            return False
        result = run_tests(root, tests)
    if result.verdict is not Verdict.SURVIVED:
        _say(f"the tests do not pass without a bug: {result.failed}\n{result.output}")
        return False
    _say("passes    without a bug")
    return True


def _judged(bug: Bug) -> Result:
    try:
        return judge(bug)
    except StaleEditError as stale:
        return Result(Verdict.UNCLEAR, "", str(stale))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
