"""The notices of a store in memory, which several gateways may share, by a clock that a test moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gateway.state.notices import KeptNotice, TakenNotice
from tests.support.stand_ins import StillClock
from tests.support.state.plans import Faults


@dataclass
class Row:
    """One notice for one receiver."""

    notice: KeptNotice
    due_ms: int
    attempts: int = 0
    holder: str | None = None
    leased_until_ms: int = 0
    delivered: bool = False


@dataclass
class MemoryNotices:
    """The port `Notices`; `faults` says what goes wrong."""

    clock: StillClock = field(default_factory=StillClock)
    faults: Faults = field(default_factory=Faults)
    rows: dict[tuple[str, str], Row] = field(default_factory=dict)

    async def keep_notices(self, notices: Sequence[KeptNotice], most: int) -> Mapping[str, int]:
        async with self.faults.around("keep_notices"):
            for notice in notices:
                self.rows.setdefault((notice.notice_id, notice.receiver), Row(notice, self.clock.now_ms()))
            dropped: dict[str, int] = {}
            for receiver in {notice.receiver for notice in notices}:
                beyond = self.waiting(receiver)[:-most]
                for row in beyond:
                    del self.rows[row.notice.notice_id, receiver]
                if beyond:
                    dropped[receiver] = len(beyond)
            return dropped

    async def take_notices(self, receiver: str, holder: str, *, most: int, lease_ms: int) -> Sequence[TakenNotice]:
        async with self.faults.around("take_notices"):
            now_ms, seen = self.clock.now_ms(), set[str]()
            firsts = [
                row
                for row in self.waiting(receiver)
                if not (row.notice.subject in seen or seen.add(row.notice.subject))  # type: ignore[func-returns-value]
            ]
            free = [row for row in firsts if row.due_ms <= now_ms and row.leased_until_ms <= now_ms]
            free = sorted(free, key=lambda row: row.due_ms)[:most]
            for row in free:
                row.holder, row.leased_until_ms = holder, now_ms + lease_ms
            return [TakenNotice(row.notice.notice_id, receiver, row.notice.document, row.attempts) for row in free]

    async def notice_delivered(self, notice: TakenNotice) -> None:
        async with self.faults.around("notice_delivered"):
            self.rows[notice.notice_id, notice.receiver].delivered = True

    async def notice_postponed(self, notice: TakenNotice, holder: str, wait_ms: int) -> None:
        async with self.faults.around("notice_postponed"):
            row = self.rows[notice.notice_id, notice.receiver]
            if row.holder == holder:
                row.attempts, row.due_ms, row.leased_until_ms = row.attempts + 1, self.clock.now_ms() + wait_ms, 0

    def waiting(self, receiver: str) -> list[Row]:
        """What is not delivered yet, in order."""
        rows = [row for row in self.rows.values() if row.notice.receiver == receiver and not row.delivered]
        return sorted(rows, key=lambda row: (row.notice.at_ms, row.notice.notice_id))
