"""Freezes hold: against races, lost writes, half answers, restarts, and a store that is away."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.errors import FreezeUnsure, StateUnavailable
from gateway.state.freezes import Freeze, Scope, Snapshot
from tests.fleet.fleets import BILLING, EVERYTHING, Member, shared
from tests.support.state.freezes import MemoryFreezes
from tests.support.waiting import soon


async def freeze(member: Member, scope: Scope = BILLING, *, by: str = "platform/ops") -> Freeze:
    """Freezes through one gateway."""
    kept, _ = await member.switch.freeze(scope, reason="QStash is acting up", until_ms=None, by=by)
    return kept


async def test_a_freeze_is_in_force_here_at_once_and_elsewhere_with_the_next_beat() -> None:
    """And every gateway that has read it lets go of it when it is thawed."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    for member in (here, there):
        await member.beat()
    kept = await freeze(here)
    assert (here.frozen, there.frozen) == (True, False)
    await there.beat()
    assert there.frozen
    await there.switch.thaw(kept.freeze_id, "platform/ops")
    assert (here.frozen, there.frozen) == (True, False)
    await here.beat()
    assert not here.frozen


async def test_a_freeze_says_who_has_it_in_force_and_of_whom_nobody_knows() -> None:
    """It waits for every gateway that beats; one that has gone away is named as silent."""
    store = shared()
    here, there, gone = (Member(store, name) for name in ("a", "b", "c"))
    for member in (here, there, gone):
        await member.beat()
    store.gateways["c"] = replace(store.gateways["c"], seen_ms=0 + store.now_ms() - 2_001)
    tasks = [asyncio.create_task(member.following.run()) for member in (here, there)]
    try:
        _, reached = await here.switch.freeze(BILLING, reason="x", until_ms=None, by="platform/ops")
    finally:
        for task in tasks:
            task.cancel()
    assert (reached.in_force, reached.silent) == (["a", "b"], ["c"])


async def test_a_freeze_whose_write_failed_holds() -> None:
    """Here, at once; it is written as soon as the store is back, once, and then holds everywhere."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    for member in (here, there):
        await member.beat()
    store.fails = "unreachable"
    with pytest.raises(FreezeUnsure) as unsure:
        await freeze(here)
    assert (unsure.value.status, unsure.value.code) == (503, "state_unavailable")
    assert unsure.value.freeze_id in unsure.value.sentence
    assert here.frozen
    await here.beat()
    assert (here.frozen, here.freezes.unwritten()[0].freeze_id) == (True, unsure.value.freeze_id)
    store.fails = None
    await here.beat()
    await there.beat()
    assert (here.frozen, there.frozen, here.freezes.unwritten()) == (True, True, [])
    assert [*store.freezes] == [unsure.value.freeze_id] == here.recorded("freeze")


async def test_a_freeze_whose_answer_was_lost_is_one_freeze() -> None:
    """It happened, and nobody was told: writing it again changes nothing."""
    store = shared()
    here = Member(store)
    await here.beat()
    store.loses_answers = True
    with pytest.raises(FreezeUnsure):
        await freeze(here)
    store.loses_answers = False
    await here.beat()
    assert (here.frozen, len(store.freezes), here.freezes.unwritten()) == (True, 1, [])


async def test_what_was_read_before_a_freeze_was_made_does_not_undo_it() -> None:
    """A beat that is under way while somebody freezes answers without it."""
    store = shared()
    here = Member(store)
    await here.beat()
    before = await store.beat("a", 0)
    await freeze(here)
    here.freezes.take(before)
    assert here.frozen


async def test_what_was_read_before_a_thaw_does_not_undo_it() -> None:
    """Nor the other way round."""
    store = shared()
    here = Member(store)
    await here.beat()
    kept = await freeze(here)
    before = await store.beat("a", 0)
    await here.switch.thaw(kept.freeze_id, "platform/ops")
    here.freezes.take(before)
    assert not here.frozen


async def test_a_freeze_that_could_not_be_written_is_thawed_for_good() -> None:
    """Its write may still have arrived: so it is written first, and then ended."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    await here.beat()
    store.fails = "timeout"
    with pytest.raises(FreezeUnsure) as unsure:
        await freeze(here)
    with pytest.raises(FreezeUnsure):
        await here.switch.thaw(unsure.value.freeze_id, "platform/ops")
    assert here.frozen
    store.fails = None
    assert await here.switch.thaw(unsure.value.freeze_id, "platform/ops") is not None
    await here.beat()
    await there.beat()
    assert (here.frozen, there.frozen) == (False, False)


async def test_all_scopes_of_the_store_come_into_force_together_or_none() -> None:
    """A beat is one transaction: one that fails leaves every scope as it was."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    for member in (here, there):
        await member.beat()
    for scope in (Scope("search"), BILLING, EVERYTHING):
        await freeze(here, scope)
    store.fails = "timeout"
    await there.beat()
    assert there.freezes.in_force() == []
    store.fails = None
    await there.beat()
    assert [one.scope for one in there.freezes.in_force()] == [Scope("search"), BILLING, EVERYTHING]


async def test_an_answer_that_is_cut_short_never_looks_complete() -> None:
    """It is no answer: what was read before stays, and operators are told."""
    store = shared()
    here = Member(store)
    await here.beat()
    await freeze(here)

    class CutShort(MemoryFreezes):
        async def beat(self, instance: str, number: int) -> Snapshot:
            raise StateUnavailable("refused")

    cut = CutShort(store.now_ms)
    here.following._store = cut
    await here.beat()
    assert here.frozen
    assert [event for event, _ in here.lines.said if event == "state_unavailable"] == ["state_unavailable"]


async def test_a_restart_posts_nothing_that_was_decided() -> None:
    """A freeze that was thawed while a gateway was away does not come back with it, nor is it recorded again."""
    store = shared()
    first = Member(store, "a")
    await first.beat()
    kept = await freeze(first)
    other = Member(store, "b")
    await other.beat()
    await other.switch.thaw(kept.freeze_id, "platform/ops")
    again = Member(store, "c")
    await again.beat()
    assert (again.frozen, store.writes, again.log.events) == (False, [kept.freeze_id], [])


async def test_with_the_store_away_what_was_read_stays_in_force() -> None:
    """For as long as it takes; and operators can read that it does."""
    store = shared()
    here, there = Member(store, "a"), Member(store, "b")
    await here.beat()
    await freeze(here)
    await there.beat()
    store.fails = "unreachable"
    for _ in range(3):
        await there.beat()
    assert there.frozen
    [notice] = there.following.notices()
    assert "the freezes read before stay in force" in notice
    assert [event for event, _ in there.lines.said] == ["state_unavailable"]
    store.fails = None
    await there.beat()
    assert (there.frozen, there.following.notices()) == (True, [])


async def test_the_task_goes_on_after_a_store_that_hung() -> None:
    """A call ends by its own deadline; the next beat comes."""
    store = shared()
    here = Member(store)
    task = asyncio.create_task(here.following.run())
    try:
        await soon(lambda: here.freezes.read)
        hanging = store.hangs = asyncio.Event()
        await asyncio.sleep(0.1)
        assert here.following.notices() == []
        store.fails = "timeout"
        hanging.set()
        await soon(here.following.notices)
        store.fails = None
        await store.freeze(Freeze("0" * 8 + "-0000-7000-8000-" + "0" * 12, BILLING, "x", "cli:0", store.now_ms()))
        await soon(lambda: here.frozen)
    finally:
        task.cancel()


async def test_what_the_command_line_did_is_recorded_by_one_gateway() -> None:
    """By the first of those that beat, with its name; a gateway that is gone leaves it to the next."""
    store = shared()
    first, second = Member(store, "a"), Member(store, "b")
    for member in (first, second):
        await member.beat()
    kept = await store.freeze(Freeze("01890000-0000-7000-8000-00000000000a", BILLING, "at night", "cli:1000", 7))
    for member in (second, first, second):
        await member.beat()
    assert (first.recorded("freeze"), second.recorded("freeze")) == ([kept.freeze_id], [])
    [record] = first.log.named("freeze")
    assert isinstance(record, dict)
    assert (record["by"], record["team"], record["rule"], record["until"]) == ("cli:1000", "billing", None, None)
    store.gateways["a"] = replace(store.gateways["a"], seen_ms=store.now_ms() - 2_001)
    await store.thaw(kept.freeze_id, "cli:1000")
    await second.beat()
    assert (second.recorded("thaw"), store.unrecorded) == ([kept.freeze_id], set())


async def test_a_freeze_made_through_a_gateway_is_recorded_there_and_nowhere_else() -> None:
    """Even where another reads it before it is marked as recorded."""
    store = shared()
    first, second = Member(store, "a"), Member(store, "b")
    for member in (first, second):
        await member.beat()
    second.log.refuses = "full"
    kept = await freeze(second)
    await first.beat()
    assert (first.recorded("freeze"), second.recorded("freeze"), second.frozen) == ([], [], True)
    second.log.refuses = None
    await second.beat()
    assert (first.recorded("freeze"), second.recorded("freeze")) == ([], [kept.freeze_id])


async def test_the_gateway_freezes_by_itself_where_somebody_can_thaw_it() -> None:
    """Once for a rule and a team, at once, and on record; the store learns of it with the next beat."""
    store = shared()
    here = Member(store)
    await here.beat()
    for _ in range(2):
        here.switch.trip("billing", "billing/own", "decision d1 cancelled 3 more runs than were sent")
    [tripped] = here.freezes.in_force()
    assert (tripped.by, tripped.scope) == ("gateway", Scope("billing", "billing/own"))
    await here.beat()
    assert [one.by for one in store.freezes.values()] == ["gateway"]
    assert here.recorded("freeze") == [tripped.freeze_id]


async def test_without_operators_the_gateway_only_says_what_it_would_have_frozen() -> None:
    """Nobody could thaw it."""
    here = Member(shared(), operators=False)
    await here.beat()
    here.switch.trip("billing", "billing/own", "decision d1 cancelled 3 more runs than were sent")
    assert (here.frozen, here.freezes.in_force()) == (False, [])
    [notice] = here.switch.notices()
    assert "billing/own" in notice
    assert "decision d1" in notice
