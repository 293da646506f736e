"""Where a receiver may be: nothing inside is reached by a name, or by an odd way to write an address."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.notices.address import judged, may_connect

INSIDE = [
    *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1"),
    *("169.254.169.254", "169.254.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "192.0.2.1", "198.18.0.1"),
    *("224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "203.0.113.7", "198.51.100.7", "192.88.99.1"),
    *(
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "2001:db8::1",
        "100::1",
        "5f00::1",
    ),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:a9fe:a9fe", "::10.0.0.1", "::7f00:1"),
    *("64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a00:1::1", "2001::1"),
]
NO_ADDRESS = [
    "",
    "localhost",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "127.1",
    "1.2.3",
    "\uff11.2.3.4",
    "1.2.3.4 ",
    "[::1]",
]
PUBLIC = ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2a00:1450::1"]


@pytest.mark.parametrize("address", [*INSIDE, *NO_ADDRESS])
def test_nothing_inside_is_connected_to(address: str) -> None:
    """Private, local to the link or the machine, for metadata, or an IPv4 address hidden in an IPv6 one."""
    assert not may_connect(address, ())
    with pytest.raises(ValueError, match="not public"):
        judged([address], ())


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_connected_to(address: str) -> None:
    """Also as a translator writes it."""
    assert may_connect(address, ())


@given(st.sampled_from(PUBLIC), st.sampled_from(INSIDE), st.booleans())
def test_a_name_that_also_leads_inside_is_not_trusted_half(outside: str, inside: str, first: bool) -> None:
    """Else the resolver would choose."""
    with pytest.raises(ValueError, match="not public"):
        judged([inside, outside] if first else [outside, inside], ())


def test_addresses_keep_their_order_and_come_once() -> None:
    """One that is resolved for several protocols is one."""
    assert judged(["8.8.8.8", "2606:4700::1111", "8.8.8.8"], ()) == ["8.8.8.8", "2606:4700::1111"]
    with pytest.raises(ValueError, match="no address"):
        judged([], ())


def test_what_the_configuration_names_is_connected_to_and_nothing_beside_it() -> None:
    """Also where an IPv4 address comes as IPv6."""
    networks = (ip_network("10.1.0.0/16"), ip_network("fd00::/64"))
    assert [may_connect(one, networks) for one in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::7", "8.8.8.8")] == [True] * 4
    assert [may_connect(one, networks) for one in ("10.2.0.1", "fd00:0:0:1::7", "169.254.169.254")] == [False] * 3


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_alike_however_it_is_carried(address: IPv4Address) -> None:
    """By itself, mapped, and translated."""
    mapped, translated = (IPv6Address(prefix | int(address)) for prefix in (0xFFFF << 32, 0x64_FF9B << 96))
    assert may_connect(str(address), ()) == may_connect(str(mapped), ()) == may_connect(str(translated), ())
    if address.is_private or address.is_link_local or address.is_loopback or address.is_multicast:
        assert not may_connect(str(address), ())
