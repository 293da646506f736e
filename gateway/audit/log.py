"""The audit log as the event loop sees it: queue a record, wait for it or for two seconds, never for a disk.

receipt = await log.intent(plan)      durable, or AuditUnavailable: nothing may be sent
await log.close(receipt, closing)     durable, or owed: the log takes no intent until it is
await log.note("denied", members)     written, or counted as left out
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.audit.chain import Record
from gateway.audit.journal import AuditSettings
from gateway.audit.record import Closing, intent_members, outcome_members, unsent_members
from gateway.audit.recovery import Begun, Opening
from gateway.audit.segment import Disk, OsDisk
from gateway.audit.writer import Entry, Kind, Settled, Writer
from gateway.cancel import Plan, Receipt
from gateway.errors import AuditUnavailable
from gateway.scheduling import giving_way

__all__ = ["AuditLog", "AuditSettings", "AuditState", "Closing"]

SLOW = "slow"


@dataclass(frozen=True, slots=True)
class AuditState:
    """What readiness shows. `left_out` counts the notes not recorded since the start; `damaged` names old chains.

    `reason` says why the log is not ready, or, while it is ready, what was last found wrong with its files.
    """

    ready: bool
    reason: str | None
    seq: int
    head: str | None
    open_intents: int
    left_out: int
    copies_dropped: int = 0
    checkpoint: Mapping[str, object] | None = None
    damaged: tuple[str, ...] = ()


class AuditLog:
    """One process's chain. Made by `open`; all methods are for the event loop it was opened on."""

    def __init__(self, settings: AuditSettings, begun: Begun, *, upstream: str, clock: Callable[[], int]) -> None:
        self._settings = settings
        self._upstream = upstream
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._console = begun.console
        self._damaged = tuple(sorted(begun.recovered.damaged))
        self._gathered: list[Entry] = []
        self._queued = 0
        self._late = 0
        self._late_closes = 0
        self._stopped = False
        self._waiting: deque[tuple[float, Entry]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._writer = Writer(
            begun.journal,
            console=begun.console,
            clock=clock,
            settings=settings,
            settle=self._settle_soon,
            released=begun.lock.release,
        )
        self._thread = threading.Thread(target=self._writer.run, name="audit-writer", daemon=True)
        with giving_way():
            self._thread.start()

    @classmethod
    async def open(
        cls,
        settings: AuditSettings,
        *,
        instance: str,
        upstream: str,
        start: Mapping[str, object],
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        stdout: int = 1,
    ) -> AuditLog:
        """Recovers the chains that nobody writes and begins a new one, `instance`, with a durable `start` record.

        `stdout` is the descriptor for copies and checkpoints.
        Raises: AuditFailure, if the directory cannot be used or the record cannot be written.
        """
        opening = Opening(settings, instance, clock, disk or OsDisk())
        begun = await asyncio.to_thread(opening.begin, start, stdout=stdout)
        return cls(settings, begun, upstream=upstream, clock=clock)

    @property
    def state(self) -> AuditState:
        """Whether intents are taken, and where the chain stands."""
        status = self._writer.status
        refusal = self._refusal()
        return AuditState(
            ready=refusal is None,
            reason=refusal or status.notice,
            seq=status.head.seq,
            head=status.head.digest,
            open_intents=status.open_intents,
            left_out=self._writer.left_out,
            copies_dropped=self._console.dropped_lines,
            checkpoint=status.checkpoint,
            damaged=self._damaged,
        )

    async def intent(self, plan: Plan) -> Receipt:
        """Records what is about to be sent. Raises: AuditUnavailable: it is not durable, and must not be sent."""
        if refusal := self._refusal():
            raise AuditUnavailable(refusal)
        entry = self._enter("intent", intent_members(plan, upstream=self._upstream), Kind.INTENT)
        try:
            result = await _waiter(entry)
        except asyncio.CancelledError:
            self._withdraw(plan.decision_id, "cancelled")
            raise
        if isinstance(result, int):
            return Receipt(plan.decision_id, result)
        if result == SLOW:
            self._withdraw(plan.decision_id, SLOW)
        raise AuditUnavailable(result)

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Records what came of an intent. Returns when that is durable, or after `wait_s`; it is written in any case.

        Until it is written, the log takes no intents.
        """
        await _waiter(self._enter("outcome", outcome_members(receipt.decision_id, closing), Kind.KEPT))

    async def chunk(self, members: Mapping[str, object]) -> bool:
        """Records what came of one of several orders; whether it is durable. If not, it is written when it can be."""
        return isinstance(await _waiter(self._enter("chunk", members, Kind.KEPT)), int)

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        """Records what must be durable before what follows. Raises: AuditUnavailable: it may not be there."""
        if refusal := self._refusal():
            raise AuditUnavailable(refusal)
        result = await _waiter(self._enter(event, members, Kind.NOTE))
        if not isinstance(result, int):
            raise AuditUnavailable(result)

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        """Records an answer that does not depend on the record; returns at once where there is no hope of writing."""
        if not self._takes_notes():
            self._writer.skipped += 1
            return
        await _waiter(self._enter(event, members, Kind.NOTE))

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        """The same, without waiting."""
        if not self._takes_notes():
            self._writer.skipped += 1
            return
        self._enter(event, members, Kind.NOTE, waited_for=False)

    async def stop(self, members: Mapping[str, object]) -> None:
        """Takes no more intents, writes what is queued and a last record, `stop`, and lets go of the chain."""
        if self._stopped:
            return
        self._stopped = True
        await _waiter(self._enter("stop", members, Kind.STOP))
        self._writer.giving_up = True
        await asyncio.to_thread(self._thread.join, self._settings.wait_s)

    def _refusal(self) -> str | None:
        if self._stopped:
            return "stopped"
        if cause := self._writer.status.cause:
            return cause
        if self._late_closes:
            return "unclosed"
        if self._late:
            return SLOW
        return "queue" if self._queued >= self._settings.queue_records else None

    def _takes_notes(self) -> bool:
        # Half of the queue is kept from notes: no flood of refusals keeps an intent from being recorded.
        room = self._queued < self._settings.queue_records // 2
        return self._writer.status.cause is None and room and not self._stopped

    def _withdraw(self, decision_id: str, cause: str) -> None:
        # The line may still land, or have landed: the writer closes it only if it did.
        self._enter("outcome", unsent_members(decision_id, cause), Kind.KEPT, waited_for=False)

    def _enter(self, event: str, members: Mapping[str, object], kind: Kind, *, waited_for: bool = True) -> Entry:
        entry = Entry(Record(self._clock(), event, members), kind)
        if waited_for:
            entry.waiter = self._loop.create_future()
        self._watch(entry)
        # All entries of one turn of the loop are handed over at once: one wake-up of the writer for them.
        if not self._gathered:
            self._loop.call_soon(self._hand_over)
        self._gathered.append(entry)
        self._queued += 1
        return entry

    def _hand_over(self) -> None:
        gathered, self._gathered = self._gathered, []
        self._writer.submit(gathered)

    def _watch(self, entry: Entry) -> None:
        # All waits are equally long, so the queue is in order of its deadlines and one timer does.
        self._waiting.append((self._loop.time() + self._settings.wait_s, entry))
        if self._timer is None:
            self._timer = self._loop.call_later(self._settings.wait_s, self._expire)

    def _expire(self) -> None:
        now_s = self._loop.time()
        while self._waiting and (self._waiting[0][1].settled or self._waiting[0][0] <= now_s):
            _, entry = self._waiting.popleft()
            if not entry.settled:
                self._make_late(entry)
        self._timer = None
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._expire)

    def _make_late(self, entry: Entry) -> None:
        entry.late = True
        self._late += 1
        self._late_closes += entry.kind is Kind.KEPT
        if entry.waiter is not None and not entry.waiter.done():
            entry.waiter.set_result(SLOW)

    def _settle_soon(self, settled: Settled) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: Settled) -> None:
        self._queued -= len(settled)
        for entry, result in settled:
            entry.settled = True
            if entry.late:
                self._late -= 1
                self._late_closes -= entry.kind is Kind.KEPT
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(result)
        while self._waiting and self._waiting[0][1].settled:
            self._waiting.popleft()


def _waiter(entry: Entry) -> asyncio.Future[int | str]:
    assert entry.waiter is not None
    return entry.waiter
