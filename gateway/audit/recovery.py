"""What a start does: closes what earlier processes left open, in their own chains, and begins a chain for this one.

Only a chain whose lock is free is touched, and only by appending. Nothing is ever sent again: an intent without an
outcome is closed as `unknown`. Doing it twice, or dying in the middle of it, changes nothing more.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from gateway.audit.chain import Head, Record, Sealer
from gateway.audit.console import Console
from gateway.audit.journal import AuditSettings, Journal
from gateway.audit.record import continued_members, recovered_members
from gateway.audit.segment import CHAIN_NAME, AppendFailed, ChainLock, Disk, Segment, chains_in
from gateway.audit.verify import ChainReader, ChainReport, Torn, parse_line
from gateway.errors import AuditFailure

TAIL_BYTES = (64 * 1024, 16 * 1024 * 1024)
CHUNK_BYTES = 1024 * 1024
BATCH = 1024
LATEST = 32
"""How many files are looked into for the newest record."""

Segments = Sequence[tuple[int, Path]]


@dataclass(frozen=True, slots=True)
class Recovered:
    """The chains found at a start: their heads, and for those not continued although nobody writes them, why not."""

    heads: dict[str, Head]
    damaged: dict[str, str]

    def members(self) -> dict[str, object]:
        """For the `start` record: what later verification holds the directory to."""
        heads = {chain: {"seq": head.seq, "head": head.digest} for chain, head in self.heads.items()}
        return {"heads": heads, "damaged": [{"chain": name, "problem": why} for name, why in self.damaged.items()]}


@dataclass(frozen=True, slots=True)
class Recovery:
    """Continues the chains of the directory; the records it adds carry the instance and key of `sealer`."""

    settings: AuditSettings
    sealer: Sealer
    disk: Disk
    clock: Callable[[], int]

    def run(self) -> Recovered:
        """Recovers every chain that nobody writes. No old chain can prevent a start. Raises: OSError (directory)."""
        heads: dict[str, Head] = {}
        damaged: dict[str, str] = {}
        for chain, segments in chains_in(self.settings.directory.iterdir()).items():
            try:
                head = self._chain(chain, segments)
            except Unrecoverable as exc:
                damaged[chain], head = str(exc), exc.head
            except (OSError, AppendFailed) as exc:
                damaged[chain], head = f"cannot be continued: {exc}", None
            if head is not None:
                heads[chain] = head
        return Recovered(heads, damaged)

    def _chain(self, chain: str, segments: Segments) -> Head | None:
        lock = ChainLock.take(self.disk, self.settings.directory, chain)
        if lock is None:
            return _tail(segments).head
        try:
            tail = _tail(segments)
            return tail.head if tail.is_clean else self._continue(chain, segments)
        finally:
            lock.release()

    def _continue(self, chain: str, segments: Segments) -> Head | None:
        report = ChainReader(chain).read([path for _, path in segments])
        if report.problems:
            raise Unrecoverable(report)
        if report.last_path is None:
            return None
        segment = Segment.resume(self.disk, report.last_path, durable=self.settings.durable)
        torn_bytes = self._cut_torn(segment, report.torn) if report.torn else 0
        journal = Journal(self.settings, chain=chain, sealer=self.sealer, disk=self.disk, clock=self.clock)
        number = max(number for number, _ in segments)
        journal.resume(segment, number=number, head=report.head, open_intents=report.open_intents)
        try:
            self._close_open(journal, torn_bytes)
        finally:
            journal.close()
        return journal.head if journal.head.seq else None

    def _close_open(self, journal: Journal, torn_bytes: int) -> None:
        open_intents = list(journal.open_intents)
        for first in range(0, len(open_intents), BATCH):
            self._commit(journal, [self._unknown(name) for name in open_intents[first : first + BATCH]])
        found = {"closed": len(open_intents), "torn_bytes": torn_bytes}
        members = continued_members("restart", open_intents=0, left_out=0, found=found)
        if journal.head.seq:
            self._commit(journal, [Record(self.clock(), "recovery", members)])

    def _unknown(self, decision_id: str) -> Record:
        return Record(self.clock(), "outcome", recovered_members(decision_id))

    def _commit(self, journal: Journal, records: list[Record]) -> None:
        try:
            journal.commit(records)
        except AppendFailed as failed:
            if not failed.suspect:
                raise
            journal.commit(records)  # goes to the next file, which names the suspect one

    def _cut_torn(self, segment: Segment, torn: Torn) -> int:
        """Keeps the unfinished line aside, durably, before it is cut off."""
        size = segment.size
        descriptor = self.disk.open(
            torn.path.with_suffix(".torn"), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        )
        try:
            self._copy(torn, descriptor)
            self.disk.fdatasync(descriptor)
        finally:
            self.disk.close(descriptor)
        self.disk.sync_directory(self.settings.directory)
        if not segment.cut(torn.offset):
            raise AppendFailed(OSError(f"{torn.path} cannot be cut"))
        return size - torn.offset

    def _copy(self, torn: Torn, descriptor: int) -> None:
        with torn.path.open("rb") as source:
            source.seek(torn.offset)
            while chunk := source.read(CHUNK_BYTES):
                while chunk:
                    chunk = chunk[self.disk.write(descriptor, chunk) :]


class Unrecoverable(Exception):
    """A chain that was changed: it is named, and never appended to."""

    def __init__(self, report: ChainReport) -> None:
        self.head = report.head if report.head.seq else None
        super().__init__(report.problems[0])


@dataclass(frozen=True, slots=True)
class Tail:
    """The last whole record of a chain; `is_clean` says that nothing is open or unfinished after it."""

    head: Head | None
    is_clean: bool


def _tail(segments: Segments) -> Tail:
    path = next((path for _, path in reversed(segments) if path.stat().st_size), None)
    if path is None:
        return Tail(None, is_clean=True)
    # Nearly all records are short, and a directory may hold many chains; one with a thousand run IDs is not short.
    tails = (_tail_within(path, size_bytes) for size_bytes in TAIL_BYTES)
    return next((tail for tail in tails if tail.head), Tail(None, is_clean=False))


def _tail_within(path: Path, size_bytes: int) -> Tail:
    with path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
        lines = file.read().split(b"\n")
    members = parse_line(lines[-2]) if len(lines) > 1 else "no whole line"
    if isinstance(members, str):
        return Tail(None, is_clean=False)
    head = Head(int(str(members["seq"])), hashlib.sha256(lines[-2]).hexdigest())
    ended = members["event"] in ("stop", "recovery") and members.get("open") == 0
    return Tail(head, is_clean=ended and lines[-1] == b"")


def newest_ms(directory: Path) -> int | None:
    """When the newest record of a directory was made, in Unix milliseconds; None where there is none to be read.

    Only the files written last are looked into: a directory may hold many.
    """
    try:
        segments = [path for chain in chains_in(directory.iterdir()).values() for _, path in chain]
        latest = sorted(segments, key=lambda path: path.stat().st_mtime_ns)[-LATEST:]
        return max((made for path in latest if (made := _last_ms(path)) is not None), default=None)
    except OSError:
        return None


def _last_ms(path: Path) -> int | None:
    for size_bytes in TAIL_BYTES:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
            lines = file.read().split(b"\n")
        # The last line may be unfinished, and the first one here be cut.
        for line in reversed(lines):
            if not isinstance(members := parse_line(line), str):
                return int(datetime.fromisoformat(str(members["ts"])).timestamp() * 1000)
    return None


@dataclass(frozen=True, slots=True)
class Begun:
    """A chain with its `start` record durable, ready for its writer."""

    journal: Journal
    lock: ChainLock
    console: Console
    recovered: Recovered


@dataclass(frozen=True, slots=True)
class Opening:
    """Begins the chain `instance`."""

    settings: AuditSettings
    instance: str
    clock: Callable[[], int]
    disk: Disk

    def begin(self, start: Mapping[str, object], *, stdout: int) -> Begun:
        """Recovers what is there, then writes the first record. Raises: AuditFailure."""
        if not CHAIN_NAME.fullmatch(self.instance):
            raise AuditFailure(f"{self.instance!r} cannot name a chain: letters, digits, '_' and '-' only")
        try:
            self._make_directory()
            with ExitStack() as undo:
                lock = self._lock()
                undo.callback(lock.release)
                begun = self._first_record(start, lock, stdout=stdout)
                undo.pop_all()
                return begun
        except (OSError, AppendFailed) as exc:
            raise AuditFailure(f"the audit directory {self.settings.directory} cannot be used: {exc}") from exc

    def _make_directory(self) -> None:
        try:
            self.settings.directory.mkdir(mode=0o700)
        except FileExistsError:
            return
        self.disk.sync_directory(self.settings.directory.parent)

    def _lock(self) -> ChainLock:
        lock = ChainLock.take(self.disk, self.settings.directory, self.instance)
        if lock is None:
            raise AuditFailure(f"another process writes the chain {self.instance} in {self.settings.directory}")
        return lock

    def _first_record(self, start: Mapping[str, object], lock: ChainLock, *, stdout: int) -> Begun:
        if self.instance in chains_in(self.settings.directory.iterdir()):
            raise AuditFailure(f"the chain {self.instance} exists already in {self.settings.directory}")
        key = self.settings.mac_key
        sealer = Sealer(self.instance, key=key)
        recovered = Recovery(self.settings, sealer, self.disk, self.clock).run()
        journal = Journal(self.settings, chain=self.instance, sealer=sealer, disk=self.disk, clock=self.clock)
        chain = {"chain": "sha256" if key is None else "hmac-sha256", "key_id": key.key_id if key else None}
        committed = journal.commit([Record(self.clock(), "start", {**start, **chain, **recovered.members()})])
        console = Console(stdout)
        if self.settings.stdout:
            console.copy(committed.lines)
        return Begun(journal, lock, console, recovered)
