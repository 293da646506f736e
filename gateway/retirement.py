"""Takes old chains out of the audit directory, with a record of their own that `audit verify` accepts in their place.

    verify -> lock -> record `retired`, durable -> move or delete

A chain goes only as a whole, ended, intact and without an open intent; what said that others may be gone stays.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from gateway import __version__
from gateway.audit.chain import Head, MacKey, Record, Sealer
from gateway.audit.journal import AuditSettings, Journal
from gateway.audit.reader import ChainReader, ChainReport
from gateway.audit.record import Members, retired_members, start_members
from gateway.audit.recovery import Recovered, Recovery
from gateway.audit.segment import AppendFailed, ChainLock, Disk, chains_in
from gateway.audit.verify import Finding, digest_of, verify
from gateway.errors import AuditFailure


@dataclass(frozen=True, slots=True)
class Choice:
    """Which chains: those named, and those whose last record is of a day before `before` (YYYY-MM-DD)."""

    chains: frozenset[str] = frozenset()
    before: str | None = None

    def takes(self, report: ChainReport) -> bool:
        """Whether a chain is meant."""
        old = self.before is not None and report.last_ts is not None and report.last_ts < self.before
        return old or report.chain in self.chains


@dataclass(slots=True)
class Retired:
    """What was done: the chains that are gone, why others stayed, and the chain that holds the record, if any."""

    gone: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    record: str | None = None


@dataclass(frozen=True, slots=True)
class Retirement:
    """Retires chains of `settings.directory`; `keys` are all that its records were sealed with, also older ones.

    `to` is the directory that they are moved to; without one they are deleted.
    """

    settings: AuditSettings
    keys: Sequence[MacKey]
    to: Path | None
    disk: Disk
    clock: Callable[[], int]

    def run(self, choice: Choice) -> Retired:
        """Retires the chains that are meant and may go. Raises: AuditFailure: nothing was moved or deleted; OSError."""
        entries = sorted(self.settings.directory.iterdir())
        found = verify(entries, keys=self.keys, checkpoints={}, whole=True)
        reports = {report.chain: report for report in found}
        files = {chain: [path for _, path in segments] for chain, segments in chains_in(entries).items()}
        done = Retired(kept=dict.fromkeys(choice.chains - files.keys(), "it is not there"))
        with ExitStack() as locks:
            going = {}
            for chain in sorted(files):
                report = reports[chain]
                if report.retired_by is not None and not report.problems:
                    self._remove(chain, files[chain])  # what an earlier retirement had no time for
                elif choice.takes(report):
                    if why := self._reason_to_stay(report, files[chain], locks):
                        done.kept[chain] = why
                    else:
                        going[chain] = files[chain]
            if not going or choice.chains & done.kept.keys():
                return done
            heads = {chain: report.head for chain, report in reports.items() if report.records}
            done.record = self._write(going, heads)
            for chain, paths in going.items():
                self._remove(chain, paths)
                done.gone.append(chain)
        return done

    def _reason_to_stay(self, report: ChainReport, paths: Sequence[Path], locks: ExitStack) -> str | None:
        """Why a chain may not go; None where it may, and then it is locked."""
        if report.keyed and self.settings.mac_key is None:
            return "it is sealed with a key: give it, so that the record of its end is sealed too"
        if report.finding is not Finding.INTACT:
            return {Finding.OPEN: "it has open intents", Finding.TORN: "it has not ended"}.get(
                report.finding, "it does not verify"
            )
        if report.retirements:
            return "it says of other chains that they are retired"
        lock = ChainLock.take(self.disk, self.settings.directory, report.chain, first=paths[0])
        if lock is None:
            return "a gateway writes it"
        locks.callback(lock.release)
        if ChainReader(report.chain).read(paths).head != report.head:
            return "it was written to a moment ago"
        return None

    def _write(self, going: dict[str, list[Path]], heads: dict[str, Head]) -> str:
        """Makes the record durable, in a chain of its own. Raises: AuditFailure."""
        chain, key = self.settings.new_name(), self.settings.mac_key
        sealer = Sealer(chain, key=key)
        records = [self._record(name, heads[name], paths) for name, paths in going.items()]
        try:
            lock = ChainLock.take(self.disk, self.settings.directory, chain)
            journal = Journal(self.settings, chain=chain, sealer=sealer, disk=self.disk, clock=self.clock, lock=lock)
            try:
                start = {"version": __version__, "command": "audit retire", "by": f"cli:{os.getuid()}"}
                journal.begin(start_members(start, key, recovered=self._left(sealer, going, heads)))
                journal.commit([*records, Record(self.clock(), "stop", {"reason": "retired", "open": 0})])
            finally:
                journal.close()
        except (OSError, AppendFailed) as exc:
            raise AuditFailure(f"the record of it cannot be written, so nothing was removed: {exc}") from exc
        return chain

    def _record(self, chain: str, head: Head, paths: Sequence[Path]) -> Record:
        files = {path.name: digest_of(path) for path in paths}
        to = str(self.to) if self.to is not None else None
        members = retired_members(chain, seq=head.seq, head=head.digest, files=files, to=to)
        return Record(self.clock(), "retired", members)

    def _left(self, sealer: Sealer, going: dict[str, list[Path]], heads: dict[str, Head]) -> Members:
        """The heads of chains that stay, and that nobody names any more once the others have gone."""
        staying = {chain: head for chain, head in heads.items() if chain not in going}
        found = chains_in(self.settings.directory.iterdir())
        chains = {chain: found[chain] for chain in staying if chain in found}
        unnamed = Recovery(self.settings, sealer, self.disk, self.clock).unnamed(staying, chains)
        return Recovered(staying, {}, unnamed).members()

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


def _move(disk: Disk, path: Path, target: Path) -> None:
    """Copies durably, also to another file system, before the original goes. Raises: OSError."""
    if not (target.exists() and digest_of(target) == digest_of(path)):
        with path.open("rb") as source, target.open("xb") as copy:
            shutil.copyfileobj(source, copy)
            copy.flush()
            os.fsync(copy.fileno())
    disk.sync_directory(target.parent)
    path.unlink()
