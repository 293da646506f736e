"""What certainly did not leave is `NotSent`, and only that."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace

from gateway.outcome import Cancelled, NotSent, Outcome, Unknown
from gateway.upstream import Upstream
from tests.upstream.raw import DONE, ORDER, RECEIPT, SHORT, Peer, RawServer, answers, connected, run


def outcome_at(url: str) -> Outcome:
    async def scenario() -> Outcome:
        async with connected(url, limits=replace(SHORT, total_timeout_s=10)) as upstream:
            return await upstream.cancel(ORDER, RECEIPT)

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
            return await upstream.cancel(ORDER, RECEIPT)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert run(scenario(listener)) == Unknown("timeout_error")


def test_an_order_without_a_place_in_the_pool_is_not_sent() -> None:
    """All connections are taken: the order that waited in vain never left, the others are unknown."""
    limits = replace(SHORT, total_timeout_s=1)

    async def scenario() -> tuple[list[Outcome], RawServer]:
        async with RawServer(Peer.left) as server, connected(server.url, limits=limits, max_connections=2) as upstream:
            outcomes = await asyncio.gather(*(upstream.cancel(ORDER, RECEIPT) for _ in range(5)))
        return outcomes, server

    outcomes, server = run(scenario())
    assert sorted(outcome.name for outcome in outcomes) == ["not_sent"] * 3 + ["unknown"] * 2
    assert (len(server.peers), server.requests) == (2, 2)


def test_orders_given_up_leave_their_place_in_the_pool() -> None:
    """Cancelled while sending or while waiting, at a shutdown for example: the only place is free again."""

    async def give_up(upstream: Upstream) -> None:
        tasks = [asyncio.create_task(upstream.cancel(ORDER, RECEIPT)) for _ in range(3)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def scenario() -> Outcome:
        raw = RawServer(*[Peer.left] * 10, answers(DONE))
        async with raw as server, connected(server.url, max_connections=1) as upstream:
            while len(server.peers) < 10:
                await give_up(upstream)
            return await upstream.cancel(ORDER, RECEIPT)

    assert run(scenario()) == Cancelled(200, 3)
