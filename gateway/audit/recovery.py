"""The work of a start: to close what earlier processes left open, in their own chains, and to begin a new chain.

Only a chain whose locks are free is touched: records are appended, and a torn last line is set aside. Nothing is ever
sent again: an intent without an outcome is closed as `unknown`. A recovery that is repeated, or interrupted and
repeated, changes nothing more.

No old chain can prevent a start: one that cannot be read or continued is named in the new `start`, with its head if
it has a record that can be read, and operators are told.

Recovery runs on a thread beside the process that serves, and reads a bounded part: both ends of each chain, and all of
a chain that was left open. Chains stay short, because a gateway begins a new one at a certain size.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.chain import Head, MacKey, Record, Sealer, parse_line
from gateway.audit.decisions.ordered import progress_in
from gateway.audit.events import catalogue
from gateway.audit.events.declare import ABSENT, Members
from gateway.audit.events.starts import start_members
from gateway.audit.events.values import At, Damage
from gateway.audit.journal import AuditSettings, Journal
from gateway.audit.reader import ChainReader, ChainReport, Torn, claim_of, lines_of, origin_of, sealed_record
from gateway.audit.record import recovered_members
from gateway.audit.segment import CHAIN_NAME, AppendFailed, ChainLock, Disk, Segment, chains_in, open_segment
from gateway.core.errors import AuditFailure
from gateway.core.outcome import Progress as Known
from gateway.files.source import named
from gateway.log import Console

TAIL_BYTES = (4 * 1024, 64 * 1024, 16 * 1024 * 1024)
CHUNK_BYTES = 1024 * 1024
BATCH = 1024
MOST_DAMAGED = 100
"""The most damaged chains that a `start` names; `audit verify` finds all of them."""

Segments = Sequence[tuple[int, Path]]


@dataclass(slots=True)
class Progress:
    """The progress of a recovery, for other threads to read, and their means to abandon it."""

    chains: int = 0
    done: int = 0
    read_bytes: int = 0
    _abandoned: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        """Return the progress for people, like `3 of 10 chains, 25 MB read`."""
        return f"{self.done} of {self.chains} chains, {self.read_bytes // 1_000_000} MB read"

    def abandon(self) -> None:
        """Make the recovery stop where it is. What it has not closed is left to the next start."""
        self._abandoned.set()

    def read(self, size: int) -> None:
        """Count bytes that were read. Raises: Abandoned: `abandon` was called."""
        self.read_bytes += size
        if self._abandoned.is_set():
            raise Abandoned("the process ends before its audit log was opened")


class Abandoned(AuditFailure):
    """Raised when the recovery is no longer wanted."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """The chains found at a start: their heads and, for those that nobody writes but could not be continued, why not.

    A damaged chain has a head too, if any of its records can be read. `unnamed` are the heads that no `start` in the
    directory names yet.
    """

    heads: dict[str, Head]
    damaged: dict[str, str]
    unnamed: dict[str, Head]

    def members(self) -> Members:
        """Return the members for the `start` record.

        Later verification compares the directory with these and with those of earlier starts.
        """
        heads: dict[str, At] = {chain: {"seq": head.seq, "head": head.digest} for chain, head in self.unnamed.items()}
        # Nothing else in the record says that a chain without a head is there, so these come first.
        names = sorted(self.damaged, key=lambda name: name in self.heads)
        damaged: list[Damage] = [{"chain": name, "problem": self.damaged[name]} for name in names[:MOST_DAMAGED]]
        more = len(names) - MOST_DAMAGED
        return catalogue.Start(heads=heads, damaged=damaged, damaged_more=more if more > 0 else ABSENT).members()


@dataclass(frozen=True, slots=True)
class Recovery:
    """The recovery of the chains in a directory. Records that it adds carry the instance and key of `sealer`."""

    settings: AuditSettings
    sealer: Sealer
    disk: Disk
    clock: Callable[[], int]
    progress: Progress = field(default_factory=Progress)

    def run(self) -> Recovered:
        """Recover every chain that nobody writes. A chain that cannot be continued is named in the result.

        Raises:
            OSError: the directory cannot be listed.
            Abandoned: the recovery is no longer wanted.
        """
        chains = self._listed()
        heads: dict[str, Head] = {}
        damaged: dict[str, str] = {}
        self.progress.chains = len(chains)
        for chain in chains:
            try:
                head = self._chain(chain, chains)
            except FileNotFoundError as exc:
                if chain not in (now := self._listed()):
                    continue  # it was retired meanwhile
                damaged[chain], head = f"cannot be continued: {exc}", self._any_head(now[chain])
            except (OSError, AppendFailed, Unrecoverable) as exc:
                known = exc if isinstance(exc, Unrecoverable) else Unrecoverable(f"cannot be continued: {exc}")
                damaged[chain], head = str(known), known.head or self._any_head(chains[chain])
            if head is not None:
                heads[chain] = head
            self.progress.done += 1
            self.progress.read(0)
        return Recovered(heads, damaged, self.unnamed(heads, chains))

    def _listed(self) -> dict[str, list[tuple[int, Path]]]:
        return chains_in(self.settings.directory.iterdir())

    def _any_head(self, segments: Segments) -> Head | None:
        """Return the last record that can be read, whatever stands beside it; None if there is none.

        A `start` that names it keeps anybody from hiding a chain by damaging it first and deleting it later.
        """
        reader = ChainReader("", on_read=self.progress.read)
        for _, path in segments:
            with suppress(OSError):
                reader.read([path])
        return reader.report.head if reader.report.head.seq else None

    def _chain(self, chain: str, chains: Mapping[str, Segments]) -> Head | None:
        segments = chains[chain]
        for path in (path for _, path in segments if not stat.S_ISREG(path.lstat().st_mode)):
            raise Unrecoverable(f"{path}: not a file")
        tail = self._tail(segments)
        if self._is_ended(chain, tail, chains):
            return tail.head
        # A directory or a link in the place of the lock file raises here: operators are told, and nothing is followed.
        lock = ChainLock.take(self.disk, self.settings.directory, chain, first=segments[0][1])
        if lock is None:
            return tail.head
        try:
            # Its process may have ended it meanwhile, in a file or for a successor that was not there before.
            chains = self._listed()
            segments = chains.get(chain, ())
            tail = self._tail(segments)
            return tail.head if self._is_ended(chain, tail, chains) else self._continue(chain, segments)
        finally:
            lock.release()

    def _is_ended(self, chain: str, tail: Tail, chains: Mapping[str, Segments]) -> bool:
        """Return whether nothing in a chain is open or unfinished. A hand-over counts only if the successor has begun.

        The successor's `start` is written while this chain is locked, so the holder of the lock sees for certain
        whether it exists.
        """
        if tail.successor is None:
            return tail.is_clean
        origin = origin_of(self._start_of(chains.get(tail.successor, ()), ()))
        return tail.is_whole and origin is not None and (origin.chain, origin.head) == (chain, tail.head)

    def _continue(self, chain: str, segments: Segments) -> Head | None:
        paths = [path for _, path in segments]
        report = ChainReader(chain, on_read=self.progress.read).read(paths)
        if report.problems:
            raise Unrecoverable(report.problems[0], report)
        if report.keyed and self.sealer.key is None:
            raise Unrecoverable("it is sealed with a key, and this gateway has none", report)
        if report.last_path is None:
            return None
        segment = Segment.resume(self.disk, report.last_path, durable=self.settings.durable)
        torn_bytes = self._cut_torn(segment, report.torn) if report.torn else 0
        journal = Journal(self.settings, chain=chain, sealer=self.sealer, disk=self.disk, clock=self.clock)
        behind = [path.name for path in paths[paths.index(report.last_path) + 1 :]]
        journal.resume(
            segment, number=segments[-1][0], head=report.head, open_intents=report.open_intents, unusable=behind
        )
        try:
            self._close_open(journal, torn_bytes, paths)
        finally:
            journal.close()
        return journal.head if journal.head.seq else None

    def _close_open(self, journal: Journal, torn_bytes: int, paths: Sequence[Path]) -> None:
        open_intents = list(journal.open_intents)
        known = progress_in(paths, open_intents, on_read=self.progress.read)
        for first in range(0, len(open_intents), BATCH):
            self._commit(journal, [self._unknown(name, known) for name in open_intents[first : first + BATCH]])
        closed = len(open_intents)
        found = catalogue.Recovery(reason="restart", open=0, left_out=0, closed=closed, torn_bytes=torn_bytes)
        if journal.head.seq:
            self._commit(journal, [Record(self.clock(), "recovery", found.members())])

    def _unknown(self, decision_id: str, known: Mapping[str, Known]) -> Record:
        return Record(self.clock(), "outcome", recovered_members(decision_id, known.get(decision_id)))

    def _commit(self, journal: Journal, records: list[Record]) -> None:
        try:
            journal.commit(records)
        except AppendFailed as failed:
            if not failed.suspect:
                raise
            journal.commit(records)  # goes to a new file, which names the suspect one

    def _cut_torn(self, segment: Segment, torn: Torn) -> int:
        """Copy the unfinished line to a `.torn` file, durably, then cut it off. Return how many bytes were cut."""
        size = segment.size
        # Without O_NONBLOCK, a pipe in its place would wait for a reader.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = self.disk.open(torn.path.with_suffix(".torn"), flags)
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
        with open_segment(torn.path) as source:
            source.seek(torn.offset)
            while chunk := source.read(CHUNK_BYTES):
                while chunk:
                    chunk = chunk[self.disk.write(descriptor, chunk) :]

    def unnamed(self, heads: Mapping[str, Head], chains: Mapping[str, Segments]) -> dict[str, Head]:
        """Return the heads that no `start` names. With a key, only a `start` that the key vouches for counts.

        A `start` that names a chain is itself named by a later one, so no chain can disappear alone. A `start` names
        only older chains. So the newest are read first, and reading ends when no unnamed chain is older than the next.
        A `start` that cannot be read names nothing here, so what it may have named is named again.
        """
        keys = [self.settings.mac_key] if self.settings.mac_key is not None else []
        unnamed = dict(heads)
        for chain in sorted(chains, reverse=True):
            if not any(other < chain for other in unnamed):
                break
            start: Members = {}
            with suppress(OSError):
                start = self._start_of(chains[chain], keys)
            named = start.get("heads")
            for other, head in named.items() if isinstance(named, dict) else ():
                claim = claim_of(head, chain)
                if claim is not None and unnamed.get(other) == (claim.seq, claim.digest):
                    del unnamed[other]
        return unnamed

    def _start_of(self, segments: Segments, keys: Sequence[MacKey]) -> Members:
        """Return the members of a chain's first record, if a `start`. With `keys`, one of them must vouch for it.

        Raises: OSError: a file cannot be read, or is gone.
        """
        for _, path in segments:
            if stat.S_ISREG(path.lstat().st_mode) and (line := next(lines_of(path), b"")):
                self.progress.read(len(line))
                if not line.endswith(b"\n"):
                    continue  # The disk failed in the middle of it; the next file has it again.
                start = sealed_record(line, keys)
                return start if start.get("event") == "start" else {}
        return {}

    def _tail(self, segments: Segments) -> Tail:
        path = next((path for _, path in reversed(segments) if path.stat().st_size), None)
        if path is None:
            return Tail(None, is_whole=True, is_clean=True)
        # A directory may hold many chains, and nearly all records are short; one with a thousand run IDs is not.
        tails = (self._tail_within(path, size_bytes) for size_bytes in TAIL_BYTES)
        return next((tail for tail in tails if tail.head), Tail(None, is_whole=False, is_clean=False))

    def _tail_within(self, path: Path, size_bytes: int) -> Tail:
        with open_segment(path) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - size_bytes))
            content = file.read()
        self.progress.read(len(content))
        lines = content.split(b"\n")
        members = parse_line(lines[-2]) if len(lines) > 1 else "no whole line"
        if isinstance(members, str):
            return Tail(None, is_whole=False, is_clean=False)
        head = Head(int(str(members["seq"])), hashlib.sha256(lines[-2]).hexdigest())
        whole = lines[-1] == b""
        successor = members.get("continued_by") if members["event"] == "stop" else None
        clean = whole and members["event"] in ("stop", "recovery") and members.get("open") == 0
        return Tail(head, is_whole=whole, is_clean=clean, successor=str(successor) if successor is not None else None)


class Unrecoverable(Exception):
    """Raised for a chain that was changed or that this process may not continue: it is named, never appended to."""

    def __init__(self, why: str, report: ChainReport | None = None) -> None:
        self.head = report.head if report is not None and report.head.seq else None
        super().__init__(why)


@dataclass(frozen=True, slots=True)
class Tail:
    """The last whole record of a chain. `is_clean` says that nothing is open or unfinished after it.

    `is_whole` says that no unfinished line follows. `successor` is the chain that the record names as continuing this
    one.
    """

    head: Head | None
    is_whole: bool
    is_clean: bool
    successor: str | None = None


@dataclass(frozen=True, slots=True)
class Begun:
    """A chain whose `start` is durable, ready for its writer. `damaged` says why old chains could not be continued."""

    journal: Journal
    console: Console
    damaged: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Opening:
    """The opening of the chain `instance`."""

    settings: AuditSettings
    instance: str
    clock: Callable[[], int]
    disk: Disk
    progress: Progress = field(default_factory=Progress)

    def begin(self, start: Mapping[str, object], *, stdout: Console) -> Begun:
        """Recover the old chains, then write the first record.

        Raises: AuditFailure: the directory cannot be used, `instance` cannot name a new chain, or recovery was
        abandoned.
        """
        if not CHAIN_NAME.fullmatch(self.instance):
            raise AuditFailure(f"{self.instance!r} cannot name a chain: letters, digits, '_' and '-' only")
        try:
            self._make_directory()
            with ExitStack() as undo:
                lock = self._lock()
                undo.callback(lock.release)
                self.settings.before_start()
                begun = self._first_record(start, lock, stdout=stdout)
                undo.pop_all()
                return begun
        except (OSError, AppendFailed) as exc:
            failed = AppendFailed(exc) if isinstance(exc, OSError) else exc
            advice = ". Make room, then start again" if failed.cause == "full" else ""
            raise AuditFailure(
                f"the audit directory {named(self.settings.directory)} cannot be used: {failed}{advice}"
            ) from exc

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

    def _first_record(self, start: Mapping[str, object], lock: ChainLock, *, stdout: Console) -> Begun:
        if self.instance in chains_in(self.settings.directory.iterdir()):
            raise AuditFailure(f"the chain {self.instance} exists already in {self.settings.directory}")
        sealer = Sealer(self.instance, key=self.settings.mac_key)
        recovered = Recovery(self.settings, sealer, self.disk, self.clock, self.progress).run()
        journal = Journal(
            self.settings, chain=self.instance, sealer=sealer, disk=self.disk, clock=self.clock, lock=lock, start=start
        )
        committed = journal.begin(start_members(start, sealer.key_id, recovered=recovered.members()))
        if self.settings.stdout:
            stdout.copy(committed.lines)
        return Begun(journal, stdout, recovered.damaged)
