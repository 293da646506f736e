"""The closed decisions of this gateway, told to the store behind the record, for whichever gateway is asked of them.

It is read from the newest lines of the log, after they were written, so no cancel waits for it or fails by it. What was
left out, because the store was away for long or much was written, is found through the chain of this gateway.
"""

from __future__ import annotations

import asyncio

import orjson

from gateway.audit.decisions.finding import Closings, Decisions
from gateway.audit.decisions.lines import at_ms_of
from gateway.core.errors import StateUnavailable
from gateway.process import Net, report
from gateway.state.plans import KeptDecision
from gateway.state.port import DecisionsKept
from gateway.upstream.shares import Desk

EVERY_S = 0.25
"""How often the newest lines are looked at, in seconds."""

MOST_WAITING = 4096
"""The most closed decisions that wait for the store, each about 1 kB; above it the oldest are left out."""

AT_ONCE = 200
"""The most decisions in one write."""


class DecisionsTold:
    """The closed decisions of this gateway on their way to the store."""

    def __init__(self, store: DecisionsKept, decisions: Decisions) -> None:
        self._store = store
        self._closings = Closings(decisions)
        self._latest = decisions.latest
        self._desk = Desk("told", 1)
        self._read_bytes = 0
        self._waiting: dict[str, KeptDecision] = {}

    async def run(self) -> None:
        """Tell the store of decisions until cancelled."""
        while True:
            with Net() as net:
                await self.tell()
            if net.fault is not None:
                report(net.fault, "the store was not told of decisions")
            await asyncio.sleep(EVERY_S)

    async def tell(self) -> None:
        """Tell the store of every decision that was closed since; if it cannot be reached, with the next call."""
        written = self._latest.written_bytes
        if written != self._read_bytes:
            self._read_bytes = written
            for kept in await self._desk.done("lines", lambda: self._closed):
                self._waiting.pop(kept.decision_id, None)
                self._waiting[kept.decision_id] = kept
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        while self._waiting:
            now = dict(list(self._waiting.items())[:AT_ONCE])
            try:
                await self._store.keep_decisions([*now.values()])
            except StateUnavailable:
                return  # they wait for the next time
            for name in now:
                del self._waiting[name]

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()

    def _closed(self) -> list[KeptDecision]:
        """Return what is known of each decision that was closed since, in their order."""
        return [
            KeptDecision(one.decision_id, str(one.team), at_ms_of(one.decision_id), orjson.dumps(one.members()))
            for one in self._closings.since()
        ]
