"""What is measured, in which order. Rounds visit every cell once, odd rounds backwards, so that no one is favoured."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.compare.account import Manner
from benchmarks.compare.bounds import DIRECT
from benchmarks.compare.lookups import MANNERS, QUICK_MANNERS, measure_lookups
from benchmarks.compare.samples import Samples
from benchmarks.harness.configuration import Tables
from benchmarks.harness.instance import Instance, Proofs, Stub, started, turns
from benchmarks.harness.launch import KINDS, Launch, Place, gateway
from benchmarks.harness.load import Closed, Measured, Opened, at_share, closed_loop, open_loop
from benchmarks.harness.machine import Cores
from benchmarks.harness.observe import memory
from benchmarks.harness.requests import OVER_CAP, Request, cancel, to_stub

TABLES: Mapping[str, Callable[[Place], Launch]] = {
    "gateway, 10 keys and rules": partial(gateway, tables=Tables(10, 10)),
    "gateway, 10,000 keys and rules": partial(gateway, tables=Tables(10_000, 10_000)),
}
"""The project with small and with large tables, for the cost of a whole request."""


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured; seconds are those of one measurement."""

    kinds: tuple[str, ...] = ("gateway", "gateway-fsync", "nginx", "envoy", "caddy")
    only_started: tuple[str, ...] = ("mitmproxy",)
    connections: tuple[int, ...] = (1, 32, 128)
    rounds: int = 5
    seconds: int = 2
    starts: int = 5
    filling_seconds: int = 5
    open_rounds: int = 3
    open_seconds: float = 8
    lookups: tuple[Manner, ...] = MANNERS
    lookup_rounds: int = 2


QUICK = replace(
    Effort(), kinds=("gateway", "caddy"), only_started=(), rounds=2, seconds=1, starts=2, filling_seconds=1,
    open_rounds=1, open_seconds=2, lookups=QUICK_MANNERS, lookup_rounds=1,
)  # fmt: skip


class Comparison:
    """One run: its samples, and the proof of every gateway of ours that took part."""

    def __init__(self, effort: Effort, *, cores: Cores, directory: Path) -> None:
        self.samples = Samples()
        self.proofs: Proofs = []
        self._effort = effort
        self._cores = cores
        self._directory = directory

    def run(self) -> None:
        """Measures everything. Raises: CannotMeasure, with what was proved so far in `proofs`."""
        self._alone()
        self._side_by_side()
        self._tables()
        self._lookups()

    def _lookups(self) -> None:
        effort = self._effort
        measure_lookups(self.samples, manners=effort.lookups, rounds=effort.lookup_rounds,
                        directory=self._directory, cores=self._cores)  # fmt: skip

    def _alone(self) -> None:
        """Cold starts, and memory before and after load: one at a time, so that nothing is shared."""
        for turn in range(self._effort.starts):
            for kind in (*self._effort.kinds, *self._effort.only_started):
                _say(f"start {turn + 1} of {self._effort.starts}: {kind}")
                with self._started({kind: KINDS[kind]}) as instances:
                    (instance,) = instances.values()
                    self.samples.add(kind, "start_ms", instance.start_s * 1e3)
                    if turn == 0:
                        instance.probe()
                    if turn == self._effort.starts - 1 and kind in self._effort.kinds:
                        self._fill(instance)

    def _fill(self, instance: Instance) -> None:
        self.samples.add(instance.kind, "idle rss_mib", memory(instance.process.pid).rss)
        self._closed(instance, Closed(cancel(), 128, self._effort.filling_seconds))
        after = memory(instance.process.pid)
        self.samples.add(instance.kind, "loaded rss_mib", after.rss)
        self.samples.add(instance.kind, "loaded anonymous_mib", after.anonymous)

    def _side_by_side(self) -> None:
        effort = self._effort
        with ExitStack() as stack:
            stub = Stub(self._directory / "alone", self._cores)
            stack.callback(stub.stop)
            instances = stack.enter_context(self._started({kind: KINDS[kind] for kind in effort.kinds}))
            cells = [partial(self._direct, stub, count) for count in effort.connections]
            cells += [
                partial(self._throughput, one, count) for one in instances.values() for count in effort.connections
            ]
            if "gateway" in instances:
                cells += [partial(self._refusing, instances["gateway"], *how) for how in _REFUSING]
            self._warm(instances.values())
            for turn in turns(effort.rounds, cells):
                turn()
            openings = [partial(self._open, instance) for instance in instances.values()]
            for turn in turns(effort.open_rounds, openings):
                turn()

    def _tables(self) -> None:
        with self._started(TABLES) as instances:
            self._warm(instances.values())
            for turn in turns(self._effort.rounds, [partial(self._throughput, one, 32) for one in instances.values()]):
                turn()

    def _started(
        self, launches: Mapping[str, Callable[[Place], Launch]]
    ) -> AbstractContextManager[dict[str, Instance]]:
        return started(launches, directory=self._directory, cores=self._cores, proofs=self.proofs)

    def _warm(self, instances: Iterable[Instance]) -> None:
        for instance in instances:
            self._closed(instance, Closed(cancel(), 32, 1))

    def _closed(self, instance: Instance, load: Closed) -> Measured:
        return closed_loop(instance.port, instance.process.pid, load, cores=self._cores)

    def _throughput(self, instance: Instance, connections: int) -> None:
        measured = self._closed(instance, Closed(cancel(), connections, self._effort.seconds))
        self._add(instance.kind, f"c={connections}", measured)

    def _direct(self, stub: Stub, connections: int) -> None:
        load = Closed(to_stub(cancel()), connections, self._effort.seconds)
        self._add(DIRECT, f"c={connections}", closed_loop(stub.port, stub.pid, load, cores=self._cores))

    def _refusing(self, instance: Instance, name: str, make: Callable[[], Request]) -> None:
        measured = self._closed(instance, Closed(make(), 32, self._effort.seconds))
        self._add(instance.kind, name, measured)

    def _open(self, instance: Instance) -> None:
        _say(f"open loop: {instance.kind}")
        took_us = open_loop(instance.port, Opened(cancel(), 400, 8, self._effort.open_seconds))
        self.samples.add(instance.kind, "open p50_us", at_share(took_us, 0.5))
        self.samples.add(instance.kind, "open p99_us", at_share(took_us, 0.99))

    def _add(self, kind: str, cell: str, measured: Measured) -> None:
        _say(f"{kind} {cell}: {measured.per_s:.0f}/s")
        self.samples.add(kind, f"per_s {cell}", measured.per_s)
        self.samples.add(kind, f"p50_us {cell}", measured.p50_us)
        self.samples.add(kind, f"p99_us {cell}", measured.p99_us)
        self.samples.add(kind, f"cpu_us {cell}", measured.cpu_us)


_REFUSING: tuple[tuple[str, Callable[[], Request]], ...] = (
    ("allowed", cancel),
    ("401", partial(cancel, key="nobody", status=401)),
    ("403", partial(cancel, OVER_CAP, status=403)),
)
"""Beside one another, so that refused and allowed are compared in the same moments."""


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
