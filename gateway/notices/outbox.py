"""The outbox: notices on their way into the store, held here for as long as the store is away.

To note one is to append to a list: no cancel waits for it, or for the store. What is held here is lost if the process
is killed, and the oldest is dropped where too much is held.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice

from gateway.core.errors import StateUnavailable
from gateway.core.ports import OperatorsLog
from gateway.notices.events import Notice
from gateway.notices.receivers import Receiver
from gateway.process import Net, report
from gateway.state.notices import EVENTS, KeptNotice
from gateway.state.port import Notices

MOST_HELD = 1_000
"""The most notices that are held in memory, each about half a kilobyte."""
MOST_KEPT = 10_000
"""The most notices that wait in the store for one receiver."""
BATCH = 50
"""The most notices in one write."""
RETRY_S = 1.0
"""How long a store that was away is left alone, in seconds."""


class Outbox:
    """The notices of one gateway, for the receivers that ask for their kind. `wakes` are called once some are kept.

    `is_secret` says of a text whether it may hold a secret; then it is not shown.
    """

    def __init__(
        self,
        store: Notices,
        receivers: Sequence[Receiver],
        *,
        log: OperatorsLog,
        is_secret: Callable[[str], bool],
        most_held: int = MOST_HELD,
        most_kept: int = MOST_KEPT,
    ) -> None:
        self._store = store
        self._asked = {event: [one.name for one in receivers if event in one.settings.events] for event in EVENTS}
        self._origins = {one.name: one.url.origin for one in receivers}
        self._log = log
        self._is_secret = is_secret
        self._most_held, self._most_kept = most_held, most_kept
        self._held: deque[Notice] = deque()
        self._noted = asyncio.Event()
        self._last_ms = 0
        self._dropped = 0
        self.wakes: list[Callable[[], None]] = []

    def note(self, notice: Notice) -> None:
        """Take a notice, to be written behind whatever it is about. Returns at once, never raises."""
        if not self._asked[notice.event]:
            return
        if len(self._held) >= self._most_held:
            self._held.popleft()
            self._dropped += 1
        # Of two that were noted in one millisecond, the second is later.
        self._last_ms = max(notice.at_ms, self._last_ms + 1)
        self._held.append(replace(notice, at_ms=self._last_ms))
        self._noted.set()

    async def put(self, notices: Sequence[Notice]) -> None:
        """Write notices to the store. Raises: StateUnavailable: they may be there, and can be written again."""
        clean = [(notice.without(self._is_secret), self._asked[notice.event]) for notice in notices]
        kept = [
            KeptNotice(notice.notice_id, receiver, notice.subject, notice.at_ms, notice.document())
            for notice, asked in clean
            for receiver in asked
        ]
        if not kept:
            return
        for receiver, number in (await self._store.keep_notices(kept, self._most_kept)).items():
            self._log.error("notices_dropped", receiver=self._origins[receiver], number=number)
        for wake in self.wakes:
            wake()

    async def write(self) -> None:
        """Write what is held. Raises: StateUnavailable: the rest is still held."""
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._log.error("notices_dropped", receiver=None, number=dropped)
        while self._held:
            batch = list(islice(self._held, BATCH))
            await self.put(batch)
            for notice in batch:
                # The oldest may have been dropped meanwhile.
                if self._held and self._held[0] is notice:
                    self._held.popleft()

    async def run(self) -> None:
        """Write what is noted, until cancelled."""
        while True:
            await self._noted.wait()
            self._noted.clear()
            with Net() as net:
                await self.write()
            if net.fault is not None:
                if not isinstance(net.fault, StateUnavailable):
                    report(net.fault, "notices were not written")
                self._noted.set()
                await asyncio.sleep(RETRY_S)
