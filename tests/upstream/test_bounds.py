"""Upstream can waste neither time nor memory: the whole call has one deadline, and an answer has a longest length."""

from __future__ import annotations

import asyncio
import tracemalloc
import zlib

import pytest

from gateway.core.outcome import Cancelled, Unknown
from gateway.upstream.cancel import MAX_ANSWER_BYTES
from tests.upstream.raw import DONE, LIMITS, ORDER, SHORT, Peer, Script, answer, answers, play

ROOM_BYTES = 8 * 1024 * 1024


def dripping(content: bytes, *, every_s: float) -> Script:
    """One byte at a time, then silence."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for byte in content:
            await peer.send(bytes([byte]))
            await asyncio.sleep(every_s)
        await peer.left()

    return script


def endless(head: bytes, part: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(head)
        while True:
            await peer.send(part)

    return script


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"])
def test_a_byte_now_and_then_does_not_extend_the_deadline(start: bytes) -> None:
    """The deadline is the whole call's: no read is ever late, and still it ends."""
    played = play(dripping(start + b"x" * 10_000, every_s=0.02), limits=SHORT)
    assert [outcome.name for outcome in played.outcomes] == ["unknown"]
    assert played.requests == 1


def test_a_slow_answer_within_the_deadline_is_believed() -> None:
    """The control: slow is not wrong."""
    assert play(dripping(DONE, every_s=0.001)).outcomes == (Cancelled(200, 3),)


def test_a_silent_upstream_is_unknown_and_the_next_order_has_a_connection_of_its_own() -> None:
    """A late answer to the first order cannot be taken for that to the second."""

    async def late(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(SHORT.total_timeout_s + 0.1)
        await peer.send(answer(b'{"cancelled":99}'))

    played = play(late, answers(DONE), orders=[ORDER, ORDER], limits=SHORT)
    assert played.outcomes == (Unknown("timeout_error"), Cancelled(200, 3))
    assert len(played.received) == 2


@pytest.mark.parametrize("status", [b"100 Continue", b"102 Processing", b"103 Early Hints"])
def test_a_flood_of_informational_answers_ends_with_the_deadline(status: bytes) -> None:
    """Each of them is valid, and together they are no answer."""
    flood = b"HTTP/1.1 " + status + b"\r\n\r\n"
    played = play(endless(b"", flood * 1000), limits=SHORT)
    assert played.outcomes == (Unknown("timeout_error"),)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n"])
def test_endless_headers_are_cut_off(head: bytes) -> None:
    """A head is bounded by the parser, long before the deadline."""
    played = play(endless(head, b"X-Pad: " + b"a" * 1000 + b"\r\n"), limits=LIMITS)
    assert played.outcomes == (Unknown("remote_protocol_error"),)


@pytest.mark.parametrize(
    ("head", "part"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b'{"cancelled":3} ' * 256),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b" " * 4096 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b" " * 4096),
    ],
    ids=["unbounded", "chunked", "announced"],
)
def test_an_endless_body_is_cut_off(head: bytes, part: bytes) -> None:
    """The gateway reads a bounded number of bytes and closes the connection, long before the deadline."""
    tracemalloc.start()
    try:
        played = play(endless(head, part), limits=LIMITS)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert played.outcomes == (Unknown("no_cancelled", 200),)
    assert peak < ROOM_BYTES


@pytest.mark.parametrize(("size", "name"), [(MAX_ANSWER_BYTES, "cancelled"), (MAX_ANSWER_BYTES + 1, "unknown")])
def test_the_longest_answer_is_read_and_one_byte_more_is_not(size: int, name: str) -> None:
    """The bound is exact, so a count never comes out of half an answer."""
    body = b'{"cancelled":3}'.ljust(size)
    assert [outcome.name for outcome in play(answers(answer(body))).outcomes] == [name]


def test_a_bomb_is_not_inflated() -> None:
    """60 kB that would become 60 MB stay 60 kB."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = bomb.compress(b" " * 60_000_000) + bomb.flush()
    assert len(body) < MAX_ANSWER_BYTES
    tracemalloc.start()
    try:
        played = play(answers(answer(body, headers=["Content-Encoding: gzip"])))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert played.outcomes == (Unknown("no_cancelled", 200),)
    assert peak < ROOM_BYTES


def test_deadlines_do_not_wear_the_pool_out() -> None:
    """After as many deadlines as there are places, an order still goes out."""
    played = play(*[Peer.left] * 3, answers(DONE), orders=[ORDER] * 4, limits=SHORT, max_connections=1)
    assert [outcome.name for outcome in played.outcomes] == ["unknown"] * 3 + ["cancelled"]
