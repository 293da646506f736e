"""The addresses that a receiver may have: public ones, and those in networks that the configuration names. Pure.

A name is resolved once for each delivery, every address that it has is judged, and the connection goes to one of those.
So nothing is connected to that was not judged, whatever the name is told to mean in between.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Networks = Sequence[IPv4Network | IPv6Network]

_GLOBAL_V6 = IPv6Network("2000::/3")
"""All that is assigned as global unicast (RFC 4291, 2.4; the IANA registry)."""
_NAT64 = IPv6Network("64:ff9b::/96")
"""An IPv4 address in its last four bytes, to which a translator sends on (RFC 6052)."""
_NEVER_PUBLIC = (
    IPv4Network("168.63.129.16/32"),  # the host's own service on Azure, of a range that looks public
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a metadata service on Oracle's cloud
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, which was given up (RFC 7526)
    IPv6Network("2001::/23"),  # protocol assignments, Teredo among them: an IPv4 address of the writer's choice
    IPv6Network("2002::/16"),  # 6to4: likewise
)


def judged(found: Iterable[str], networks: Networks) -> list[str]:
    """Return the addresses that a name has, if every one may be connected to, in their order and each once.

    Raises: ValueError: there is none, or one may not: a name that also leads inside is not trusted half.
    """
    addresses = list(dict.fromkeys(found))
    if not addresses:
        raise ValueError("the name has no address")
    if not all(may_connect(one, networks) for one in addresses):
        raise ValueError("the name leads to an address that is not public")
    return addresses


def may_connect(address: str, networks: Networks) -> bool:
    """Return whether an IP address may be connected to; False for anything else."""
    try:
        parsed = _plain(ipaddress.ip_address(address))
    except ValueError:
        return False
    return any(_lies_in(parsed, network) for network in networks) or _is_public(parsed)


def _plain(address: Address) -> Address:
    """Return the address that is reached: an IPv4 address within an IPv6 one is taken out of it."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def _lies_in(address: Address, network: IPv4Network | IPv6Network) -> bool:
    return address.version == network.version and address in network


def _is_public(address: Address) -> bool:
    if any(_lies_in(address, network) for network in _NEVER_PUBLIC):
        return False
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_V6 or address.scope_id is not None):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved
