"""The retirement of old chains: they are moved or deleted, and a record that `audit verify` accepts takes their place.

    verify -> lock -> record `retired`, durable -> move or delete

A chain is removed only as a whole, and only if it has ended, is intact and has no open intent. A chain that says that
others were retired stays. Nothing is removed from a directory in which anything was tampered with, because a removed
chain may be the only one that shows it. The start of the chain that holds the record repeats what the removed chains
say of others.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from gateway.audit.chain import Head, MacKey, Record, Sealer
from gateway.audit.events import catalogue
from gateway.audit.events.declare import Members
from gateway.audit.events.starts import start_members
from gateway.audit.events.values import At
from gateway.audit.evidence import texts
from gateway.audit.evidence.verify import Claim, Finding, digest_of, verify_listed
from gateway.audit.journal import AuditSettings, Journal
from gateway.audit.reader import ChainReader, ChainReport
from gateway.audit.recovery import Recovered, Recovery
from gateway.audit.segment import AppendFailed, ChainLock, Disk, chains_in, open_segment
from gateway.core.errors import AuditFailure


@dataclass(frozen=True, slots=True)
class Choice:
    """The chains that are meant: those named, and those whose last record is of a day before `before` (YYYY-MM-DD)."""

    chains: frozenset[str] = frozenset()
    before: str | None = None

    def takes(self, report: ChainReport) -> bool:
        """Return whether the chain of this report is meant."""
        old = self.before is not None and report.last_ts is not None and report.last_ts < self.before
        return old or report.chain in self.chains


@dataclass(slots=True)
class Retired:
    """The result: the chains that are gone, why others stayed, and the chain that holds the record, if any.

    `refused` says that nothing was done, for a reason that lies in the directory and not only in the chains that were
    meant.
    """

    gone: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    record: str | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class _Going:
    """A chain that is locked and about to go: its files, its head, and what its start says of other chains.

    `texts` are the digests of policies that it names.
    """

    paths: Sequence[Path]
    head: Head
    said: Sequence[tuple[str, Claim]]
    texts: Iterable[str] = ()


SEALED = "it is sealed with a key: give it, so that the record of its end is sealed too"


@dataclass(frozen=True, slots=True)
class Retirement:
    """The retirement of chains in `settings.directory`. `keys` are all that its records were sealed with, old ones too.

    `to` is the directory that the chains are moved to; if it is None, they are deleted. `checkpoints` are heads that
    were kept elsewhere.
    """

    settings: AuditSettings
    keys: Sequence[MacKey]
    to: Path | None
    disk: Disk
    clock: Callable[[], int]
    checkpoints: Mapping[str, list[Claim]] = field(default_factory=dict)

    def run(self, choice: Choice) -> Retired:
        """Retire the chains that are meant and may go.

        Raises:
            AuditFailure: the record cannot be written; nothing was moved or deleted.
            OSError: a file cannot be read, moved or deleted.
        """
        found = verify_listed(self._entries, keys=self.keys, checkpoints=self.checkpoints, whole=True)
        reports = {report.chain: report for report in found}
        files = {chain: [path for _, path in segments] for chain, segments in chains_in(self._entries()).items()}
        files = {chain: paths for chain, paths in files.items() if chain in reports}  # newer ones are not meant
        done = Retired(kept=dict.fromkeys(choice.chains - files.keys(), "it is not there"))
        chosen = [chain for chain in files if choice.takes(reports[chain]) and not reports[chain].retired_by]
        if (refusal := self._refusal(found, chosen)) is not None:
            done.kept, done.refused = done.kept | refusal, True
            return done
        with ExitStack() as locks:
            taken = {chain: self._taken(reports[chain], files[chain], locks) for chain in chosen}
            done.kept |= {chain: why for chain, why in taken.items() if isinstance(why, str)}
            going = {chain: found_so for chain, found_so in taken.items() if isinstance(found_so, _Going)}
            if choice.chains & done.kept.keys():
                going = {}
            if going:
                done.record = self._write(going, {report.chain: report.head for report in found if report.records})
            for chain in (chain for chain in files if reports[chain].retired_by):
                self._remove(chain, files[chain])  # an earlier retirement did not finish
            for chain, gone in going.items():
                self._copy_texts(gone.texts)
                self._remove(chain, gone.paths)
                done.gone.append(chain)
        return done

    def _refusal(self, found: Sequence[ChainReport], chosen: Sequence[str]) -> dict[str, str] | None:
        """Return why nothing may be retired, by chain; None if it may."""
        if damaged := [report.chain for report in found if report.problems]:
            return dict.fromkeys(damaged, "it does not verify")
        if self.settings.mac_key is None and any(report.keyed for report in found):
            return dict.fromkeys(chosen, SEALED)
        return None

    def _entries(self) -> list[Path]:
        return sorted(self.settings.directory.iterdir())

    def _taken(self, report: ChainReport, paths: Sequence[Path], locks: ExitStack) -> _Going | str:
        """Lock a chain that may go, and read it once more; otherwise return why it has to stay."""
        if why := _reason_to_stay(report):
            return why
        try:
            lock = ChainLock.take(self.disk, self.settings.directory, report.chain, first=paths[0])
            if lock is None:
                return "a gateway writes it"
            locks.callback(lock.release)
            reader = ChainReader(report.chain, keys=self.keys)
            now = reader.read(paths)
        except OSError as exc:
            return f"it cannot be opened: {exc}"
        if now.problems or now.head != report.head:
            return "it was written to a moment ago"
        return _Going(paths, now.head, reader.said, now.texts)

    def _write(self, going: Mapping[str, _Going], heads: Mapping[str, Head]) -> str:
        """Write the record durably, in a chain of its own, and return the chain. Raises: AuditFailure: that failed."""
        chain = self.settings.new_name()
        sealer = Sealer(chain, key=self.settings.mac_key)
        try:
            records = [self._record(name, gone) for name, gone in going.items()]
            lock = self._locked(chain)
            journal = Journal(self.settings, chain=chain, sealer=sealer, disk=self.disk, clock=self.clock, lock=lock)
            try:
                start = catalogue.Start(version=__version__, command="audit retire", by=f"cli:{os.getuid()}").members()
                journal.begin(start_members(start, sealer.key_id, recovered=self._left(sealer, going, heads)))
                stop = catalogue.Stop(reason="retired", open=0).members()
                journal.commit([*records, Record(self.clock(), "stop", stop)])
            finally:
                journal.close()
        except (OSError, AppendFailed) as exc:
            raise AuditFailure(f"the record of it cannot be written, so nothing was removed: {exc}") from exc
        return chain

    def _locked(self, chain: str) -> ChainLock:
        lock = ChainLock.take(self.disk, self.settings.directory, chain)
        if lock is None:
            raise AppendFailed(OSError(f"another process writes the chain {chain}"))
        return lock

    def _record(self, chain: str, gone: _Going) -> Record:
        files = {path.name: digest_of(path) for path in gone.paths}
        to = str(self.to) if self.to is not None else None
        at: At = {"seq": gone.head.seq, "head": gone.head.digest}
        members = catalogue.Retired(retired=chain, at=at, files=files, to=to).members()
        return Record(self.clock(), "retired", members)

    def _left(self, sealer: Sealer, going: Mapping[str, _Going], heads: Mapping[str, Head]) -> Members:
        """Return the members that repeat what would otherwise be lost with the chains that go.

        These are all that their starts say of other chains, and the heads of chains that stay and that no other start
        names. Of several statements about one chain the last is enough, as its digest covers everything before it.
        """
        staying = {chain: head for chain, head in heads.items() if chain not in going}
        present = chains_in(self._entries())
        chains = {chain: present[chain] for chain in staying if chain in present}
        left = Recovery(self.settings, sealer, self.disk, self.clock).unnamed(staying, chains)
        for chain, claim in (said for gone in going.values() for said in gone.said):
            # A chain that was only said to be damaged has a head by now: nothing is retired while one is missing.
            if claim.digest is not None and chain not in going and (chain not in left or left[chain].seq < claim.seq):
                left[chain] = Head(claim.seq, claim.digest)
        return Recovered(dict(staying), {}, left).members()

    def _copy_texts(self, digests: Iterable[str]) -> None:
        """Keep the texts of policies in the directory that the chains go to as well: chains that stay need them too."""
        if self.to is not None:
            for digest in digests:
                texts.keep(self.to, texts.read(self.settings.directory, digest), self.disk)

    def _remove(self, chain: str, paths: Sequence[Path]) -> None:
        directory = self.settings.directory
        beside = [path.with_suffix(".torn") for path in paths]
        for path in (path for path in (*paths, *beside) if path.exists()):
            if self.to is None:
                path.unlink()
            else:
                _move(self.disk, path, self.to / path.name)
        (directory / f"{chain}.lock").unlink(missing_ok=True)
        self.disk.sync_directory(directory)


def _reason_to_stay(report: ChainReport) -> str | None:
    reasons = {
        "it has open intents": report.finding is Finding.OPEN,
        "it has not ended": report.finding is Finding.TORN,
        "it has no record": not report.records,
        "it says of other chains that they are retired": bool(report.retirements),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


def _move(disk: Disk, path: Path, target: Path) -> None:
    """Copy a file durably, even to another file system, then remove the original. Raises: OSError: that failed."""
    if not (target.exists() and digest_of(target) == digest_of(path)):
        with open_segment(path) as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    disk.sync_directory(target.parent)
    path.unlink()
