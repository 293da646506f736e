"""Freezes on record: each beginning and each end gets its record in one chain of the fleet, then counts as recorded.

What was done through this gateway it records at once. What was done elsewhere, by the command line or through a gateway
that has ended before it could record it, is recorded by one gateway: of those that beat, the first by name.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Literal

from gateway.audit.events.switches import freeze_members, thaw_members
from gateway.core.errors import AuditUnavailable, StateUnavailable
from gateway.core.ports import KeepPort
from gateway.state.freezes import Freeze, Snapshot
from gateway.state.port import Freezes

What = Literal["freeze", "thaw"]
Change = tuple[str, str]
"""The ID of a freeze, and whether it is its beginning (`freeze`) or its end (`thaw`)."""

BY_COMMAND = "cli:"
"""How the name of whoever froze or thawed by the command line begins: no gateway has it on record."""

LEFT_MS = 5_000
"""After how many milliseconds the change that another gateway made counts as one that it cannot record."""


RECORDED_S = 1.0
"""How long, in seconds, an answer waits for its record: the freeze is in force whether or not it is on record."""


Noticed = Callable[[Freeze, What], Awaitable[None]]
"""Keeps the notice of a change. Raises: StateUnavailable: it is called again for the same change."""


async def _nobody(freeze: Freeze, what: What) -> None:
    """Tell nobody."""


class Recorder:
    """The records of freezes that this gateway writes, each once, behind whatever else it does.

    Each change is told to `noticed` as well, if somebody wants to know, before it counts as recorded. So no notice is
    lost with this process.
    """

    def __init__(self, audit: KeepPort, store: Freezes, instance: str) -> None:
        self._audit = audit
        self._store = store
        self._instance = instance
        self.noticed: Noticed = _nobody
        self._own: set[Change] = set()
        self._on_record: set[Change] = set()
        self._told: set[Change] = set()
        self._under_way: dict[Change, asyncio.Task[None]] = {}

    def begin(self, freeze: Freeze, what: What) -> None:
        """Begin to record what was done through this gateway; if that fails it is tried again at the next beat."""
        self._own.add((freeze.freeze_id, what))
        self._begin(freeze, what)

    async def wait(self) -> None:
        """Wait, for a bounded time, until what was begun is recorded."""
        if self._under_way:
            await asyncio.wait([*self._under_way.values()], timeout=RECORDED_S)

    def follow(self, snapshot: Snapshot) -> None:
        """Begin to record what is on no record yet, as far as it is this gateway's to do."""
        first = self._is_first(snapshot)
        for freeze in snapshot.freezes:
            self._follow(freeze, "freeze", freeze.by, freeze.at_ms, snapshot=snapshot, first=first)
            if freeze.thawed_ms is not None and freeze.thawed_by is not None:
                self._follow(freeze, "thaw", freeze.thawed_by, freeze.thawed_ms, snapshot=snapshot, first=first)

    def _follow(self, freeze: Freeze, what: What, by: str, at_ms: int, *, snapshot: Snapshot, first: bool) -> None:
        change = (freeze.freeze_id, what)
        if change not in snapshot.unrecorded:
            return
        left = by.startswith(BY_COMMAND) or snapshot.now_ms - at_ms > LEFT_MS
        if change in self._own or (first and left):
            self._begin(freeze, what)

    def _is_first(self, snapshot: Snapshot) -> bool:
        beating = [one.instance for one in snapshot.gateways if not one.silent(snapshot.now_ms)]
        return not beating or self._instance == min(beating)

    def _begin(self, freeze: Freeze, what: What) -> None:
        change = (freeze.freeze_id, what)
        if change not in self._under_way:
            self._under_way[change] = task = asyncio.create_task(self._put(freeze, what))
            task.add_done_callback(lambda _: self._under_way.pop(change))

    async def _put(self, freeze: Freeze, what: What) -> None:
        change = (freeze.freeze_id, what)
        # What fails stays unrecorded in the store, so the next beat shows it again.
        with contextlib.suppress(AuditUnavailable):
            await self._keep(freeze, what)
        with contextlib.suppress(StateUnavailable):
            await self._notice(freeze, what)
            if change in self._on_record:
                await self._store.recorded(*change)

    async def _keep(self, freeze: Freeze, what: What) -> None:
        """Record the change, once. Raises: AuditUnavailable."""
        change = (freeze.freeze_id, what)
        if change not in self._on_record:
            await self._audit.keep(what, freeze_members(freeze) if what == "freeze" else thaw_members(freeze))
            self._on_record.add(change)

    async def _notice(self, freeze: Freeze, what: What) -> None:
        """Have the change noticed, whether or not it could be recorded; an end after its beginning.

        Raises: StateUnavailable.
        """
        change = (freeze.freeze_id, what)
        before = self._under_way.get((freeze.freeze_id, "freeze")) if what == "thaw" else None
        if before is not None:
            await asyncio.wait({before})
        if change not in self._told:
            await self.noticed(freeze, what)
            self._told.add(change)
