"""The lines that are written to audit logs from now on, across files and chains; whole lines, and each of them once.

Files are looked at again and again, because a gateway writes several, begins new ones, and closes what was left open in
old ones. A file that was written lately is held open: what `audit retire` takes away is read to its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Self

from gateway.audit.reader import MAX_LINE_BYTES
from gateway.audit.segment import NotAFile, chains_in, open_segment

MOST_OPEN = 32
"""The most files that are held open."""


@dataclass(slots=True)
class _Tail:
    """A file, how far it was given, and its size when it was last looked at."""

    path: Path
    offset: int = 0
    size: int = 0
    file: BufferedReader | None = None


class Following:
    """The lines that come to directories and files. Use as a context manager.

    `on_cut` is told of a file in which a line changed that was given. `block` is how many bytes are read at a time.
    """

    def __init__(self, paths: Sequence[Path], on_cut: Callable[[Path], None], *, block: int = 1024 * 1024) -> None:
        self._paths = paths
        self._on_cut = on_cut
        self._block = block
        self._tails: dict[Path, _Tail] = {}
        for path in self._segments():
            with suppress(FileNotFoundError, NotAFile), open_segment(path) as file:
                size = os.fstat(file.fileno()).st_size
                # A line that is being written is given when it is whole.
                self._tails[path] = _Tail(path, self._end_of_lines(file, size), size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for tail in self._tails.values():
            self._close(tail)

    def lines(self) -> Iterator[bytes]:
        """Yield the lines, without newlines, that are whole by now and were not given before.

        Raises: OSError: a directory or a file cannot be read.
        """
        segments = self._segments()
        gone = [path for path, tail in self._tails.items() if tail.file is not None and path not in segments]
        for path in (*gone, *segments):
            yield from self._lines_of(self._tails.setdefault(path, _Tail(path)))

    def _segments(self) -> dict[Path, None]:
        """Return the segments that are there, each chain's in order, and the chains in order of their names."""
        entries: list[Path] = []
        for path in self._paths:
            entries += path.iterdir() if path.is_dir() else [path]
        return {path: None for files in chains_in(entries).values() for _, path in files}

    def _lines_of(self, tail: _Tail) -> Iterator[bytes]:
        there = _status(tail.path)
        if tail.file is not None and (there is None or not os.path.samestat(there, os.fstat(tail.file.fileno()))):
            # What was written before it was taken away, or replaced.
            yield from self._grown(tail, tail.file)
            self._close(tail)
            tail.size = -1
        if there is not None and there.st_size != tail.size:
            tail.size = there.st_size
            with suppress(FileNotFoundError, NotAFile):
                yield from self._grown(tail, self._opened(tail))

    def _opened(self, tail: _Tail) -> BufferedReader:
        if tail.file is None:
            tail.file = open_segment(tail.path)
            # Those written last stand at the end.
            self._tails[tail.path] = self._tails.pop(tail.path)
            held = [other for other in self._tails.values() if other.file is not None]
            for other in held[:-MOST_OPEN]:
                self._close(other)
        return tail.file

    def _close(self, tail: _Tail) -> None:
        if tail.file is not None:
            tail.file.close()
            tail.file = None

    def _grown(self, tail: _Tail, file: BufferedReader) -> Iterator[bytes]:
        if tail.offset and os.pread(file.fileno(), 1, tail.offset - 1) != b"\n":
            # Cut back after a fault of the disk, or changed by somebody.
            self._on_cut(tail.path)
            tail.offset = self._end_of_lines(file, min(tail.offset, os.fstat(file.fileno()).st_size))
        most = self._block
        while data := os.pread(file.fileno(), most, tail.offset):
            end = data.rfind(b"\n") + 1
            if end == 0 and len(data) == most < MAX_LINE_BYTES:
                most *= 2
                continue
            if end == 0 and len(data) < most:
                return
            # A line above the bound is no record, and is given in pieces.
            whole = data[:end] if end else data
            tail.offset += len(whole)
            yield from whole.removesuffix(b"\n").split(b"\n")
            most = self._block

    def _end_of_lines(self, file: BufferedReader, size: int) -> int:
        """Return the offset behind the last newline before `size`."""
        while size:
            begin = max(0, size - self._block)
            block = os.pread(file.fileno(), size - begin, begin)
            if (found := block.rfind(b"\n")) >= 0:
                return begin + found + 1
            size = begin
        return 0


def _status(path: Path) -> os.stat_result | None:
    with suppress(FileNotFoundError):
        return path.lstat()
    return None
