"""Copies of lines to standard output, where a reader that is slow or gone never holds up the log."""

from __future__ import annotations

import os
import threading
from collections import deque

MAX_HELD_BYTES = 8 * 1024 * 1024


class Console:
    """Writes to a descriptor from a thread of its own; what does not fit into its queue is dropped and counted."""

    def __init__(self, descriptor: int, *, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self.dropped_lines = 0
        # Its own descriptor, so that nothing else can come to stand behind the number if this one is closed.
        self._descriptor = _duplicate(descriptor)
        self._max_held_bytes = max_held_bytes
        self._held: deque[list[bytes]] = deque()
        self._held_bytes = 0
        self._broken = self._descriptor is None
        self._closing = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="audit-console", daemon=True)
        self._thread.start()

    def copy(self, lines: list[bytes]) -> None:
        """Takes lines to be written, in order; never waits for the reader."""
        size = sum(map(len, lines))
        with self._changed:
            if self._broken or self._held_bytes + size > self._max_held_bytes:
                self.dropped_lines += len(lines)
                return
            self._held.append(lines)
            self._held_bytes += size
            self._changed.notify()

    def close(self, timeout_s: float) -> None:
        """Waits for what is held to be written, but not for ever."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._descriptor is None:
            return
        try:
            while (lines := self._next()) is not None:
                try:
                    _write_all(self._descriptor, b"".join(lines))
                except OSError:
                    self._give_up(len(lines))
                    return
        finally:
            os.close(self._descriptor)

    def _next(self) -> list[bytes] | None:
        with self._changed:
            while not self._held:
                if self._closing:
                    return None
                self._changed.wait()
            lines = self._held.popleft()
            self._held_bytes -= sum(map(len, lines))
            return lines

    def _give_up(self, lines: int) -> None:
        with self._changed:
            self._broken = True
            self.dropped_lines += lines + sum(map(len, self._held))
            self._held.clear()


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None  # started with a closed standard output: every copy is counted as dropped


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
