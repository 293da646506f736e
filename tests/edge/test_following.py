"""What event streams are filled from misses nothing that is closed while they are open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from gateway.audit.decisions.finding import Closings, Decisions
from gateway.audit.decisions.latest import MOST_BYTES, Latest
from gateway.core.request import Principal
from gateway.edge.pages.overview.events import EventPages
from tests.audit.decisions.chains import Chain, an_id, intent, outcome
from tests.support.waiting import PATIENCE_S


class Overtaken(Latest):
    """Lines of which more are written just after they were read for the first time."""

    def __init__(self, more: Callable[[], list[bytes]]) -> None:
        super().__init__()
        self.more: Callable[[], list[bytes]] | None = more

    def kept(self) -> list[bytes]:
        """The lines so far."""
        lines = super().kept()
        more, self.more = self.more, None
        if more is not None:
            self.add(more())
        return lines


def followed(directory: Path, latest: Latest) -> Decisions:
    """The decisions of these lines; nothing is looked up in the index."""
    return Decisions(directory, latest, cast("Any", None))


async def test_what_is_closed_while_a_stream_opens_is_sent(tmp_path: Path) -> None:
    """Nothing else need be written for it to be seen: the page said that it is live."""
    chain = Chain(tmp_path)
    latest = Overtaken(lambda: chain.lines(intent(2), outcome(2)))
    latest.add(chain.lines(intent(1), outcome(1)))
    pages = EventPages(cast("Any", None), cast("Any", SimpleNamespace(decisions=followed(tmp_path, latest))), bool)
    asks = SimpleNamespace(
        scope={"query_string": b""},
        principal=Principal("billing", "ci"),
        live=SimpleNamespace(is_operator=lambda _: False),
    )
    stream = await pages.events(cast("Any", asks))
    async with asyncio.timeout(PATIENCE_S):
        await pages.following.wait()
        await stream.some.wait()
    pages.end(stream)
    pages.close()
    assert [an_id(2).encode() in event for event in stream.waiting] == [True]


def test_a_gateway_that_has_written_more_than_it_keeps_follows_what_comes(tmp_path: Path) -> None:
    """Its oldest lines are gone for good, and no stream is about them."""
    chain, latest = Chain(tmp_path), Latest()
    for number in range(7):
        latest.add(chain.lines(intent(number, reason="x" * (MOST_BYTES // 6)), outcome(number)))
    assert latest.dropped is not None
    closings = Closings(followed(tmp_path, latest))
    closings.skip()
    assert closings.since() == []
    latest.add(chain.lines(intent(99), outcome(99)))
    assert [one.decision_id for one in closings.since()] == [an_id(99)]
