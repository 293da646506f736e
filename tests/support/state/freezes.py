"""The freezes of a fleet in memory: the port of the store, with the ways in which a real one goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from gateway.core.errors import StateUnavailable
from gateway.state.freezes import FORGOTTEN_MS, Freeze, Gateway, Snapshot, Stop


@dataclass
class MemoryFreezes:
    """A store that several gateways share. `fails` is a cause for every call; `hangs` holds every call back until set.

    With `loses_answers` what is written is kept, and the answer lost: it raises, and happened all the same.
    """

    now_ms: Callable[[], int]
    fails: str | None = None
    hangs: asyncio.Event | None = None
    loses_answers: bool = False
    freezes: dict[str, Freeze] = field(default_factory=dict)
    unrecorded: set[tuple[str, str]] = field(default_factory=set)
    gateways: dict[str, Gateway] = field(default_factory=dict)
    stops: dict[str, list[Stop]] = field(default_factory=dict)
    number: int = 0
    writes: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def beat(self, instance: str, number: int) -> Snapshot:
        await self._reached()
        now_ms = self.now_ms()
        self.gateways[instance] = Gateway(instance, now_ms, number)
        named = (one for one in self.gateways.values() if now_ms - one.seen_ms <= FORGOTTEN_MS)
        kept = {name for name, _ in self.unrecorded}
        shown = tuple(one for name, one in self.freezes.items() if one.in_force(now_ms) or name in kept)
        stops = tuple(self.stops.get(instance, ()))
        return Snapshot(now_ms, self.number, shown, frozenset(self.unrecorded), tuple(named), stops)

    async def leave(self, instances: Collection[str]) -> None:
        await self._reached()
        for instance in instances:
            self.gateways.pop(instance, None)

    async def changed(self, most_s: float) -> None:
        try:
            async with asyncio.timeout(most_s):
                await self.news.wait()
        except TimeoutError:
            return
        self.news.clear()

    async def freeze(self, freeze: Freeze) -> Freeze:
        await self._reached()
        self.writes.append(freeze.freeze_id)
        if freeze.freeze_id not in self.freezes:
            self._keep(replace(freeze, number=self.number + 1), "freeze")
        self._answered()
        return self.freezes[freeze.freeze_id]

    async def thaw(self, freeze_id: str, by: str) -> Freeze | None:
        await self._reached()
        freeze, now_ms = self.freezes.get(freeze_id), self.now_ms()
        if freeze is None or not freeze.in_force(now_ms):
            return None
        self._keep(replace(freeze, number=self.number + 1, thawed_ms=now_ms, thawed_by=by), "thaw")
        self._answered()
        return self.freezes[freeze_id]

    async def recorded(self, freeze_id: str, what: str) -> None:
        await self._reached()
        self.unrecorded.discard((freeze_id, what))

    def _keep(self, freeze: Freeze, what: str) -> None:
        self.number = freeze.number
        self.freezes[freeze.freeze_id] = freeze
        self.unrecorded.add((freeze.freeze_id, what))
        self.news.set()

    async def _reached(self) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails is not None:
            raise StateUnavailable(self.fails)

    def _answered(self) -> None:
        if self.loses_answers:
            raise StateUnavailable("timeout")
