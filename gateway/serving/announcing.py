"""Announcements to operators of changes that come with time: the machine's clock falls behind, keys expire."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime

from gateway.callers.in_force import InForce
from gateway.core.ports import OperatorsLog
from gateway.files.watch import EVERY_S
from gateway.process import Net, report
from gateway.serving.clock import SteadyClock

MOST_NAMED = 10


class Announcer:
    """The part that checks once a second and logs changes only. It names the keys, which `/readyz` does not."""

    def __init__(self, clock: SteadyClock, live: Callable[[], InForce], log: OperatorsLog) -> None:
        self._clock = clock
        self._live = live
        self._log = log
        self._ahead = False
        self._endings: tuple[int, int] = (0, 0)

    async def run(self) -> None:
        """Run until cancelled."""
        while True:
            with Net() as net:
                self.look()
            if net.fault is not None:
                report(net.fault, "what operators have to know was not looked at")
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Log what has changed since the previous look."""
        notices = self._clock.notices()
        if notices and not self._ahead:
            self._log.error("clock_behind", problem=notices[0])
        if self._ahead and not notices:
            self._log.info("clock_caught_up")
        self._ahead = bool(notices)
        today, endings = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).date(), self._live().endings
        counts = endings.counts(today)
        if counts not in (self._endings, (0, 0)):
            named, (expired, soon) = endings.named(today, MOST_NAMED), counts
            self._log.info("keys_end", keys=named, more=expired + soon - len(named))
        self._endings = counts
