"""`python -m tests.reliability.disk`: exit code 0 if no law was broken, else 1."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from tests.reliability.crash.laws import LAWS
from tests.reliability.disk.faults import SERVING, STARTING
from tests.reliability.disk.loop import DID_NOT_END, DIED, LEFT_OPEN, NOT_READY, Case, Outcome, run_case
from tests.reliability.tables import laws_table, table


def main() -> int:
    """Runs every fault until it is not met any more, two at a time, and prints what happened."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability.disk", description=__doc__)
    parser.add_argument("--fault", default="", help="only those with this word in their name")
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    cases = [Case(fault) for fault in (*STARTING, *SERVING) if arguments.fault in fault.name]
    started_s = time.monotonic()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        outcomes = []
        for outcome in pool.map(run_case, cases):
            outcomes.append(outcome)
            sys.stderr.write(f"{outcome.case.fault.phase}s, {outcome.case.fault.name}: {outcome.met}\n")
    sys.stdout.write(report(outcomes, took_s=time.monotonic() - started_s))
    return 0 if outcomes and all(holds(outcome) for outcome in outcomes) else 1


def holds(outcome: Outcome) -> bool:
    """The fault was met, and no law was broken."""
    return outcome.met > 0 and not +outcome.broken


def report(outcomes: list[Outcome], *, took_s: float) -> str:
    """Two tables in Markdown: how often each fault was met, and the laws."""
    titles = ("while it", "fault", "met for N = 1 …", "starts refused", "died", "cancels sent")
    rows = [
        (f"{fault.phase}s", fault.name, found.met, found.refused_starts, found.deaths, found.cancels)
        for fault, found in ((found.case.fault, found) for found in outcomes)
    ]
    broken = sum((found.broken for found in outcomes), Counter[str]())
    lines = table(titles, rows, texts=2)
    lines += ["", f"{sum(found.met for found in outcomes)} faults, {took_s:.0f} s", ""]
    lines += laws_table((*LAWS, NOT_READY, DID_NOT_END, DIED, LEFT_OPEN), broken)
    lines += [f"kept: {found.kept}" for found in outcomes if found.kept]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
