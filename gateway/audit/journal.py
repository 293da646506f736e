"""The chain that a process writes, in batches: another file after a bad one, and another chain at a certain size.

The journal keeps the head and the intents without an outcome, and changes both only together with the files.

    old chain:  …  stop {continued_by: new, open: n}
    new chain:  start {continues: {chain: old, seq, head}, intents: [n of them]}  …

The new file exists before the `stop` names it, and the old chain stays locked until the `start` is durable. If the
process dies between the two, the next process finds a hand-over to a chain without a record, and closes the intents in
the old chain. If it dies later, they are closed in the new chain. They are never closed in both.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

import uuid_utils

from gateway.audit.chain import GENESIS, Head, MacKey, Record, Sealer
from gateway.audit.events.catalogue import Recovery, Start, Stop
from gateway.audit.events.declare import ABSENT, Absent, Members
from gateway.audit.events.starts import start_members
from gateway.audit.events.values import At, Origin
from gateway.audit.segment import AppendFailed, ChainLock, Disk, Segment, removed, segment_path


class Committed(NamedTuple):
    """The result of a commit: the sequence number of each record, all lines that were written, and the given records.

    The number is 0 for an outcome that was left out, because its intent is not open; `records` is without it.
    """

    seqs: list[int]
    lines: list[bytes]
    records: Sequence[Record]


def new_chain_name() -> str:
    """Return a UUIDv7: names sort by time."""
    return str(uuid_utils.uuid7())


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """The settings of the audit log.

    A chain ends at `chain_bytes`, so that no start has to read more of one. `wait_s` is the longest wait for the disk,
    `retry_s` the pause before a failed write is tried again, and `quiet_s` the time without a write of the event loop
    after a slow one. `queue_records` may wait before intents are refused. `before_start` makes durable what the first
    record says; it may raise OSError.
    """

    directory: Path
    durability: Literal["fsync", "os"] = "fsync"
    stdout: bool = False
    mac_key: MacKey | None = None
    chain_bytes: int = 8 * 1024 * 1024
    queue_records: int = 10_000
    wait_s: float = 2.0
    retry_s: float = 0.5
    quiet_s: float = 5.0
    new_name: Callable[[], str] = new_chain_name
    before_start: Callable[[], None] = lambda: None

    @property
    def durable(self) -> bool:
        """Whether a record survives a power cut, and not only the end of the process."""
        return self.durability == "fsync"


class Heir(NamedTuple):
    """A chain with a locked name and an empty file that no record names yet."""

    chain: str
    lock: ChainLock
    segment: Segment


@dataclass(slots=True)
class Torn:
    """An append that did not end well, to a file of `size` bytes; `fault` is None if the disk took a part of it."""

    size: int
    fault: BaseException | None = None


class Journal:
    """The only writer of one chain and of those that continue it. Two threads must not use it at once.

    `start` holds the members for every `start` record; with it, a new chain is begun at `chain_bytes`. The journal owns
    the `lock`.
    """

    def __init__(
        self,
        settings: AuditSettings,
        *,
        chain: str,
        sealer: Sealer,
        disk: Disk,
        clock: Callable[[], int],
        lock: ChainLock | None = None,
        start: Mapping[str, object] | None = None,
    ) -> None:
        self.head = GENESIS
        self.open_intents: dict[str, None] = {}
        self.notice: str | None = None
        self.written = 0
        self._settings = settings
        self._chain = chain
        self._sealer = sealer
        self._disk = disk
        self._clock = clock
        self._lock = lock
        self._start = dict(start) if start is not None else None
        self._beginning: Members | None = None
        self._number = 0
        self._bytes = 0
        self._segment: Segment | None = None
        self._unusable: list[str] = []
        self._suspects: list[str] = []
        self._found: list[Recovery] = []  # open intents are counted when they are written
        self._torn: Torn | None = None
        self._heir: Heir | None = None
        self._before: ChainLock | None = None
        self._uncopied: list[bytes] = []
        self._last = (chain, GENESIS)

    @property
    def has_news(self) -> bool:
        """Whether there is something to write besides given records: a fault that was found or a chain's start."""
        return bool(self._found) or self._beginning is not None

    def resume(
        self, segment: Segment, *, number: int, head: Head, open_intents: Iterable[str], unusable: Iterable[str]
    ) -> None:
        """Continue a chain that another process began; `number` is that of its last file.

        `unusable` are the files after `segment`, which hold no record.
        """
        self._segment, self._number, self.head = segment, number, head
        self.open_intents = dict.fromkeys(open_intents)
        self._unusable = list(unusable)

    def begin(self, members: Mapping[str, object]) -> Committed:
        """Write the first record, `start`. Raises: AppendFailed: it is not in the log."""
        self._beginning = dict(members)
        return self.commit(())

    def commit(self, records: Sequence[Record]) -> Committed:
        """Append the records as one batch. An outcome whose intent is not open is left out: none is closed twice.

        Raises: AppendFailed: none of them is in the log.
        """
        self._undo_torn()
        segment = self._writable()
        firsts = self._firsts()
        wanted, seqs, changed = self._admit(records, first_seq=self.head.seq + len(firsts) + 1)
        lines = [*self._uncopied, *self._append(segment, [*firsts, *wanted])]
        self._uncopied = []
        self._keep(wanted, changed)
        return Committed(seqs, lines, wanted)

    @property
    def only_appends(self) -> bool:
        """Whether the next batch needs no more of the disk than to be appended to the open file, without a sync."""
        ready = self._segment is not None and self._torn is None and not self._settings.durable
        return ready and not (self._suspects or self.has_news or self._ends_here)

    def commit_at_once(self, records: Sequence[Record]) -> Committed | None:
        """Append the records with a single write. If that is not possible, return None: `commit` must have them next.

        Call it only while `only_appends` holds. `commit` cuts off what a failed write left, and raises its error.
        """
        segment = self._segment
        if segment is None or segment.intrusion() is not None:
            return None
        wanted, seqs, changed = self._admit(records, first_seq=self.head.seq + 1)
        lines, head = self._sealer.seal(self.head, wanted)
        data = b"".join(lines)
        # It counts as torn until everything is done, so that no exception leaves the head and the file apart.
        torn = self._torn = Torn(segment.size)
        try:
            if not segment.write_at_once(data):
                return None
        except BaseException as fault:  # noqa: BLE001 - `commit` raises it on the thread
            torn.fault = fault
            return None
        self._advance(lines, head, size=len(data))
        self._torn = None
        self._keep(wanted, changed)
        return Committed(seqs, lines, wanted)

    def _undo_torn(self) -> None:
        """Treat an append that was torn as any that failed.

        Raises:
            AppendFailed: the disk failed, and nothing of the batch is in the log.
            BaseException: the fault that ended the append, if it was not an error of the disk.
        """
        torn, self._torn, segment = self._torn, None, self._segment
        if torn is None or segment is None:
            return
        cut = segment.cut(torn.size)
        fault = torn.fault if cut or torn.fault is not None else OSError(errno.EIO, "the disk took a part of a batch")
        if fault is None:  # the caller writes the whole batch again
            return
        suspect = not (cut and isinstance(fault, OSError))
        if suspect:
            self._set_aside(segment)
        if isinstance(fault, OSError):
            raise AppendFailed(fault, suspect=suspect) from fault
        raise fault

    def _admit(self, records: Sequence[Record], *, first_seq: int) -> tuple[list[Record], list[int], dict[str, bool]]:
        """Return the records to write, all their numbers, and for every intent among them whether it is open then."""
        changed: dict[str, bool] = {}
        wanted: list[Record] = []
        seqs: list[int] = []
        for record in records:
            event = record.event
            if event in ("intent", "outcome"):
                decision_id = str(record.members.get("decision_id"))
                if event == "outcome" and not changed.get(decision_id, decision_id in self.open_intents):
                    seqs.append(0)
                    continue
                changed[decision_id] = event == "intent"
            seqs.append(first_seq + len(wanted))
            wanted.append(record)
        return wanted, seqs, changed

    def _keep(self, written: Iterable[Record], changed: Mapping[str, bool]) -> None:
        """Take in what was written: the intents that it opened and closed, and the policies that it names."""
        for decision_id, is_open in changed.items():
            if is_open:
                self.open_intents[decision_id] = None
            else:
                self.open_intents.pop(decision_id, None)
        # A `start` names the policies that are in force when it is written.
        for record in written:
            if record.event == "reload" and self._start is not None and record.members.get("outcome") == "applied":
                self._start["policy_digest"] = record.members.get("new_digest")

    def _append(self, segment: Segment, records: Sequence[Record]) -> list[bytes]:
        lines, head = self._sealer.seal(self.head, records)
        data = b"".join(lines)
        try:
            segment.append(data)
        except AppendFailed as failed:
            if failed.suspect:
                self._set_aside(segment)
            raise
        except BaseException:
            # Not an error of the disk, so nobody knows how much of the batch is in the file.
            self._set_aside(segment)
            raise
        self._advance(lines, head, size=len(data))
        self._suspects, self._found, self._beginning = [], [], None
        if self._before is not None:
            self._before.release()
            self._before = None
        return lines

    def _advance(self, lines: Sequence[bytes], head: Head, *, size: int) -> None:
        self.head, self._last = head, (self._chain, head)
        self._bytes += size
        self.written += len(lines)

    @property
    def _ends_here(self) -> bool:
        """Whether the next batch begins another chain."""
        return self._start is not None and self._beginning is None and self._bytes >= self._settings.chain_bytes

    def _writable(self) -> Segment:
        if self._segment is not None and (reason := self._segment.intrusion()):
            self.notice = reason
            self._found.append(Recovery(reason=reason, open=0, left_out=0, segment=self._segment.path.name))
            self._segment.close()
            self._segment = None
        if self._start is not None and self._ends_here:
            self._hand_over(self._start)
        if self._segment is None:
            self._segment = self._next_segment()
        return self._segment

    def _next_segment(self) -> Segment:
        path = segment_path(self._settings.directory, self._chain, self._number + 1)
        try:
            fresh = Segment.create(self._disk, path, durable=self._settings.durable)
        except AppendFailed as failed:
            if failed.left_behind:  # the next file will say that this one holds nothing
                self._number += 1
                self._suspects.append(path.name)
            raise
        self._number += 1
        if self._lock is not None and self._number == 1:
            _hold(self._lock, fresh)
        return fresh

    def _set_aside(self, segment: Segment) -> None:
        self._suspects += [segment.path.name, *self._unusable]
        self._unusable = []
        self.notice = "segment_suspect"
        segment.close()
        self._segment = None

    def _hand_over(self, start: Mapping[str, object]) -> None:
        """End the chain and begin another, whose `start` is written with the next batch.

        Raises: AppendFailed: a file of either chain cannot be made or written.
        """
        self._segment = self._segment or self._next_segment()
        heir = self._heir = self._heir or self._make_heir()
        ending = Stop(reason="size", open=len(self.open_intents), continued_by=heir.chain).members()
        self._uncopied += self._append(self._segment, [*self._firsts(), Record(self._clock(), "stop", ending)])
        self._segment.close()
        origin: Origin = {"chain": self._chain, "seq": self.head.seq, "head": self.head.digest}
        self._beginning = start_members(start, self._sealer.key_id, origin=origin, intents=self.open_intents)
        self._before, self._lock, self._segment, self._heir = self._lock, heir.lock, heir.segment, None
        self._chain, self._number, self._bytes, self.head = heir.chain, 1, 0, GENESIS
        self._sealer = Sealer(heir.chain, key=self._sealer.key)

    def _make_heir(self) -> Heir:
        directory, chain = self._settings.directory, self._settings.new_name()
        path = segment_path(directory, chain, 1)
        with ExitStack() as undo:
            try:
                lock = ChainLock.take(self._disk, directory, chain)
            except OSError as error:
                raise AppendFailed(error) from error
            if lock is None:
                raise AppendFailed(OSError(f"another process writes the chain {chain}"))
            undo.callback(lock.discard)
            segment = Segment.create(self._disk, path, durable=self._settings.durable)
            undo.callback(removed, self._disk, path)
            _hold(lock, segment)
            undo.pop_all()
        return Heir(chain, lock, segment)

    def _firsts(self) -> list[Record]:
        """Return the records that come before all others: the start of the chain, and the faults that were found."""
        suspect = list(self._suspects) or ABSENT
        last_good: At | Absent = {"seq": self.head.seq, "head": self.head.digest} if self._suspects else ABSENT
        if self._beginning is not None:
            start = self._beginning | Start(suspect=suspect, last_good=last_good).members()
            return [Record(self._clock(), "start", start), *map(self._continued, self._found)]
        notice = Recovery(reason="segment_suspect", open=0, left_out=0, suspect=suspect, last_good=last_good)
        return [self._continued(found) for found in [*([notice] if self._suspects else []), *self._found]]

    def _continued(self, found: Recovery) -> Record:
        return Record(self._clock(), "recovery", replace(found, open=len(self.open_intents)).members())

    def watch(self) -> None:
        """Check that the lock file is still the one that was locked. If not, make it again, and record that."""
        if self._lock is None:
            return
        try:
            lost = self._lock.lost()
            if lost is None:
                return
            self.notice = lost
            if self._lock.renew():
                self._found.append(Recovery(reason=lost, open=0, left_out=0))
        except OSError:
            self.notice = "lock_unknown"

    def checkpoint(self) -> Members:
        """Return the head that was written last, signed, to be kept elsewhere."""
        chain, head = self._last
        return self._sealer.checkpoint(chain, head, self._clock())

    def close(self) -> None:
        """Close the file and release the locks. Remove a successor that was not begun."""
        if self._heir is not None:
            self._heir.segment.close()
            removed(self._disk, self._heir.segment.path)
            self._heir.lock.discard()
        if self._segment is not None:
            self._segment.close()
        for lock in (self._before, self._lock):
            if lock is not None:
                lock.release()
        self._heir = self._segment = self._before = self._lock = None


def _hold(lock: ChainLock, segment: Segment) -> None:
    """Lock a chain's first file. Raises: AppendFailed: it cannot be locked."""
    try:
        held = lock.hold(segment.path)
    except OSError as error:
        segment.close()
        raise AppendFailed(error) from error
    if not held:
        segment.close()
        raise AppendFailed(OSError(f"another process has {segment.path} locked"))
