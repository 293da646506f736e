"""Budgets and Idempotency-Keys: taken whole or not at all, never twice, and settled by what is certain."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.state.admissions import (
    Admission,
    Admitted,
    Answered,
    Binding,
    Bound,
    Closed,
    Exhausted,
    Left,
    Open,
    Progress,
    Reservation,
)
from gateway.store.opened import SqlStore

HOUR = 3_600_000
BUDGET = Budget(HOUR, runs=100)
ANSWER = Answered(200, b'{"cancelled":7}')


def asked(
    decision: str,
    runs: int | None = None,
    *,
    budget: Budget = BUDGET,
    key: str | None = None,
    scope: str = "billing/own",
) -> Admission:
    reservation = None if runs is None else Reservation("billing/own", scope, runs, budget)
    return Admission(decision, "one", reservation, None if key is None else Binding(key, "request"))


def runs_left(verdict: object) -> int | None:
    assert isinstance(verdict, Admitted | Exhausted)
    assert verdict.left is not None
    return verdict.left.runs


async def left(store: SqlStore, budget: Budget = BUDGET, scope: str = "billing/own") -> Left:
    [left] = await store.left([Reservation("billing/own", scope, 0, budget)])
    return left


async def test_a_budget_is_what_is_left_of_it(store: SqlStore) -> None:
    """What does not fit is refused whole, and takes nothing; what fits exactly is admitted."""
    assert runs_left(await store.admit(asked("a", 60))) == 40
    refused = await store.admit(asked("b", 41))
    assert isinstance(refused, Exhausted)
    assert runs_left(refused) == 40
    assert runs_left(await store.admit(asked("c", 40))) == 0
    assert isinstance(await store.admit(asked("d", 1)), Exhausted)
    assert isinstance(await store.admit(asked("e", 0)), Admitted)


async def test_the_same_admission_again_is_the_same_one(store: SqlStore) -> None:
    """It may have happened although the first call raised, so it is asked again and taken once."""
    first = [await store.admit(asked("a", 60, key="k")) for _ in range(3)]
    assert [runs_left(one) for one in first] == [40, 40, 40]
    assert (await left(store)).runs == 40


async def test_a_request_counts_beside_its_runs(store: SqlStore) -> None:
    """Either bound refuses."""
    budget = Budget(HOUR, runs=10, requests=2)
    await store.admit(asked("a", 1, budget=budget))
    await store.admit(asked("b", 1, budget=budget))
    refused = await store.admit(asked("c", 1, budget=budget))
    assert isinstance(refused, Exhausted)
    assert (refused.left.runs, refused.left.requests) == (8, 0)


async def test_each_scope_has_a_budget_of_its_own(store: SqlStore) -> None:
    """What one team takes is not taken of another's."""
    await store.admit(asked("a", 100, scope="one"))
    assert isinstance(await store.admit(asked("b", 100, scope="two")), Admitted)


async def test_what_was_taken_comes_back_when_the_window_has_passed(store: SqlStore) -> None:
    """By the store's clock, and at the instant that was told."""
    short = Budget(300, runs=5)
    first = await store.admit(asked("a", 5, budget=short))
    assert isinstance(first, Admitted)
    assert isinstance(await store.admit(asked("b", 1, budget=short)), Exhausted)
    await asyncio.sleep(0.35)
    assert isinstance(await store.admit(asked("c", 5, budget=short)), Admitted)


async def test_the_whole_budget_is_there_again_at_the_time_that_is_told(store: SqlStore) -> None:
    """That of the last one taken, plus the window; with nothing taken, now."""
    now = (await store.beat("one", 0)).now_ms
    assert (await left(store)).resets_ms - now < HOUR
    await store.admit(asked("a", 1))
    assert HOUR <= (await left(store)).resets_ms - now < HOUR + 60_000


async def test_a_reservation_becomes_what_was_cancelled(store: SqlStore) -> None:
    """What nobody knows stays reserved, until it is known; what was certain stays."""
    await store.admit(asked("a", 60))
    await store.close("a", Closed(None))
    assert (await left(store)).runs == 40
    await store.close("a", Closed(7))
    assert (await left(store)).runs == 93
    await store.close("a", Closed(None))
    await store.close("a", Closed(50))
    assert (await left(store)).runs == 93


async def test_more_cancelled_than_reserved_is_never_a_negative_rest(store: SqlStore) -> None:
    """It counts all the same."""
    await store.admit(asked("a", 60))
    await store.close("a", Closed(120))
    assert (await left(store)).runs == 0


async def test_what_was_not_sent_is_no_request(store: SqlStore) -> None:
    """Neither its runs nor itself count, and its key is free."""
    budget = Budget(HOUR, requests=1)
    await store.admit(asked("a", 5, budget=budget, key="k"))
    await store.close("a", Closed(0, free_binding=True))
    assert (await left(store, budget)).requests == 1
    assert await store.bound("k") is None


async def test_what_is_withdrawn_is_given_back_and_stays_so(store: SqlStore) -> None:
    """An `admit` that comes too late, because nobody waited for it any more, takes nothing."""
    await store.admit(asked("a", 60, key="k"))
    await store.withdraw("a")
    await store.withdraw("a")
    assert ((await left(store)).runs, await store.bound("k")) == (100, None)
    with pytest.raises(StateUnavailable):
        await store.admit(asked("a", 60, key="k"))
    await store.close("a", Closed(60))
    assert (await left(store)).runs == 100


async def test_what_was_withdrawn_before_it_came_takes_nothing(store: SqlStore) -> None:
    """The order in which two calls reach the store is not that in which they were made."""
    await store.withdraw("a")
    with pytest.raises(StateUnavailable):
        await store.admit(asked("a", 60, key="k"))
    assert ((await left(store)).runs, await store.bound("k")) == (100, None)


async def test_what_was_closed_cannot_be_withdrawn(store: SqlStore) -> None:
    """It was sent."""
    await store.admit(asked("a", 60, key="k"))
    await store.close("a", Closed(60, ANSWER))
    await store.withdraw("a")
    assert (await left(store)).runs == 40
    assert await store.bound("k") is not None


async def test_a_key_and_a_budget_are_taken_both_or_neither(store: SqlStore) -> None:
    """A key that is taken costs no budget, and a budget that is exhausted binds no key."""
    await store.admit(asked("a", 60, key="k"))
    bound = await store.admit(asked("b", 10, key="k"))
    assert bound == Bound("a", "request", Progress.UNDER_WAY, gone=True)
    assert (await left(store)).runs == 40
    assert isinstance(await store.admit(asked("c", 41, key="l")), Exhausted)
    assert await store.bound("l") is None


async def test_a_key_tells_what_came_of_it(store: SqlStore) -> None:
    """Under way, answered, or unknown; once the number is known, with it."""
    await store.beat("one", 0)
    for decision in "ab":
        await store.admit(asked(decision, key=decision))
    assert await store.bound("a") == Bound("a", "request", Progress.UNDER_WAY)
    await store.close("a", Closed(7, ANSWER))
    assert await store.bound("a") == Bound("a", "request", Progress.ANSWERED, answer=ANSWER, cancelled=7)
    await store.close("b", Closed(None))
    assert await store.bound("b") == Bound("b", "request", Progress.UNKNOWN)
    await store.close("b", Closed(3))
    assert await store.bound("b") == Bound("b", "request", Progress.UNKNOWN, cancelled=3)


async def test_an_answer_that_was_given_stays(store: SqlStore) -> None:
    """Whoever repeats the request reads what the first one read; and a sent request's key is never free."""
    await store.admit(asked("a", key="k"))
    await store.close("a", Closed(7, ANSWER))
    await store.close("a", Closed(9, replace(ANSWER, status=500)))
    await store.close("a", Closed(0, free_binding=True))
    bound = await store.bound("k")
    assert bound is not None
    assert (bound.answer, bound.cancelled) == (ANSWER, 7)


async def test_one_of_many_gets_the_key(store: SqlStore) -> None:
    """However many come at once."""
    verdicts = await asyncio.gather(*(store.admit(asked(f"d{number}", 1, key="k")) for number in range(20)))
    [first] = [number for number, one in enumerate(verdicts) if isinstance(one, Admitted)]
    assert {one.decision_id for one in verdicts if isinstance(one, Bound)} == {f"d{first}"}
    assert (await left(store)).runs == 99


async def test_many_at_once_take_no_more_than_there_is(store: SqlStore) -> None:
    """And all of it."""
    verdicts = await asyncio.gather(*(store.admit(asked(f"d{number}", 9)) for number in range(30)))
    assert sum(isinstance(one, Admitted) for one in verdicts) == 11
    assert (await left(store)).runs == 1


async def test_what_is_open_is_found_by_its_gateway(store: SqlStore) -> None:
    """A recovery asks for what its dead predecessors left: neither closed nor withdrawn."""
    for decision in "abc":
        await store.admit(asked(decision, 1))
    await store.admit(replace(asked("x", 1), instance="other"))
    await store.close("a", Closed(None))
    await store.withdraw("b")
    assert await store.open_of(["one"]) == [Open("c", "one")]
    assert {one.decision_id for one in await store.open_of(["one", "other", "third"])} == {"c", "x"}
    assert await store.open_of([]) == []
