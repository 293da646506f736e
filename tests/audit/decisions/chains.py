"""Chains written line by line, as a gateway writes them, and readings of the index beside them."""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit.chain import GENESIS, Head, Record, Sealer
from gateway.audit.decisions.finding import Decisions
from gateway.audit.decisions.index import NAME
from gateway.audit.decisions.keeper import Keeper
from gateway.audit.decisions.latest import Latest
from gateway.audit.segment import segment_path
from tests.support.waiting import PATIENCE_S

FIRST_NS = 1_760_000_000_000_000_000
WAIT_S = PATIENCE_S

Members = Mapping[str, object]


def an_id(number: int) -> str:
    """The ID of a decision, in order of the numbers."""
    return f"01890000-{number >> 16:04x}-7000-8000-{number & 0xFFFF:012x}"


def intent(number: int, team: str = "billing", **more: object) -> tuple[str, Members]:
    """The beginning of a decision that sends something."""
    return "intent", {
        "decision_id": an_id(number),
        "team": team,
        "principal": f"{team}/ci",
        "asked": {"label": ["a"], "count": 1},
        "enforced": "permit",
        "rule": f"{team}/own",
        "orders": ["label=a&count=1"],
        **more,
    }


def denied(number: int, team: str = "billing") -> tuple[str, Members]:
    """A refusal by policy."""
    return "denied", {**intent(number, team)[1], "enforced": "deny", "orders": []}


def outcome(number: int, name: str = "cancelled", cancelled: int | None = 1, **more: object) -> tuple[str, Members]:
    """The end of a decision."""
    status = 200 if name == "cancelled" else None
    members = {"outcome": name, "upstream_status": status, "cancelled": cancelled, "over_cancelled": 0, **more}
    return "outcome", {"decision_id": an_id(number), **members}


def settled(number: int, cancelled: int) -> tuple[str, Members]:
    """What was learnt later."""
    return "settled", {"decision_id": an_id(number), "source": "read_back", "cancelled": cancelled}


@dataclass
class Chain:
    """A chain whose files are written by hand."""

    directory: Path
    name: str = "01890000-0000-7000-8000-00000000000a"
    file: int = 1
    head: Head = GENESIS
    number: int = field(default=0)

    def lines(self, *records: tuple[str, Members]) -> list[bytes]:
        """Seals records, after what was sealed before."""
        sealed = [Record(FIRST_NS + self._next(), event, members) for event, members in records]
        lines, self.head = Sealer(self.name, key=None).seal(self.head, sealed)
        return lines

    def write(self, *records: tuple[str, Members]) -> list[bytes]:
        """Appends records to the last file."""
        return self.append(self.lines(*records))

    def append(self, lines: Sequence[bytes]) -> list[bytes]:
        """Appends lines to the last file."""
        with segment_path(self.directory, self.name, self.file).open("ab") as file:
            file.write(b"".join(lines))
        return list(lines)

    @property
    def path(self) -> Path:
        """The last file."""
        return segment_path(self.directory, self.name, self.file)

    def _next(self) -> int:
        self.number += 1_000_000
        return self.number


@dataclass
class Told:
    """What operators were told."""

    lines: list[tuple[str, Members]] = field(default_factory=list)

    def error(self, event: str, **members: object) -> None:
        self.lines.append((event, members))


def reader(directory: Path, latest: Latest | None = None) -> Decisions:
    """Decisions whose index is kept by a thread, which has caught up once."""
    latest = latest or Latest()
    keeper = Keeper(directory, latest, operators_log=Told())
    keeper.start()
    assert keeper.looks(WAIT_S)
    return Decisions(directory, latest, keeper)


def indexed(directory: Path) -> tuple[set[tuple[object, ...]], set[tuple[object, ...]]]:
    """All that the index says, however its rows are cut: the place of each line, and whose each decision is."""
    with closing(sqlite3.connect(directory / NAME)) as link:
        rows = link.execute(
            "SELECT team, decision, chains.name, lines.file, places FROM lines JOIN chains ON chains.no = chain"
        ).fetchall()
    places = {
        (decision, chain, file, *place)
        for _, decision, chain, file, packed in rows
        for place in struct.iter_unpack(">QI", packed)
    }
    return places, {(team, decision) for team, decision, *_ in rows if team}


def states(decisions: Decisions, numbers: Sequence[int], team: str = "billing") -> list[str | None]:
    """What became of decisions, None for those that there are not."""
    assert decisions.keeper.looks(WAIT_S)
    found = [decisions.find(an_id(number), team) for number in numbers]
    return [None if one is None else one.state for one in found]
