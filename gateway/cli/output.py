r"""The standard streams of a command. A fault of one neither ends the command nor changes what its exit code says.

- If the reader is gone, the rest is dropped without a word.
- On a full disk, or any other error, the rest is dropped, and standard error says so once.
- A stream that was closed from the start counts as such an error, and no file that is opened later takes its number.
- A character that the encoding lacks is spelled as its JSON escape, `\u` and four digits.
- Input that fails counts as the end of input; input that is not text becomes characters that match no answer.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

from gateway.core.forms.signs import is_seen

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

FAILED = 1

_SPELLED = "qstash-gateway-spelled"
_INDENT = "    "


def occupy() -> None:
    """Put the null device in the place of closed standard streams.

    Otherwise the next file that is opened would get such a number, and printed text would go into it. The device is
    opened in the wrong direction, so that every use fails and is noticed.
    """
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # `open` takes the lowest free number, which is this one.
            os.open(os.devnull, flags)


class Sink(io.RawIOBase):
    """An output stream that writes to a descriptor, and drops everything after the first error.

    `fault` is that error; `dropped` says whether anything was lost.
    """

    def __init__(self, descriptor: int, *, fault: OSError | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.fault = fault
        self.dropped = False

    def writable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether a person reads it."""
        return self.fault is None and os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        """Write all of `data`, or drop what cannot be written. Return its size; never raise."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self.fault is None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Another process that shares the terminal has made it non-blocking: it is only full for now.
                _await(self._descriptor, select.POLLOUT)
            except OSError as fault:
                self.fault = fault
        self.dropped = self.dropped or len(rest) > 0
        return size


class _Source(io.RawIOBase):
    """An input that reads from a descriptor until it fails; a failure is the end of input."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def readable(self) -> bool:
        """Return True."""
        return True

    def fileno(self) -> int:
        """Return the number of the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return whether a person types."""
        return os.isatty(self._descriptor)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Read into `buffer` and return the number of bytes; never raise."""
        while True:
            try:
                return os.readv(self._descriptor, [buffer])
            except BlockingIOError:
                _await(self._descriptor, select.POLLIN)
            except OSError:
                return 0


def _await(descriptor: int, events: int) -> None:
    poll = select.poll()
    poll.register(descriptor, events)
    poll.poll()


@dataclass(frozen=True, slots=True)
class Streams:
    """The streams of one command. `output` is None if a caller in this process has replaced standard output."""

    output: Sink | None

    def end(self, code: int, *, product: bool) -> int:
        """Report lost output, and return the exit code of a command that ended with `code`.

        `product` says that the command is run for its output: if that was lost, the command has failed.
        """
        sys.stdout.flush()
        fault = self.output.fault if self.output is not None and self.output.dropped else None
        # A reader that has left has seen enough.
        if fault is None or isinstance(fault, ConnectionError):
            return code
        print(f"qstash-gateway: standard output: {os.strerror(fault.errno or errno.EIO)}", file=sys.stderr)
        return FAILED if product and code == 0 else code


@contextmanager
def guarded() -> Iterator[Streams]:
    """Replace the standard streams by ones that never raise, while a command runs."""
    codecs.register_error(_SPELLED, _spell)
    before = sys.stdin, sys.stdout, sys.stderr
    # A stream that was closed when Python started is None.
    own = [now is then for now, then in zip(before, (sys.__stdin__, sys.__stdout__, sys.__stderr__), strict=True)]
    output = Sink(1, fault=_closed(sys.stdout)) if own[1] else None
    if own[0]:
        sys.stdin = _reading(sys.stdin)
    if output is not None:
        sys.stdout = _writing(output, sys.stdout)
    if own[2]:
        sys.stderr = _writing(Sink(2, fault=_closed(sys.stderr)), sys.stderr)
    now = sys.stdout, sys.stderr
    try:
        yield Streams(output)
    finally:
        for stream in now:
            stream.flush()
        # If the command has replaced the streams, its own stay until the process ends.
        if (sys.stdout, sys.stderr) == now:
            sys.stdin, sys.stdout, sys.stderr = before


def lost() -> bool:
    """Return whether printed text is known to reach nobody from now on."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return isinstance(raw, Sink) and raw.fault is not None


def wait_for_reader_to_leave(seconds: float) -> bool:
    """Wait for so long, or until the reader of standard output has left; return whether it has."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    # Asked for nothing, a poll tells only of errors and of the other end being gone. It waits for one at the least.
    return bool(poll.poll(seconds * 1000))


def printable(text: str) -> str:
    """Return the text with every character spelled out that a terminal could act on or hide."""
    if is_seen(text):
        return text  # looked at by one call instead of one a character
    return "".join(sign if is_seen(sign) else sign.encode("unicode_escape").decode() for sign in text)


def folded(text: str, stream: TextIO | None = None) -> str:
    """Break the text into lines that fit the terminal, if the stream (by default standard output) is one.

    Lines end after a space, a comma or `&`. No ID holds one of these, so no ID is broken; anything longer than a line
    stays whole.
    """
    if not (stream or sys.stdout).isatty():
        return text
    import shutil  # `serve` shares this module, and needs no archives, which shutil loads

    width = shutil.get_terminal_size().columns
    lines = [""]
    for piece in re.findall(r"[^ ,&]*[ ,&]+|[^ ,&]+", text):
        if _columns(lines[-1]) + _columns(piece.rstrip()) > width and lines[-1].strip():
            lines.append(_INDENT)
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def _columns(text: str) -> int:
    """Return how many columns of a terminal the text takes: signs of East Asia take two."""
    return len(text) + sum(unicodedata.east_asian_width(sign) in "WF" for sign in ("" if text.isascii() else text))


def fault_in_words(fault: Exception) -> str:
    """Return what went wrong, safe for any terminal. A failed system call names its subject, but not its number."""
    if not isinstance(fault, OSError) or fault.strerror is None:
        return printable(str(fault))
    about = "" if fault.filename is None else f"{fault.filename}: "
    return printable(f"{about}{fault.strerror}")


def printable_json(text: str) -> str:
    """Return JSON with every character escaped that a terminal could act on or hide. Its meaning and line ends stay."""
    if is_seen(text):
        return text
    return "".join(sign if is_seen(sign) or sign == "\n" else spelled(sign) for sign in text)


def spelled(text: str) -> str:
    r"""Return every character of the text as a JSON escape, like \u00fc; a character above U+FFFF becomes two."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


def _closed(stream: TextIO | None) -> OSError | None:
    return OSError(errno.EBADF, os.strerror(errno.EBADF)) if stream is None else None


def _writing(sink: Sink, like: TextIO | None) -> TextIO:
    # Like Python: if it was told not to buffer, no buffer is put in between.
    unbuffered = bool(getattr(like, "write_through", False))
    return io.TextIOWrapper(
        cast(BinaryIO, sink) if unbuffered else io.BufferedWriter(sink),
        encoding=like.encoding if like is not None else "utf-8",
        errors=_SPELLED,
        line_buffering=bool(getattr(like, "line_buffering", False)),
        write_through=unbuffered,
    )


def _reading(like: TextIO | None) -> TextIO:
    source = io.BufferedReader(_Source(0))
    return io.TextIOWrapper(source, encoding=like.encoding if like is not None else "utf-8", errors="replace")
