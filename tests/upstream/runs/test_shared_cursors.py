"""Cursors of listings that any gateway of a fleet takes from the caller who got them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import MalformedRequest, StateUnavailable
from gateway.core.request import Principal
from gateway.upstream.runs.cursors import LIFETIME_S, Askers, Position
from gateway.upstream.runs.query import RunQuery
from tests.support.stand_ins import StillClock
from tests.support.state.plans import MemoryPlans

CI, OTHER = Principal("billing", "ci"), Principal("billing", "dev")
ASKED = RunQuery(count=5)
HERE = Position("upstream-cursor", frozenset((("wfr_1", 1_794_000_000_000), ("wfr_2", 1_794_000_000_001))))


class Fleet:
    """Two gateways with one store."""

    def __init__(self) -> None:
        self.clock = StillClock()
        self.store = MemoryPlans(self.clock)
        self.a, self.b = Askers(self.clock), Askers(self.clock)
        self.a.shared = self.b.shared = self.store


async def test_a_cursor_that_one_gateway_told_is_good_at_another() -> None:
    """For the same caller and question it stands for the same position, as often as it is used."""
    fleet = Fleet()
    cursor = await fleet.a.told(CI, ASKED, HERE)
    for askers in (fleet.a, fleet.b, fleet.b):
        assert await askers.found(cursor, CI, ASKED) == HERE


async def test_it_is_good_for_nobody_and_nothing_else() -> None:
    """Another caller, another question, and ten minutes later: 400, as at the gateway that told it."""
    fleet = Fleet()
    cursor = await fleet.a.told(CI, ASKED, HERE)
    for asker, question in ((OTHER, ASKED), (CI, replace(ASKED, state="RUN_STARTED"))):
        with pytest.raises(MalformedRequest):
            await fleet.b.found(cursor, asker, question)
    fleet.clock.wall_ms += int(LIFETIME_S * 1000)
    with pytest.raises(MalformedRequest):
        await fleet.b.found(cursor, CI, ASKED)


@pytest.mark.parametrize("value", [b"", b"[]", b"{}", b'{"question":1}', b'{"cursor":"x","shown":[[1,"a"]]}'])
async def test_what_the_store_does_not_have_as_it_was_written_is_no_cursor(value: bytes) -> None:
    """It is 400, as for any cursor that nobody told."""
    fleet = Fleet()
    cursor = await fleet.a.told(CI, ASKED, HERE)
    owner, written, until_ms = fleet.store.cursors[cursor]
    fleet.store.cursors[cursor] = (owner, value, until_ms)
    assert written != value
    with pytest.raises(MalformedRequest):
        await fleet.b.found(cursor, CI, ASKED)


async def test_without_the_store_a_listing_goes_on_at_the_gateway_that_began_it() -> None:
    """Its cursors are good there; elsewhere it is 503, because nobody can say whose they are."""
    fleet = Fleet()
    fleet.store.faults.before = ("*",)
    cursor = await fleet.a.told(CI, ASKED, HERE)
    assert await fleet.a.found(cursor, CI, ASKED) == HERE
    with pytest.raises(StateUnavailable):
        await fleet.b.found(cursor, CI, ASKED)
