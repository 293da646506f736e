"""The caller's address: that of the peer, unless the peer is a trusted proxy that says more."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.callers.forwarded import TrustedProxies
from gateway.files.addresses import network

TRUSTED = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("fd00::/8")])


def scope(peer: str | None, *forwarded: str) -> dict:
    headers = [(b"x-forwarded-for", value.encode("latin-1")) for value in forwarded]
    return {"type": "http", "client": (peer, 1) if peer else None, "headers": headers}


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=20), max_size=3))
def test_without_trusted_proxies_the_header_means_nothing(forwarded: list[str]) -> None:
    """Whatever a caller writes there, its address is that of the connection."""
    assert TrustedProxies([]).remote(scope("10.0.0.1", *forwarded)) == "10.0.0.1"
    assert TRUSTED.remote(scope("192.0.2.1", *forwarded)) == "192.0.2.1"


@pytest.mark.parametrize(
    ("forwarded", "remote"),
    [
        ((), "10.0.0.1"),
        (("192.0.2.7",), "192.0.2.7"),
        (("198.51.100.9, 192.0.2.7",), "192.0.2.7"),
        (("198.51.100.9", "192.0.2.7"), "192.0.2.7"),
        (("192.0.2.7, 10.0.0.2, fd00::1",), "192.0.2.7"),
        (("2001:db8::7",), "2001:db8::7"),
        (("192.0.2.7,  ,",), "192.0.2.7"),
        (("192.0.2.7, unknown",), "10.0.0.1"),
        (("192.0.2.7:4711",), "192.0.2.7"),
        (("192.0.2.7:4711, 10.0.0.2:80",), "192.0.2.7"),
        (("192.0.2.7:",), "10.0.0.1"),
        (("192.0.2.7:http",), "10.0.0.1"),
        (("[2001:db8::7]:4711",), "2001:db8::7"),
        (("[2001:db8::7]",), "2001:db8::7"),
        (("2001:DB8:0::07",), "2001:db8::7"),
        (("192.0.2.7, [fd00::1]:443",), "192.0.2.7"),
        (("192.0.2.7, FD00:0::1",), "192.0.2.7"),
        (("::ffff:192.0.2.7",), "192.0.2.7"),
        (("[::FFFF:192.0.2.7]:1",), "192.0.2.7"),
        (("192.0.2.7, ::ffff:10.0.0.2",), "192.0.2.7"),
        (("fe80::1%eth0",), "fe80::1"),
        (("[fe80::1%25eth0]:1",), "fe80::1"),
        (("192.0.2.07",), "10.0.0.1"),
        (("\xa0192.0.2.7",), "10.0.0.1"),
        (("\t192.0.2.7\t",), "192.0.2.7"),
        (("10.0.0.2, 10.0.0.3",), "10.0.0.1"),
    ],
)  # fmt: skip
def test_a_trusted_peer_names_the_last_hop_that_is_no_proxy(forwarded: tuple[str, ...], remote: str) -> None:
    """From the right, over several headers; what a caller prepends is not reached, and nonsense stops the walk."""
    assert TRUSTED.remote(scope("10.0.0.1", *forwarded)) == remote


def test_a_connection_without_a_peer_has_no_address() -> None:
    """Over a Unix socket there is none, and the header invents none."""
    assert TRUSTED.remote(scope(None, "192.0.2.7")) is None


@given(st.lists(st.text(st.characters(max_codepoint=255), max_size=30), max_size=4))
def test_what_is_believed_is_an_address(forwarded: list[str]) -> None:
    """No text of a header reaches the record as an address unless it is one, in its own characters only."""
    remote = TRUSTED.remote(scope("10.0.0.1", *forwarded))
    assert remote is not None
    assert set(remote) <= set("0123456789abcdefABCDEF.:")


def test_an_address_with_a_zone_is_not_believed() -> None:
    """The text behind `%` is free, so it would carry any words into the record."""
    assert TRUSTED.remote(scope("10.0.0.1", "2001:db8::1%any words")) == "10.0.0.1"


def test_a_trusted_proxy_is_known_in_every_spelling() -> None:
    """A socket for both families shows IPv4 within IPv6, and a link-local peer comes with a zone."""
    for peer in ("::ffff:10.0.0.1", "::FFFF:0a00:0001", "fd00:0:0::1", "FD00::1"):
        assert TRUSTED.remote(scope(peer, "192.0.2.7")) == "192.0.2.7"
    linked = TrustedProxies([network("fe80::/10"), network("::ffff:192.0.2.0/120")])
    assert linked.remote(scope("fe80::1%eth0", "198.51.100.9")) == "198.51.100.9"
    assert linked.remote(scope("192.0.2.1", "198.51.100.9")) == "198.51.100.9"
    assert linked.remote(scope("192.0.3.1", "198.51.100.9")) == "192.0.3.1"


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_spelling_of_an_address_is_one_address(address: IPv4Address | IPv6Address, port: int) -> None:
    """With a port, in brackets, in full, in capitals, IPv4 within IPv6: the record has one form."""
    assume(not (isinstance(address, IPv6Address) and address.ipv4_mapped))
    trusted = TrustedProxies([ip_network("10.0.0.1")])
    assume(str(address) != "10.0.0.1")
    if isinstance(address, IPv4Address):
        spellings = [f"{address}", f"{address}:{port}", f"::ffff:{address}", f"[::ffff:{address}]:{port}"]
    else:
        spellings = [f"{address}", f"[{address}]", f"[{address.exploded.upper()}]:{port}", address.exploded]
    assert {trusted.remote(scope("10.0.0.1", spelling)) for spelling in spellings} == {str(address)}
