"""The command: `python -m tests.reliability.controls [--bug WORD] [--jobs N]`; exits 1 if a bug survives.

First the same tests pass in copies without a bug: a test that always fails would catch everything. How long they take
there bounds how long they may take with a bug, so that the command ends on a busy machine as on an idle one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from tests.reliability.controls.bugs import BUGS
from tests.reliability.controls.copy import (
    Bug,
    Result,
    StaleEditError,
    Verdict,
    copied,
    judge,
    limit_s,
    origin_of_code,
    run_tests,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Judges the bugs and prints a line for each."""
    arguments = _arguments(argv)
    bugs = [bug for bug in BUGS if arguments.bug in bug.name]
    caught = 0
    with ThreadPoolExecutor(arguments.jobs) as pool:
        clean_s = {} if arguments.skip_clean else _clean(bugs, pool)
        if clean_s is None:
            return 1
        judged = pool.map(lambda bug: _judged(bug, clean_s), bugs)
        for bug, result in zip(bugs, judged, strict=True):
            caught += result.verdict is Verdict.CAUGHT
            _say(f"{result.verdict.value:9} {bug.name:58} {result.failed.removeprefix('tests/')}")
            if result.verdict is not Verdict.CAUGHT:
                _say(result.output)
    _say(f"{caught} of {len(bugs)} caught")
    return 0 if bugs and caught == len(bugs) else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.controls", description=__doc__)
    parser.add_argument("--bug", default="", help="only those with this word in their name")
    parser.add_argument("--jobs", type=int, default=2, help="runs of tests at once")
    parser.add_argument("--skip-clean", action="store_true", help="leave out the run without a bug")
    return parser.parse_args(argv)


def _clean(bugs: Sequence[Bug], pool: Executor) -> dict[str, float] | None:
    """Returns how long each part of the suite takes without a bug, in seconds; None where one does not pass."""
    with copied() as root:
        if not origin_of_code(root).is_relative_to(root):
            _say("the tests would not run the copy's code")
            return None
    parts = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
    clean_s = {}
    for part, result in zip(parts, pool.map(_without_a_bug, parts), strict=True):
        if result.verdict is not Verdict.SURVIVED:
            _say(f"the tests do not pass without a bug: {result.failed or part}\n{result.output}")
            return None
        clean_s[part] = result.took_s
    _say(f"passes    without a bug: {len(parts)} parts of the suite, {sum(clean_s.values()):.0f} s")
    return clean_s


def _without_a_bug(part: str) -> Result:
    with copied() as root:
        return run_tests(root, [part])


def _judged(bug: Bug, clean_s: Mapping[str, float]) -> Result:
    try:
        return judge(bug, longest_s=limit_s(bug.tests, clean_s))
    except StaleEditError as stale:
        return Result(Verdict.UNCLEAR, "", str(stale))


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
