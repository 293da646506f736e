"""The command: `python -m tests.reliability.controls [--bug WORD] [--jobs N]`; exits 1 if a bug survives.

First the same tests pass in copies without a bug: a test that always fails would catch everything. How long they take
there bounds how long they may take with a bug, so that the command ends on a busy machine as on an idle one.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from tests.reliability.controls.bugs import BUGS, KINDS
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
from tests.reliability.tables import table


def main(argv: Sequence[str] | None = None) -> int:
    """Judges the bugs, with a line for each on the way, and prints the tables."""
    arguments = _arguments(argv)
    bugs = [bug for bug in BUGS if arguments.bug in bug.name]
    started_s, results = time.monotonic(), {}
    with ThreadPoolExecutor(arguments.jobs) as pool:
        clean = None if arguments.skip_clean else _clean(bugs, pool)
        for bug, result in zip(bugs, pool.map(lambda bug: _judged(bug, clean), bugs), strict=True):
            results[bug.name] = result
            _say(f"{result.verdict.value:9} {bug.name:58} {result.failed.removeprefix('tests/')}")
            if result.verdict is not Verdict.CAUGHT:
                _say(result.output)
    sys.stdout.write(report(results, took_s=time.monotonic() - started_s))
    return 0 if results and all(result.verdict is Verdict.CAUGHT for result in results.values()) else 1


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.controls", description=__doc__)
    parser.add_argument("--bug", default="", help="only those with this word in their name")
    parser.add_argument("--jobs", type=int, default=2, help="runs of tests at once")
    parser.add_argument("--skip-clean", action="store_true", help="leave out the run without a bug")
    return parser.parse_args(argv)


def _clean(bugs: Sequence[Bug], pool: Executor) -> dict[str, float]:
    """Returns how long each part of the suite takes without a bug, in seconds; one that does not pass is left out."""
    with copied() as root:
        if not origin_of_code(root).is_relative_to(root):
            _say("the tests would not run the copy's code")
            return {}
    parts = list(dict.fromkeys(test for bug in bugs for test in bug.tests))
    clean_s = {}
    for part, result in zip(parts, pool.map(_without_a_bug, parts), strict=True):
        if result.verdict is Verdict.SURVIVED:
            clean_s[part] = result.took_s
            _say(f"passes    without a bug: {part}, {result.took_s:.0f} s")
        else:
            _say(f"FAILS     without a bug: {result.failed or part}\n{result.output}")
    return clean_s


def _without_a_bug(part: str) -> Result:
    with copied() as root:
        return run_tests(root, [part])


def _judged(bug: Bug, clean_s: Mapping[str, float] | None) -> Result:
    """Judges one bug. Where its tests do not pass without it, a failure would prove nothing."""
    if clean_s is not None and not clean_s.keys() >= set(bug.tests):
        return Result(Verdict.UNCLEAR, "", "its tests do not pass without the bug")
    try:
        return judge(bug, longest_s=limit_s(bug.tests, clean_s or {}))
    except StaleEditError as stale:
        return Result(Verdict.UNCLEAR, "", str(stale))


def report(results: Mapping[str, Result], *, took_s: float) -> str:
    """Tables in Markdown: how many bugs of each kind were caught, and which were not, if any."""
    verdicts = {
        kind: [results[bug.name].verdict for bug in bugs if bug.name in results] for kind, bugs in KINDS.items()
    }
    verdicts["all"] = [result.verdict for result in results.values()]
    rows = [(kind, len(found), found.count(Verdict.CAUGHT)) for kind, found in verdicts.items() if found]
    alive = [(name, result.verdict.value) for name, result in results.items() if result.verdict is not Verdict.CAUGHT]
    lines = [*table(("bugs of", "tried", "caught"), rows), "", f"{took_s:.0f} s"]
    lines += ["", *table(("not caught", "verdict"), alive, texts=2)] if alive else []
    return "\n".join(lines) + "\n"


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
