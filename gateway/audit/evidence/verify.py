"""The verification of chains together: each against what others say of it, and the hand-over from one to the next.

There are changes that it cannot see. Whoever holds the key can write another history, and without a key so can anyone
who can write the directory. A chain cut at its end looks complete unless a later chain or a checkpoint names what was
there.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from gateway.audit.chain import MacKey
from gateway.audit.evidence import texts
from gateway.audit.reader import (
    ChainReader,
    ChainReport,
    Claim,
    Finding,
    Retired,
    claim_of,
    first_record,
    said_in,
)
from gateway.audit.segment import NotAFile, chains_in, misnamed, open_segment

__all__ = ["ChainReport", "Claim", "Finding", "claim_of", "verify", "verify_listed"]

MOST_READINGS = 1000
"""How often the files are read again because one went away; each time, a retirement has taken one."""
MOST_FINDINGS = 3
"""How many readings must find a problem before it counts although files came or went meanwhile."""


def verify(
    paths: Iterable[Path], *, keys: Sequence[MacKey] = (), checkpoints: Mapping[str, list[Claim]], whole: bool
) -> list[ChainReport]:
    """Verify all chains among the files, each against what later chains and checkpoints say of it.

    `whole` says that the files are all that there ever were, as in a directory. Raises: OSError: a file cannot be read.
    """
    return _Verification(paths, keys=keys, checkpoints=checkpoints, whole=whole).reports()


def verify_listed(
    list_paths: Callable[[], Sequence[Path]],
    *,
    keys: Sequence[MacKey] = (),
    checkpoints: Mapping[str, list[Claim]],
    whole: bool,
) -> list[ChainReport]:
    """Verify as `verify` does, while chains may come and go.

    A problem counts if no file came or went during the reading, or if it was found MOST_FINDINGS times.

    Raises: OSError: a file cannot be read.
    """
    paths, found = list_paths(), 0
    for _ in range(MOST_READINGS):
        try:
            reports = verify(paths, keys=keys, checkpoints=checkpoints, whole=whole)
        except (FileNotFoundError, NotAFile):
            paths = list_paths()
            continue
        found += any(report.problems for report in reports)
        before, paths = _names(paths), list_paths()
        if found in (0, MOST_FINDINGS) or _names(paths) == before:
            return reports
    return _unsteady(paths)


def _names(paths: Iterable[Path]) -> set[Path]:
    return {path for path in paths if path.suffix.lower() == ".jsonl"}


def _unsteady(paths: Iterable[Path]) -> list[ChainReport]:
    """Report that no chain can be judged, because somebody takes files away as often as they are read."""
    reports = [ChainReport(chain) for chain in chains_in(paths)]
    for report in reports:
        report.problem(report.chain, "its directory did not hold still, files came and went while it was read")
    return reports


class _Verification:
    """The chains among some files. If two do not fit together, they are read again: one may have been written to."""

    def __init__(
        self, paths: Iterable[Path], *, keys: Sequence[MacKey], checkpoints: Mapping[str, list[Claim]], whole: bool
    ) -> None:
        self._keys = keys
        self._whole = whole
        self._paths = list(paths)
        self._files = {chain: [path for _, path in files] for chain, files in chains_in(self._paths).items()}
        self._strange = _no_files(self._files)
        self._claims = self._claimed(checkpoints)
        self._reports: dict[str, ChainReport] = {}

    def reports(self) -> list[ChainReport]:
        """Return a report on every chain that is there, or that another chain or a checkpoint names."""
        # The newest first: what a chain says of the one before it was already true when that one is read.
        for chain in sorted(self._files, reverse=True):
            self._read(chain)
        self._join()
        self._retire()
        if self._whole:
            self._compare_texts()
        for chain in self._claims.keys() - self._reports.keys():
            self._read(chain)
            self._report(chain).elsewhere = True
        for path, chain in misnamed(self._paths).items():
            self._report(chain).problem(path, "not the name of a segment, but much like it")
        for path, chain in self._strange.items():
            self._report(chain).problem(path, "not a file")
        return [self._reports[chain] for chain in sorted(self._reports)]

    def _report(self, chain: str) -> ChainReport:
        return self._reports.setdefault(chain, ChainReport(chain))

    def _claimed(self, checkpoints: Mapping[str, list[Claim]]) -> dict[str, list[Claim]]:
        """Return what starts and checkpoints say of chains, by chain; what several starts say appears once."""
        named: dict[str, dict[tuple[int, str | None], Claim]] = {}
        for chain, claim in self._statements():
            if self._whole or chain in self._files:
                named.setdefault(chain, {}).setdefault((claim.seq, claim.digest), claim)
        claims = {chain: list(found.values()) for chain, found in named.items()}
        for chain, kept in checkpoints.items():
            claims[chain] = [*claims.get(chain, ()), *kept]
        return claims

    def _statements(self) -> Iterable[tuple[str, Claim]]:
        for chain, paths in self._files.items():
            start = next(filter(None, (first_record(path, self._keys) for path in paths)), {})
            yield from said_in(start, f"the start of chain {chain}")

    def _read(self, chain: str) -> None:
        paths = self._files.get(chain, [])
        entire = self._whole or (bool(paths) and first_record(paths[0], ()).get("seq") == 1)
        reader = ChainReader(chain, keys=self._keys, claims=self._claims.get(chain, ()), whole=entire)
        self._reports[chain] = reader.read(paths)

    def _join(self) -> None:
        """Check each hand-over from both sides.

        The intents that a chain leaves open are open in its successor, and so no longer in the chain itself.
        """
        reports = list(self._reports.values())
        pairs = {(report.chain, report.successor) for report in reports if report.successor}
        pairs |= {(report.origin.chain, report.chain) for report in reports if report.origin}
        for before, after in sorted(pairs):
            if not self._fit(before, after):
                self._read_again(before, after)
        for before, after in sorted(pairs):
            self._hand_over(before, after)

    def _fit(self, before: str, after: str) -> bool:
        ended, begun = self._reports.get(before), self._reports.get(after)
        if ended is None or begun is None or begun.origin is None:
            return ended is None
        return (ended.successor, ended.head) == (after, begun.origin.head)

    def _read_again(self, before: str, after: str) -> None:
        known = {path.parent for chain in (before, after) for path in self._files.get(chain, ())}
        found = chains_in(path for directory in known for path in directory.iterdir()) if self._whole else {}
        fresh = {chain: [path for _, path in found[chain]] for chain in (before, after) if chain in found}
        self._strange |= _no_files(fresh)
        self._files |= fresh
        for chain in (after, before):
            if chain in self._files:
                self._read(chain)

    def _hand_over(self, before: str, after: str) -> None:
        ended, begun = self._reports.get(before), self._reports.get(after)
        if ended is None:
            return
        if begun is None or (not self._whole and begun.origin is None):
            self._handed_away(ended, after)
        elif not begun.records:
            ended.waiting = True
        elif begun.origin is None or begun.origin.chain != before:
            ended.problem(before, f"it ends by handing over to {after}, which does not go on for it")
        elif ended.successor != after:
            begun.problem(after, f"it goes on for {before}, which does not hand over to it")
        elif (begun.origin.head, begun.origin.intents) != (ended.head, frozenset(ended.open_intents)):
            begun.problem(after, f"it goes on for {before} from another end, or with other open intents")
        else:
            ended.open_intents.clear()

    def _handed_away(self, ended: ChainReport, after: str) -> None:
        retired = any(after == gone.chain for report in self._reports.values() for gone in report.retirements)
        if self._whole and not retired:
            ended.problem(ended.chain, f"it ends by handing over to {after}, which is not there")
            ended.elsewhere = True
        ended.open_intents.clear()

    def _retire(self) -> None:
        """Accept that retired chains are missing, even in part; what is left must be what the record describes."""
        for gone in [gone for report in self._reports.values() for gone in report.retirements]:
            paths = self._files.get(gone.chain, [])
            if paths and gone.files.keys() <= {path.name for path in paths}:
                if self._reports[gone.chain].head != gone.head:
                    self._reports[gone.chain].problem(gone.chain, f"{gone.source} says it was retired at another head")
                continue
            self._reports[gone.chain] = self._remains(gone, paths)

    def _compare_texts(self) -> None:
        """Check that the texts of all policies that a chain names are beside it, as they were."""
        wrong: dict[tuple[Path, str], str | None] = {}
        for chain, report in self._reports.items():
            for digest, where in report.texts.items():
                key = (self._files[chain][0].parent, digest)
                if key not in wrong:
                    wrong[key] = texts.problem(*key)
                if (what := wrong[key]) is not None:
                    report.problem(where, f"it names policies whose text {what}: {texts.path_of(*key)}")

    def _remains(self, gone: Retired, paths: Sequence[Path]) -> ChainReport:
        report = ChainReport(gone.chain, head=gone.head, retired_by=gone.source)
        for path in paths:
            if gone.files.get(path.name) != digest_of(path):
                report.problem(path, f"not what {gone.source} says was retired")
        for claim in self._claims.get(gone.chain, ()):
            if claim.seq > gone.head.seq or (
                claim.seq == gone.head.seq and claim.digest not in (None, gone.head.digest)
            ):
                report.problem(gone.chain, f"{claim.source} names record {claim.seq}, {gone.source} another end")
        return report


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex. Raises: OSError: the file cannot be read."""
    with open_segment(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _no_files(files: dict[str, list[Path]]) -> dict[Path, str]:
    """Remove from the chains every path that is no regular file, such as a link or a pipe, and return these paths.

    They are named in reports, and never opened.
    """
    strange: dict[Path, str] = {}
    for chain, paths in files.items():
        strange |= {path: chain for path in paths if not stat.S_ISREG(path.lstat().st_mode)}
        files[chain] = [path for path in paths if path not in strange]
    return strange
