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

from gateway.audit.chain import Members, parse_line
from gateway.audit.decisions.index import Found, Position
from gateway.audit.decisions.lines import SHOWN, key_of, seen, team_named
from gateway.audit.reader import MAX_LINE_BYTES
from gateway.audit.segment import named_segment, open_segment

SLICE_BYTES = 64 * 1024
"""About 90 lines: less than half a millisecond of work."""

START = Position(0, 0, 0, 0, b"")

Files = Mapping[int, Path]
"""The files of a chain, by their numbers."""


class Slice(NamedTuple):
    """Lines for the index, where they end, and for files that were set aside the last record that counts."""

    found: list[Found]
    position: Position
    cuts: list[tuple[int, int]]


class Changed(Exception):
    """Raised when a chain is not the one that was read before: cut back, written anew, or another one of that name."""


def is_behind(files: Files, position: Position) -> bool:
    """Return whether there may be more to read. Raises: OSError: a file cannot be looked at."""
    last = max(files)
    return last > position.file or files[last].stat().st_size != position.offset


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


def next_slice(files: Files, position: Position, *, strict: bool) -> Slice | None:
    """Return the lines after a position; None if there is no more.

    `strict` demands that they continue the line before. A chain that was damaged inside is read without.

    Raises:
        Changed: they do not, or what was read before is gone.
        OSError: a file cannot be read.
    """
    while True:
        path = files.get(position.file)
        if path is None and position.file:
            raise Changed
        data = b"" if path is None else _whole_lines(path, position.offset)
        if data:
            return _lines(files, position, data, strict=strict)
        later = [number for number in files if number > position.file]
        if not later:
            return None
        position = position._replace(file=min(later), offset=0)


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


def _lines(files: Files, position: Position, data: bytes, *, strict: bool) -> Slice:
    cuts: list[tuple[int, int]] = []
    if position.size and (strict or not position.offset):
        first = parse_line(data[: data.find(b"\n")])
        members = first if isinstance(first, Mapping) else {}
        cuts = [] if position.offset else _cuts(files, position, members)
        if strict and not cuts and members.get("prev") != position.digest.hex():
            raise Changed
    found, offset, seq, last = [], position.offset, position.seq, b""
    for line in data.split(b"\n")[:-1]:
        size = len(line) + 1
        at = seen(line)
        if at is not None:
            seq, last = at.seq, line
            if at.decision_id is not None and at.event in SHOWN:
                team = team_named(at.team) if at.begins and at.team is not None else None
                key = key_of(at.decision_id.decode("ascii"))
                found.append(Found(key, position.file, offset, size, seq, team))
        offset += size
    offset = position.offset + len(data)
    if not last:
        return Slice(found, position._replace(offset=offset), cuts)
    # The last record may be followed by what is none; its end is then not where the reading goes on.
    end = data.endswith(last + b"\n")
    digest = hashlib.sha256(last).digest()
    return Slice(found, Position(position.file, offset, seq, len(last) + 1 if end else 0, digest), cuts)


def _cuts(files: Files, position: Position, first: Members) -> list[tuple[int, int]]:
    """Return the files that the first line of another one sets aside, each with its last record that counts.

    As for `audit verify`, that line must itself be the next record after the last good one.
    """
    suspects, last_good = first.get("suspect"), first.get("last_good")
    if not isinstance(suspects, list) or not isinstance(last_good, dict):
        return []
    seq = last_good.get("seq")
    if type(seq) is not int or (seq + 1, last_good.get("head")) != (first["seq"], first["prev"]):
        return []
    names = {files[number].name: number for number in files if number < position.file}
    named = [named_segment(Path(str(name))) for name in suspects]
    return [(one[1], seq) for one, name in zip(named, suspects, strict=True) if one is not None and name in names]
