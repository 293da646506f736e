"""Files to documents: bounded, regular, UTF-8."""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.document.compose import compose
from gateway.document.nodes import Node
from gateway.errors import InvalidConfiguration, Problem

MAX_FILE_BYTES = 4 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class FileBytes:
    """What was read of a file, and its mode at that moment."""

    content: bytes
    mode: int


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> FileBytes:
    """The whole of a regular file.

    Raises: InvalidConfiguration if it cannot be read, is no regular file, or is longer than `max_bytes`.
    """
    try:
        # O_NONBLOCK: a FIFO in the place of a file must not hold up the start.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(max_bytes + 1) if stat.S_ISREG(mode) else b""
    except OSError as exc:
        raise InvalidConfiguration([Problem(str(path), 1, 1, f"cannot be read: {exc.strerror}")]) from exc
    if not stat.S_ISREG(mode):
        raise InvalidConfiguration([Problem(str(path), 1, 1, "not a regular file")])
    if len(content) > max_bytes:
        raise InvalidConfiguration([Problem(str(path), 1, 1, f"larger than {max_bytes} bytes")])
    return FileBytes(content, mode)


def parse_document(file: str, content: bytes) -> tuple[Node, list[Problem]]:
    """The document of a file's bytes and the problems of its form.

    Raises: InvalidConfiguration if the bytes are not UTF-8 without byte order mark, or not YAML at all.
    """
    if content.startswith((_BOM, b"\xff\xfe", b"\xfe\xff")):
        raise InvalidConfiguration([Problem(file, 1, 1, "a byte order mark: save the file as plain UTF-8")])
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        start = content.rfind(b"\n", 0, exc.start) + 1
        column = len(content[start : exc.start].decode("utf-8")) + 1
        raise InvalidConfiguration([Problem(file, line, column, "not UTF-8")]) from exc
    with all_kept():
        return compose(file, text)


@contextmanager
def all_kept() -> Iterator[None]:
    """Holds the cycle collector while a document is read: nothing of it is garbage, and each pass walks all of it.

    With 10,000 rules that is more than half of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
