"""Reads chains back and finds what was changed: streamed, in memory bounded by the open intents.

What it cannot see: who holds the key can write another history, and without a key so can anyone who can write the
directory; a chain cut at its end looks complete unless a later chain or a checkpoint names what was there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import orjson

from gateway.audit.chain import FIRST, GENESIS, LAST, VERSION, Head, MacKey, mac_holds
from gateway.audit.segment import chains_in

MAX_LINE_BYTES = 64 * 1024 * 1024
MAX_PROBLEMS = 100

_TS = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}\.[0-9]{6}Z")
_HEX = re.compile(r"[0-9a-f]{64}")
_NEEDS_DECISION = frozenset(("intent", "outcome", "denied", "joined", "plan", "chunk", "settled"))

Members = dict[str, object]


class Finding(IntEnum):
    """What a chain's verification ends in; the numbers are the exit codes."""

    INTACT = 0
    TAMPERED = 1
    TORN = 2
    OPEN = 3


class Torn(NamedTuple):
    """An unfinished last line: its file, line number, and where it begins."""

    path: Path
    line: int
    offset: int


class Claim(NamedTuple):
    """What someone else says a chain held: the digest of its record `seq`; `source` is who says so."""

    seq: int
    digest: str
    source: str


def parse_line(raw: bytes) -> Members | str:
    """The members of a line without its newline, or what is wrong with it in a few words.

    A record has exactly one spelling: so duplicate keys, spaces and other escapes show as a difference from it.
    """
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return "not JSON"
    if type(members) is not dict or orjson.dumps(members) != raw:
        return "not the canonical JSON of an object (a duplicate key, or another spelling)"
    names = tuple(members)
    if names[: len(FIRST)] != FIRST or names[-len(LAST) :] != LAST:
        return "members missing or out of order"
    return _shape_problem(members) or members


def _shape_problem(members: Members) -> str | None:
    seq, ts, event = members["seq"], members["ts"], members["event"]
    if members["v"] != VERSION or type(members["v"]) is not int:
        return "unknown version"
    if type(seq) is not int or seq < 1 or type(event) is not str or type(members["instance"]) is not str:
        return "seq, event or instance has the wrong type"
    if type(ts) is not str or not _TS.fullmatch(ts):
        return "ts is not RFC 3339 in UTC with microseconds"
    if not all(members[name] is None or is_hex(members[name]) for name in LAST):
        return "prev or mac is not 64 hex digits or null"
    if event in _NEEDS_DECISION and type(members.get("decision_id")) is not str:
        return "no decision_id"
    return None


def is_hex(value: object) -> bool:
    """Whether the value is a SHA-256 in lower-case hex."""
    return type(value) is str and _HEX.fullmatch(value) is not None


@dataclass(slots=True)
class ChainReport:
    """What was found in one chain. `torn` is an unfinished last line, `abandoned` counts lines of suspect files."""

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

    @property
    def finding(self) -> Finding:
        """The worst that was found; tampered before open intents before a torn tail."""
        if self.problems:
            return Finding.TAMPERED
        if self.open_intents:
            return Finding.OPEN
        return Finding.TORN if self.torn else Finding.INTACT

    def problem(self, where: str, text: str) -> None:
        """Notes one thing that is wrong; beyond the first hundred they are only counted."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(f"{where}: {text}")
        else:
            self.more_problems += 1


class ChainReader:
    """Checks one chain, line by line. `whole` says that it is there from its first record on."""

    def __init__(
        self, chain: str, *, keys: Sequence[MacKey] = (), claims: Iterable[Claim] = (), whole: bool = True
    ) -> None:
        self.report = ChainReport(chain)
        self._keys = list(keys)
        self._claims: dict[int, list[Claim]] = {}
        for claim in claims:
            self._claims.setdefault(claim.seq, []).append(claim)
        self._whole = whole

    def read(self, paths: Sequence[Path]) -> ChainReport:
        """Reads the chain's files in order. Raises: OSError."""
        cuts = _cuts(paths)
        for path in paths:
            self._read_file(path, cuts.get(path.name))
        for claim in (claim for claims in self._claims.values() for claim in claims):
            self.report.problem(self.report.chain, f"{claim.source} names record {claim.seq}, which is not there")
        return self.report

    def _read_file(self, path: Path, cut: int | None) -> None:
        offset = 0
        for number, raw in enumerate(lines_of(path), 1):
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

    def _line(self, where: str, raw: bytes) -> None:
        members = parse_line(raw)
        if isinstance(members, str):
            self.report.problem(where, members)
            return
        self._links(where, members)
        self._mac(where, raw, members)
        self._pairs(where, members)
        head = Head(int(str(members["seq"])), hashlib.sha256(raw).hexdigest())
        self.report.records += 1
        self.report.head = head
        for claim in self._claims.pop(head.seq, ()):
            if claim.digest != head.digest:
                self.report.problem(where, f"{claim.source} names another record {claim.seq}")

    def _links(self, where: str, members: Members) -> None:
        before = self.report.head
        if self.report.first_seq is None:
            self.report.first_seq = int(str(members["seq"]))
            self._first(where, members)
        elif members["seq"] != before.seq + 1:
            self.report.problem(where, f"seq {members['seq']} after {before.seq}: records removed, inserted or moved")
        elif members["prev"] != before.digest:
            self.report.problem(where, "prev is not the digest of the line before: it was changed")

    def _first(self, where: str, members: Members) -> None:
        if not self._whole:
            return
        if members["seq"] != 1:
            self.report.problem(where, f"the chain begins with seq {members['seq']}: what was before it is gone")
        elif members["prev"] is not None or members["event"] != "start" or members["instance"] != self.report.chain:
            self.report.problem(where, "the first record is not this chain's start")

    def _mac(self, where: str, raw: bytes, members: Members) -> None:
        mac = members["mac"]
        self.report.keyed += mac is not None
        if not self._keys:
            return
        if mac is None:
            self.report.problem(where, "no mac, although a key is given")
        elif not mac_holds(raw, str(mac), self._keys):
            self.report.problem(where, "mac does not hold under any given key")

    def _pairs(self, where: str, members: Members) -> None:
        decision_id = str(members.get("decision_id"))
        match members["event"]:
            case "intent" if decision_id in self.report.open_intents:
                self.report.problem(where, "a second intent with this decision_id")
            case "intent":
                self.report.open_intents[decision_id] = where
            case "outcome" if self.report.open_intents.pop(decision_id, None) is None and self._whole:
                self.report.problem(where, "an outcome without an open intent: closed twice, or never begun")


def lines_of(path: Path) -> Iterator[bytes]:
    """The file's lines with their newlines; one above the bound comes in pieces, none of which is a record."""
    with path.open("rb") as file:
        while raw := file.readline(MAX_LINE_BYTES):
            yield raw


def _cuts(paths: Sequence[Path]) -> dict[str, int]:
    """For files set aside as suspect: the last record that counts, as a later file's first line says."""
    cuts: dict[str, int] = {}
    for path in paths:
        first = first_record(path)
        suspects, last_good = first.get("suspect"), first.get("last_good")
        if first.get("event") == "recovery" and isinstance(suspects, list) and isinstance(last_good, dict):
            seq = last_good.get("seq")
            cuts |= {name: seq for name in suspects if type(name) is str and type(seq) is int}
    return cuts


def first_record(path: Path) -> Members:
    """The members of a file's first line; none if it is not a record. Raises: OSError."""
    raw = next(lines_of(path), b"")
    members = parse_line(raw[:-1]) if raw.endswith(b"\n") else {}
    return {} if isinstance(members, str) else members


def verify(
    paths: Iterable[Path], *, keys: Sequence[MacKey] = (), checkpoints: Mapping[str, list[Claim]], whole: bool
) -> list[ChainReport]:
    """Verifies all chains among the files, each against what later chains and checkpoints say of it.

    `whole` says that the files are all there ever were, as in a directory. Raises: OSError.
    """
    chains = {name: [path for _, path in segments] for name, segments in chains_in(iter(paths)).items()}
    claims = _heads_named(chains)
    if not whole:
        claims = {name: named for name, named in claims.items() if name in chains}
    for name, named in checkpoints.items():
        claims[name] = [*claims.get(name, ()), *named]
    reports = []
    for name in sorted(chains.keys() | claims.keys()):
        entire = whole or _starts_at_one(chains.get(name, ()))
        reader = ChainReader(name, keys=keys, claims=claims.get(name, ()), whole=entire)
        reports.append(reader.read(chains.get(name, ())))
    return reports


def _starts_at_one(paths: Sequence[Path]) -> bool:
    return bool(paths) and first_record(paths[0]).get("seq") == 1


def _heads_named(chains: Mapping[str, Sequence[Path]]) -> dict[str, list[Claim]]:
    named: dict[str, list[Claim]] = {}
    for chain, paths in chains.items():
        start = first_record(paths[0])
        heads = start.get("heads")
        if start.get("event") != "start" or not isinstance(heads, dict):
            continue
        for other, head in heads.items():
            if claim := claim_of(head, f"the start of chain {chain}"):
                named.setdefault(other, []).append(claim)
    return named


def claim_of(head: object, source: str) -> Claim | None:
    """What an object with `seq` and `head` claims, if it is one."""
    if not isinstance(head, dict) or type(head.get("seq")) is not int or not is_hex(head.get("head")):
        return None
    return Claim(head["seq"], head["head"], source)
