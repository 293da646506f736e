"""Time: cancels at a rate at which none meets another, at each gateway in turn; what the databases hold afterwards."""

from __future__ import annotations

import os
import statistics
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compare.report import number, table
from benchmarks.harness.instance import Instance, Proofs, started, turns
from benchmarks.harness.load import Opened, at_share, open_loop
from benchmarks.harness.machine import Cores
from benchmarks.harness.observe import memory
from benchmarks.harness.requests import cancel_runs
from benchmarks.state.sides import WITHOUT, Launches

PER_S = 5


@dataclass(slots=True)
class Seen:
    """The p50 of each round in microseconds, its fastest answer, and every answer."""

    p50_us: list[float] = field(default_factory=list)
    least_us: list[float] = field(default_factory=list)
    times_us: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Started:
    """Milliseconds to the first 200, and mebibytes at rest, of each start."""

    start_ms: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    anonymous: list[float] = field(default_factory=list)


def measure(
    launches: Launches, *, directory: Path, cores: Cores, rounds: int, seconds: int
) -> tuple[Mapping[str, Seen], list[float]]:
    """Asks each gateway in turn; also returns the machine's load before each round. Raises: CannotMeasure."""
    proofs: Proofs = []
    seen, loads = {name: Seen() for name in launches}, list[float]()
    with started(launches, directory=directory, cores=cores, proofs=proofs) as instances:
        cells = [partial(_measured, one, seen[name], seconds=seconds) for name, one in instances.items()]
        for cell in turns(rounds, cells):
            loads.append(os.getloadavg()[0])
            cell()
    return seen, loads


def _measured(instance: Instance, seen: Seen, *, seconds: int) -> None:
    times = open_loop(instance.port, Opened(cancel_runs(1), PER_S, 1, seconds))
    seen.p50_us.append(at_share(times, 0.5))
    seen.least_us.append(times[0])
    seen.times_us += times


def report(seen: Mapping[str, Seen], loads: list[float]) -> str:
    """The table: all answers, and within each round what the p50 and the fastest are more than `without`.

    Where others use the machine the fastest answers say what they would on an idle one, and the p50 what they do to it.
    """
    base, rows = seen[WITHOUT], []
    for name, values in seen.items():
        times = sorted(values.times_us)
        added = (
            ["", ""] if values is base else [_more(values.p50_us, base.p50_us), _more(values.least_us, base.least_us)]
        )
        rows.append([name, *(number(at_share(times, share)) for share in (0, 0.1, 0.5, 0.9)), *added])
    head = [f"at {PER_S}/s", "fastest µs", "p10 µs", "p50 µs", "p90 µs", "p50 more, ms", "fastest more, ms"]
    return f"{table(head, rows)}\nload of the machine meanwhile: {min(loads):.1f} to {max(loads):.1f}\n"


def _more(values: Sequence[float], base: Sequence[float]) -> str:
    added = [(one - other) / 1000 for one, other in zip(values, base, strict=True)]
    return f"{statistics.median(added):+.2f} ({min(added):+.2f} to {max(added):+.2f})"


def starts(launches: Launches, *, directory: Path, cores: Cores, number_of: int) -> Mapping[str, Started]:
    """Starts each gateway in turn, one at a time, and looks at its memory. Raises: CannotMeasure."""
    found = {name: Started() for name in launches}
    for cell in turns(number_of, [partial(_start, name, launches, found, directory, cores) for name in launches]):
        cell()
    return found


def _start(name: str, launches: Launches, found: Mapping[str, Started], directory: Path, cores: Cores) -> None:
    with ExitStack() as stack:
        instance = stack.enter_context(Instance(name, launches[name], directory=directory / "start", cores=cores))
        found[name].start_ms.append(instance.start_s * 1000)
        open_loop(instance.port, Opened(cancel_runs(1), PER_S, 1, 1))
        held = memory(instance.process.pid)
        found[name].rss.append(held.rss)
        found[name].anonymous.append(held.anonymous)


def starts_report(found: Mapping[str, Started]) -> str:
    """The table: medians, and for the start also the least, which others on the machine disturb least."""
    rows = [
        [
            name,
            f"{statistics.median(one.start_ms):.0f} ({min(one.start_ms):.0f} at least)",
            f"{statistics.median(one.rss):.1f}",
            f"{statistics.median(one.anonymous):.1f}",
        ]
        for name, one in found.items()
    ]
    return table(["", "first 200, ms", "resident MiB", "anonymous MiB"], rows)
