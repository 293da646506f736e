"""One stream: in bounded memory, told what it missed, ended when its caller is."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, cast

from gateway.core.request import Principal
from gateway.edge.head import GONE
from gateway.edge.inbound import Inbound
from gateway.edge.pages.overview.events import MOST_WAITING, EventPages, Stream


class Asked:
    """The pages of a stream: whether it may go on, and that it ended."""

    def __init__(self, *, looks: int) -> None:
        self.looks, self.ended = looks, 0
        self.following = asyncio.Event()
        self.following.set()

    def may_go_on(self, inbound: Inbound) -> bool:
        """So many times."""
        self.looks -= 1
        return self.looks >= 0

    def end(self, stream: Stream) -> None:
        """It ended."""
        self.ended += 1


def written(stream: Stream, *, gone: bool = False) -> bytes:
    """What a stream writes."""
    parts: list[bytes] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        parts.append(message.get("body", b""))

    async def run() -> None:
        scope = {"type": "http", "headers": [], "query_string": b"", "state": {GONE: lambda: gone}}
        await stream.write(Inbound(scope, asyncio.Queue().get, "0" * 36, None, cast("Any", None)), send)

    asyncio.run(run())
    return b"".join(parts)


def opened(asked: Asked) -> Stream:
    """A stream of somebody."""
    return Stream(cast("EventPages", asked), Principal("billing", "ci"), "billing")


def test_what_a_stream_does_not_take_in_time_is_left_out_and_it_is_told() -> None:
    """The oldest events give way; the newest are there, in their order."""
    stream = opened(asked := Asked(looks=1))
    for number in range(MOST_WAITING + 5):
        stream.put(b"data: %d\n\n" % number)
    lines = written(stream).split(b"\n\n")
    assert lines[:3] == [b": open", b"event: missed\ndata: {}", b"data: 5"]
    assert lines[-2] == b"data: %d" % (MOST_WAITING + 4)
    assert asked.ended == 1


def test_a_stream_ends_when_its_caller_has_gone_or_is_accepted_no_more() -> None:
    """Without what still waited."""
    for asked, gone in ((Asked(looks=9), True), (Asked(looks=0), False)):
        stream = opened(asked)
        stream.put(b"data: 1\n\n")
        assert written(stream, gone=gone) == b": open\n\n"
        assert asked.ended == 1
