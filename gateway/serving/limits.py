"""The limits of connections: how many there may be, and those of one as they are when it begins."""

from __future__ import annotations

from collections.abc import Callable

from gateway.callers.in_force import LiveSettings
from gateway.edge.connections import Connections
from gateway.edge.protocol import ProtocolSettings, RefusalPort
from gateway.process import raise_descriptor_limit

MAX_CONNECTIONS = 2048
RESERVED_DESCRIPTORS = 64
"""The descriptors not used for connections: for the audit log, the listeners and upstream's name look-ups."""
HEALTH_CONNECTIONS = 16


def most_connections(to_upstream: int) -> int:
    """Return how many callers' connections there may be beside so many to upstream, by the limit of descriptors."""
    descriptors = raise_descriptor_limit() - RESERVED_DESCRIPTORS - to_upstream
    return max(HEALTH_CONNECTIONS, min(MAX_CONNECTIONS, descriptors // 2))


def limits_of_the_moment(
    current: LiveSettings, keep_alive_s: int, refusals: RefusalPort, most: int
) -> Callable[[], ProtocolSettings]:
    """Return the source of settings for listeners that count their connections together, at most `most`."""
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
        )

    return of_the_moment
