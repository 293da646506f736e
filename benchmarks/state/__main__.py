"""`python -m benchmarks.state`: what shared state costs a cancel, in time; 1 if no run counts.

With `--before DIRECTORY` the gateway of another checkout takes part. `--instructions N` counts instead, `--starts N`
compares starts and memory, `--taking` measures the stores alone.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness.launch import require
from benchmarks.harness.machine import CannotMeasure, facts, on_core, two_cores
from benchmarks.state import counting, taking, times
from benchmarks.state.sides import every, server, unused

DIRECTORY = Path("build/state")


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.state", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout whose gateway takes part")
    parser.add_argument("--instructions", type=int, metavar="N", help="count those of N cancels, and time nothing")
    parser.add_argument("--starts", type=int, metavar="N", help="start each gateway N times, and time no cancels")
    parser.add_argument("--taking", action="store_true", help="measure the stores without a gateway")
    parser.add_argument("--directory", type=Path, default=DIRECTORY, help="where records and stores are written")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--seconds", type=int, default=3, help="of each load in a round")
    arguments = parser.parse_args(argv)
    arguments.directory.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=arguments.directory.absolute()))
    known, syncs = facts(work), sync_ms(work)
    try:
        said = measured(arguments, work)
        syncs += sync_ms(work)
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    shutil.rmtree(work)
    known["fdatasync_ms"] = round(statistics.median(syncs), 2)
    known["load_after"] = round(os.getloadavg()[0], 2)
    print("\n".join(f"{name}: {value}" for name, value in known.items()), said, sep="\n\n")
    return 0


def measured(arguments: argparse.Namespace, work: Path) -> str:
    """The table of what was asked for. Raises: CannotMeasure."""
    cores, counts = two_cores(), arguments.rounds
    before = None if arguments.before is None else arguments.before.absolute()
    require((), programs=("nginx", "valgrind") if arguments.instructions else ("nginx",))
    with on_core(cores.load):
        if number := arguments.instructions:
            launches = unused(before)
            return counting.report(
                [counting.count(launches, number, directory=work, cores=cores) for _ in range(counts)]
            )
        if number := arguments.starts:
            return times.starts_report(times.starts(unused(before), directory=work, cores=cores, number_of=number))
        with server() as postgres:
            if arguments.taking:
                return taking.report(work, postgres, seconds=arguments.seconds)
            launches = every(before, postgres)
            return times.report(
                *times.measure(launches, directory=work, cores=cores, rounds=counts, seconds=arguments.seconds)
            )


def sync_ms(directory: Path) -> list[float]:
    """Milliseconds of each of some syncs of a file there: every admission of a budget waits for one."""
    found = []
    with (directory / "synced").open("wb", buffering=0) as file:
        for _ in range(20):
            file.write(bytes(4096))
            begun_s = time.perf_counter()
            os.fdatasync(file.fileno())
            found.append((time.perf_counter() - begun_s) * 1000)
    return found


if __name__ == "__main__":
    sys.exit(main())
