"""What became of cancels, beyond their answers: decisions to look up, and what an earlier process had not settled."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.left_open import Following, LeftOpen
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.segment import OsDisk
from gateway.core.forms.times import record_time
from gateway.core.ports import Alarm
from gateway.execution.follow_up import FOLLOW_S, Settler
from gateway.execution.left_over import left_over
from gateway.process import Net, place

WRITTEN_S = 60.0
"""How much longer than a follow-up takes other processes are kept from following: its record has to be written."""


@dataclass(slots=True)
class Outcomes:
    """The parts that begin once the audit log is open, and end before it is closed. None of them delays a request."""

    settings: AuditSettings
    audit: AuditLog
    settler: Settler
    log: Alarm
    keeper: Keeper = field(init=False)
    _following: Following = field(default_factory=Following)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.settings.directory, self.audit.latest, operators_log=self.log)

    @property
    def decisions(self) -> Decisions:
        """The decisions on record."""
        return Decisions(self.settings.directory, self.audit.latest, self.keeper)

    async def begin(self) -> None:
        """Start to keep the index, and follow what an earlier process followed when it ended. Raises nothing."""
        self.keeper.start()
        with Net() as net:
            await self._follow()
            return
        self.log.error("left_open_failed", error=type(net.caught).__name__, at=place(net.caught))

    async def _follow(self) -> None:
        since_s = time.time() - FOLLOW_S
        search = LeftOpen(self.settings.directory, record_time(int(since_s * 1e9)), since_s, OsDisk())
        self._following = following = await asyncio.to_thread(search.found)
        if following.left:
            asyncio.get_running_loop().call_later(FOLLOW_S + WRITTEN_S, following.release)
        for left in following.left:
            over = left_over(left)
            if over is not None:
                self.settler.go_on(over)

    async def end(self) -> None:
        """Stop the follow-ups, which record what is known, and let the index's thread end.

        Other processes may follow only when this one is gone: until then what was learnt may not be on record.
        """
        self.keeper.stop()
        await self.settler.stop()
