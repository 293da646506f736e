"""The client that long targets go through is loaded with the first of them, behind its intent."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from gateway.core.outcome import Cancelled, NotSent, Outcome
from gateway.upstream.cancel import Upstream
from gateway.upstream.client import UpstreamLimits
from gateway.upstream.direct import LateTransport
from tests.upstream.raw import DONE, LIMITS, ORDER, RECEIPT, RawServer, answers, connected, holder, ids, run

LONG = ids(1000, length=128)


@contextmanager
def no_descriptor_free() -> Iterator[None]:
    """The process may open nothing more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        while True:
            try:
                stack.callback(os.close, os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        yield


def test_where_it_cannot_be_loaded_the_order_is_not_sent_and_the_next_one_is() -> None:
    """For want of a descriptor: what failed was before the first byte, and nothing of it stays."""

    async def scenario() -> list[Outcome]:
        async with RawServer(answers(DONE)) as server, connected(server.url) as upstream:
            with no_descriptor_free():
                outcomes = [await upstream.send(LONG, RECEIPT)]
            assert server.received == ()
            return [*outcomes, await upstream.send(LONG, RECEIPT)]

    assert run(scenario()) == [NotSent("connect_error"), Cancelled(200, 3)]


def test_it_is_made_once_for_orders_at_the_same_time() -> None:
    """The first makes it, the others wait for it."""
    made: list[httpx.AsyncHTTPTransport] = []

    class Counted(LateTransport):
        def _make(self) -> httpx.AsyncHTTPTransport:
            made.append(super()._make())
            return made[-1]

    async def scenario() -> list[Outcome]:
        async with RawServer(answers(DONE)) as server:
            upstream = Upstream(server.url, holder(), limits=LIMITS, transport=Counted(max_connections=8))
            outcomes = await asyncio.gather(*(upstream.send(ORDER, RECEIPT) for _ in range(8)))
            await upstream.aclose()
            return outcomes

    assert run(scenario()) == [Cancelled(200, 3)] * 8
    assert len(made) == 1


def test_without_roots_that_can_be_read_nothing_is_sent(tmp_path: Path) -> None:
    """No roots are no reason to trust others."""

    async def scenario() -> None:
        async with RawServer(answers(DONE)) as server:
            transport = LateTransport(max_connections=1, roots=tmp_path / "none.pem")
            upstream = Upstream(server.url, holder(), limits=UpstreamLimits(1, 1), transport=transport)
            assert await upstream.send(ORDER, RECEIPT) == NotSent("connect_error")
            assert server.received == ()
            await upstream.aclose()

    run(scenario())
