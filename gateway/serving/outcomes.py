"""What became of cancels, beyond their answers: decisions to look up, and what an earlier process had not settled."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.left_open import Following, LeftOpen
from gateway.audit.decisions.ordered import ordered_since
from gateway.audit.log import AuditLog, AuditSettings
from gateway.audit.segment import OsDisk
from gateway.core.forms.times import record_time
from gateway.core.ports import Alarm
from gateway.execution.follow_up import FOLLOW_S, Settler
from gateway.execution.left_over import left_over
from gateway.execution.plans.handled import KEPT_S, Earlier
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
    known: asyncio.Event = field(default_factory=asyncio.Event)
    _following: Following = field(default_factory=Following)

    def __post_init__(self) -> None:
        self.keeper = Keeper(self.settings.directory, self.audit.latest, operators_log=self.log)

    @property
    def decisions(self) -> Decisions:
        """The decisions on record."""
        keys = () if self.settings.mac_key is None else (self.settings.mac_key,)
        return Decisions(self.settings.directory, self.audit.latest, self.keeper, keys)

    async def begin(self, recall: Callable[[Iterable[Earlier]], None]) -> None:
        """Tell `recall` which runs earlier processes ordered, keep the index, and follow what they followed.

        Look-ups wait until the first is done. Raises nothing.
        """
        with Net() as net:
            recall(await asyncio.to_thread(self._ordered))
        self._tell("ordered_before_failed", net)
        self.known.set()
        self.keeper.start()
        with Net() as net:
            await self._follow()
        self._tell("left_open_failed", net)

    def _tell(self, event: str, net: Net) -> None:
        if net.fault is not None:
            self.log.error(event, error=type(net.fault).__name__, at=place(net.fault))

    def _ordered(self) -> list[Earlier]:
        now_s = time.time()
        found = ordered_since(self.settings.directory, now_s - KEPT_S)
        return [
            Earlier(one.field, one.run_id, one.created_ms, max(0.0, now_s - one.at_s), one.decision_id, one.certain)
            for one in found
        ]

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
