"""`python -m benchmarks.telemetry`: cancels without telemetry, with metrics, with traces, in turn; 1 if no run counts.

With `--before DIRECTORY` the gateway of another checkout takes part. The one with metrics is scraped each second.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.harness.launch import require
from benchmarks.harness.machine import CannotMeasure, facts, on_core, two_cores
from benchmarks.telemetry import counting, rounds
from benchmarks.telemetry.sides import sides

DIRECTORY = Path("build/telemetry")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout whose gateway takes part")
    parser.add_argument("--instructions", type=int, metavar="N", help="count those of N cancels, and time nothing")
    parser.add_argument("--traces", action=argparse.BooleanOptionalAction, default=True, help="whether they take part")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of each of the two loads in a round")
    arguments = parser.parse_args(argv)
    work = (DIRECTORY / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    try:
        said = measured(arguments, work)
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    known = facts(work)
    shutil.rmtree(work)
    print("\n".join(f"{name}: {value}" for name, value in known.items()), said, sep="\n\n")
    return 0


def measured(arguments: argparse.Namespace, work: Path) -> str:
    """The table of what was asked for. Raises: CannotMeasure."""
    cores, number, counts = two_cores(), arguments.instructions, arguments.rounds
    before = None if arguments.before is None else arguments.before.absolute()
    require((), programs=("nginx", "valgrind") if number else ("nginx", "wrk"))
    with sides(work, cores, before=before, traces=arguments.traces) as launches, on_core(cores.load):
        if number:
            count = partial(counting.count, launches, number, directory=work, cores=cores)
            return counting.report([count() for _ in range(counts)])
        return rounds.report(
            rounds.measure(launches, directory=work, cores=cores, rounds=counts, seconds=arguments.seconds)
        )


if __name__ == "__main__":
    sys.exit(main())
