"""Who gives way where something is kept, and how teams share what there is: the few things of the small are safe."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.request import Principal
from gateway.upstream.shares import Bounds, Lane, Lanes, Places, TeamShare

PRINCIPALS = st.builds(Principal, st.sampled_from(["a", "b", "c"]), st.sampled_from(["1", "2", "3", "4"]))
HELD = st.lists(st.tuples(PRINCIPALS, st.integers(0, 9)), max_size=30)
BOUNDS = st.builds(Bounds, st.integers(1, 30), st.integers(1, 60), st.integers(1, 90))


def kept(held: list[tuple[Principal, int]], bounds: Bounds) -> list[tuple[Principal, int]]:
    """What is left when the oldest of whoever has to give way has gone, as often as somebody has to."""
    left = list(held)
    while (holder := bounds.gives_way(left, {one for one, _ in left})) is not None:
        left.remove(next(item for item in left if item[0] == holder))
    return left


@given(HELD, BOUNDS)
def test_bounds_hold_in_the_end(held: list[tuple[Principal, int]], bounds: Bounds) -> None:
    """For one, for a team and in all."""
    of_one: Counter[Principal] = Counter()
    of_team: Counter[str] = Counter()
    for principal, amount in kept(held, bounds):
        of_one[principal] += amount
        of_team[principal.team] += amount
    assert all(amount <= bounds.of_one for amount in of_one.values())
    assert all(amount <= bounds.of_team for amount in of_team.values())
    assert of_team.total() <= bounds.overall


@given(HELD, st.integers(1, 30))
def test_nothing_of_a_team_with_a_third_or_less_goes(held: list[tuple[Principal, int]], most: int) -> None:
    """Among three teams, one that holds no more than a third of what may be kept loses nothing to the others."""
    left = kept(held, Bounds(10_000, 10_000, 3 * most))
    for team in "abc":
        before = [item for item in held if item[0].team == team]
        if sum(amount for _, amount in before) <= most:
            assert [item for item in left if item[0].team == team] == before


def test_one_of_several_teams_has_half_and_a_single_team_has_all() -> None:
    """And never nothing."""
    assert [TeamShare(several=several).of(most) for several in (True, False) for most in (64, 1)] == [32, 1, 64, 1]


async def lanes_of(lanes: Lanes, team: str, times: int) -> list[Lane]:
    """So many orders of a team on their way; those that found no place are left out."""
    entered = await asyncio.gather(*(lanes.enter(team) for _ in range(times)))
    return [lane for lane in entered if lane is not None]


async def test_slow_orders_of_one_team_leave_connections_to_another() -> None:
    """A team has half; what is above waits for its own, and gives up in time, with nothing sent."""
    lanes = Lanes(8, TeamShare(several=True), wait_s=0.01)
    slow = await lanes_of(lanes, "billing", 20)
    assert (len(slow), len(await lanes_of(lanes, "search", 4))) == (4, 4)
    waiting = asyncio.create_task(Lanes.enter(lanes, "billing"))
    await asyncio.sleep(0)
    slow[0].leave()
    assert await waiting is not None


async def test_a_single_team_has_every_connection() -> None:
    """There is nobody to keep one for."""
    lanes = Lanes(2, TeamShare(several=False), wait_s=0.01)
    assert len(await lanes_of(lanes, "billing", 50)) == 50


def test_a_place_given_back_goes_to_who_has_waited_longest() -> None:
    """No later caller overtakes one that waits."""

    async def scenario() -> list[str]:
        places, order = Places(1), []
        assert places.took()

        async def waits(name: str) -> None:
            await places.wait(10)
            order.append(name)
            places.release()

        waiting = [asyncio.create_task(waits(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
        assert not places.took()
        places.release()
        assert not places.took()
        await asyncio.gather(*waiting)
        assert places.took()
        return order

    assert asyncio.run(scenario()) == ["first", "second"]


@pytest.mark.parametrize("given_first", [False, True])
def test_no_place_is_lost_with_a_waiter_that_is_given_up(given_first: bool) -> None:
    """Whether its place has been given to it already, or not yet."""

    async def scenario() -> list[bool]:
        places = Places(1)
        assert places.took()
        waiter = asyncio.create_task(places.wait(10))
        await asyncio.sleep(0)
        if given_first:
            places.release()
        waiter.cancel()
        await asyncio.wait([waiter])
        if not given_first:
            places.release()
        return [waiter.cancelled(), places.took(), places.took()]

    assert asyncio.run(scenario()) == [True, True, False]


def test_a_wait_for_a_place_ends_in_time_and_leaves_nothing() -> None:
    """The next place that is given back is free."""

    async def scenario() -> list[bool]:
        places = Places(1)
        assert places.took()
        with pytest.raises(TimeoutError):
            await places.wait(0.01)
        places.release()
        return [places.took(), places.took()]

    assert asyncio.run(scenario()) == [True, False]
