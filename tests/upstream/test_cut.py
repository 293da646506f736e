"""Connections that end too early: whatever may have arrived is `Unknown`, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Callable

import pytest

from gateway.core.outcome import Cancelled, Outcome, Unknown
from gateway.core.plan import Order
from gateway.core.request import ByIds
from gateway.upstream.pool import IDLE_S
from tests.upstream.raw import DONE, ORDER, RECEIPT, SHORT, Peer, RawServer, Script, answers, connected, ids, play, run

End = Callable[[Peer], None]
ENDS = pytest.mark.parametrize("end", [Peer.close, Peer.reset])

CHUNKED = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n{"canc\r\n9\r\nelled":3}\r\n0\r\n\r\n'
UNBOUNDED = b'HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n{"cancelled":37}'


def cut_answer(content: bytes, end: End) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(content)
        end(peer)

    return script


def cut_request(size: int, end: End) -> Script:
    async def script(peer: Peer) -> None:
        await peer.read(size)
        end(peer)

    return script


@ENDS
@pytest.mark.parametrize("whole", [DONE, CHUNKED], ids=["length", "chunked"])
def test_an_answer_cut_at_any_byte_is_unknown(whole: bytes, end: End) -> None:
    """Every strict prefix of the answer, then FIN or RST: unknown, and the request was made once."""
    cuts = range(len(whole))
    played = play(*(cut_answer(whole[:cut], end) for cut in cuts), orders=[ORDER] * len(cuts))
    assert {outcome.name for outcome in played.outcomes} == {"unknown"}
    assert [content.count(b"DELETE /") for content in played.received] == [1] * len(cuts)


@pytest.mark.parametrize("whole", [DONE, CHUNKED], ids=["length", "chunked"])
def test_a_whole_answer_before_the_end_is_believed(whole: bytes) -> None:
    """The control: with its last byte the same answer is the outcome."""
    assert play(cut_answer(whole, Peer.close)).outcomes == (Cancelled(200, 3),)


def test_the_status_of_a_cut_answer_is_kept() -> None:
    """The reader of the record sees how far the answer came."""
    outcome = play(cut_answer(DONE[:-4], Peer.close)).outcomes[0]
    assert isinstance(outcome, Unknown)
    assert outcome.upstream_status == 200


@ENDS
def test_an_answer_without_a_length_is_believed_only_if_it_is_whole_json(end: End) -> None:
    """HTTP/1.0 cannot show a cut: 37 may never become 3, and half an object is nothing."""
    cuts = range(len(UNBOUNDED) + 1)
    played = play(*(cut_answer(UNBOUNDED[:cut], end) for cut in cuts), orders=[ORDER] * len(cuts))
    assert {outcome.name for outcome in played.outcomes[:-1]} == {"unknown"}
    if end is Peer.close:
        assert played.outcomes[-1] == Cancelled(200, 37)
    assert played.requests == len(cuts)


@ENDS
def test_a_request_cut_at_any_byte_is_unknown_and_never_repeated(end: End) -> None:
    """Upstream reads n bytes and leaves, for every n: the rest was on its way, so nobody knows."""
    size = len(play(Peer.left, limits=SHORT).received[0])
    played = play(*(cut_request(cut, end) for cut in range(size + 1)), orders=[ORDER] * (size + 1))
    names = [outcome.name for outcome in played.outcomes]
    assert set(names[1:]) == {"unknown"}
    assert names[0] in ("unknown", "not_sent"), "a connection that ends before it is seen to stand carried nothing"
    assert [len(content) for content in played.received] == list(range(size + 1))


@ENDS
def test_a_request_of_many_writes_cut_anywhere_is_unknown_and_never_repeated(end: End) -> None:
    """The same for 144,000 bytes, through a buffer that holds a fraction of them."""
    order = ids(1000, length=128)
    cuts = [0, 1, 4095, 4096, 16_384, *range(20_000, 140_000, 8_191)]

    async def scenario() -> tuple[list[Outcome], RawServer]:
        small = RawServer(*(cut_request(cut, end) for cut in cuts), receive_buffer_bytes=4096)
        async with small as server, connected(server.url) as upstream:
            return [await upstream.send(order, RECEIPT) for _ in cuts], server

    outcomes, server = run(scenario())
    assert {outcome.name for outcome in outcomes} == {"unknown"}
    assert [len(content) for content in server.received] == cuts


def test_a_connection_is_used_again() -> None:
    """A whole answer leaves it idle, and the next order takes it: no handshake for each."""
    played = play(answers(*[DONE] * 50), orders=[ORDER] * 50)
    assert played.outcomes == (Cancelled(200, 3),) * 50
    assert len(played.received) <= 5


@ENDS
def test_an_order_whose_kept_connection_breaks_is_unknown_and_never_repeated(end: End) -> None:
    """Upstream read it whole and left without a word: it may have acted, whatever the connection had done before."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(DONE)
        await peer.request()
        end(peer)

    played = play(script, orders=[ORDER] * 40)
    assert [outcome.name for outcome in played.outcomes] == ["cancelled", "unknown"] * 20
    assert [content.count(b"DELETE /") for content in played.received] == [2] * 20


def test_a_connection_that_has_been_idle_is_not_used_again() -> None:
    """Servers close theirs after 5 s (Node, uvicorn): an order that meets the end on its way would be unknown."""

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(answers(*[DONE] * 8)) as server, connected(server.url) as upstream:
            outcomes = [await upstream.send(ORDER, RECEIPT) for _ in range(2)]
            await asyncio.sleep(IDLE_S + 0.1)
            before = len(server.peers)
            outcomes.append(await upstream.send(ORDER, RECEIPT))
            assert len(server.peers) == before + 1
            return outcomes, server

    outcomes, server = run(scenario())
    assert outcomes == [Cancelled(200, 3)] * 3
    assert sum(content.count(b"DELETE /") for content in server.received) == 3
    assert IDLE_S <= 4


def test_a_kept_connection_that_was_closed_is_not_used() -> None:
    """The end that already arrived is seen before writing, so the second order goes out once, over a new connection."""

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(cut_answer(DONE, Peer.close)) as server, connected(server.url) as upstream:
            outcomes = []
            for _ in range(5):
                outcomes.append(await upstream.send(ORDER, RECEIPT))
                await asyncio.sleep(0.02)
            return outcomes, server

    outcomes, server = run(scenario())
    assert outcomes == [Cancelled(200, 3)] * 5
    assert [content.count(b"DELETE /") for content in server.received] == [1] * 5


@ENDS
def test_a_connection_that_closes_as_the_next_order_is_written_never_sends_it_twice(end: End) -> None:
    """The race itself, at many moments: each order is seen at most once, and one that was seen is never `NotSent`."""
    orders = [Order(ByIds((f"wfr_race{index:04d}",)), 1) for index in range(120)]

    def closing_after(delay_s: float) -> Script:
        async def script(peer: Peer) -> None:
            await peer.request()
            await peer.send(DONE)
            if delay_s:
                await asyncio.sleep(delay_s)
            end(peer)

        return script

    scripts = [closing_after(index % 12 * 0.0001) for index in range(len(orders))]
    played = play(*scripts, orders=orders)
    seen = Counter(order.query for content in played.received for order in orders if order.query.encode() in content)
    assert max(seen.values()) == 1
    names = {order.query: outcome.name for order, outcome in zip(orders, played.outcomes, strict=True)}
    assert set(names.values()) <= {"cancelled", "unknown"}
    assert all(seen[query] == 1 for query, name in names.items() if name == "cancelled")


def half_close(peer: Peer) -> None:
    """FIN, and the other direction stays open."""
    peer.shut()


BREAKS = (Peer.close, Peer.reset, half_close)


def breaking(number: int) -> Script:
    """Answers a few orders; then ends before, while or after reading the next one, in one of three ways."""
    choice = random.Random(number)  # noqa: S311 - the same breaks in every run

    async def script(peer: Peer) -> None:
        for _ in range(choice.randrange(1, 4)):
            await peer.request()
            await peer.send(DONE)
        match choice.randrange(3):
            case 0:
                await asyncio.sleep(choice.choice([0, 0, 0.0001, 0.0003, 0.001]))
            case 1:
                await peer.read(choice.randrange(1, 200))
            case 2:
                await peer.request()
        choice.choice(BREAKS)(peer)
        await asyncio.sleep(0.001)

    return script


def test_among_thousands_of_broken_connections_no_order_is_sent_twice() -> None:
    """Connections end at every moment: an order is seen once at most, a cancelled one once, one not sent never."""
    names = [f"wfr_order{index:05d}" for index in range(3000)]
    orders = [Order(ByIds((name,)), 1) for name in names]

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async def send(some: list[Order]) -> list[Outcome]:
            return [await upstream.send(order, RECEIPT) for order in some]

        async with RawServer(*map(breaking, range(3000))) as server, connected(server.url) as upstream:
            parts = await asyncio.gather(*(send(orders[start : start + 500]) for start in range(0, 3000, 500)))
        return [outcome for part in parts for outcome in part], server

    outcomes, server = run(scenario())
    seen = Counter(re.findall(rb"wfr_order[0-9]{5}", b"".join(server.received)))
    assert max(seen.values()) == 1
    counts = Counter((outcome.name, seen[name.encode()]) for name, outcome in zip(names, outcomes, strict=True))
    assert set(counts) <= {("cancelled", 1), ("unknown", 1), ("unknown", 0), ("not_sent", 0)}
    assert counts["cancelled", 1] > 1000
    assert counts["unknown", 1] > 100
