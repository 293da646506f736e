"""Pauses that end by themselves, in the store: one gateway ends each, once, and what comes later replaces it."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import update

from gateway.state.freezes import GONE_MS
from gateway.state.timed.timers import SHOWN_MS, Stage, Switched, Timer
from gateway.store.opened import SqlStore
from gateway.store.tables import GATEWAYS, TIMERS

HOUR_MS = 3_600_000
PAUSE = Timer("pause", "queue", "qn", "billing", "k1", None, HOUR_MS, "a")


def came(
    decision_id: str = "pause", *, certain: bool | None = True, replaces: bool = True, name: str = "qn"
) -> Switched:
    """What came of a pause or resume."""
    return Switched(decision_id, "queue", name, certain, replaces)


async def passes(store: SqlStore, milliseconds: int = HOUR_MS) -> None:
    """What time does to timers, without the time."""
    moved = update(TIMERS).values(due_ms=TIMERS.c.due_ms - milliseconds, at_ms=TIMERS.c.at_ms - milliseconds)
    await store._database.write(lambda connection: connection.execute(moved).rowcount)


async def waiting(store: SqlStore, timer: Timer = PAUSE) -> None:
    """A pause that is certain."""
    await store.prepare_timer(timer)
    await store.switched(came(timer.decision_id, name=timer.name))


async def only(store: SqlStore) -> Timer:
    """The one timer that there is."""
    [found] = (await store.timers()).timers
    return found


async def names(store: SqlStore) -> list[str]:
    """The pauses that are kept, the first due first."""
    return [one.decision_id for one in (await store.timers()).timers]


async def test_a_timer_waits_from_when_its_pause_is_certain(store: SqlStore) -> None:
    """By the store's clock; before that it is not due, and is kept as it was made."""
    await store.beat("a", 0)
    await store.prepare_timer(PAUSE)
    await store.prepare_timer(PAUSE)
    assert await only(store) == PAUSE
    await store.switched(came())
    found, now_ms = await only(store), (await store.timers()).now_ms
    assert found == replace(PAUSE, stage=Stage.WAITING, due_ms=found.due_ms)
    assert found.due_ms is not None
    assert 0 < now_ms + HOUR_MS - found.due_ms + 1 < 60_000
    await store.switched(came())
    assert (await only(store)).due_ms == found.due_ms


async def test_a_pause_that_was_not_done_leaves_nothing(store: SqlStore) -> None:
    """Nor is it taken for one that came later."""
    await waiting(store)
    await store.prepare_timer(replace(PAUSE, decision_id="other"))
    await store.switched(came("other", certain=False, replaces=False))
    assert await names(store) == ["pause"]


async def test_a_pause_that_nobody_knows_of_is_stuck(store: SqlStore) -> None:
    """It is never due, and stands until the name is paused or resumed again."""
    await store.prepare_timer(PAUSE)
    await store.switched(came(certain=None))
    found = await only(store)
    assert (found.stage, found.why, found.due_ms) == (Stage.STUCK, "pause_unknown", None)
    await store.switched(came("later"))
    assert await names(store) == []


async def test_one_gateway_takes_what_is_due(store: SqlStore) -> None:
    """Of many that try at once; before its time nobody does."""
    await waiting(store)
    assert not await store.take_timer("pause", "early", "a")
    await passes(store)
    taken = await asyncio.gather(*(store.take_timer("pause", f"resume-{n}", f"gateway-{n}") for n in range(8)))
    assert taken.count(True) == 1
    assert not await store.take_timer("pause", "late", "b")
    found = await only(store)
    assert found.stage is Stage.TAKEN
    assert await store.take_timer("pause", str(found.resume_id), found.instance), "its answer may have been lost"


async def test_what_was_given_back_is_due_again_after_a_while(store: SqlStore) -> None:
    """Only whoever took it gives it back."""
    await waiting(store)
    await passes(store)
    await store.take_timer("pause", "resume", "a")
    await store.give_back_timer("pause", "another", 1)
    assert (await only(store)).stage is Stage.TAKEN
    await store.give_back_timer("pause", "resume", 60_000)
    assert not await store.take_timer("pause", "resume-2", "b")
    await passes(store, 60_000)
    assert await store.take_timer("pause", "resume-2", "b")


@pytest.mark.parametrize("why", [None, "unknown"])
async def test_what_has_ended_is_over_or_stuck(store: SqlStore, why: str | None) -> None:
    """By the word of whoever took it; said again it changes nothing."""
    await waiting(store)
    await passes(store)
    await store.take_timer("pause", "resume", "a")
    await store.end_timer("pause", "another", why)
    assert (await only(store)).stage is Stage.TAKEN
    for _ in range(2):
        await store.end_timer("pause", "resume", why)
    left = [(one.stage, one.why) for one in (await store.timers()).timers]
    assert left == ([] if why is None else [(Stage.STUCK, why)])


async def test_a_later_word_on_the_same_name_replaces_it(store: SqlStore) -> None:
    """Not that on another name, nor one that is only prepared."""
    await waiting(store)
    await waiting(store, replace(PAUSE, decision_id="other", name="q2"))
    await store.prepare_timer(replace(PAUSE, decision_id="coming"))
    await store.switched(came("later", name="q3"))
    assert len(await names(store)) == 3
    await store.switched(came("later", replaces=False))
    assert len(await names(store)) == 3
    await store.switched(came("later"))
    assert sorted(await names(store)) == ["coming", "other"]


async def test_it_is_seen_that_a_gateway_has_gone(store: SqlStore) -> None:
    """Of one that does not beat, or never has."""
    await store.prepare_timer(PAUSE)
    assert (await only(store)).gone
    await store.beat("a", 0)
    assert not (await only(store)).gone
    moved = update(GATEWAYS).values(seen_ms=GATEWAYS.c.seen_ms - GONE_MS - 1_000)
    await store._database.write(lambda connection: connection.execute(moved).rowcount)
    assert (await only(store)).gone


async def test_what_waits_comes_before_what_stands(store: SqlStore) -> None:
    """The first due first; however much is stuck, what is due is seen."""
    await waiting(store, replace(PAUSE, decision_id="second", name="q2", lasts_ms=2 * HOUR_MS))
    await waiting(store, replace(PAUSE, decision_id="first", name="q1"))
    await store.prepare_timer(replace(PAUSE, decision_id="stuck", name="q3"))
    await store.switched(came("stuck", certain=None, name="q3"))
    assert await names(store) == ["first", "second", "stuck"]


async def test_what_stands_is_forgotten_after_a_month(store: SqlStore) -> None:
    """What waits is not."""
    await waiting(store, replace(PAUSE, decision_id="waits", name="q1"))
    await store.prepare_timer(PAUSE)
    await store.switched(came(certain=None))
    await passes(store, SHOWN_MS + 60_000)
    await store.purge()
    assert await names(store) == ["waits"]
