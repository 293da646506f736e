"""The task that follows the shared state: it beats, takes over what it is told, and writes what could not be written.

It beats twice a second, and at once when something has changed. While the store is away, what was read stays in force.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import NamedTuple

from gateway.core.errors import StateUnavailable
from gateway.core.ports import Clock, OperatorsLog
from gateway.execution.gates.freezes import FreezesInForce
from gateway.fleet.recorded import Recorder
from gateway.process import Net, report
from gateway.state.freezes import Freeze, Snapshot
from gateway.state.port import Freezes

EVERY_S = 0.5
"""The longest time between two beats, in seconds."""

SOON_S = 0.05
"""The shortest: news that come all the time cost no more than that; also while somebody waits for the fleet."""

REACHED_S = 1.2
"""How long, in seconds, a new freeze waits to be in force in every gateway that beats."""

Told = Callable[[Snapshot], None]
"""A callback for every snapshot. Raises nothing."""


class Reached(NamedTuple):
    """The gateways that have a freeze in force, and those of which nobody knows whether they have."""

    in_force: list[str]
    silent: list[str]


class Following:
    """The beats of this gateway. `told` are called with every snapshot, after the freezes in it are in force."""

    def __init__(
        self,
        store: Freezes,
        freezes: FreezesInForce,
        recorder: Recorder,
        *,
        instance: str,
        clock: Clock,
        log: OperatorsLog,
    ) -> None:
        self._store = store
        self._freezes = freezes
        self._recorder = recorder
        self._instance = instance
        self._clock = clock
        self._log = log
        self._snapshot: Snapshot | None = None
        self._beaten = asyncio.Event()
        self._waiting = 0
        self._away_since_s: float | None = None
        self._problem: str | None = None
        self.told: list[Told] = []

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            with Net() as net:
                await self.beat()
            if net.fault is not None:
                report(net.fault, "the shared state was not followed")
            # A store that is away may say at once that something has changed.
            await asyncio.sleep(SOON_S)
            if self._away_since_s is not None:
                await asyncio.sleep(EVERY_S)
            elif not self._waiting:
                await self._store.changed(EVERY_S - SOON_S)

    async def beat(self) -> None:
        """Write what could not be written, say that this gateway is there, and take over what it is told.

        A store that does not answer leaves everything as it is.
        """
        try:
            for freeze in self._freezes.unwritten():
                self._freezes.hold(await self._store.freeze(freeze))
            snapshot = await self._store.beat(self._instance, self._freezes.number)
            if snapshot.number != self._freezes.number:
                # Others wait to be told that this gateway has it in force.
                self._freezes.take(snapshot)
                snapshot = await self._store.beat(self._instance, self._freezes.number)
        except StateUnavailable as away:
            self._missed(away)
            return
        if self._away_since_s is not None:
            self._log.info("state_available", away_s=round(self._clock.monotonic_s() - self._away_since_s, 1))
            self._away_since_s = self._problem = None
        self._take(snapshot)
        self._recorder.follow(snapshot)

    async def end(self) -> None:
        """Write what could not be written, for the last time, and tell operators which freezes are lost. Never raises.

        They were in force in this gateway alone, which ends.
        """
        lost = self._freezes.unwritten()
        for freeze, kept in zip(lost, await asyncio.gather(*map(self._written, lost)), strict=True):
            if not kept:
                scope = freeze.scope
                self._log.error("freeze_lost", freeze_id=freeze.freeze_id, team=scope.team, rule=scope.rule)

    async def leave(self, instances: Collection[str]) -> None:
        """Tell the fleet that these gateways, this one or some before it, have ended, if the store answers."""
        if instances:
            with contextlib.suppress(StateUnavailable):
                await self._store.leave(instances)

    def listed(self) -> list[str]:
        """Return the gateways that the store named last."""
        return [] if self._snapshot is None else [one.instance for one in self._snapshot.gateways]

    async def _written(self, freeze: Freeze) -> bool:
        try:
            self._freezes.hold(await self._store.freeze(freeze))
        except StateUnavailable:
            return False
        return True

    async def reached(self, number: int) -> Reached:
        """Wait, for a bounded time, until every gateway that beats has the freezes up to `number` in force."""
        self._waiting += 1
        try:
            async with asyncio.timeout(REACHED_S):
                while (found := self._reached(number)) is None:
                    beaten = self._beaten
                    await beaten.wait()
                return found
        except TimeoutError:
            return self._reached(number, late=True) or Reached([self._instance], [])
        finally:
            self._waiting -= 1

    def notices(self) -> list[str]:
        """Return the notice for operators while the store does not answer."""
        if self._away_since_s is None:
            return []
        away_s = round(self._clock.monotonic_s() - self._away_since_s)
        so = "the freezes read before stay in force" if self._freezes.read else "no freeze was read, so nothing is sent"
        if self._problem is not None:
            return [f"{self._problem}; {so}"]
        return [f"the shared state has not answered for {away_s} s: {so}"]

    def _missed(self, away: StateUnavailable) -> None:
        """Tell operators once that the store does not answer, and once what is wrong with one that does."""
        if self._away_since_s is None:
            self._away_since_s = self._clock.monotonic_s()
            self._log.error("state_unavailable", cause=away.cause)
        if away.problem is not None and away.problem != self._problem:
            self._log.error("state_refused", problem=away.problem)
        self._problem = away.problem

    def _take(self, snapshot: Snapshot) -> None:
        self._freezes.take(snapshot)
        self._snapshot = snapshot
        for told in self.told:
            told(snapshot)
        self._beaten.set()
        self._beaten = asyncio.Event()

    def _reached(self, number: int, *, late: bool = False) -> Reached | None:
        """Return who has it in force; None while a gateway that beats has not, unless it is too late to wait."""
        snapshot = self._snapshot
        if snapshot is None:
            return None
        others = [one for one in snapshot.gateways if one.instance != self._instance]
        has = [one.instance for one in others if not one.silent(snapshot.now_ms) and one.number >= number]
        silent = [one.instance for one in others if one.instance not in has]
        if not late and any(not one.silent(snapshot.now_ms) and one.number < number for one in others):
            return None
        return Reached(sorted([self._instance, *has]), sorted(silent))
