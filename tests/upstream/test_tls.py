"""Whoever cannot prove to be QStash does not get the token, and the order counts as not sent."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.outcome import Cancelled, NotSent, Outcome
from gateway.core.plan import Order
from gateway.upstream.cancel import Upstream
from gateway.upstream.direct import make_transport
from gateway.upstream.pool import PooledTransport
from tests.upstream.authority import Authority, new_authority
from tests.upstream.canned import CannedServer
from tests.upstream.raw import (
    DONE,
    LIMITS,
    ORDER,
    PLACES,
    RECEIPT,
    SHORT,
    TOKEN,
    Peer,
    RawServer,
    connected,
    holder,
    ids,
    run,
)

LEAVING = DONE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return new_authority(tmp_path_factory.mktemp("tls") / "authority")


SHORT_ORDER, LONG_ORDER = ORDER, ids(1000, length=128)
EITHER_WAY = pytest.mark.parametrize("order", [SHORT_ORDER, LONG_ORDER], ids=["kept connections", "long target"])


def outcome_at(url: str, *, trusting: Path | None, order: Order = ORDER) -> Outcome:
    """One order through the transport that `serve` makes, with other roots than the bundled ones if at all."""

    async def scenario() -> Outcome:
        transport = PooledTransport(max_connections=PLACES, connect_timeout_s=LIMITS.connect_timeout_s, roots=trusting)
        upstream = Upstream(url, holder(), limits=LIMITS, transport=transport)
        try:
            return await upstream.send(order, RECEIPT)
        finally:
            await upstream.aclose()

    return run(scenario())


@EITHER_WAY
def test_a_server_with_a_valid_certificate_gets_the_order(authority: Authority, order: Order) -> None:
    """The control: the same authority, a name that fits, dates that fit."""
    with CannedServer(LEAVING, tls=authority.server("IP:127.0.0.1")) as server:
        assert outcome_at(server.url, trusting=authority.root, order=order) == Cancelled(200, 3)
    assert [request.count(TOKEN.encode()) for request in server.requests] == [1]


@EITHER_WAY
@pytest.mark.parametrize(
    "certificate",
    [
        lambda authority: authority.server("IP:127.0.0.1", end="20210101000000Z"),
        lambda authority: authority.server("IP:127.0.0.1", start="20980101000000Z"),
        lambda authority: authority.server("DNS:qstash.upstash.io"),
        lambda authority: authority.server("IP:127.0.0.2, DNS:127.0.0.1"),
        lambda authority: authority.self_signed(),
    ],
    ids=["expired", "not yet valid", "wrong host", "wrong address", "self-signed"],
)
def test_an_impostor_does_not_get_the_token(
    authority: Authority, certificate: Callable[[Authority], ssl.SSLContext], order: Order
) -> None:
    """Even with a trusted root: wrong dates or names end the handshake before the request."""
    with CannedServer(LEAVING, tls=certificate(authority)) as server:
        assert outcome_at(server.url, trusting=authority.root, order=order) == NotSent("tls")
    assert (server.connections, server.requests) == (1, [])


@EITHER_WAY
def test_a_private_root_is_not_trusted_by_itself(authority: Authority, order: Order) -> None:
    """Only the bundled roots are: a rebound name that leads to an inner host meets this."""
    with CannedServer(LEAVING, tls=authority.server("IP:127.0.0.1")) as server:
        assert outcome_at(server.url, trusting=None, order=order) == NotSent("tls")
    assert server.requests == []


def test_a_server_that_speaks_plain_http_to_tls_gets_nothing() -> None:
    """No falling back to the clear."""

    async def in_the_clear(peer: Peer) -> None:
        await peer.read(64)
        await peer.send(DONE)
        await peer.left()

    async def scenario() -> tuple[Outcome, RawServer]:
        async with RawServer(in_the_clear) as server, connected(server.tls_url) as upstream:
            return await upstream.send(ORDER, RECEIPT), server

    outcome, server = run(scenario())
    assert outcome == NotSent("tls")
    assert TOKEN.encode() not in b"".join(server.received)


@pytest.mark.parametrize("end", [Peer.close, Peer.reset])
def test_a_handshake_cut_at_any_byte_is_not_sent(end: Callable[[Peer], None]) -> None:
    """Before the handshake ends, no byte of the order can have left."""
    cuts = range(0, 256, 8)

    def cut(size: int) -> Callable[[Peer], object]:
        async def script(peer: Peer) -> None:
            await peer.read(size)
            end(peer)

        return script

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(*map(cut, cuts)) as server, connected(server.tls_url) as upstream:  # type: ignore[arg-type]
            return [await upstream.send(ORDER, RECEIPT) for _ in cuts], server

    outcomes, server = run(scenario())
    assert set(outcomes) <= {NotSent("tls"), NotSent("connect_error")}
    assert [len(content) for content in server.received] == list(cuts)


def test_a_handshake_that_never_ends_is_not_sent() -> None:
    """The connection stands, the greeting was sent, and nothing comes back: the connect deadline ends it."""

    async def scenario() -> tuple[Outcome, RawServer]:
        async with RawServer(Peer.left) as server:
            limits = replace(SHORT, total_timeout_s=10)
            async with connected(server.tls_url, limits=limits) as upstream:
                return await upstream.send(ORDER, RECEIPT), server

    outcome, server = run(scenario())
    assert outcome == NotSent("connect_timeout")
    assert TOKEN.encode() not in server.received[0]


def test_the_environment_adds_no_root_and_is_left_as_it_was(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables that name other roots are set aside while the transport is made, and nothing else changes."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.setenv(name, str(authority.root if name == "SSL_CERT_FILE" else authority.folder))
    before = dict(os.environ)
    with CannedServer(LEAVING, tls=authority.server("IP:127.0.0.1")) as server:
        assert outcome_at(server.url, trusting=None) == NotSent("tls")
    assert (server.requests, dict(os.environ)) == ([], before)


def test_without_roots_there_is_no_transport(tmp_path: Path) -> None:
    """The given roots are all there are: if the machine's own were added, an empty file would do."""
    (tmp_path / "none.pem").write_text("")
    with pytest.raises(OSError, match="roots"):
        PooledTransport(max_connections=1, connect_timeout_s=1, roots=tmp_path / "none.pem")


def test_long_targets_check_names_and_dates_whatever_the_environment_says() -> None:
    """Their context is made here and not by a library's defaults."""
    context = make_transport(max_connections=PLACES)._pool._ssl_context
    assert isinstance(context, ssl.SSLContext)
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert not context.keylog_filename
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_a_server_of_the_past_does_not_get_the_token(authority: Authority) -> None:
    """TLS 1.1 is refused in the handshake."""
    old = authority.server("IP:127.0.0.1")
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with CannedServer(LEAVING, tls=old) as server:
        assert outcome_at(server.url, trusting=authority.root) == NotSent("tls")
    assert (server.connections, server.requests) == (1, [])


# The HTTP library leaves the socket of a cancelled handshake to the garbage collector, which says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_deadline_during_the_handshake_never_raises() -> None:
    """The total deadline may be the shorter one; the order is then unknown or not sent, and the call ends."""

    async def scenario() -> str:
        async with RawServer(Peer.left) as server:
            limits = replace(SHORT, connect_timeout_s=10)
            async with connected(server.tls_url, limits=limits) as upstream:
                async with asyncio.timeout(10):
                    return (await upstream.send(ORDER, RECEIPT)).name

    assert run(scenario()) in ("unknown", "not_sent")
