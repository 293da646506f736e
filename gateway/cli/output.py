r"""The standard streams of a command: whatever happens to them neither ends it nor changes what its exit code says.

- The reader is gone: the rest is dropped without a word.
- A full disk, or any other error: the rest is dropped, and standard error says so once.
- Closed from the start: the same, and no file that is opened later takes its number.
- An encoding without the sign: the sign is spelled \uXXXX, which JSON reads as the sign.
- Input that fails or is no text: the end of input, or signs that are no answer.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO, cast

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

FAILED = 1

_SPELLED = "qstash-gateway-spelled"
_INDENT = "    "


def occupy() -> None:
    """Puts the null device in the place of closed standard streams.

    Otherwise the next file that is opened stands behind such a number, and what is printed goes into it. It can only be
    used the wrong way round, so that every use fails and shows.
    """
    for descriptor, flags in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_RDONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number is taken, and that is this one.
            os.open(os.devnull, flags)


class Sink(io.RawIOBase):
    """A descriptor that is written to until it fails; `fault` is why what comes after is `dropped`."""

    def __init__(self, descriptor: int, *, fault: OSError | None = None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self.fault = fault
        self.dropped = False

    def writable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the number of the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Returns whether a person reads it."""
        return self.fault is None and os.isatty(self._descriptor)

    def write(self, data: ReadableBuffer, /) -> int:
        """Writes all of it, or drops what cannot be written; returns its size and never raises."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        while rest and self.fault is None:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                # Somebody who shares the terminal has made it non-blocking: it is only full for now.
                _await(self._descriptor, select.POLLOUT)
            except OSError as fault:
                self.fault = fault
        self.dropped = self.dropped or len(rest) > 0
        return size


class _Source(io.RawIOBase):
    """A descriptor that is read from until it fails, which is the end of input."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def readable(self) -> bool:
        """Returns True."""
        return True

    def fileno(self) -> int:
        """Returns the number of the descriptor."""
        return self._descriptor

    def isatty(self) -> bool:
        """Returns whether a person types."""
        return os.isatty(self._descriptor)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Returns how many bytes were read; never raises."""
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
    """The streams of one command. `output` is None where a caller in this process has put others in their place."""

    output: Sink | None

    def end(self, code: int, *, product: bool) -> int:
        """Returns the exit code of a command that ended with `code`.

        `product` says that the command is run for what it prints: if that was lost, it has failed.
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
    """Puts streams that never raise in the place of the process's own, while a command runs."""
    codecs.register_error(_SPELLED, _spell)
    before = sys.stdin, sys.stdout, sys.stderr
    # Python knows a stream that was closed when it started as None.
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
        # A command that has put others in their place leaves them there to the end of the process.
        if (sys.stdout, sys.stderr) == now:
            sys.stdin, sys.stdout, sys.stderr = before


def lost() -> bool:
    """Returns whether what is printed from now on reaches nobody, as far as was seen."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", buffer)
    return isinstance(raw, Sink) and raw.fault is not None


def printable(text: str) -> str:
    """The text with everything a terminal could act on, or hide, spelled out."""
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def folded(text: str, stream: TextIO | None = None) -> str:
    """The text in lines that fit the terminal, where the stream (standard output) is one: no ID is broken in two.

    Lines end behind a space, a comma or `&`, none of which an ID holds; what is longer than a line stays whole.
    """
    if not (stream or sys.stdout).isatty():
        return text
    import shutil  # `serve` shares this module, and needs nothing of the archives that it loads

    width = shutil.get_terminal_size().columns
    lines = [""]
    for piece in re.findall(r"[^ ,&]*[ ,&]+|[^ ,&]+", text):
        if len(lines[-1]) + len(piece.rstrip()) > width and lines[-1].strip():
            lines.append(_INDENT)
        lines[-1] += piece
    return "\n".join(line.rstrip() for line in lines)


def fault_in_words(fault: Exception) -> str:
    """What went wrong, safe for any terminal: a system call's error by what it was about, without its number."""
    if not isinstance(fault, OSError) or fault.strerror is None:
        return printable(str(fault))
    about = "" if fault.filename is None else f"{fault.filename}: "
    return printable(f"{about}{fault.strerror}")


def printable_json(text: str) -> str:
    """JSON with the same spelled as JSON has it, so that it stays what it is; line ends stay as they are."""
    return "".join(sign if sign.isprintable() or sign == "\n" else spelled(sign) for sign in text)


def spelled(text: str) -> str:
    r"""Returns every sign of the text as JSON spells it, like \u00fc; one above U+FFFF as two."""
    units = text.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def _spell(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return spelled(error.object[error.start : error.end]), error.end


def _closed(stream: TextIO | None) -> OSError | None:
    return OSError(errno.EBADF, os.strerror(errno.EBADF)) if stream is None else None


def _writing(sink: Sink, like: TextIO | None) -> TextIO:
    # As Python does it: where it was told not to buffer there is nothing in between.
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
