"""The limits of connections: how many there may be, and those of one as they are when it begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.callers.in_force import LiveSettings
from gateway.core.forms.correlation import Correlation
from gateway.edge.connections import Connections, ProtocolSettings, RefusalPort
from gateway.process import raise_descriptor_limit
from gateway.upstream.runs.log import MAX_READINGS

MAX_CONNECTIONS = 2048
RESERVED_DESCRIPTORS = 64
"""The descriptors not used for connections: for the audit log, the listeners and upstream's name look-ups."""
PROBES = 16
"""The most connections of the listeners that need no key."""
CONSOLE = 256
"""The most connections of the console's listener, event streams among them."""


def most_connections(upstream: int) -> int:
    """Return how many callers' connections there may be beside those to upstream, by the limit of descriptors."""
    reserved = RESERVED_DESCRIPTORS + MAX_READINGS + upstream
    return max(PROBES, min(MAX_CONNECTIONS, (raise_descriptor_limit() - reserved) // 2))


def limits_of_the_moment(
    current: LiveSettings,
    keep_alive_s: int,
    ids_of: Callable[[Callable[[bytes], Sequence[bytes]]], Correlation],
    refusals: RefusalPort,
    most: int,
) -> Callable[[], ProtocolSettings]:
    """Return the source of settings for listeners that count their connections together, at most `most`.

    `ids_of` is as in `ProtocolSettings`.
    """
    connections = Connections(most)

    def of_the_moment() -> ProtocolSettings:
        """Return the limits as they are now."""
        limits = current.live.limits
        return ProtocolSettings(
            max_target_bytes=limits.max_target_bytes,
            max_header_bytes=limits.max_header_bytes,
            receive_timeout_s=limits.receive_timeout_s,
            keep_alive_s=keep_alive_s,
            refusals=refusals,
            connections=connections,
            ids_of=ids_of,
        )

    return of_the_moment
