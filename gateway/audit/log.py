"""The audit log as the event loop uses it: a record is written at once, or waited for a bounded time.

It exists at once and is opened on a thread. Until then records wait, and after `wait_s` seconds intents are refused.

    receipt = await log.intent(plan)      durable, or AuditUnavailable: nothing may be sent
    await log.close(receipt, closing)     durable, or late: the log accepts no intent until it is written
    await log.note("denied", members)     written, or counted as left out
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from gateway.audit.chain import Record
from gateway.audit.decisions.latest import Latest
from gateway.audit.journal import AuditSettings
from gateway.audit.record import intent_members, outcome_members, unsent_members
from gateway.audit.recovery import Begun, Opening, Progress
from gateway.audit.segment import Disk, OsDisk
from gateway.audit.writer import Entry, Kind, Watch, Writer, Written, started
from gateway.core.errors import AuditFailure, AuditUnavailable
from gateway.core.outcome import Closing
from gateway.core.plan import Plan, Receipt
from gateway.log import Console
from gateway.process import Net, word

__all__ = ["AuditLog", "AuditSettings", "AuditState", "Closing"]

SLOW = "slow"
RECOVERING = "recovering"
OPENING_GRACE_S = 1.0
"""Seconds that `stop` waits for the log to open, so that the start and the end of the process are recorded."""
STARVED = "starved"
LOOKS_A_WAIT = 8
MOST_LOOKS = 4 * LOOKS_A_WAIT
"""The checks, LOOKS_A_WAIT per `wait_s`, after which an entry that no disk is holding up is given up."""


@dataclass(frozen=True, slots=True)
class AuditState:
    """The state for readiness. `left_out` counts unrecorded notes; `damaged` says why chains cannot be continued.

    `reason` says why the log is not ready or, while it is ready, which fault was last found in its files. `progress`
    says how far the opening has got.
    """

    ready: bool
    reason: str | None
    seq: int
    head: str | None
    open_intents: int
    left_out: int
    copies_dropped: int = 0
    checkpoint: Mapping[str, object] | None = None
    damaged: Mapping[str, str] = field(default_factory=dict)
    progress: str | None = None


class AuditLog:
    """The chains that one process writes, one after another. Use it only on the event loop on which it was made.

    `watch` is told of every write, if it is set before the loop runs again.
    """

    def __init__(self, settings: AuditSettings, *, upstream: str, clock: Callable[[], int] = time.time_ns) -> None:
        self.latest = Latest()
        self.watch: Watch | None = None
        self._settings = settings
        self._upstream = upstream
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._progress = Progress()
        self._opened: asyncio.Future[None] = self._loop.create_future()
        self._opened_by_s = self._loop.time() + settings.wait_s
        self._begun: Begun | None = None
        self._writer: Writer | None = None
        self._held: list[Entry] = []
        self._gathered: list[Entry] = []
        self._left_out = 0
        self._queued = 0
        self._late = 0
        self._late_cause = SLOW
        self._looks = 0
        self._late_closes = 0
        self._stopped = False
        self._waiting: deque[tuple[float, Entry]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._thread: threading.Thread | None = None

    @classmethod
    def begin(
        cls,
        settings: AuditSettings,
        *,
        instance: str,
        upstream: str,
        start: Mapping[str, object],
        clock: Callable[[], int] = time.time_ns,
        disk: Disk | None = None,
        stdout: Console | None = None,
    ) -> AuditLog:
        """Begin to open a log on a thread, and return the log at once. Wait for the result with `opened`.

        Opening recovers the chains that no process writes, and begins a new chain, `instance`, with a durable `start`
        record. `stdout` receives copies and checkpoints, and is closed with the log. Raises: AuditFailure: no thread
        can be started.
        """
        log = cls(settings, upstream=upstream, clock=clock)
        opening = Opening(settings, instance, clock, disk or OsDisk(), log._progress)
        started(lambda: log._open(opening, start, stdout or Console(1)), name="audit-opening")
        return log

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
        stdout: Console | None = None,
    ) -> AuditLog:
        """Call `begin` and wait. Raises: AuditFailure: the directory or the first record cannot be written."""
        log = cls.begin(
            settings, instance=instance, upstream=upstream, start=start, clock=clock, disk=disk, stdout=stdout
        )
        await log.opened()
        return log

    async def opened(self) -> None:
        """Wait until intents are accepted. Raises: AuditFailure: the log cannot be opened."""
        await asyncio.shield(self._opened)

    def _open(self, opening: Opening, start: Mapping[str, object], stdout: Console) -> None:
        outcome: Begun | AuditFailure
        try:
            outcome = opening.begin(start, stdout=stdout)
        except AuditFailure as failure:
            outcome = failure
        except BaseException as exc:  # noqa: BLE001 - the process must learn of any failure, and end
            outcome = AuditFailure(f"the audit log cannot be opened: {exc!r}")
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process is ending
            self._loop.call_soon_threadsafe(self._take_over, outcome)

    def _take_over(self, outcome: Begun | AuditFailure) -> None:
        try:
            if isinstance(outcome, AuditFailure):
                raise outcome
            self._start_writing(outcome)
        except AuditFailure as failure:
            self._opened.set_exception(failure)
            self._opened.exception()  # retrieved here, so that asyncio does not complain if nobody waits
        else:
            self._opened.set_result(None)

    def _start_writing(self, begun: Begun) -> None:
        writer = Writer(
            begun.journal,
            console=begun.console,
            clock=self._clock,
            settings=self._settings,
            settle=self._settle_soon,
            latest=self.latest,
            watch=self.watch,
        )
        writer.skipped = self._left_out
        self._thread = started(writer.run, name="audit-writer")
        self._begun, self._writer = begun, writer
        held, self._held = self._held, []
        for entry in held:
            self._queue(entry, writer)

    @property
    def state(self) -> AuditState:
        """The current state: whether intents are accepted, and where the chain ends."""
        refusal = self._refusal()
        if self._writer is None or self._begun is None:
            return AuditState(
                ready=False,
                reason=refusal,
                seq=0,
                head=None,
                open_intents=0,
                left_out=self._left_out,
                progress=str(self._progress),
            )
        status = self._writer.status
        return AuditState(
            ready=refusal is None,
            reason=refusal or status.notice,
            seq=status.head.seq,
            head=status.head.digest,
            open_intents=status.open_intents,
            left_out=self._writer.left_out,
            copies_dropped=self._begun.console.dropped_lines,
            checkpoint=status.checkpoint,
            damaged=self._begun.damaged,
        )

    async def _until_opened(self) -> None:
        """Wait for the log to open, until `wait_s` after it was made, so that first requests are not turned away."""
        if self._writer is None and not self._stopped:
            await asyncio.wait({self._opened}, timeout=max(0.0, self._opened_by_s - self._loop.time()))

    async def intent(self, plan: Plan) -> Receipt:
        """Record what is about to be sent. Raises: AuditUnavailable: it is not durable, so nothing may be sent."""
        if self._writer is None:
            await self._until_opened()
        if refusal := self._refusal():
            raise AuditUnavailable(refusal)
        entry = self._enter("intent", intent_members(plan, upstream=self._upstream), Kind.INTENT)
        try:
            result = await _waiter(entry)
        except BaseException as ended:
            self._withdraw(plan.decision_id, "cancelled" if isinstance(ended, asyncio.CancelledError) else word(ended))
            raise
        if isinstance(result, int):
            return Receipt(plan.decision_id, result)
        if result in (SLOW, STARVED):
            self._withdraw(plan.decision_id, result)
        raise AuditUnavailable(result)

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Record the outcome of an intent. Return when the record is durable or late; it is written in any case.

        A record is late after `wait_s` seconds, or more if the disk is not to blame. The log accepts no intents until a
        late outcome is written.
        """
        await _waiter(self._enter("outcome", outcome_members(receipt.decision_id, closing), Kind.KEPT))

    async def chunk(self, members: Mapping[str, object]) -> bool:
        """Record the outcome of one order of several. Return whether that is durable; if not, it is written later."""
        return isinstance(await _waiter(self._enter("chunk", members, Kind.KEPT)), int)

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        """Record what must be durable before the caller goes on. Raises: AuditUnavailable: it may not be recorded."""
        await self._until_opened()
        if refusal := self._refusal():
            raise AuditUnavailable(refusal)
        result = await _waiter(self._enter(event, members, Kind.NOTE))
        if not isinstance(result, int):
            raise AuditUnavailable(result)

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        """Record an answer that may be given even if it is not recorded. Do not wait if it cannot be recorded."""
        if self._writer is None:
            await self._until_opened()
        if self._writer is None or not self._takes_notes():
            self.note_soon(event, members)
            return
        await _waiter(self._enter(event, members, Kind.NOTE))

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        """Record such an answer without waiting. If the log accepts no notes, count it as left out."""
        if self._takes_notes():
            self._enter(event, members, Kind.NOTE, waited_for=False)
        elif self._writer is not None:
            self._writer.skipped += 1
        else:
            self._left_out += 1

    async def stop(self, members: Mapping[str, object]) -> None:
        """Accept no more intents, write what is queued and a last record, `stop`, and release the chain.

        A log that is not open yet gets OPENING_GRACE_S to open. Then opening is abandoned, and the next start goes on.
        """
        if self._stopped:
            return
        self._stopped = True
        if self._writer is None:
            await asyncio.wait({self._opened}, timeout=OPENING_GRACE_S)
        if self._writer is None or self._thread is None:
            self._progress.abandon()
            return
        await _waiter(self._enter("stop", members, Kind.STOP))
        self._writer.giving_up = True
        with Net():
            await asyncio.to_thread(self._thread.join, self._settings.wait_s)
            return
        # No thread could be started for the wait, so the loop itself waits: nothing else is left to do.
        self._thread.join(self._settings.wait_s)

    def _refusal(self) -> str | None:
        if self._stopped:
            return "stopped"
        if self._writer is None:
            return RECOVERING
        if cause := self._writer.cause:
            return cause
        if self._late_closes:
            return "unclosed"
        if self._late:
            return self._late_cause
        return "queue" if self._queued >= self._settings.queue_records else None

    def _takes_notes(self) -> bool:
        # Notes may fill only half of the queue, so that no flood of refusals keeps an intent from being recorded.
        room = self._queued < self._settings.queue_records // 2
        writable = self._writer is None or self._writer.cause is None
        return writable and room and not self._stopped

    def _withdraw(self, decision_id: str, cause: str) -> None:
        # The intent may be in the log, or may still get there: the writer records its end only if it is.
        self._enter("outcome", unsent_members(decision_id, cause), Kind.KEPT, waited_for=False)

    def _enter(self, event: str, members: Mapping[str, object], kind: Kind, *, waited_for: bool = True) -> Entry:
        entry = Entry(Record(self._clock(), event, members), kind)
        if waited_for:
            entry.waiter = self._loop.create_future()
        self._queued += 1
        if self._writer is None:
            self._held.append(entry)
        else:
            self._queue(entry, self._writer)
        return entry

    def _queue(self, entry: Entry, writer: Writer) -> None:
        if not self._gathered:  # all entries of one turn of the loop are one batch
            self._loop.call_soon(self._hand_over, writer)
        self._gathered.append(entry)

    def _hand_over(self, writer: Writer) -> None:
        gathered, self._gathered = self._gathered, []
        if settled := writer.submit(gathered):
            self._settle(settled)
            return
        # All waits are equally long, so the queue is in order of its deadlines and one timer is enough.
        due_s, disk_s = self._loop.time() + self._settings.wait_s, writer.on_disk_s()
        for entry in gathered:
            entry.disk_s = disk_s
            self._waiting.append((due_s, entry))
        if self._timer is None:
            self._timer = self._loop.call_at(due_s, self._expire)

    def _expire(self) -> None:
        now_s, next_s = self._loop.time(), 0.0
        while self._waiting:
            due_s, entry = self._waiting[0]
            if not entry.finished:
                if due_s > now_s:
                    next_s = due_s
                    break
                cause = self._lateness(entry)
                if cause is None:
                    self._looks += 1
                    next_s = now_s + self._settings.wait_s / LOOKS_A_WAIT
                    break
                self._make_late(entry, cause)
            self._waiting.popleft()
        self._timer = self._loop.call_at(next_s, self._expire) if self._waiting else None

    def _lateness(self, entry: Entry) -> str | None:
        """Return why an overdue entry is given up, or None to keep waiting because the disk is not to blame.

        This timer is late if the loop is busy, and the writer stands still if it gets no processor time. Neither is
        slow storage, so checks are counted instead of seconds.
        """
        writer = self._writer
        assert writer is not None  # an entry is watched only once the writer exists
        if writer.cause is not None or writer.on_disk_s() - entry.disk_s >= self._settings.wait_s / 2:
            return SLOW
        return STARVED if self._looks >= MOST_LOOKS else None

    def _make_late(self, entry: Entry, cause: str) -> None:
        entry.late, self._late_cause = True, cause
        self._late += 1
        self._late_closes += entry.kind is Kind.KEPT
        if entry.waiter is not None and not entry.waiter.done():
            entry.waiter.set_result(cause)

    def _settle_soon(self, settled: Written) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
            self._loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: Written) -> None:
        self._queued -= len(settled)
        self._looks = 0
        for entry, result in settled:
            entry.finished = True
            if entry.late:
                self._late -= 1
                self._late_closes -= entry.kind is Kind.KEPT
            if entry.waiter is not None and not entry.waiter.done():
                entry.waiter.set_result(result)
        while self._waiting and self._waiting[0][1].finished:
            self._waiting.popleft()


def _waiter(entry: Entry) -> asyncio.Future[int | str]:
    assert entry.waiter is not None
    return entry.waiter
