"""The limits of a connection as they are when it begins, so that a reload applies to the next one."""

from __future__ import annotations

from collections.abc import Callable

from gateway.callers.in_force import LiveSettings
from gateway.edge.connections import Connections
from gateway.edge.protocol import ProtocolSettings, RefusalPort


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
