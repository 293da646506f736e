"""The newest lines of the log, in memory, as they were written: what a decision is known by before any index has it.

The writer adds lines, on whichever thread it writes. Readers take a copy, which is one step of the interpreter.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.audit.decisions.lines import seen

MOST_BYTES = 6 * 1024 * 1024
"""Enough for 4,096 decisions with short requests: an intent of 900 bytes, an outcome of 450."""

_ID_WITHIN = 420
"""A line names its decision within its first bytes: the longest name of a chain has 128."""

_AT_ONCE = 256
"""After so many lines, a fifth of a millisecond, a search lets the event loop have the interpreter if it waits."""


@dataclass(slots=True)
class Latest:
    """The newest lines that this process wrote, at most MOST_BYTES of them; `dropped` is the last that gave way.

    `written_bytes` counts all that were ever added.
    """

    dropped: bytes | None = None
    written_bytes: int = 0
    _lines: deque[bytes] = field(default_factory=deque)
    _bytes: int = 0

    def add(self, lines: Sequence[bytes]) -> None:
        """Add lines that are in the log, in their order. Call it from one thread at a time."""
        added = sum(map(len, lines))
        self._lines.extend(lines)
        self.written_bytes += added
        size = self._bytes + added
        while size > MOST_BYTES:
            self.dropped = self._lines.popleft()
            size -= len(self.dropped)
        self._bytes = size

    def of(self, decision_id: str) -> list[bytes]:
        """Return the lines about one decision, in their order, and those of the requests that joined it."""
        name, lines, found = decision_id.encode("ascii"), list(self._lines), []
        for first in range(0, len(lines), _AT_ONCE):
            found += [line for line in lines[first : first + _AT_ONCE] if line.find(name, 0, _ID_WITHIN) >= 0]
            time.sleep(0)
        return found

    def kept(self) -> list[bytes]:
        """Return all lines that are still here, in their order."""
        return list(self._lines)

    def beyond(self, indexed: Callable[[bytes], int]) -> list[bytes] | None:
        """Return the lines after those that are indexed, in their order; None if some of these are not here any more.

        `indexed` returns the number of the last indexed record of a chain, 0 if there is none.
        """
        lines = list(self._lines)
        dropped = self.dropped  # looked at last, so that whatever gave way meanwhile counts as missing
        found: list[bytes] = []
        for line in reversed(lines):
            if (at := seen(line)) is not None and at.seq <= indexed(at.instance):
                return found[::-1]
            found.append(line)
        return found[::-1] if dropped is None or _is_in(dropped, indexed) else None


def _is_in(line: bytes, indexed: Callable[[bytes], int]) -> bool:
    at = seen(line)
    return at is not None and at.seq <= indexed(at.instance)
