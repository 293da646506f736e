"""How many connections are open, and which of them gives way: the one that has been idle for longest."""

from __future__ import annotations

from typing import Protocol


class Evictable(Protocol):
    """A connection that can be told to go."""

    def evict(self) -> None:
        """Ends it at once; it has no request in flight."""


class Connections:
    """Every open connection; at most `most`, as far as idle ones (nothing asked, or half a head) can give way.

    Those with a request in flight are bounded by `max_in_flight` and the deadline of a body.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._idle: dict[Evictable, None] = {}
        self._busy: set[Evictable] = set()

    def opened(self, connection: Evictable) -> None:
        """A new one, idle; the longest idle one is ended if there are too many."""
        if len(self._idle) + len(self._busy) >= self._most and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.evict()
        self._idle[connection] = None

    def busy(self, connection: Evictable) -> None:
        """A whole head has arrived: it keeps its place."""
        self._idle.pop(connection, None)
        self._busy.add(connection)

    def idle(self, connection: Evictable) -> None:
        """Its answer is written: it may be ended, after those idle for longer."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._idle[connection] = None

    def closed(self, connection: Evictable) -> None:
        """It is gone."""
        self._busy.discard(connection)
        self._idle.pop(connection, None)
