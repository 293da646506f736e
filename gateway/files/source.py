"""The reader of documents from files, which must be bounded, regular and in UTF-8."""

from __future__ import annotations

import gc
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.core.errors import InvalidConfiguration, Problem
from gateway.files.nodes import Node
from gateway.files.yaml_text import compose

MAX_FILE_BYTES = 4 * 1024 * 1024
MAX_GUESSED_NAME = 15

_WORD = (
    "account|app|api|conf|config|data|etc|files?|gateway|keys?|main|mnt|opt|prod|qstash|read|readonly|ro|run|rw|secrets?"
    "|srv|staging|test|tls|tokens?|txt|upstash|var|vault|workflows?|write"
)
_CONVENTIONAL = re.compile(rf"\.?(?:{_WORD})(?:[-_.](?:{_WORD}))*", re.IGNORECASE)
"""The usual names of files with secrets and of their directories: a closed list of words, so that no secret is one."""

BY_ANYONE = "anyone on this machine could change it: chmod o-w"

_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
BYTE_ORDER_MARK = "a byte order mark: save the file as plain UTF-8"


@dataclass(frozen=True, slots=True)
class FileBytes:
    """The content of a file, and whether anyone on the machine could change it when it was read."""

    content: bytes
    by_anyone: bool


def read_file(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> FileBytes:
    """Return the whole of a regular file that not everyone may change.

    Raises:
        InvalidConfiguration: anyone could change it, or as for `read_anyway`.
    """
    file = read_anyway(path, max_bytes=max_bytes)
    if file.by_anyone:
        raise InvalidConfiguration([Problem(str(path), 1, 1, BY_ANYONE)])
    return file


def read_anyway(path: Path, *, max_bytes: int = MAX_FILE_BYTES) -> FileBytes:
    """Return the whole of a regular file, whoever may change it: for callers that report that with the other faults.

    Raises:
        InvalidConfiguration: it cannot be read, is no regular file, or is longer than `max_bytes`.
    """
    try:
        # O_NONBLOCK: a FIFO in the place of a file must not block the start.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
            mode = os.fstat(file.fileno()).st_mode
            by_anyone = _changeable(mode, os.fstatvfs(file.fileno()))
            content = file.read(max_bytes + 1) if stat.S_ISREG(mode) else b""
    except OSError as exc:
        raise InvalidConfiguration([Problem(str(path), 1, 1, f"cannot be read: {exc.strerror}")]) from exc
    if not stat.S_ISREG(mode):
        raise InvalidConfiguration([Problem(str(path), 1, 1, "is not a regular file")])
    if len(content) > max_bytes:
        raise InvalidConfiguration([Problem(str(path), 1, 1, f"is larger than {max_bytes} bytes")])
    return FileBytes(content, by_anyone)


def anyone_may_change(path: Path) -> bool:
    """Return whether anyone on the machine could change this file, or what is in this directory.

    Raises:
        OSError: the path cannot be examined.
    """
    return _changeable(path.stat().st_mode, os.statvfs(path))


def anyone_may_read(path: Path) -> bool:
    """Return whether anyone on the machine can read this file, by its mode and those of its directories.

    A file that cannot be examined counts as one that nobody can read.
    """
    try:
        real = path.resolve(strict=True)
        modes = [directory.stat().st_mode for directory in real.parents]
        return bool(real.stat().st_mode & stat.S_IROTH) and all(mode & stat.S_IXOTH for mode in modes)
    except OSError:
        return False


def named(path: Path, *, most: int = MAX_GUESSED_NAME) -> str:
    """Return a path for a message, or only the part of it that exists: the name may be a secret, pasted by mistake.

    A name of at most `most` characters is always shown, because no secret is that short. So is one of the few words
    that files with secrets are called by.
    """
    hidden = unnamed(path, most=most)
    return str(path) if hidden is None else f"named here, {hidden},"


def unnamed(path: Path, *, most: int = MAX_GUESSED_NAME) -> str | None:
    """Return, in place of the path, where it lies and why it is not named; None if `named` may show it."""
    missing = [one for one in (path, *path.parents) if not os.path.lexists(one)]
    short = len(missing) == 1 and len(path.name) <= most
    if short or all(_CONVENTIONAL.fullmatch(one.name) for one in missing):
        return None
    above = next(parent for parent in path.absolute().parents if os.path.lexists(parent))
    return f"in or under {above} (its name is not shown, it may be the secret)"


def sentence(subject: str, fault: InvalidConfiguration) -> str:
    """Return what is wrong with a file as a sentence about `subject`, for a message at another place."""
    reasons = "; ".join(problem.message for problem in fault.problems)
    # Most reasons are predicates; the others are sentences of their own.
    if reasons.startswith(("cannot ", "is ")):
        return f"{subject} {reasons}"
    return f"{subject.removesuffix(',')}: {reasons}"


def _changeable(mode: int, system: os.statvfs_result) -> bool:
    # Kubernetes mounts a ConfigMap's directory with mode 0777, but read-only: nobody can change it there.
    return bool(mode & stat.S_IWOTH) and not system.f_flag & os.ST_RDONLY


def has_byte_order_mark(content: bytes) -> bool:
    """Return whether the bytes begin with a byte order mark of UTF-8 or UTF-16."""
    return content.startswith(_BYTE_ORDER_MARKS)


def parse_document(file: str, content: bytes) -> tuple[Node, list[Problem]]:
    """Return the document of a file's bytes and the problems of its form.

    Raises:
        InvalidConfiguration: the bytes are not UTF-8 without a byte order mark, or not YAML at all.
    """
    if has_byte_order_mark(content):
        raise InvalidConfiguration([Problem(file, 1, 1, BYTE_ORDER_MARK)])
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
    """Pause the garbage collector while a document is read: nothing in it is garbage, and each pass walks all of it.

    With 10,000 rules the passes take more than half of the time.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
