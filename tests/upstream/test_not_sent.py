"""What certainly did not leave is `NotSent`, and only that."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from gateway.core.outcome import Cancelled, NotSent, Outcome, Unknown
from gateway.core.plan import Order
from gateway.upstream.cancel import MAX_ANSWER_BYTES, Upstream
from gateway.upstream.client import Exchange, Failed, Reply, UpstreamLimits
from gateway.upstream.pool import PooledTransport
from tests.upstream.raw import (
    DONE,
    HANGS_S,
    LIMITS,
    ORDER,
    RECEIPT,
    SHORT,
    Peer,
    RawServer,
    answers,
    connected,
    holder,
    ids,
    run,
)


def outcome_at(url: str) -> Outcome:
    async def scenario() -> Outcome:
        async with connected(url, limits=replace(SHORT, total_timeout_s=10)) as upstream:
            return await upstream.send(ORDER, RECEIPT)

    return run(scenario())


def test_a_refused_port_is_not_sent() -> None:
    """Nobody listens: no byte left."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert outcome_at(f"http://127.0.0.1:{port}") == NotSent("refused")


def test_a_name_without_an_address_is_not_sent() -> None:
    """The resolver says no, or says nothing in time."""
    assert outcome_at("http://nowhere.invalid") in (NotSent("dns"), NotSent("connect_timeout"))


def test_a_full_backlog_is_not_sent() -> None:
    """The kernel answers no SYN, so the connection is never made."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        waiting = [socket.socket() for _ in range(8)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(listener.getsockname())
        outcome = outcome_at(f"http://127.0.0.1:{listener.getsockname()[1]}")
        for each in waiting:
            each.close()
    assert outcome == NotSent("connect_timeout")


def test_a_listener_that_never_accepts_is_unknown() -> None:
    """The kernel made the connection and took the bytes: they may be read later."""

    async def scenario(listener: socket.socket) -> Outcome:
        async with connected(f"http://127.0.0.1:{listener.getsockname()[1]}", limits=SHORT) as upstream:
            return await upstream.send(ORDER, RECEIPT)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert run(scenario(listener)) == Unknown("timeout_error")


def test_an_order_without_a_place_in_the_pool_is_not_sent() -> None:
    """All connections are taken: the order that waited in vain never left, the others are unknown."""
    limits = replace(SHORT, total_timeout_s=1)

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(Peer.left) as server, connected(server.url, limits=limits, max_connections=2) as upstream:
            outcomes = await asyncio.gather(*(upstream.send(ORDER, RECEIPT) for _ in range(5)))
        return outcomes, server

    outcomes, server = run(scenario())
    assert sorted(outcome.name for outcome in outcomes) == ["not_sent"] * 3 + ["unknown"] * 2
    assert (len(server.peers), server.requests) == (2, 2)


async def given_up(*tasks: asyncio.Task[Outcome]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def until_sent(server: RawServer, number: int) -> None:
    while server.requests < number:  # noqa: ASYNC110 - the server keeps bytes, not events
        await asyncio.sleep(0.001)


def test_orders_given_up_while_they_wait_for_a_place_are_never_sent() -> None:
    """Only the order that had the place was seen, and the next one after it."""
    go = asyncio.Event()

    async def when_told(peer: Peer) -> None:
        await peer.request()
        await go.wait()
        await peer.send(DONE)
        await answers(DONE)(peer)

    async def scenario() -> tuple[list[Outcome], int]:
        async with RawServer(when_told) as server, connected(server.url, max_connections=1) as upstream:
            first, *waiting = (asyncio.create_task(upstream.send(ORDER, RECEIPT)) for _ in range(4))
            await until_sent(server, 1)
            await given_up(*waiting)
            go.set()
            outcomes = [await first, await upstream.send(ORDER, RECEIPT)]
        return outcomes, server.requests

    assert run(scenario()) == ([Cancelled(200, 3)] * 2, 2)


def test_an_order_given_up_while_it_is_sent_has_its_place_until_its_deadline_and_not_longer() -> None:
    """At a shutdown, for example. There are never more exchanges than places, and none is lost."""
    short = UpstreamLimits(connect_timeout_s=5, total_timeout_s=1)

    async def scenario() -> tuple[list[Outcome], Outcome, int]:
        transport = PooledTransport(max_connections=1, connect_timeout_s=HANGS_S)
        async with RawServer(*[Peer.left] * 4, answers(DONE)) as server:
            # The second waits for a place for less time than the first one's deadline has left.
            first = Upstream(server.url, holder(), limits=short, transport=transport)
            hasty = Upstream(server.url, holder(), limits=replace(LIMITS, connect_timeout_s=0.02), transport=transport)
            patient = Upstream(server.url, holder(), limits=replace(LIMITS, connect_timeout_s=5), transport=transport)
            meanwhile = []
            for number in range(1, 5):
                sending = asyncio.create_task(first.send(ORDER, RECEIPT))
                await until_sent(server, number)
                await given_up(sending)
                meanwhile.append(await hasty.send(ORDER, RECEIPT))
                await asyncio.sleep(short.total_timeout_s)
            last = await patient.send(ORDER, RECEIPT)
            await transport.aclose()
            return meanwhile, last, len(server.peers)

    assert run(scenario()) == ([NotSent("pool_timeout")] * 4, Cancelled(200, 3), 5)


def test_a_reading_given_up_has_its_place_until_it_is_answered_and_not_longer() -> None:
    """Look-ups give up pages that they no longer want: those must not keep everybody from reading until a deadline."""

    async def scenario() -> tuple[Reply | Failed, Reply | Failed]:
        asked, go = asyncio.Event(), asyncio.Event()

        async def when_told(peer: Peer) -> None:
            while True:
                await peer.request()
                asked.set()
                await go.wait()
                await peer.send(DONE)

        transport = PooledTransport(max_connections=1, connect_timeout_s=1)
        async with RawServer(when_told) as server:
            # The second waits for a place for less time than the first one's deadline has left.
            patient = Exchange(server.url, limits=LIMITS, transport=transport)
            hasty = Exchange(server.url, limits=replace(LIMITS, connect_timeout_s=0.05), transport=transport)
            ask = "GET", b"/v2/workflows/logs", holder().current
            given_up = asyncio.create_task(patient.send(*ask, max_answer_bytes=MAX_ANSWER_BYTES))
            await asked.wait()
            given_up.cancel()
            await asyncio.wait([given_up])
            meanwhile = await hasty.send(*ask, max_answer_bytes=MAX_ANSWER_BYTES)
            go.set()
            after = await patient.send(*ask, max_answer_bytes=MAX_ANSWER_BYTES)
            await transport.aclose()
            return meanwhile, after

    meanwhile, after = run(scenario())
    assert meanwhile == Failed(sent=False, cause="pool_timeout")
    assert isinstance(after, Reply)


def test_orders_with_long_targets_take_their_places_from_the_same_pool() -> None:
    """Two clients below make no second set of connections: with one place there is one connection."""
    long = ids(1000, length=128)

    async def scenario(first: Order, second: Order) -> tuple[Outcome, int, Outcome]:
        go = asyncio.Event()

        async def when_told(peer: Peer) -> None:
            await peer.request()
            await go.wait()
            await peer.send(DONE)
            await peer.left()

        async with (
            RawServer(when_told) as server,
            connected(server.url, limits=replace(LIMITS, connect_timeout_s=1), max_connections=1) as upstream,
        ):
            sending = asyncio.create_task(upstream.send(first, RECEIPT))
            await until_sent(server, 1)
            waited = await upstream.send(second, RECEIPT)
            go.set()
            return waited, len(server.peers), await sending

    for first, second in ((long, ORDER), (ORDER, long), (long, long)):
        assert run(scenario(first, second)) == (NotSent("pool_timeout"), 1, Cancelled(200, 3))
