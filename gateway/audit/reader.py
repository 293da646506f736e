"""A reader of one chain that finds what was changed in it: streamed, in memory bounded by the open intents.

Only records count as evidence, and with a key only those whose MAC holds. No file's name or emptiness, and no line that
nobody sealed, can hide anything.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NamedTuple

from gateway.audit.chain import GENESIS, Head, MacKey, Members, is_hex, mac_holds, parse_line
from gateway.audit.segment import named_segment, open_segment

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_PROBLEMS = 100


class Finding(IntEnum):
    """The result of verifying a chain; the numbers are the exit codes."""

    INTACT = 0
    TAMPERED = 1
    TORN = 2
    OPEN = 3


class Torn(NamedTuple):
    """An unfinished last line: its file, its line number, and its offset in bytes."""

    path: Path
    line: int
    offset: int


class Claim(NamedTuple):
    """A statement about a chain: the digest of its record `seq`. `source` says who stated it.

    If the digest is None, the chain was there, and none of its records could be read when that was stated.
    """

    seq: int
    digest: str | None
    source: str


class Retired(NamedTuple):
    """The content of a `retired` record: the chain that may be missing, its head, and each file's SHA-256."""

    chain: str
    head: Head
    files: dict[str, str]
    source: str


class Origin(NamedTuple):
    """The chain that another one continues: its name, its head, and the intents that it left open."""

    chain: str
    head: Head
    intents: frozenset[str]


@dataclass(slots=True)
class ChainReport:
    """The findings about one chain.

    `torn` is an unfinished last line, and `abandoned` counts the disregarded lines of suspect files. `successor` is the
    chain that this one names as continuing it, with the intents that are open here; `waiting` says that the successor
    has no record yet. `retirements` are the chains that this one says may be missing, and `retired_by` is the record
    that says so of this one. `elsewhere` says that a chain is missing here that may be in another directory. `texts`
    are the digests of policies whose text must be kept beside the chain, each with the first record that names it.
    """

    chain: str
    records: int = 0
    first_seq: int | None = None
    head: Head = GENESIS
    keyed: int = 0
    open_intents: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    more_problems: int = 0
    torn: Torn | None = None
    abandoned: int = 0
    last_path: Path | None = None
    last_ts: str | None = None
    origin: Origin | None = None
    successor: str | None = None
    waiting: bool = False
    retirements: list[Retired] = field(default_factory=list)
    retired_by: str | None = None
    elsewhere: bool = False
    texts: dict[str, str] = field(default_factory=dict)

    @property
    def finding(self) -> Finding:
        """The worst finding: tampering before open intents before a torn last line."""
        if self.problems:
            return Finding.TAMPERED
        if self.open_intents:
            return Finding.OPEN
        return Finding.TORN if self.torn or self.waiting else Finding.INTACT

    def problem(self, where: object, text: str) -> None:
        """Note one problem. Beyond the first MAX_PROBLEMS, problems are only counted."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{where}: {text}")
        else:
            self.more_problems += 1


def _unheard(_: int) -> None:
    """Ignore how far a reading has got."""


class ChainReader:
    """A check of one chain, line by line. `whole` says that the chain is present from its first record on.

    `on_read` is called with the size of every line in bytes, and may raise to stop the reading. `said` holds what the
    chain's start says of other chains.
    """

    def __init__(
        self,
        chain: str,
        *,
        keys: Sequence[MacKey] = (),
        claims: Iterable[Claim] = (),
        whole: bool = True,
        on_read: Callable[[int], None] = _unheard,
    ) -> None:
        self.report = ChainReport(chain)
        self.said: list[tuple[str, Claim]] = []
        self._keys = list(keys)
        self._claims: dict[int, list[Claim]] = {}
        for claim in claims:
            self._claims.setdefault(claim.seq, []).append(claim)
        self._whole = whole
        self._on_read = on_read
        self._strict = True
        self._keeps_texts = False
        self._held = self._unheld = 0
        self._unheld_at: list[str] = []

    def read(self, paths: Sequence[Path]) -> ChainReport:
        """Read the chain's files in order, and return the report. Raises: OSError: a file cannot be read."""
        cuts = cuts_in(paths, self._keys)
        empty = [path for path in paths if not self._read_file(path, cuts.get(path.name))]
        if self._whole and self.report.records:
            self._layout(paths, [path for path in empty if path.name not in cuts])
        self._tell_unheld()
        for claim in (claim for claims in self._claims.values() for claim in claims):
            if claim.digest is not None:
                self.report.problem(self.report.chain, f"{claim.source} names record {claim.seq}, which is not there")
            elif not self.report.records:
                self.report.problem(self.report.chain, f"{claim.source} says it was damaged, and it has no record now")
        return self.report

    def _layout(self, paths: Sequence[Path], empty: Sequence[Path]) -> None:
        numbers = [named[1] for path in paths if (named := named_segment(path))]
        # Chains of version 0.1 may have gaps and empty files after their first file, where the disk failed.
        expected = range(1, len(numbers) + 1) if self._strict else [1, *numbers[1:]]
        if numbers and numbers != list(expected):
            self.report.problem(self.report.chain, f"its files have the numbers {_few(numbers)}: some are gone")
        hiding = empty if self._strict else [path for path in empty if path == paths[0]]
        for path in (path for path in hiding if path != paths[-1]):
            self.report.problem(path, "an empty file that is not the last of its chain")

    def _read_file(self, path: Path, cut: int | None) -> int:
        """Read one file, and return how many lines it has."""
        offset = number = 0
        for number, raw in enumerate(lines_of(path), 1):
            self._on_read(len(raw))
            if cut is not None and self.report.head.seq >= cut:
                self.report.abandoned += 1
                continue
            where = f"{path}:{number}"
            if self.report.torn is not None:
                self.report.problem(f"{self.report.torn.path}:{self.report.torn.line}", "an unfinished line inside")
                self.report.torn = None
            if raw.endswith(b"\n"):
                self._line(where, raw[:-1])
            else:
                self.report.torn = Torn(path, number, offset)
            offset += len(raw)
            self.report.last_path = path
        return number

    def _line(self, where: str, raw: bytes) -> None:
        members = parse_line(raw)
        if isinstance(members, str):
            self.report.problem(where, members)
            return
        self._links(where, members)
        if self._mac(where, raw, members) and members["event"] == "retired":
            self._retired(where, members)
        if members["event"] == "reload":
            self._names(members.get("new_digest"), where)
        self._pairs(where, members)
        head = Head(int(str(members["seq"])), hashlib.sha256(raw).hexdigest())
        self.report.records += 1
        self.report.head = head
        self.report.last_ts = str(members["ts"])
        successor = members.get("continued_by") if members["event"] == "stop" else None
        self.report.successor = successor if isinstance(successor, str) else None
        for claim in self._claims.pop(head.seq, ()):
            if claim.digest not in (None, head.digest):
                self.report.problem(where, f"{claim.source} names another record {claim.seq}")

    def _links(self, where: str, members: Members) -> None:
        before = self.report.head
        if self.report.first_seq is None:
            self.report.first_seq = int(str(members["seq"]))
            self._first(where, members)
        elif members["seq"] != before.seq + 1:
            self.report.problem(where, f"seq {members['seq']} after {before.seq}: records removed, inserted or moved")
        elif members["prev"] != before.digest:
            self.report.problem(where, "the line before was changed: this line names another digest")
        elif members["event"] == "start":
            self.report.problem(where, "a second start in one chain")

    def _first(self, where: str, members: Members) -> None:
        if members["event"] == "start":
            self._begin(where, members)
        if not self._whole:
            return
        if members["seq"] != 1:
            self.report.problem(where, f"the chain begins with seq {members['seq']}: what was before it is gone")
        elif members["prev"] is not None or members["event"] != "start" or members["instance"] != self.report.chain:
            self.report.problem(where, "the first record is not this chain's start")

    def _begin(self, where: str, start: Members) -> None:
        self.said = list(said_in(start, f"the start of chain {self.report.chain}"))
        self._strict = "continues" in start
        self._keeps_texts = start.get("policies") == "kept"
        self._names(start.get("policy_digest"), where)
        kept_with = "sha256" if start["mac"] is None else "hmac-sha256"
        if start.get("chain", kept_with) != kept_with:
            self.report.problem(where, f"the start says {start['chain']}, and its own mac says {kept_with}")
        origin = start.get("continues")
        if origin is None:
            return
        self.report.origin = origin_of(start)
        if self.report.origin is None:
            self.report.problem(where, "what the start says of the chain before it cannot be read")
            return
        self.report.open_intents = dict.fromkeys(sorted(self.report.origin.intents), where)

    def _names(self, digest: object, where: str) -> None:
        """Note a digest of policies whose text was kept before the record that names it."""
        if self._keeps_texts and isinstance(digest, str):
            self.report.texts.setdefault(digest, where)

    def _retired(self, where: str, members: Members) -> None:
        if retired := retired_in(members, f"the record {where}"):
            self.report.retirements.append(retired)
        else:
            self.report.problem(where, "what it says was retired cannot be read")

    def _mac(self, where: str, raw: bytes, members: Members) -> bool:
        """Check the record's MAC, and return whether the record may be believed."""
        problems = len(self.report.problems) + self.report.more_problems
        mac = members["mac"]
        if mac is None and self.report.keyed:
            self.report.problem(where, "no mac, although records before it have one")
        elif mac is None and self._keys:
            self.report.problem(where, "no mac, although a key is given")
        elif mac is not None and self._keys and not mac_holds(raw, str(mac), self._keys):
            self._unheld += 1
            self._unheld_at += [where] if self._unheld <= MAX_PROBLEMS else []
            problems = -1
        else:
            self._held += mac is not None
        self.report.keyed += mac is not None
        return problems == len(self.report.problems) + self.report.more_problems

    def _tell_unheld(self) -> None:
        """Note the records whose MAC does not hold: once if it is all of them and nothing else is wrong."""
        if self._unheld and not self._held and not self.report.problems:
            self.report.problem(self.report.chain, "no record is sealed with a given key: is it the right one?")
        else:
            for where in self._unheld_at:
                self.report.problem(where, "mac does not hold under any given key")
            self.report.more_problems += self._unheld - len(self._unheld_at)

    def _pairs(self, where: str, members: Members) -> None:
        decision_id = str(members.get("decision_id"))
        match members["event"]:
            case "intent" if decision_id in self.report.open_intents:
                self.report.problem(where, "a second intent with this decision_id")
            case "intent":
                self.report.open_intents[decision_id] = where
            case "outcome" if self.report.open_intents.pop(decision_id, None) is None and self._whole:
                self.report.problem(where, "an outcome without an open intent: closed twice, or never begun")


def _few(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:10])) + (" …" if len(numbers) > 10 else "")


def lines_of(path: Path) -> Iterator[bytes]:
    """Yield the lines of a segment with their newlines; a line above MAX_LINE_BYTES comes in pieces and is no record.

    Raises:
        NotAFile: a link, a pipe or the like is in the segment's place.
        OSError: the segment cannot be read.
    """
    with open_segment(path) as file:
        yield from lines_in(file)


def lines_in(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines of an open file, as `lines_of` does."""
    while raw := file.readline(MAX_LINE_BYTES):
        yield raw


def origin_of(start: Members) -> Origin | None:
    """Return what a `start` says of the chain that it continues; None if it continues none, or is malformed."""
    origin, intents = start.get("continues"), start.get("intents")
    claim = claim_of(origin, "start")
    if claim is None or not isinstance(origin, dict) or type(origin.get("chain")) is not str:
        return None
    if not isinstance(intents, list) or not all(type(name) is str for name in intents):
        return None
    return Origin(origin["chain"], Head(claim.seq, claim.digest), frozenset(intents))


def cuts_in(paths: Sequence[Path], keys: Sequence[MacKey]) -> dict[str, int]:
    """Return, for each file that was set aside as suspect, the sequence number of its last record that counts.

    The first line of a later file says so. That line must itself be the next record, so that it cannot speak of its own
    file. With keys, one of them must vouch for it.
    """
    cuts: dict[str, int] = {}
    before: set[str] = set()
    for path in paths:
        first = first_record(path, keys)
        suspects, last_good = first.get("suspect"), first.get("last_good")
        if isinstance(suspects, list) and isinstance(last_good, dict) and first["event"] in ("recovery", "start"):
            seq, head = last_good.get("seq"), last_good.get("head")
            if type(seq) is int and (seq + 1, head) == (first["seq"], first["prev"]):
                cuts |= {name: seq for name in suspects if name in before}
        before.add(path.name)
    return cuts


def first_record(path: Path, keys: Sequence[MacKey]) -> Members:
    """Return the members of a file's first line, or none if it is no record. With keys, one of them must vouch for it.

    Raises: OSError: the file cannot be read.
    """
    return sealed_record(next(lines_of(path), b""), keys)


def sealed_record(line: bytes, keys: Sequence[MacKey]) -> Members:
    """Return the members of a whole line, or none if it is no record. With keys, one of them must vouch for it."""
    raw = line.removesuffix(b"\n")
    members = parse_line(raw)
    if isinstance(members, str) or raw == line:
        return {}
    sealed = is_hex(members["mac"]) and mac_holds(raw, str(members["mac"]), keys)
    return members if sealed or not keys else {}


def claim_of(head: object, source: str) -> Claim | None:
    """Return the claim that an object with `seq` and `head` makes, or None if it is malformed."""
    if not isinstance(head, dict) or type(head.get("seq")) is not int or not is_hex(head.get("head")):
        return None
    return Claim(head["seq"], head["head"], source)


def said_in(start: Members, source: str) -> Iterator[tuple[str, Claim]]:
    """Yield what a `start` says of other chains, including the one that it continues; nothing if it is no `start`."""
    heads = start.get("heads")
    if start.get("event") != "start" or not isinstance(heads, dict):
        return
    origin = origin_of(start)
    if origin is not None and origin.head.digest is not None:
        yield origin.chain, Claim(origin.head.seq, origin.head.digest, source)
    for other, head in heads.items():
        if claim := claim_of(head, source):
            yield other, claim
    damaged = start.get("damaged")
    for named in damaged if isinstance(damaged, list) else ():
        if isinstance(named, dict) and type(chain := named.get("chain")) is str:
            yield chain, Claim(1, None, source)


def retired_in(members: Members, source: str) -> Retired | None:
    """Return the content of a `retired` record, or None if it is malformed."""
    claim, chain, files = claim_of(members.get("at"), source), members.get("retired"), members.get("files")
    if claim is None or type(chain) is not str or not isinstance(files, dict) or not all(map(is_hex, files.values())):
        return None
    return Retired(chain, Head(claim.seq, claim.digest), files, source)
