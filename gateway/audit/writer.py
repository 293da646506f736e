"""The writer of a chain: it commits records in batches, and retries those that must be written.

Two threads use it. The event loop submits entries; where no sync is waited for and a batch needs only to be appended
to the open file, it writes them itself, without a wake-up. Everything else is done on the writer's own thread. The
chain is changed only in a turn, one at a time, and the loop takes one only if nothing is left to do on the thread. So
records keep their order, and the loop never waits for the thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, Protocol, TypeVar

import orjson

from gateway.audit.chain import Head, Record
from gateway.audit.decisions.latest import Latest
from gateway.audit.events.catalogue import Recovery
from gateway.audit.journal import AuditSettings, Committed, Journal
from gateway.audit.record import unsent_members
from gateway.audit.segment import AppendFailed
from gateway.core.errors import AuditFailure
from gateway.log import CLOSE_S, Console
from gateway.process import Net, fault_of, giving_way, internal

CHECKPOINT_RECORDS = 1000
CHECKPOINT_S = 60.0
MAX_BATCH = 1024
WATCH_S = 0.5
"""Seconds between two checks of the lock, so that a change to it is recorded within a second."""
MAX_AT_ONCE = 128
"""The most records that the event loop writes in one turn: more would keep it from its connections."""
SLOW_WRITE_S = 0.1
"""A commit that takes longer, on either thread, is slow: the event loop writes again when none was for `quiet_s`."""


Commit = TypeVar("Commit")


class Kind(Enum):
    """The kind of an entry: what becomes of it if it cannot be written."""

    INTENT = auto()
    """Refused: nothing will be sent."""
    KEPT = auto()
    """Kept until it can be written: it closes an intent, or a part of one."""
    NOTE = auto()
    """Dropped and counted: nothing that was sent depends on it."""
    STOP = auto()
    """Tried again, with a new count of open intents, until the writer gives up; the last entry of all."""


_STOP = Kind.STOP  # To look a member up in its class costs as much as the comparison.


@dataclass(slots=True, eq=False)
class Entry:
    """A queued record. `waiter` receives its sequence number, or a fixed word that says why there is none.

    `disk_s` is the value of `Writer.on_disk_s` when the record was queued.
    """

    record: Record
    kind: Kind
    waiter: asyncio.Future[int | str] | None = None
    disk_s: float = 0.0
    late: bool = False
    finished: bool = False


Written = list[tuple[Entry, int | str]]


class Status(NamedTuple):
    """The state after a turn. `cause` says why no intent can be accepted, `notice` which fault was last found."""

    cause: str | None
    notice: str | None
    head: Head
    open_intents: int
    checkpoint: Mapping[str, object] | None


class Watch(Protocol):
    """What is told of every write, in turn, by the thread that wrote. Its methods return soon and raise nothing."""

    def committed(self, records: Sequence[Record]) -> None:
        """Take records that are in the log, in their order, before anybody learns that they are."""

    def wrote(self, seconds: float) -> None:
        """Take the time of one write, whether or not it succeeded."""


class Writer:
    """The writer of a chain. Call `run` on a thread of its own, and `submit` on the event loop.

    `settle` is called on that thread, once per batch, with the result of each entry: a sequence number or a fixed word.
    `latest` receives every line that was written, before anybody learns that it was.
    `cause` says why no intent can be accepted, None if they can.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], int],
        console: Console,
        settings: AuditSettings,
        settle: Callable[[Written], None],
        latest: Latest,
        watch: Watch | None = None,
    ) -> None:
        self.skipped = 0
        self.giving_up = False
        self.cause: str | None = None
        self._status: Status | None = None
        self._journal = journal
        self._clock = clock
        self._console = console
        self._copy_records = settings.stdout
        self._retry_s, self._quiet_s = settings.retry_s, settings.quiet_s
        self._settle = settle
        self._latest, self._watch = latest, watch
        self._turns = threading.Lock()
        self._inbox: queue.SimpleQueue[list[Entry]] = queue.SimpleQueue()
        self._handed_over = self._worked_off = 0
        self._at_once_from_s = 0.0
        self._owed: list[Entry] = []
        self._stop: Entry | None = None
        self._settled: Written = []
        self._dropped = 0
        self._left_out_recorded = 0
        self._fault: str | None = None
        self._checkpoint: dict[str, object] | None = None
        self._checkpoint_written = 0
        self._checkpoint_due_s = 0.0
        self._watch_due_s = 0.0
        self._disk: tuple[float, float | None] = 0.0, None
        self._done = threading.Event()
        self._mark_checkpoint()
        self._note_status()

    @property
    def status(self) -> Status:
        """The state after the last turn, made when it is asked for: nobody asks after each record of the event loop."""
        status = self._status
        return self._current_status() if status is None else status

    @property
    def left_out(self) -> int:
        """How many notes were not recorded since the start."""
        return self.skipped + self._dropped

    def on_disk_s(self) -> float:
        """Return the seconds that all commits have taken, including the one under way.

        The disk answers for this time, and for no more.
        """
        ended_s, since_s = self._disk
        return ended_s + (time.monotonic() - since_s if since_s is not None else 0.0)

    def submit(self, entries: list[Entry]) -> Written:
        """Write entries at once and return their results, or queue them for the thread and return none.

        Call it only on the event loop. It waits for one look at the open file and one write to it, at most.
        """
        if not self._turns.acquire(blocking=False):
            self._hand_over(entries)
            return []
        try:
            written = self._written_at_once(entries) if self._may_write_at_once(entries) else []
            if not written:  # before another turn begins, so that it deals with what a failed write left
                self._hand_over(entries)
            return written
        finally:
            self._turns.release()

    def _hand_over(self, entries: list[Entry]) -> None:
        self._handed_over += len(entries)
        self._inbox.put(entries)

    def _may_write_at_once(self, entries: list[Entry]) -> bool:
        """Return whether these entries come next, and need no more of the disk than to be appended."""
        idle = self._worked_off == self._handed_over and self._fault is None and not self._owed and self._stop is None
        if not (idle and self._journal.only_appends and len(entries) <= MAX_AT_ONCE):
            return False
        if self._journal.written - self._checkpoint_written >= CHECKPOINT_RECORDS:
            return False
        if self.skipped + self._dropped != self._left_out_recorded or time.monotonic() < self._at_once_from_s:
            return False
        for entry in entries:  # noqa: SIM110 - `all` over a generator costs as much as all of the above
            if entry.kind is _STOP:
                return False
        return True

    def _written_at_once(self, entries: list[Entry]) -> Written:
        """Return the results, or none if the thread has to write them: it finds the same fault, and deals with it."""
        committed = None
        try:
            committed = self._timed(self._journal.commit_at_once, [entry.record for entry in entries])
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            fault_of(exc)
        if committed is None:
            return []
        self._copy(committed)
        self._status = None
        return list(zip(entries, committed.seqs, strict=True))

    def run(self) -> None:
        """Write entries until the `stop` record is written or given up."""
        try:
            while not self._done.is_set():
                batch = self._wait()
                with self._turns:
                    self._take(batch)
                    self._turn(batch)
                    self._worked_off += len(batch)
        finally:
            with self._turns:
                self._note_status("stopped" if self._done.is_set() else "failed")
                self._journal.close()
            self._console.close(CLOSE_S)

    def _wait(self) -> list[Entry]:
        """Wait for entries until something else is due."""
        with contextlib.suppress(queue.Empty):
            return self._inbox.get(timeout=self._patience_s())
        return []

    def _take(self, batch: list[Entry]) -> None:
        """Add the other entries that are queued."""
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                batch += self._inbox.get_nowait()

    def _patience_s(self) -> float:
        if self._fault is not None or self._stop is not None:
            return min(self._retry_s, WATCH_S)
        due_s = self._watch_due_s
        if self._journal.written > self._checkpoint_written:
            due_s = min(due_s, self._checkpoint_due_s)
        return max(0.0, due_s - time.monotonic())

    def _turn(self, batch: list[Entry]) -> None:
        self._watch_if_due()
        self._stop = next((entry for entry in batch if entry.kind is Kind.STOP), self._stop)
        taken = [entry for entry in batch if entry.kind is not Kind.STOP]
        if self._fault is not None:
            taken = self._refuse(taken, self._fault)
        self._attempt([*self._owed, *taken])
        if self._stop is not None:
            self._finish(self._stop)
        self._checkpoint_if_due()
        self._note_status("unclosed" if self._owed else self._fault)
        settled, self._settled = self._settled, []
        if settled:
            self._settle(settled)

    def _attempt(self, entries: list[Entry]) -> None:
        before = self._continuations()
        if not entries and not before and not self._journal.has_news:
            return
        with Net() as net:
            committed = self._timed(self._journal.commit, [*before, *(entry.record for entry in entries)])
        match net.fault:
            case None:
                self._succeed(entries, committed, before=before)
            case AppendFailed() as failed:
                self._fail(entries, failed.cause, suspect=failed.suspect)
            case BaseException() as fault:
                # Treated as a failed write, so that what is owed is tried again: if this thread died, it would be lost.
                self._fail(entries, internal(fault), suspect=True)

    def _timed(self, commit: Callable[[Sequence[Record]], Commit], records: Sequence[Record]) -> Commit:
        """Count a commit as time on the disk, and keep the event loop from the disk for a while if it was slow."""
        before_s, began_s = self._disk[0], time.monotonic()  # commits come one at a time, so none is under way
        self._disk = before_s, began_s
        try:
            return commit(records)
        finally:
            now_s = time.monotonic()
            self._disk = before_s + now_s - began_s, None
            if self._watch is not None:
                self._watch.wrote(now_s - began_s)
            if now_s - began_s > SLOW_WRITE_S:
                self._at_once_from_s = now_s + self._quiet_s

    def _continuations(self) -> list[Record]:
        """Return a `recovery` record if the log continues after a fault or after records were left out, else none."""
        left_out = self.left_out - self._left_out_recorded
        if self._fault is None and not left_out:
            return []
        reason = f"write_{self._fault}" if self._fault is not None else "left_out"
        opened = len(self._journal.open_intents)
        members = Recovery(reason=reason, open=opened, left_out=left_out).members()
        return [Record(self._clock(), "recovery", members)]

    def _succeed(self, entries: list[Entry], committed: Committed, *, before: list[Record]) -> None:
        # Count only what was just recorded as left out: more may have been left out meanwhile.
        self._left_out_recorded += sum(record.members["left_out"] for record in before)  # type: ignore[misc]
        self._fault = None
        self._owed = []
        self._settled += zip(entries, committed.seqs[len(before) :], strict=True)
        self._copy(committed)

    def _copy(self, committed: Committed) -> None:
        self._latest.add(committed.lines)
        if self._watch is not None:
            self._watch.committed(committed.records)
        # The console only takes the lines: its own thread waits for their reader.
        if self._copy_records:
            self._console.copy(committed.lines)

    def _fail(self, entries: list[Entry], cause: str, *, suspect: bool) -> None:
        self._fault = cause
        owed: list[Entry] = []
        for entry in entries:
            if entry.kind is Kind.INTENT and suspect:
                owed += self._unsent(entry)
            elif entry.kind is Kind.KEPT:
                owed.append(entry)
        self._owed = owed
        self._refuse(entries, cause)

    def _unsent(self, intent: Entry) -> Iterable[Entry]:
        # The suspect file may or may not hold its line. So it is written again, and closed, in a file that is certain.
        closing = unsent_members(str(intent.record.members["decision_id"]), "not_durable")
        yield Entry(intent.record, Kind.KEPT)
        yield Entry(Record(self._clock(), "outcome", closing), Kind.KEPT)

    def _refuse(self, entries: list[Entry], cause: str) -> list[Entry]:
        """Give up the entries that may be given up, and return those that must be kept."""
        lost = [entry for entry in entries if entry.kind in (Kind.INTENT, Kind.NOTE)]
        self._settled += [(entry, cause) for entry in lost]
        self._dropped += sum(entry.kind is Kind.NOTE for entry in lost)
        return [entry for entry in entries if entry.kind is Kind.KEPT]

    def _finish(self, stop: Entry) -> None:
        if self._fault is None:
            members = {**stop.record.members, "open": len(self._journal.open_intents)}
            self._attempt([Entry(stop.record._replace(members=members), Kind.STOP, stop.waiter)])
        if self._fault is None or self.giving_up:
            self._mark_checkpoint()
            self._done.set()

    def _watch_if_due(self) -> None:
        if time.monotonic() >= self._watch_due_s:
            self._watch_due_s = time.monotonic() + WATCH_S
            self._journal.watch()

    def _checkpoint_if_due(self) -> None:
        new_records = self._journal.written - self._checkpoint_written
        if new_records >= CHECKPOINT_RECORDS or (new_records and time.monotonic() >= self._checkpoint_due_s):
            self._mark_checkpoint()

    def _mark_checkpoint(self) -> None:
        self._checkpoint = self._journal.checkpoint()
        self._checkpoint_written = self._journal.written
        self._checkpoint_due_s = time.monotonic() + CHECKPOINT_S
        self._console.copy([orjson.dumps(self._checkpoint) + b"\n"])

    def _note_status(self, cause: str | None = None) -> None:
        self.cause = cause
        self._status = self._current_status()

    def _current_status(self) -> Status:
        journal = self._journal
        return Status(self.cause, journal.notice, journal.head, len(journal.open_intents), self._checkpoint)


def started(work: Callable[[], None], *, name: str) -> threading.Thread:
    """Start a daemon thread: a dead disk does not keep the process alive. Raises: AuditFailure: none can be started."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        with giving_way():
            thread.start()
    except RuntimeError as exc:
        raise AuditFailure(f"the audit log has no thread to be written on: {exc}") from exc
    return thread
