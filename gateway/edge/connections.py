"""The open connections, bounded. Above the bound the team with most loses the one that has been idle longest."""

from __future__ import annotations

import socket
import struct
from asyncio import BaseTransport
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.errors import Refusal
from gateway.core.forms.correlation import Correlation

MOST_UNTAKEN_BYTES = 32 * 1024 * 1024
"""The most bytes of written answers that callers have not yet read, over all connections."""

TEAM = "gateway.team"
"""The key in the state of an ASGI scope that holds the caller's team, once it is known."""


class Evictable(Protocol):
    """A connection that can be closed to make room for another."""

    @property
    def team(self) -> str | None:
        """The team that last sent a request on this connection; None before the first known one."""

    def evict(self) -> None:
        """Close the connection at once."""

    def untaken_bytes(self) -> int:
        """Return how many bytes of written answers the caller has not yet read."""


class Connections:
    """All open connections, never more than `most`.

    A connection counts as idle, and may be closed, while it has no whole request in flight: before a request, during a
    handshake, head or body, and after the answer is written. Connections with a whole request are bounded by
    `max_in_flight` and as many joins; if there are no others, the newest connection is closed.
    """

    def __init__(self, most: int, *, most_untaken_bytes: int = MOST_UNTAKEN_BYTES) -> None:
        self._most = most
        self._most_untaken_bytes = most_untaken_bytes
        self._idle: dict[str | None, dict[Evictable, None]] = {}
        self._team_of: dict[Evictable, str | None] = {}
        self._busy: set[Evictable] = set()
        self._untaken: dict[Evictable, None] = {}

    def opened(self, connection: Evictable, *, instead_of: Evictable | None = None) -> None:
        """Add a new connection, as idle. If there are too many, close the longest idle one of the team with most."""
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
        """Mark a connection whose request has arrived whole: it keeps its place."""
        if connection in self._team_of:
            self._leave(connection)
            self._busy.add(connection)

    def idle(self, connection: Evictable) -> None:
        """Mark a connection without a whole request in flight: it may be closed, after its team's longer idle ones."""
        if connection in self._busy:
            self._busy.remove(connection)
            self._wait(connection)

    def untaken(self, connection: Evictable) -> None:
        """Note an answer not yet read by its caller; above the bound, close the connections with most unread bytes."""
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
        """Forget a connection that has ended."""
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


_CREDENTIALS = struct.Struct("3i")
"""The layout of `struct ucred` in unix(7): pid, uid and gid."""


def unix_peer(transport: BaseTransport) -> str | None:
    """Return `unix:uid=…,pid=…` of the process at the other end of a Unix socket; None for any other connection."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return f"unix:uid={uid},pid={pid}"


class RefusalPort(Protocol):
    """The port that records refusals made before ASGI."""

    def record_soon(self, refusal: Refusal, *, decision_id: str, remote: str | None, correlation: Correlation) -> None:
        """Record one refusal of a caller not yet authenticated. Never raises."""


@dataclass(frozen=True, slots=True)
class ProtocolSettings:
    """The settings that all connections share.

    `receive_timeout_s` is the time for a whole head, `keep_alive_s` the time between two requests. `ids_of` returns the
    ids that a caller gave, from a function that returns every value of a header.
    """

    max_target_bytes: int
    max_header_bytes: int
    receive_timeout_s: int
    refusals: RefusalPort
    connections: Connections
    keep_alive_s: int
    ids_of: Callable[[Callable[[bytes], Sequence[bytes]]], Correlation]
