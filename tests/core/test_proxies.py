"""The caller's address: that of the peer, unless the peer is a trusted proxy that says more."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.proxies import TrustedProxies

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
        (("192.0.2.7:4711",), "10.0.0.1"),
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
