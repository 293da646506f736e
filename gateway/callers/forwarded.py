"""The caller's address: the peer of the connection, or what a trusted proxy says about it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from starlette.types import Scope

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_ZONE = "(?:%[A-Za-z0-9._~-]{1,16})?"
_HOP = re.compile(
    rf"(?P<v4>[0-9.]+)(?::[0-9]{{1,5}})?|(?P<v6>[0-9A-Fa-f:.]+{_ZONE})|\[(?P<in_brackets>[0-9A-Fa-f:.]+{_ZONE})\](?::[0-9]{{1,5}})?"
)
"""An address as proxies write it: bare, or with a port. An IPv6 address with a port is in brackets."""


class TrustedProxies:
    """The proxies whose `X-Forwarded-For` is believed: peers inside `networks`. Without any, it is ignored."""

    def __init__(self, networks: Sequence[Network]) -> None:
        self._networks = tuple(networks)

    def remote(self, scope: Scope) -> str | None:
        """Return the caller's address: the last one in the forwarding chain that is not a trusted proxy itself.

        If the chain cannot be read as far as that, or names only trusted proxies, this is the peer's address.
        """
        client = scope.get("client")
        peer: str | None = client[0] if client else None
        if not self._networks or peer is None or not self._trusts(ip_address(peer)):
            return peer
        hops = b",".join(value for name, value in scope["headers"] if name == b"x-forwarded-for").decode("latin-1")
        for hop in reversed([hop.strip(" \t") for hop in hops.split(",")]):
            address = _hop(hop)
            if hop and address is None:
                return peer
            if address is not None and not self._trusts(address):
                return str(address)
        return peer

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


def ip_address(text: str) -> Address | None:
    """Return the address, the same for all its spellings; None if the text is not an address.

    IPv4 within IPv6 becomes IPv4, because a socket for both families shows it so. A zone is dropped, because it means
    something on one machine only.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv4Address):
        return address
    return address.ipv4_mapped or ipaddress.IPv6Address(int(address))


def _hop(text: str) -> Address | None:
    match = _HOP.fullmatch(text)
    return None if match is None else ip_address(match["v4"] or match["v6"] or match["in_brackets"])
