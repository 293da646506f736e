"""Freezes: kept whole, numbered in order, read all or nothing, and told to everybody."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import delete

from gateway.core.errors import StateUnavailable
from gateway.state.freezes import Freeze, Scope
from gateway.state.plans import KeptPlan
from gateway.store.opened import SqlStore, open_store
from gateway.store.tables import NUMBERS
from tests.support.state.fixtures import insist, postgresql_settings
from tests.support.state.postgres import Postgres

ALL = Freeze("f1", Scope(), "deploy went wrong", "ops/ana", at_ms=1)
TEAM = Freeze("f2", Scope(team="billing"), "billing only", "cli:0", at_ms=2, until_ms=4_000_000_000_000)


async def test_a_freeze_is_read_as_it_was_written(store: SqlStore) -> None:
    """With the number that says when it came; the snapshot has reached it."""
    kept = [await store.freeze(ALL), await store.freeze(TEAM)]
    assert kept == [replace(ALL, number=kept[0].number), replace(TEAM, number=kept[1].number)]
    snapshot = await store.beat("one", 0)
    assert snapshot.freezes == tuple(kept)
    assert kept[0].number < kept[1].number <= snapshot.number
    assert snapshot.unrecorded == {("f1", "freeze"), ("f2", "freeze")}


async def test_a_freeze_of_an_id_that_is_there_changes_nothing(store: SqlStore) -> None:
    """Not even one that was thawed: the writer that tries again does not freeze again."""
    await store.freeze(ALL)
    thawed = await store.thaw("f1", "ops/ben")
    again = await store.freeze(replace(ALL, reason="other"))
    assert again == thawed
    assert not again.in_force(2)


async def test_a_thaw_ends_one_that_is_in_force_and_says_so(store: SqlStore) -> None:
    """Once; of what is over or unknown there is nothing to end. Its number is a new one."""
    frozen = await store.freeze(ALL)
    thawed = await store.thaw("f1", "ops/ben")
    assert thawed is not None
    assert (thawed.thawed_by, thawed.number > frozen.number) == ("ops/ben", True)
    assert await store.thaw("f1", "ops/eve") is None
    assert await store.thaw("f9", "ops/eve") is None


async def test_what_is_over_is_read_until_it_is_on_record(store: SqlStore) -> None:
    """Beginning and end each on its own; an end by the clock needs no record."""
    await store.freeze(ALL)
    await store.freeze(replace(TEAM, until_ms=1))
    await store.thaw("f1", "ops/ben")
    first = await store.beat("one", 0)
    assert first.unrecorded == {("f1", "freeze"), ("f1", "thaw"), ("f2", "freeze")}
    assert [one.in_force(first.now_ms) for one in first.freezes] == [False, False]
    for freeze, what in (("f1", "freeze"), ("f1", "thaw"), ("f2", "freeze")):
        await store.recorded(freeze, what)
    assert ((await store.beat("one", 0)).freezes, (await store.beat("one", 0)).unrecorded) == ((), frozenset())


async def test_what_is_in_force_is_read_also_when_it_is_on_record(store: SqlStore) -> None:
    """By a gateway that starts, for one."""
    await store.freeze(ALL)
    await store.recorded("f1", "freeze")
    snapshot = await store.beat("two", 0)
    assert [one.freeze_id for one in snapshot.freezes] == ["f1"]
    assert snapshot.unrecorded == frozenset()


async def test_gateways_are_known_by_their_beats(store: SqlStore) -> None:
    """Each with what it has in force, by the store's clock."""
    await store.beat("one", 0)
    snapshot = await store.beat("two", 7)
    assert [(one.instance, one.number) for one in snapshot.gateways] == [("one", 0), ("two", 7)]
    assert not any(one.silent(one.seen_ms + 1_000) for one in snapshot.gateways)
    assert all(one.silent(one.seen_ms + 3_000) for one in snapshot.gateways)


async def test_a_snapshot_that_is_cut_short_is_none(store: SqlStore) -> None:
    """A store that lost its counter would read like one without freezes."""
    await store._database.write(lambda connection: connection.execute(delete(NUMBERS)))
    with pytest.raises(StateUnavailable):
        await store.beat("one", 0)


async def test_the_holder_of_a_claim_reads_that_its_plan_is_to_be_stopped(store: SqlStore) -> None:
    """The holder alone, and not once the plan is over."""
    now = (await store.beat("one", 0)).now_ms
    plan = KeptPlan("p", "billing", "billing/ci", "applying", "digest", b"{}", now, now + 60_000)
    await store.keep_plan(plan)
    await store.claim("p", "one")
    await store.stop_plan("p", "ops/ana")
    assert [(one.plan_id, one.by) for one in (await store.beat("one", 0)).stops] == [("p", "ops/ana")]
    assert (await store.beat("two", 0)).stops == ()
    await store.keep_plan(replace(plan, state="stopped"))
    assert (await store.beat("one", 0)).stops == ()


async def test_a_gateway_that_has_left_is_named_no_more(store: SqlStore) -> None:
    """Nor counted as one that may still say what came of a plan; it may come back."""
    now = (await store.beat("one", 0)).now_ms
    await store.beat("two", 0)
    await store.keep_plan(KeptPlan("p", "billing", "billing/ci", "applying", "digest", b"{}", now, now + 60_000))
    await store.claim("p", "one")
    await store.leave(["one", "nobody"])
    assert [one.instance for one in (await store.beat("two", 0)).gateways] == ["two"]
    plan = await store.plan("p")
    assert plan is not None
    assert plan.claimant_gone
    assert [one.instance for one in (await store.beat("one", 0)).gateways] == ["one", "two"]


async def test_another_gateway_is_told_of_a_freeze(postgres: Postgres) -> None:
    """On PostgreSQL at once; with a file it looks."""
    settings = await postgresql_settings(postgres)
    one, two = [await open_store(settings, create=False) for _ in range(2)]
    # The first wait begins to listen, and ends when it does.
    await one.changed(30)
    told = asyncio.create_task(one.changed(30))
    await asyncio.sleep(0.1)
    assert not told.done()
    await insist(two.freeze, ALL)
    await asyncio.wait_for(told, 20)
    for store in (one, two):
        await store.aclose()


async def test_a_wait_ends_without_a_change(store: SqlStore) -> None:
    """A notification that was lost costs a second, and not a freeze."""
    await asyncio.wait_for(store.changed(0.05), 5)


async def test_a_change_of_this_process_ends_its_wait(store: SqlStore) -> None:
    """On every store."""
    await store.changed(0.05)
    told = asyncio.create_task(store.changed(60))
    await store.freeze(ALL)
    await asyncio.wait_for(told, 30)
