"""The index of decisions: one SQLite file beside the chains that says in which lines the records of a decision stand.

It holds places and no content, so it can claim nothing: what is shown is read from the chains, line by line. It is
derived, and may be deleted at any time; `keeper` makes it again. Nobody waits for it to be durable.
"""

from __future__ import annotations

import os
import sqlite3
import stat
import struct
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from gateway.audit.reader import MAX_LINE_BYTES

NAME = "decisions.derived.sqlite"
LOCK = "decisions.derived.writer"
FORM = 1
"""The version of the tables; an index of another one is made again."""
_APPLICATION = 0x51474449
_WAIT_S = 0.25
"""How long one process waits for another that uses the file."""
_BESIDE = ("", "-wal", "-shm", "-journal")

_TABLES = """
CREATE TABLE chains (
  no INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, file INTEGER NOT NULL, offset INTEGER NOT NULL,
  seq INTEGER NOT NULL, size INTEGER NOT NULL, digest BLOB NOT NULL);
CREATE TABLE lines (
  team TEXT NOT NULL, decision BLOB NOT NULL, chain INTEGER NOT NULL, file INTEGER NOT NULL, places BLOB NOT NULL,
  PRIMARY KEY (team, decision, chain, file, places)) WITHOUT ROWID;
"""


class Position(NamedTuple):
    """How far a chain is indexed: up to `offset` of its file `file`, where its record `seq` ends.

    `size` is the length of that record's line with its newline, and `digest` the SHA-256 of the line without.
    """

    file: int
    offset: int
    seq: int
    size: int
    digest: bytes


class Place(NamedTuple):
    """The place of one line of a decision."""

    chain: str
    file: int
    offset: int
    size: int


Row = tuple[str, bytes, int, bytes]
"""Lines of one decision that stand close together: team, decision as 16 bytes, file, and the places of the lines.

The team is empty where none of these lines names it: they continue a decision, or join one.
"""

_PLACE = struct.Struct(">QI")
_MOST_OFFSET = 1 << 62
_KEY_BYTES = 16


def packed(places: Iterable[tuple[int, int]]) -> bytes:
    """Return places for the index, each an offset and a size."""
    return b"".join([_PLACE.pack(offset, size) for offset, size in places])


def discard(directory: Path) -> None:
    """Remove the index, whatever stands in its place. Raises: OSError: it cannot be removed."""
    for ending in _BESIDE:
        (directory / f"{NAME}{ending}").unlink(missing_ok=True)


def _connected(path: Path) -> sqlite3.Connection:
    # Opening never makes a file: one that is missing is made with its mode, by `Index.open`.
    link = sqlite3.connect(f"file:{_quoted(path)}?mode=rw", uri=True, timeout=_WAIT_S, isolation_level=None)
    link.execute("PRAGMA cache_size = -2048")
    link.execute("PRAGMA temp_store = MEMORY")
    return link


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


def _check_form(link: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless the file is an index of this form."""
    [[application]], [[form]] = link.execute("PRAGMA application_id"), link.execute("PRAGMA user_version")
    if (application, form) != (_APPLICATION, FORM):
        raise sqlite3.DatabaseError("an index of another form")


def _check(right: bool) -> None:  # noqa: FBT001 - the condition that holds in every row of ours
    """Raise sqlite3.DatabaseError unless it holds: a row that was not written by us is damage, as a garbled page is."""
    if not right:
        raise sqlite3.DatabaseError("a row of another kind")


def _check_kinds(row: Sequence[object], *kinds: type) -> None:
    """Raise sqlite3.DatabaseError unless each value is of its kind: SQLite takes any value into any column."""
    _check(all(type(value) is kind for value, kind in zip(row, kinds, strict=True)))


class Index:
    """The index as its only writer has it; use it on one thread. Every method raises sqlite3.Error."""

    def __init__(self, link: sqlite3.Connection, inode: int = 0) -> None:
        self._link = link
        self._inode = inode

    @classmethod
    def open(cls, directory: Path) -> Index:
        """Open the index, or make it if there is none, or one of another form.

        Raises:
            sqlite3.Error: it is damaged, or locked.
            OSError: it cannot be made.
        """
        path = directory / NAME
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                discard(directory)
        except FileNotFoundError:
            discard(directory)
        if not path.exists():
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        index = cls(_connected(path), path.lstat().st_ino)
        try:
            index._prepare()
        except BaseException:
            index.close()
            raise
        return index

    def _prepare(self) -> None:
        link = self._link
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("PRAGMA synchronous = NORMAL")
        link.execute("PRAGMA journal_size_limit = 4194304")
        tables = link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        if not tables:
            marks = f"PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {FORM};"
            link.executescript(f"BEGIN; {_TABLES} {marks} COMMIT;")
        _check_form(link)

    def is_in(self, directory: Path) -> bool:
        """Return whether this is still the index of the directory: it may be deleted at any time."""
        try:
            return (directory / NAME).lstat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Close the file."""
        self._link.close()

    def positions(self) -> dict[str, Position]:
        """Return how far each chain is indexed."""
        found = self._link.execute("SELECT name, file, offset, seq, size, digest FROM chains").fetchall()
        for row in found:
            _check_kinds(row, str, int, int, int, int, bytes)
        return {name: Position(*position) for name, *position in found}

    def add(self, chain: str, position: Position, rows: Iterable[Row]) -> None:
        """Add lines of a chain, and how far it is indexed with them, in one step."""
        link = self._link
        link.execute("BEGIN IMMEDIATE")
        with link:
            no = self._number(chain, position)
            insert = f"INSERT OR IGNORE INTO lines VALUES (?, ?, {no}, ?, ?)"  # noqa: S608 - our own number
            link.executemany(insert, rows)

    def _number(self, chain: str, position: Position) -> int:
        names = "name, file, offset, seq, size, digest"
        update = ", ".join(f"{name} = excluded.{name}" for name in names.split(", ")[1:])
        [[no]] = self._link.execute(
            f"INSERT INTO chains ({names}) VALUES (?, ?, ?, ?, ?, ?) "  # noqa: S608 - names of columns, from above
            f"ON CONFLICT (name) DO UPDATE SET {update} RETURNING no",
            (chain, *position),
        ).fetchall()
        return int(no)

    def forget(self, chain: str) -> None:
        """Remove everything about a chain."""
        link = self._link
        link.execute("BEGIN IMMEDIATE")
        with link:
            for [no] in link.execute("SELECT no FROM chains WHERE name = ?", (chain,)).fetchall():
                link.execute("DELETE FROM lines WHERE chain = ?", (no,))
                link.execute("DELETE FROM chains WHERE no = ?", (no,))


@dataclass(frozen=True, slots=True)
class Reading:
    """One reading of the index, for as long as it is entered. Every method raises sqlite3.Error."""

    link: sqlite3.Connection

    @classmethod
    def open(cls, directory: Path) -> Reading:
        """Open the index for reading, as it is now. Raises: sqlite3.Error: there is none, or it cannot be read."""
        link = _connected(directory / NAME)
        try:
            link.execute("PRAGMA query_only = 1")
            link.execute("BEGIN")
            _check_form(link)
        except BaseException:
            link.close()
            raise
        return cls(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.link.close()

    def indexed(self, chain: bytes) -> int:
        """Return the number of the last indexed record of a chain, 0 if there is none."""
        found = self.link.execute("SELECT seq FROM chains WHERE name = ?", (chain.decode("ascii"),)).fetchone()
        if found is None:
            return 0
        _check_kinds(found, int)
        return int(found[0])

    def places(self, team: str | None, decision: bytes) -> list[Place]:
        """Return where the lines of a decision of a team (None: of any) stand, the oldest first."""
        found = [
            row
            for one in (self._teams() if team is None else (team, ""))
            for row in self.link.execute(
                "SELECT chains.name, lines.file, places FROM lines JOIN chains ON chains.no = lines.chain "
                "WHERE team = ? AND decision = ?",
                (one, decision),
            )
        ]
        for row in found:
            _check_kinds(row, str, int, bytes)
            _check(len(row[-1]) % _PLACE.size == 0)
        places = sorted(Place(chain, file, *one) for chain, file, packed in found for one in _PLACE.iter_unpack(packed))
        _check(all(place.offset < _MOST_OFFSET and place.size <= MAX_LINE_BYTES for place in places))
        return places

    def of_team(self, team: str | None, *, before: bytes, most: int) -> list[bytes]:
        """Return the decisions of a team (None: of any) whose IDs are below `before`, the newest first.

        At most so many.
        """
        if team is None:
            of_each = [self.of_team(one, before=before, most=most) for one in self._teams() if one]
            return sorted({decision for some in of_each for decision in some}, reverse=True)[:most]
        found = self.link.execute(
            "SELECT DISTINCT decision FROM lines WHERE team = ? AND decision < ? ORDER BY decision DESC LIMIT ?",
            (team, before, most),
        ).fetchall()
        for row in found:
            _check_kinds(row, bytes)
            _check(len(row[0]) == _KEY_BYTES)
        return [decision for (decision,) in found]

    def _teams(self) -> list[str]:
        """Return every team that has lines; the empty name stands for lines that name none."""
        # The index is sorted by team, so each step is one look at it, however many lines a team has.
        found = self.link.execute(
            "WITH RECURSIVE teams(team) AS (SELECT min(team) FROM lines UNION ALL "
            "SELECT (SELECT min(team) FROM lines WHERE team > teams.team) FROM teams WHERE teams.team IS NOT NULL) "
            "SELECT team FROM teams WHERE team IS NOT NULL"
        ).fetchall()
        for row in found:
            _check_kinds(row, str)
        return [team for (team,) in found]


def positions(directory: Path) -> dict[str, Position]:
    """Return how far each chain is indexed, for a process that does not write the index. Raises: sqlite3.Error."""
    with closing(_connected(directory / NAME)) as link:
        return Index(link).positions()
