"""How many connections are open, and which of them gives way: of the team with most, the one idle for longest."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

MOST_UNTAKEN_BYTES = 32 * 1024 * 1024
"""Bytes of answers that were written and that their callers have not taken yet, over all connections."""

TEAM = "gateway.team"
"""Where the state of an ASGI scope holds the team of a caller, once it is known."""


class Evictable(Protocol):
    """A connection that can be told to go."""

    @property
    def team(self) -> str | None:
        """The team that last asked something over it; None where nobody has yet that is known."""

    def evict(self) -> None:
        """Ends the connection at once."""

    def untaken_bytes(self) -> int:
        """Returns how many bytes of answers wait for the caller to take them."""


class Connections:
    """Every open connection; there are never more than `most`.

    One gives way while it has no whole request in flight: nothing was asked, a handshake, a head or a body is on its
    way, or the answer is written. Those with a whole request are bounded by `max_in_flight` and as many joins; should
    there be no other, the newest connection is not taken.
    """

    def __init__(self, most: int, *, most_untaken_bytes: int = MOST_UNTAKEN_BYTES) -> None:
        self._most = most
        self._most_untaken_bytes = most_untaken_bytes
        self._idle: dict[str | None, dict[Evictable, None]] = {}
        self._team_of: dict[Evictable, str | None] = {}
        self._busy: set[Evictable] = set()
        self._untaken: dict[Evictable, None] = {}

    def opened(self, connection: Evictable, *, instead_of: Evictable | None = None) -> None:
        """Takes in a new one, idle; the longest idle one of the team with most is ended if there are too many."""
        if instead_of is not None:
            self.closed(instead_of)
        if len(self._team_of) + len(self._busy) >= self._most:
            most = max(self._idle.values(), key=len, default=None)
            if most is None:
                connection.evict()
                return
            oldest = next(iter(most))
            self._leave(oldest)
            oldest.evict()
        self._wait(connection)

    def busy(self, connection: Evictable) -> None:
        """A whole request has arrived: the connection keeps its place."""
        if connection in self._team_of:
            self._leave(connection)
            self._busy.add(connection)

    def idle(self, connection: Evictable) -> None:
        """No whole request is in flight any more: it may be ended, after those of its team idle for longer."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._wait(connection)

    def untaken(self, connection: Evictable) -> None:
        """An answer was written that its caller has not taken: above the bound whoever has most untaken is ended."""
        self._untaken[connection] = None
        sizes = {one: size for one in self._untaken if (size := one.untaken_bytes())}
        of_team: Counter[str | None] = Counter()
        for one, size in sizes.items():
            of_team[one.team] += size
        while of_team.total() > self._most_untaken_bytes:
            most = max(sizes, key=lambda one: (of_team[one.team], sizes[one]))
            of_team[most.team] -= sizes.pop(most)
            most.evict()
        self._untaken = dict.fromkeys(sizes)

    def closed(self, connection: Evictable) -> None:
        """Forgets it."""
        self._busy.discard(connection)
        self._untaken.pop(connection, None)
        if connection in self._team_of:
            self._leave(connection)

    def _wait(self, connection: Evictable) -> None:
        team = self._team_of[connection] = connection.team
        self._idle.setdefault(team, {})[connection] = None

    def _leave(self, connection: Evictable) -> None:
        team = self._team_of.pop(connection)
        of_team = self._idle[team]
        del of_team[connection]
        if not of_team:
            del self._idle[team]
