"""Costs of whole requests at c=32: CPU time of the gateway for each, and answers a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.compare.samples import Samples
from benchmarks.harness.configuration import Tables
from benchmarks.harness.instance import Instance, Proofs, started, turns
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.load import Closed, closed_loops
from benchmarks.harness.machine import Cores
from benchmarks.harness.requests import Request, cancel, cancel_runs

SIZES = (10, 1000, 10_000)
RUN_IDS = (1, 10, 100, 1000)
CONNECTIONS = 32

Launches = Mapping[str, Callable[[Place], Launch]]


@dataclass(frozen=True, slots=True)
class Bench:
    """Where and for how long costs are measured, and where they are kept; `second_core` is for a second gateway."""

    samples: Samples
    proofs: Proofs
    cores: Cores
    second_core: int
    directory: Path
    rounds: int = 3
    seconds: int = 2

    def load(self, name: str, instances: list[Instance], request: Request) -> None:
        """Loads instances at once, with all connections shared out among them, and keeps what they cost together."""
        share = Closed(request, CONNECTIONS // len(instances), self.seconds)
        gateways = [(instance.port, instance.process.pid) for instance in instances]
        measured = closed_loops(gateways, share, cores=self.cores)
        requests = sum(one.requests for one in measured)
        self.samples.add(name, "per_s", sum(one.per_s for one in measured))
        self.samples.add(name, "cpu_us", sum(one.cpu_us * one.requests for one in measured) / requests)
        sys.stderr.write(f"  {name}: {self.samples.values(name, 'cpu_us')[-1]:.0f} µs\n")


def keys(bench: Bench) -> list[str]:
    """A growing table of keys; the names under which it is kept."""
    return _tables(bench, {f"{size:,} keys": partial(gateway, tables=Tables(keys=size)) for size in SIZES})


def rules(bench: Bench) -> list[str]:
    """A growing number of rules, all of the caller's team."""
    return _tables(bench, {f"{size:,} rules": partial(gateway, tables=Tables(rules=size)) for size in SIZES})


def _tables(bench: Bench, launches: Launches) -> list[str]:
    with started(launches, directory=bench.directory, cores=bench.cores, proofs=bench.proofs) as instances:
        cells = [partial(bench.load, name, [one], cancel()) for name, one in instances.items()]
        for turn in turns(bench.rounds, cells):
            turn()
    return list(launches)


def run_ids(bench: Bench) -> list[str]:
    """More and more run IDs in one request."""
    names = {f"{count:,} IDs": cancel_runs(count) for count in RUN_IDS}
    launches: Launches = {"gateway": gateway}
    with started(launches, directory=bench.directory, cores=bench.cores, proofs=bench.proofs) as instances:
        one = instances["gateway"]
        for turn in turns(bench.rounds, [partial(bench.load, name, [one], ask) for name, ask in names.items()]):
            turn()
    return list(names)


def gateways(bench: Bench) -> list[str]:
    """One gateway; two on its core; two on a core each. The load is the same, and shared out."""
    apart = Cores(bench.second_core, bench.cores.load)
    with ExitStack() as stack:
        enter = partial(_started, bench, stack)
        first, beside = enter("first", bench.cores), enter("beside it", bench.cores)
        elsewhere = enter("elsewhere", apart)
        cells = {
            "1 gateway": [first],
            "2 gateways on one core": [first, beside],
            "2 gateways on two cores": [first, elsewhere],
        }
        for turn in turns(bench.rounds, [partial(bench.load, name, who, cancel()) for name, who in cells.items()]):
            turn()
    return list(cells)


def _started(bench: Bench, stack: ExitStack, name: str, cores: Cores) -> Instance:
    directory = bench.directory / name.replace(" ", "-")
    launches: Launches = {name: gateway}
    instances = stack.enter_context(started(launches, directory=directory, cores=cores, proofs=bench.proofs))
    return instances[name]
