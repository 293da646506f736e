"""What upstream sees: our own bytes, whole, once, at the pinned address and nowhere else."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from gateway.core.outcome import Cancelled, Outcome, Unknown
from gateway.core.plan import Order, Receipt
from gateway.core.request import ByIds
from gateway.operations.calls.cancel_runs import RUNS
from gateway.upstream.pool import MAX_URL_BYTES
from tests.upstream.canned import CannedServer
from tests.upstream.raw import DONE, ORDER, RECEIPT, TOKEN, Peer, RawServer, answer, answers, connected, ids, play, run

QUERY = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true&count=10"


def test_the_request_is_ours_byte_for_byte() -> None:
    """The canonical target, our five headers, no body, nothing that a library or the caller would add."""

    async def scenario() -> RawServer:
        async with RawServer(answers(DONE)) as server, connected(server.url) as upstream:
            await upstream.send(ORDER, RECEIPT)
            return server

    server = run(scenario())
    lines = [
        f"DELETE /v2/workflows/runs?{QUERY} HTTP/1.1",
        f"Host: {server.url.removeprefix('http://')}",
        f"Authorization: Bearer {TOKEN}",
        "Accept: application/json",
        "Accept-Encoding: identity",
        "User-Agent: qstash-gateway",
    ]
    assert server.received == ("\r\n".join([*lines, "", ""]).encode(),)


def test_a_base_url_with_a_path_query_or_credentials_cannot_change_the_target() -> None:
    """Only its scheme, host and port are used."""

    async def scenario() -> RawServer:
        async with RawServer(answers(DONE)) as server:
            async with connected(server.url.replace("//", "//other:secret@") + "/elsewhere") as upstream:
                await upstream.send(ORDER, RECEIPT)
            return server

    received = run(scenario()).received[0]
    assert received.startswith(f"DELETE /v2/workflows/runs?{QUERY} HTTP/1.1\r\n".encode())
    assert b"secret" not in received
    assert received.count(b"Authorization") == 1


def test_a_thousand_ids_of_128_characters_are_sent_whole() -> None:
    """A target of more than 65,536 bytes arrives with every ID, in order, once."""
    order = ids(1000, length=128)
    played = play(answers(answer(b'{"cancelled":1000}')), orders=[order])
    target = played.received[0].split(b" ")[1]
    assert played.outcomes == (Cancelled(200, 1000),)
    assert len(target) > 2 * 65_536
    assert target == f"/v2/workflows/runs?{order.query}".encode()


def test_around_the_longest_url_that_the_library_takes_orders_look_the_same() -> None:
    """From there on another client sends them, and no byte shows it."""

    def padded(extra: int) -> Order:
        rest = ids(479, length=121)
        return Order(ByIds((*rest.selection.ids, "wfr_" + "x" * extra)), 480)  # type: ignore[union-attr]

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(answers(*[DONE] * len(orders))) as server, connected(server.url) as upstream:
            return [await upstream.send(order, RECEIPT) for order in orders], server

    longest = MAX_URL_BYTES - len(f"http://127.0.0.1:65535{RUNS}?{padded(1).query}")
    orders = [padded(1 + longest + more) for more in range(-3, 8)]
    outcomes, server = run(scenario())
    heads = [f"{head}\r\n\r\n" for head in b"".join(server.received).decode().split("\r\n\r\n") if head]
    template = heads[0].replace(orders[0].query, "{}")
    assert outcomes == [Cancelled(200, 3)] * len(orders)
    assert Counter(heads) == Counter(template.format(order.query) for order in orders)
    assert len(server.peers) > 2, "both clients were in it"


def test_no_order_goes_out_without_a_receipt() -> None:
    """An empty receipt is no evidence: nothing is sent, and still nothing raises."""

    async def scenario() -> tuple[str, RawServer]:
        async with RawServer(answers(DONE)) as server, connected(server.url) as upstream:
            return (await upstream.send(ORDER, Receipt("", 0))).name, server

    name, server = run(scenario())
    assert name == "not_sent"
    assert server.received == ()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("place", ["same", "other"])
def test_a_redirect_is_not_followed(status: int, place: str) -> None:
    """Neither to the same host, where it would repeat the cancel, nor to another, which would get the token."""
    with CannedServer(DONE) as other:
        target = "/v2/workflows/runs" if place == "same" else f"{other.url}/v2/workflows/runs"
        redirect = answer(b'{"cancelled":3}', status=f"{status} Moved", headers=[f"Location: {target}"])
        played = play(answers(redirect))
    assert played.outcomes == (Unknown("status", status),)
    assert (played.requests, other.connections) == (1, 0)


@pytest.mark.parametrize(
    "headers",
    [
        ["Retry-After: 0"],
        ["Refresh: 0"],
        ["WWW-Authenticate: Basic realm=x"],
        ['WWW-Authenticate: Digest realm="x", nonce="y"'],
        ['Alt-Svc: h2="127.0.0.1:1"'],
        ["Set-Cookie: a=b"],
        ["Connection: close"],
    ],
    ids=lambda headers: headers[0].split(":")[0],
)
@pytest.mark.parametrize("status", ["200 OK", "401 No", "408 Late", "425 Early", "503 Busy"])
def test_no_header_of_an_answer_makes_the_gateway_send_more(status: str, headers: list[str]) -> None:
    """No retry, no second try with other credentials, no cookie, no other address."""
    played = play(answers(answer(b"{}", status=status, headers=headers), DONE), answers(DONE), orders=[ORDER, ORDER])
    heads = [head for content in played.received for head in content.split(b"\r\n\r\n") if head]
    assert len(heads) == 2
    assert heads[0] == heads[1]


def test_orders_at_once_each_get_their_own_answer() -> None:
    """Twenty orders over four connections: every answer belongs to the order that asked."""

    async def scenario() -> list[int]:
        async def script(peer: Peer) -> None:
            while True:
                head = await peer.request()
                number = head.split(b" ")[1].count(b"workflowRunIds=")
                await asyncio.sleep(0.001 * (number % 3))
                await peer.send(answer(b'{"cancelled":%d}' % number))

        async with RawServer(script) as server, connected(server.url) as upstream:
            outcomes = await asyncio.gather(*(upstream.send(ids(size), RECEIPT) for size in range(1, 21)))
        assert server.requests == 20
        return [outcome.cancelled for outcome in outcomes if isinstance(outcome, Cancelled)]

    assert run(scenario()) == list(range(1, 21))
