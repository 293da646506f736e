"""Who is calling, by address: the peer of the connection, or what a trusted proxy says about it."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class TrustedProxies:
    """Believes `X-Forwarded-For` only from peers inside `networks`; without any, the header means nothing."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def remote(self, scope: Scope) -> str | None:
        """The caller's address: the last one in the forwarding chain that is not a trusted proxy itself."""
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if not self._networks or peer is None or not self._trusts(peer):
            return peer
        hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for hop in reversed([hop.strip() for hop in hops.split(",") if hop.strip()]):
            if not _is_address(hop):
                return peer
            if not self._trusts(hop):
                return hop
        return peer

    def _trusts(self, address: str) -> bool:
        return _is_address(address) and any(ipaddress.ip_address(address) in network for network in self._networks)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # the zone behind it may hold any words
