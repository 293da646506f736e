"""A chain read in slices, from where a reading ended before: the lines for the index, and where the next slice begins.

whole lines only      an unfinished last line waits for its end, or for the recovery that cuts it off
a set-aside file      what stands after its last good record is taken back, as `audit verify` disregards it
a chain that differs  ends the reading: the caller forgets what it had of the chain, and reads it from its start
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway.audit.chain import parse_line
from gateway.audit.decisions.index import Position, Row, packed
from gateway.audit.decisions.lines import SHOWN, key_of, seen, team_named
from gateway.audit.reader import MAX_LINE_BYTES, cuts_in
from gateway.audit.segment import open_segment

SLICE_BYTES = 64 * 1024
"""About 90 lines: less than half a millisecond of work."""

START = Position(0, 0, 0, 0, b"")

Files = Mapping[int, Path]
"""The files of a chain, by their numbers."""


class Slice(NamedTuple):
    """Rows for the index, and where their lines end."""

    rows: list[Row]
    position: Position


class Changed(Exception):
    """Raised when a chain is not the one that was read before: cut back, written anew, or another one of that name."""


def is_behind(files: Files, position: Position) -> bool:
    """Return whether there may be more to read. Raises: OSError: a file cannot be looked at."""
    last = max(files)
    return last > position.file or files[last].stat().st_size != position.offset


def has_lines(files: Files) -> bool:
    """Return whether a chain has anything that can be read, and so can be indexed."""
    try:
        return next_slice(files, START, cuts={}) is not None
    except (OSError, Changed):
        return False


def check_end(files: Files, position: Position) -> None:
    """Look at the last line that was read. As each line names the one before, it speaks for all of them.

    Raises:
        Changed: it is not the line that was read.
        OSError: the file cannot be read.
    """
    if not position.size:
        return
    path = files.get(position.file)
    line = b"" if path is None else _piece(path, position.offset - position.size, position.size)
    if hashlib.sha256(line[:-1]).digest() != position.digest or line[-1:] != b"\n":
        raise Changed


def cuts_of(files: Files) -> dict[int, int]:
    """Return the files that were set aside, each with the number of its last record that counts.

    Raises: OSError: a file cannot be read.
    """
    numbers = {path.name: number for number, path in files.items()}
    return {numbers[name]: seq for name, seq in cuts_in([files[number] for number in sorted(files)], ()).items()}


def next_slice(files: Files, position: Position, *, cuts: Mapping[int, int] | None) -> Slice | None:
    """Return the lines after a position; None if there is no more.

    They must continue the line before, unless `cuts` are given: then the chain is read from its start, whatever is in
    it, without what stands in files that were set aside.

    Raises:
        Changed: they do not, or what was read before is gone, or a file that was read before was set aside.
        OSError: a file cannot be read.
    """
    while True:
        path = files.get(position.file)
        if path is None and position.file:
            raise Changed
        data = b"" if path is None else _whole_lines(path, position.offset)
        if data:
            if cuts is None:
                _check_beginning(position, data)
            return _lines(position, data, last_good=None if cuts is None else cuts.get(position.file))
        later = [number for number in files if number > position.file]
        if not later:
            return None
        position = position._replace(file=min(later), offset=0)


def _check_beginning(position: Position, data: bytes) -> None:
    """Raise Changed unless the first line continues the last one that was read, and sets no file aside."""
    first = parse_line(data[: data.find(b"\n")])
    members = first if isinstance(first, Mapping) else {}
    set_aside = not position.offset and "suspect" in members
    if set_aside or (position.size and members.get("prev") != position.digest.hex()):
        raise Changed


def _whole_lines(path: Path, offset: int) -> bytes:
    """Return whole lines from there on, at least one unless the file ends before its end. Raises: Changed, OSError."""
    size = SLICE_BYTES
    while True:
        data = _piece(path, offset, size)
        end = data.rfind(b"\n") + 1
        if end or len(data) < size or size >= MAX_LINE_BYTES:
            # What is longer than any line is no record: it is passed over, as by every reader of the log.
            return data[:end] if end or len(data) < size else data
        size *= 8


def _piece(path: Path, offset: int, size: int) -> bytes:
    with open_segment(path) as file:
        if offset < 0 or os.fstat(file.fileno()).st_size < offset:
            raise Changed
        return os.pread(file.fileno(), size, offset)


def _lines(position: Position, data: bytes, *, last_good: int | None) -> Slice:
    """Return the rows of whole lines; records after the last good one are passed over."""
    teams: dict[bytes, str] = {}
    places: dict[bytes, list[tuple[int, int]]] = {}
    offset, seq, last = position.offset, position.seq, b""
    for line in data.split(b"\n")[:-1]:
        size = len(line) + 1
        at = seen(line)
        if at is not None and (last_good is None or at.seq <= last_good):
            seq, last = at.seq, line
            if at.decision_id is not None and at.event in SHOWN:
                places.setdefault(at.decision_id, []).append((offset, size))
                if at.begins and at.team is not None:
                    teams[at.decision_id] = team_named(at.team) or ""
        offset += size
    rows = [
        (teams.get(name, ""), key_of(name.decode("ascii")), position.file, packed(found))
        for name, found in places.items()
    ]
    if not last:
        return Slice(rows, position._replace(offset=offset))
    # The last record may be followed by what is none; its end is then not where the reading goes on.
    end, digest = data.endswith(last + b"\n"), hashlib.sha256(last).digest()
    return Slice(rows, Position(position.file, offset, seq, len(last) + 1 if end else 0, digest))
