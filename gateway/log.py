"""The two diagnostic streams: the operators' log on standard error, copies of the record on standard output.

The actions of callers are in the audit log, not in the operators' log. Writing a line never blocks and never fails: a
console takes it at once, and its own thread writes it as soon as the descriptor accepts it.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import fcntl
import io
import json
import logging
import os
import select
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TextIO, cast

import structlog

from gateway.process import place

MAX_HELD_BYTES = 8 * 1024 * 1024
"""The most bytes of lines held for a descriptor that does not accept them; further lines are dropped and counted."""

RETRY_S = 0.5
"""The pause before a failed descriptor is tried again: its reader may return, or its disk have room again."""

TICK_S = 0.001
"""The pause after a write that would block, in case the descriptor has room, but not for a whole batch."""

STUCK_S = 2.0
"""The time, in seconds, that a line may wait for its reader before a notice says so."""

CLOSE_S = 0.5
"""How long, in seconds, the process waits for each descriptor when it ends."""

MAX_BATCH_LINES = 64
MAX_PART_CHARS = 65_536
"""The length at which a text without a line end is written as a line."""


class Console:
    """A writer of lines to a descriptor, on its own thread. Whatever fails, only `close` ends it.

    A batch is one long line, or several whole lines of at most PIPE_BUF bytes, which a pipe takes whole or not at all.
    A line written in part is completed before another begins; `turn` ensures that for two consoles on one file.
    """

    def __init__(
        self, descriptor: int, *, max_held_bytes: int = MAX_HELD_BYTES, turn: threading.Lock | None = None
    ) -> None:
        self.dropped_lines = 0
        # A duplicate, so that nothing else can take over the number if the original is closed.
        self._descriptor = _duplicate(descriptor)
        self._max_held_bytes = max_held_bytes
        self._turn = turn or threading.Lock()
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._taken = 0
        self._fault = "it is closed to writing" if self._descriptor is None else None
        self._waiting_since_s: float | None = None
        self._dropping = False
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="console", daemon=True)
        with hearing_no_signal():
            self._thread.start()

    @property
    def notice(self) -> str | None:
        """Why lines are not written, with how many wait and how many were dropped; None while all is well."""
        since_s, fault = self._waiting_since_s, self._fault
        if fault is None and since_s is not None and time.monotonic() - since_s >= STUCK_S:
            fault = "nobody reads it"
        if fault is None and self._dropping:
            fault = "it is read too slowly"
        if fault is None or not (self._held or self.dropped_lines):
            return None
        return f"{fault}: {len(self._held)} lines wait, {self.dropped_lines} were dropped since the start"

    def copy(self, lines: list[bytes]) -> None:
        """Take lines to be written, in order. Never waits for the reader, never raises."""
        size = sum(map(len, lines))
        with self._changed:
            if self._descriptor is None or self._held_bytes + size > self._max_held_bytes:
                self.dropped_lines += len(lines)
                self._dropping = True
                return
            self._held += lines
            self._held_bytes += size
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Wait up to `timeout_s` seconds until the held lines are written; a second call does not wait."""
        if self._closing.is_set():
            return
        self._closing.set()
        with self._changed:
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._descriptor is None:
            return
        try:
            while self._has_lines():
                # Keep the turn until no line is half written; the other console's lines come after it.
                with self._turn:
                    alive = self._attempt(self._descriptor)
                    while alive and self._taken:
                        alive = self._attempt(self._descriptor)
                if not alive:
                    return
        finally:
            os.close(self._descriptor)
            self._give_up()

    def _has_lines(self) -> bool:
        """Wait for lines; return False if there are none and none will come."""
        with self._changed:
            while not self._held:
                self._dropping = False
                if self._closing.is_set():
                    return False
                self._changed.wait()
            return True

    def _attempt(self, descriptor: int) -> bool:
        """Write once, and pause if that failed; return whether to go on."""
        last = self._closing.is_set()
        self._waiting_since_s = self._waiting_since_s or time.monotonic()
        try:
            self._advance(_written(descriptor, self._batch()))
        except BlockingIOError:
            writable = _writable(descriptor, RETRY_S)
            self._closing.wait(TICK_S)
            return writable or not last
        except OSError as error:
            self._fault = error.strerror or "it failed"
            self._closing.wait(RETRY_S)
            return not last
        self._fault = self._waiting_since_s = None
        return True

    def _batch(self) -> bytes:
        with self._changed:
            if self._taken:
                return self._held[0][self._taken :]
            batch = self._held[0]
            for line in islice(self._held, 1, MAX_BATCH_LINES):
                if len(batch) + len(line) > select.PIPE_BUF:
                    break
                batch += line
            return batch

    def _advance(self, written: int) -> None:
        with self._changed:
            self._taken += written
            while self._held and self._taken >= len(self._held[0]):
                line = self._held.popleft()
                self._taken -= len(line)
                self._held_bytes -= len(line)

    def _give_up(self) -> None:
        with self._changed:
            self._descriptor, self._fault = None, self._fault or "it is closed"
            self.dropped_lines += len(self._held)
            self._held.clear()


@dataclass(frozen=True, slots=True)
class Consoles:
    """The two consoles of the process."""

    out: Console
    err: Console

    @classmethod
    def of(cls, out: int = 1, err: int = 2) -> Consoles:
        """Make the consoles of two descriptors."""
        turn = threading.Lock() if _is_same_file(out, err) else None
        return cls(Console(out, turn=turn), Console(err, turn=turn))

    def notices(self) -> list[str]:
        """Return notices of consoles that do not write, for `/readyz`: operators cannot read them on the streams."""
        named = (("output", self.out.notice), ("error", self.err.notice))
        return [f"standard {name} takes no lines, {notice}" for name, notice in named if notice is not None]

    def take_over(self) -> None:
        """Route everything else that is printed through the consoles: tracebacks, warnings, output of libraries.

        This lasts until the process ends; it then waits up to CLOSE_S for each console's lines.
        """
        sys.stdout = cast(TextIO, _Printed(self.out))
        sys.stderr = cast(TextIO, _Printed(self.err))
        atexit.register(self._close)

    def _close(self) -> None:
        self.out.close(CLOSE_S)
        self.err.close(CLOSE_S)


class _Printed(io.TextIOBase):
    """A text stream whose whole lines go to a console; neither `write` nor `flush` waits."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = threading.local()

    def writable(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Take a text; the part after its last line end is held until its own line end comes."""
        *whole, part = (getattr(self._begun, "text", "") + text).split("\n")
        if len(part) > MAX_PART_CHARS:
            whole, part = [*whole, part], ""
        self._begun.text = part
        if whole:
            self._console.copy([f"{line}\n".encode("utf-8", "backslashreplace") for line in whole])
        return len(text)


class _Said:
    """The logger that structlog passes rendered lines to."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def info(self, line: str) -> None:
        """Take one line, without its line end."""
        self._console.copy([f"{line}\n".encode("utf-8", "backslashreplace")])

    error = warning = info


def make_log(console: Console) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose processors cannot be changed by global configuration."""
    log: structlog.typing.FilteringBoundLogger = structlog.wrap_logger(
        _Said(console),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(sort_keys=True),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
        cache_logger_on_first_use=True,
    )
    return log


class _LibraryLine(logging.Formatter):
    """The form of a library's warning: one line of JSON, without anything that may come from a caller.

    Of an exception it names the class and the place, never the text or the traceback; of a message, the fixed template
    with its numbers filled in.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its line end."""
        fault = record.exc_info[1] if record.exc_info else None
        members: dict[str, object] = {
            "event": "library",
            "level": record.levelname.lower(),
            "logger": record.name,
            "timestamp": f"{datetime.fromtimestamp(record.created, UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
        }
        if fault is not None:
            members |= {"error": type(fault).__name__, "at": place(fault)}
        elif isinstance(record.msg, str):
            members["found"] = record.getMessage() if _are_numbers(record.args) else record.msg
        return json.dumps(members, sort_keys=True)


def _are_numbers(args: object) -> bool:
    return isinstance(args, tuple) and all(isinstance(arg, (int, float)) for arg in args)


def quiet_libraries() -> None:
    """Let only warnings and errors of libraries through, each as one line of JSON on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_LibraryLine())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _duplicate(descriptor: int) -> int | None:
    """Return a duplicate of the descriptor; None if it can never be written to, so that every line is dropped."""
    try:
        own = os.dup(descriptor)
    except OSError:
        return None
    if fcntl.fcntl(own, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
        return own
    os.close(own)
    return None


def _written(descriptor: int, data: bytes) -> int:
    written = os.write(descriptor, data)
    if not written:
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    return written


def _writable(descriptor: int, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(wait_s * 1000))


def _is_same_file(one: int, other: int) -> bool:
    try:
        return os.path.sameopenfile(one, other)
    except OSError:
        return False


@contextlib.contextmanager
def hearing_no_signal() -> Iterator[None]:
    """Block all signals in threads started inside, so that other threads receive them.

    Otherwise a signal that the main thread holds back would end the process through a thread that does not.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
