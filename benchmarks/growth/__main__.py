"""`python -m benchmarks.growth` (also `make growth`): exit code 0 if every run counts, else 1."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.compare.report import NONE, number, table, times
from benchmarks.compare.samples import Samples
from benchmarks.growth.resolving import pages
from benchmarks.growth.secured import secured
from benchmarks.growth.tables import Bench, gateways, keys, rules, run_ids
from benchmarks.harness.launch import require
from benchmarks.harness.machine import CannotMeasure, Cores, facts, on_core, two_cores

DIRECTORY = Path("build/growth")

Row = Callable[[Bench], list[str]]


def main(argv: Sequence[str] | None = None) -> int:
    """Measures how costs grow, prints the table, and writes it with all values to build/growth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of a second")
    parser.add_argument("--only", choices=ROWS, action="append", help="some of the rows")
    arguments = parser.parse_args(argv)
    work = (DIRECTORY / "work").absolute()
    work.mkdir(parents=True, exist_ok=True)
    try:
        require(())
        cores = two_cores()
        rounds, seconds = (1, 1) if arguments.quick else (3, 2)
        bench = Bench(Samples(), [], cores, second_core(cores), work, rounds, seconds)
        measure(bench, arguments.only or list(ROWS))
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    shutil.rmtree(work)
    return 0


def measure(bench: Bench, chosen: Sequence[str]) -> None:
    """Measures the rows, prints and writes them. Raises: CannotMeasure."""
    started_s = time.monotonic()
    with on_core(bench.cores.load):
        names = {row: ROWS[row](bench) for row in chosen}
    known = facts(bench.directory) | {"second_core": _whose(bench), "took_s": round(time.monotonic() - started_s)}
    text = report(bench.samples, names)
    text += "\n".join(["", *(f"{name}: {proof.sentence}" for name, proof in bench.proofs), ""])
    text += "\n".join(["", *(f"- {name}: {value}" for name, value in known.items()), ""])
    result = {"machine": known, "samples": bench.samples.wire()}
    (DIRECTORY / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    (DIRECTORY / "result.md").write_text(text)
    print(text)


def second_core(cores: Cores) -> int:
    """A core for a second gateway: one of its own if there is a third, else that of the load."""
    return min(os.sched_getaffinity(0) - {cores.gateway, cores.load}, default=cores.load)


def _whose(bench: Bench) -> str:
    return "shared with load and upstream" if bench.second_core == bench.cores.load else "its own"


def report(samples: Samples, names: dict[str, list[str]]) -> str:
    """A table for each row: its sizes, what they cost, and each cost over that of the first size."""
    return "\n".join(f"## {row}\n\n{_row(samples, sizes)}" for row, sizes in names.items())


def _row(samples: Samples, sizes: list[str]) -> str:
    if not sizes:
        return "This version looks up no runs.\n"
    rows = []
    for size in sizes:
        per_s, took_ms = samples.median(size, "per_s"), samples.median(size, "took_ms")
        cost = number(samples.median(size, "cpu_us"))
        grown = times(samples.ratio((size, "cpu_us"), (sizes[0], "cpu_us")))
        rows.append([size, cost, grown, number(per_s), number(took_ms) if took_ms is not None else NONE])
    return table(["", "CPU µs per request", "÷ the first", "requests/s", "ms per request"], rows)


ROWS: dict[str, Row] = {
    "keys": keys,
    "rules": rules,
    "run IDs in a request": run_ids,
    "gateways": gateways,
    "pages looked up": pages,
    "TLS to upstream": secured,
}


if __name__ == "__main__":
    sys.exit(main())
