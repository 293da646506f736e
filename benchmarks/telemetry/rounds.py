"""Time: each gateway loaded in turn, in many short rounds, so that what slows the machine slows all of them."""

from __future__ import annotations

import statistics
import threading
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.compare.report import number, table
from benchmarks.harness.instance import Instance, Proofs, started, turns
from benchmarks.harness.load import Closed, Opened, at_share, closed_loop, open_loop
from benchmarks.harness.machine import Cores
from benchmarks.harness.requests import cancel
from benchmarks.telemetry.sides import METRICS, WITHOUT, Launches, page_port

PER_S = 400
CONNECTIONS = 32
SCRAPE_S = 1.0
FIGURES = (f"requests/s, c={CONNECTIONS}", "CPU µs", f"p50 µs at {PER_S}/s", f"p99 µs at {PER_S}/s")


@dataclass(slots=True)
class Seen:
    """What the rounds gave, each a list with a value for each round; `times_us` is every answer at the fixed rate."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)
    times_us: list[float] = field(default_factory=list)

    def all(self) -> tuple[list[float], ...]:
        """Each of `FIGURES`, round by round."""
        return self.per_s, self.cpu_us, self.p50_us, self.p99_us


def measure(launches: Launches, *, directory: Path, cores: Cores, rounds: int, seconds: int) -> Mapping[str, Seen]:
    """Loads each gateway in turn, in both ways. Raises: CannotMeasure."""
    proofs: Proofs = []
    seen = {name: Seen() for name in launches}
    with started(launches, directory=directory, cores=cores, proofs=proofs) as instances:
        cells = [
            partial(_measured, instance, seen[name], cores=cores, seconds=seconds)
            for name, instance in instances.items()
        ]
        with _scraping(page_port(instances[METRICS].directory)):
            for cell in turns(rounds, cells):
                cell()
    return seen


def _measured(instance: Instance, seen: Seen, *, cores: Cores, seconds: int) -> None:
    closed = closed_loop(instance.port, instance.process.pid, Closed(cancel(), CONNECTIONS, seconds), cores=cores)
    seen.per_s.append(closed.per_s)
    seen.cpu_us.append(closed.cpu_us)
    times = open_loop(instance.port, Opened(cancel(), PER_S, 8, seconds))
    seen.p50_us.append(at_share(times, 0.5))
    seen.p99_us.append(at_share(times, 0.99))
    seen.times_us += times


@contextmanager
def _scraping(port: int) -> Iterator[None]:
    """Scrapes each second until the end of the `with`."""
    ended = threading.Event()

    def scrape() -> None:
        """Scrapes again and again."""
        while not ended.wait(SCRAPE_S):
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                answer.read()

    thread = threading.Thread(target=scrape)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def report(seen: Mapping[str, Seen]) -> str:
    """The tables: medians of the rounds, and the ratios within each round: median, range, and in how many it is more.

    The last column is the p99 of all answers of all rounds.
    """
    rows = [
        [name, *(number(statistics.median(one)) for one in values.all()), number(_p99(values))]
        for name, values in seen.items()
    ]
    ratios = [[f"{name} ÷ {base}", *_ratios(seen[name], seen[base])] for name, base in _pairs(list(seen))]
    head = ["", *FIGURES, "p99 µs of all rounds"]
    return f"{table(head, rows)}\n{table(head, ratios)}"


def _pairs(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for base in dict.fromkeys((names[0], WITHOUT)):
        yield from ((name, base) for name in names[names.index(base) + 1 :])


def _ratios(values: Seen, base: Seen) -> Iterator[str]:
    for ones, others in zip(values.all(), base.all(), strict=True):
        found = [one / other for one, other in zip(ones, others, strict=True)]
        more = sum(ratio > 1 for ratio in found)
        yield f"{statistics.median(found):.3f} ({min(found):.2f} to {max(found):.2f}; more in {more} of {len(found)})"
    yield f"{_p99(values) / _p99(base):.3f}"


def _p99(values: Seen) -> float:
    return at_share(sorted(values.times_us), 0.99)
