"""The one thread that writes a chain: takes what is queued, commits it in groups, and owes what it could not write.

Everything that changes the chain happens on this thread; the event loop only queues entries and reads `status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple

import orjson

from gateway.audit.chain import Head, Record
from gateway.audit.journal import AuditSettings, Committed, Journal
from gateway.audit.record import continued_members, unsent_members
from gateway.audit.segment import AppendFailed
from gateway.log import CLOSE_S, Console
from gateway.process import Net, internal

CHECKPOINT_RECORDS = 1000
CHECKPOINT_S = 60.0
MAX_BATCH = 1024
WATCH_S = 0.5
"""How often the lock is looked at, so that what happens to it is said within a second."""


class Kind(Enum):
    """What becomes of an entry that cannot be written."""

    INTENT = auto()
    """refused: nothing will be sent"""
    KEPT = auto()
    """kept until it can be: it closes an intent"""
    NOTE = auto()
    """dropped and counted: the answer does not depend on it"""
    STOP = auto()
    """tried again, with a new count, until given up; the last of all"""


@dataclass(slots=True, eq=False)
class Entry:
    """A queued record; `waiter` gets its sequence number or, in a fixed word, why there is none.

    `disk_s` is `Writer.on_disk_s` of when it was queued.
    """

    record: Record
    kind: Kind
    waiter: asyncio.Future[int | str] | None = None
    disk_s: float = 0.0
    late: bool = False
    settled: bool = False


Written = list[tuple[Entry, int | str]]


class Status(NamedTuple):
    """What the thread last knew; `cause` says why no intent can be taken, `notice` what was last found wrong."""

    cause: str | None
    notice: str | None
    head: Head
    open_intents: int
    checkpoint: Mapping[str, object] | None


class Writer:
    """Runs `run` on a thread; `settle` is called on that thread, once a batch, with what became of its entries."""

    def __init__(
        self,
        journal: Journal,
        *,
        clock: Callable[[], int],
        console: Console,
        settings: AuditSettings,
        settle: Callable[[Written], None],
    ) -> None:
        self.skipped = 0
        self.giving_up = False
        self._journal = journal
        self._clock = clock
        self._console = console
        self._copy_records = settings.stdout
        self._retry_s = settings.retry_s
        self._settle = settle
        self._inbox: queue.SimpleQueue[list[Entry]] = queue.SimpleQueue()
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
        self.status = self._status()

    @property
    def left_out(self) -> int:
        """How many notes were not recorded, since the start."""
        return self.skipped + self._dropped

    def on_disk_s(self) -> float:
        """How many seconds all commits have taken, with the one under way: what the disk answers for, and no more."""
        ended_s, since_s = self._disk
        return ended_s + (time.monotonic() - since_s if since_s is not None else 0.0)

    def submit(self, entries: list[Entry]) -> None:
        """Queues entries, in order; never waits."""
        self._inbox.put(entries)

    def run(self) -> None:
        """Until the stop record is written, or there is no more hope for it."""
        try:
            while not self._done.is_set():
                self._turn(self._take())
        finally:
            self.status = self._status()._replace(cause="stopped" if self._done.is_set() else "failed")
            self._journal.close()
            self._console.close(CLOSE_S)

    def _take(self) -> list[Entry]:
        try:
            batch = self._inbox.get(timeout=self._patience_s())
        except queue.Empty:
            return []
        with contextlib.suppress(queue.Empty):
            while len(batch) < MAX_BATCH:
                batch += self._inbox.get_nowait()
        return batch

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
        self.status = self._status()
        settled, self._settled = self._settled, []
        if settled:
            self._settle(settled)

    def _attempt(self, entries: list[Entry]) -> None:
        before = self._continuations()
        if not entries and not before and not self._journal.has_news:
            return
        self._disk = self.on_disk_s(), time.monotonic()
        with Net() as net:
            committed = self._journal.commit([*before, *(entry.record for entry in entries)])
        self._disk = self.on_disk_s(), None
        match net.fault:
            case None:
                self._succeed(entries, committed, before=before)
            case AppendFailed() as failed:
                self._fail(entries, failed.cause, suspect=failed.suspect)
            case BaseException() as fault:
                # As a failed write, so that what is owed is tried again: with this thread it would be lost.
                self._fail(entries, internal(fault), suspect=True)

    def _continuations(self) -> list[Record]:
        """A `recovery` where the log goes on after a fault, or after records were left out."""
        left_out = self.left_out - self._left_out_recorded
        if self._fault is None and not left_out:
            return []
        reason = f"write_{self._fault}" if self._fault is not None else "left_out"
        opened = len(self._journal.open_intents)
        members = continued_members(reason, open_intents=opened, left_out=left_out, found={})
        return [Record(self._clock(), "recovery", members)]

    def _succeed(self, entries: list[Entry], committed: Committed, *, before: list[Record]) -> None:
        # Only what this record said counts as said: more may have been left out meanwhile.
        self._left_out_recorded += sum(record.members["left_out"] for record in before)  # type: ignore[misc]
        self._fault = None
        self._owed = []
        self._settled += zip(entries, committed.seqs[len(before) :], strict=True)
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
        # Its line may or may not be in the suspect file: it is said again, and closed, where it is certain.
        closing = unsent_members(str(intent.record.members["decision_id"]), "not_durable")
        yield Entry(intent.record, Kind.KEPT)
        yield Entry(Record(self._clock(), "outcome", closing), Kind.KEPT)

    def _refuse(self, entries: list[Entry], cause: str) -> list[Entry]:
        """Gives up what may be given up; what is left must be kept."""
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

    def _status(self) -> Status:
        cause = "unclosed" if self._owed else self._fault
        journal = self._journal
        return Status(cause, journal.notice, journal.head, len(journal.open_intents), self._checkpoint)
