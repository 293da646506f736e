"""`python -m benchmarks.telemetry`: a cancel without telemetry beside one with it, in turn; 1 if no run counts.

With `--before DIRECTORY` the gateway of another checkout takes part. The one with metrics is scraped each second.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.compare.report import number, table
from benchmarks.harness.instance import Instance, Proofs, started, turns
from benchmarks.harness.launch import Launch, Place, gateway, require
from benchmarks.harness.load import Closed, Opened, at_share, closed_loop, open_loop
from benchmarks.harness.machine import CannotMeasure, Cores, on_core, two_cores
from benchmarks.harness.requests import cancel, free_port
from benchmarks.instructions.counting import instructions

DIRECTORY = Path("build/telemetry")
PER_S = 400
CONNECTIONS = 32
SCRAPE_S = 1.0


@dataclass(slots=True)
class Seen:
    """What the rounds gave: requests a second, processor time, and the times at a fixed rate."""

    per_s: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    p50_us: list[float] = field(default_factory=list)
    p99_us: list[float] = field(default_factory=list)

    def all(self) -> tuple[list[float], ...]:
        """Each figure, round by round."""
        return self.per_s, self.cpu_us, self.p50_us, self.p99_us


def main(argv: Sequence[str] | None = None) -> int:
    """Measures, and prints a table of medians."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.telemetry", description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout whose gateway takes part")
    parser.add_argument("--instructions", type=int, metavar="N", help="count those of N requests, and nothing else")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    arguments = parser.parse_args(argv)
    work, port = (DIRECTORY / "work").absolute(), free_port()
    work.mkdir(parents=True, exist_ok=True)
    launches: dict[str, Callable[[Place], Launch]] = {
        "without": gateway,
        "metrics": partial(gateway, more=f'metrics: {{listen: "127.0.0.1:{port}"}}\n'),
    }
    if arguments.before is not None:
        launches = {"before": partial(_of, arguments.before.absolute()), **launches}
    try:
        if arguments.instructions:
            print(counted(arguments.instructions, work))
            return 0
        require(())
        seen = measure(launches, port, work, rounds=arguments.rounds, seconds=arguments.seconds)
    except CannotMeasure as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    shutil.rmtree(work)
    print(report(seen))
    return 0


def counted(requests: int, directory: Path) -> str:
    """The instructions of a request, which a busy machine changes little. Raises: CannotMeasure."""
    cores = two_cores()
    # Three gateways count at once, so each takes a port that is free.
    plain, shown = (
        instructions(requests, directory=directory, cores=cores, more=more)
        for more in ("", 'metrics: {listen: "127.0.0.1:0"}\n')
    )
    rows = [[name, number(plain[name]), number(shown[name]), f"{shown[name] / plain[name] - 1:+.1%}"] for name in plain]
    return table(["instructions", "without", "metrics", "change"], rows)


def measure(
    launches: dict[str, Callable[[Place], Launch]], port: int, directory: Path, *, rounds: int, seconds: int
) -> dict[str, Seen]:
    """Loads each gateway in turn, in both ways. Raises: CannotMeasure."""
    cores, proofs, seen = two_cores(), Proofs(), {name: Seen() for name in launches}
    with on_core(cores.load), started(launches, directory=directory, cores=cores, proofs=proofs) as instances:
        cells = [
            partial(_measured, instance, seen[name], cores=cores, seconds=seconds)
            for name, instance in instances.items()
        ]
        with _scraping(port):
            for cell in turns(rounds, cells):
                cell()
    return seen


def report(seen: dict[str, Seen]) -> str:
    """The table: medians of the rounds, and below them of the ratios within each round, with their range."""
    first, *others = seen
    rows = [[name, *(number(statistics.median(one)) for one in values.all())] for name, values in seen.items()]
    rows += [
        [
            f"{name} ÷ {first}",
            *(_ratio(one, base) for one, base in zip(seen[name].all(), seen[first].all(), strict=True)),
        ]
        for name in others
    ]
    head = ["", f"requests/s, c={CONNECTIONS}", "CPU µs", f"p50 µs at {PER_S}/s", f"p99 µs at {PER_S}/s"]
    return table(head, rows)


def _ratio(values: Sequence[float], base: Sequence[float]) -> str:
    found = [value / one for value, one in zip(values, base, strict=True)]
    return f"{statistics.median(found):.3f} ({min(found):.3f} to {max(found):.3f})"


def _of(root: Path, place: Place) -> Launch:
    launch = gateway(place)
    return replace(launch, environment={**launch.environment, "PYTHONPATH": str(root)})


def _measured(instance: Instance, seen: Seen, *, cores: Cores, seconds: int) -> None:
    closed = closed_loop(instance.port, instance.process.pid, Closed(cancel(), CONNECTIONS, seconds), cores=cores)
    seen.per_s.append(closed.per_s)
    seen.cpu_us.append(closed.cpu_us)
    times = open_loop(instance.port, Opened(cancel(), PER_S, 8, seconds))
    seen.p50_us.append(at_share(times, 0.5))
    seen.p99_us.append(at_share(times, 0.99))


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


if __name__ == "__main__":
    sys.exit(main())
