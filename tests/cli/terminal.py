"""A command on a terminal of its own: what a person would see of it, and type."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.cli.running import END_S
from tests.support.forked import COMMAND

COLUMNS, ROWS = 100, 40
_PIECE = re.compile(r"\x1b\[([0-9;?]*)([a-zA-Z])|\r|\n|[^\x1b\r\n]")


@dataclass
class Terminal:
    """A running command and the other end of its terminal; `seen` is all it wrote."""

    process: subprocess.Popen[bytes]
    end: int
    seen: str = ""
    # A read may end in the middle of a character.
    decoder: codecs.IncrementalDecoder = field(default_factory=codecs.getincrementaldecoder("utf-8"))

    def until(self, pattern: str) -> str:
        """Reads until the pattern has come; returns everything so far."""
        deadline = time.monotonic() + END_S
        while not re.search(pattern, self.seen) and self._read(deadline):
            pass
        assert re.search(pattern, self.seen), self.seen
        return self.seen

    def types(self, text: str) -> None:
        """Types."""
        os.write(self.end, text.encode())

    def interrupts(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def exit_code(self) -> int:
        """Reads to the end and returns the exit code."""
        deadline = time.monotonic() + END_S
        while self._read(deadline):
            pass
        return self.process.wait(END_S)

    def _read(self, deadline: float) -> bool:
        # A command that waits for a key while its test waits for words would wait for ever.
        if not select.select([self.end], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            piece = os.read(self.end, 65_536)
        except OSError:  # Linux says EIO where the other end is closed
            return False
        self.seen += self.decoder.decode(piece)
        return bool(piece)


def drawn(text: str, columns: int, rows: int = ROWS) -> list[str]:
    """What stands on the lowest rows of a terminal after `text`: it wraps, moves up and erases lines as they do."""
    lines, row, column = [""], 0, 0
    for piece in _PIECE.finditer(text):
        match piece[0], piece[2]:
            case "\r", _:
                column = 0
            case "\n", _:
                row += 1
            case _, "A":
                row -= int(piece[1] or 1)
            case _, "K":
                lines[row] = ""
            case sign, None:
                if column == columns:
                    row, column = row + 1, 0
                lines += [""] * (row + 1 - len(lines))
                lines[row] = lines[row][:column].ljust(column) + sign + lines[row][column + 1 :]
                column += 1
        lines += [""] * (row + 1 - len(lines))
    return [line.rstrip() for line in lines[-rows:]]


@contextmanager
def on_terminal(
    *arguments: str, env: Mapping[str, str], columns: int = COLUMNS, rows: int = ROWS
) -> Iterator[Terminal]:
    """Starts a command on a terminal of that size, and ends it."""
    end, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    words: Sequence[str] = [*COMMAND, *arguments]
    environment = {**os.environ, "TERM": "xterm-256color", **env}
    # In the background of a shell Ctrl-C is ignored, and a child would inherit that; a terminal of one's own does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(words, env=environment, stdin=other, stdout=other, stderr=other)
    finally:
        signal.signal(signal.SIGINT, before)
    os.close(other)
    try:
        yield Terminal(process, end)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(END_S)
        os.close(end)
