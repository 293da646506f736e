"""Plans, cursors and decisions: shown to whoever they are for, claimed once, and gone when they have expired."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.state.plans import KeptDecision, KeptPlan
from gateway.store.opened import MOST_PURGED, SqlStore
from gateway.store.plans import MOST_LISTED_BYTES
from gateway.store.tables import GATEWAYS, PLANS, now_ms

PLAN = KeptPlan("p", "billing", "billing/ci", "ready", "digest", b'{"runs": ["\xc3\xa4"]}', 0, 4_000_000_000_000)


async def test_a_plan_is_read_as_it_was_written(store: SqlStore) -> None:
    """Byte for byte, also after it changed."""
    await store.keep_plan(PLAN)
    assert await store.plan("p") == PLAN
    changed = replace(PLAN, state="applied", document=b"{}")
    await store.keep_plan(changed)
    assert await store.plan("p") == changed
    assert await store.plan("q") is None


async def test_a_plan_that_has_expired_is_not_shown(store: SqlStore) -> None:
    """Nor claimed, nor stopped."""
    await store.keep_plan(replace(PLAN, expires_ms=1))
    assert await store.plan("p") is None
    assert await store.plans_of("billing/ci", 5) == []
    assert await store.claim("p", "one") is False
    assert await store.stop_plan("p", "ops/ana") is None


async def test_the_plans_of_a_principal_are_shown_newest_first(store: SqlStore) -> None:
    """Its own, and so many; those of one instant by their IDs. To operators those of all principals, in that order."""
    for plan, made in (("a", 1), ("c", 2), ("b", 2), ("d", 3)):
        await store.keep_plan(replace(PLAN, plan_id=plan, made_ms=made))
    await store.keep_plan(replace(PLAN, plan_id="x", principal="other/ci", made_ms=9))
    assert [one.plan_id for one in await store.plans_of("billing/ci", 3)] == ["d", "c", "b"]
    assert [one.plan_id for one in await store.plans_of(None, 3)] == ["x", "d", "c"]


async def test_a_list_of_large_plans_is_short(store: SqlStore) -> None:
    """One of 64 large plans would hold its connection for seconds, and what else asks the store would wait for it."""
    large = replace(PLAN, document=bytes(MOST_LISTED_BYTES // 3))
    for made in range(5):
        await store.keep_plan(replace(large, plan_id=f"p{made}", made_ms=made))
    assert [one.plan_id for one in await store.plans_of("billing/ci", 64)] == ["p4", "p3", "p2"]
    assert [one.plan_id for one in await store.plans_of(None, 2)] == ["p4", "p3"]
    await store.keep_plan(replace(PLAN, plan_id="p5", made_ms=5, document=bytes(MOST_LISTED_BYTES + 1)))
    assert [one.plan_id for one in await store.plans_of("billing/ci", 64)] == ["p5"]


async def test_one_claim_wins_once(store: SqlStore) -> None:
    """Among gateways, and among the requests of one: also its holder is not told a second time that it may."""
    await store.keep_plan(PLAN)
    claims = await asyncio.gather(*(store.claim("p", f"gateway-{number % 4}") for number in range(16)))
    assert sum(claims) <= 1
    kept = await store.plan("p")
    assert kept is not None
    assert kept.claimed_by is not None
    assert await store.claim("p", kept.claimed_by) is False


async def test_a_claim_is_given_back_by_its_holder_alone(store: SqlStore) -> None:
    """And what is kept of the plan meanwhile does not touch it."""
    await store.keep_plan(PLAN)
    await store.claim("p", "one")
    await store.give_back("p", "two")
    await store.keep_plan(replace(PLAN, state="applying", claimed_by="two"))
    assert [getattr(await store.plan("p"), "claimed_by", None), await store.claim("p", "two")] == ["one", False]
    await store.give_back("p", "one")
    await store.give_back("p", "one")
    assert getattr(await store.plan("p"), "claimed_by", 0) is None
    await store.claim("p", "two")
    assert getattr(await store.plan("p"), "claimed_by", None) == "two"


async def test_a_plan_that_was_stopped_cannot_be_claimed(store: SqlStore) -> None:
    """The first who stopped it is named; what is over is not stopped."""
    await store.keep_plan(PLAN)
    stopped = [await store.stop_plan("p", by) for by in ("ops/ana", "ops/ben")]
    assert [one and one.stopped_by for one in stopped] == ["ops/ana", "ops/ana"]
    assert await store.claim("p", "one") is False
    await store.keep_plan(replace(PLAN, plan_id="q", state="applied"))
    over = await store.stop_plan("q", "ops/ana")
    assert over is not None
    assert over.stopped_by is None


async def test_a_claimant_that_does_not_beat_is_gone(store: SqlStore) -> None:
    """One that never has, or not for a while."""
    await store.keep_plan(PLAN)
    await store.claim("p", "one")
    assert getattr(await store.plan("p"), "claimant_gone", None) is True
    await store.beat("one", 0)
    assert getattr(await store.plan("p"), "claimant_gone", None) is False
    await store._database.write(
        lambda connection: connection.execute(GATEWAYS.update().values(seen_ms=now_ms() - 60_000))
    )
    assert getattr(await store.plan("p"), "claimant_gone", None) is True


async def test_a_cursor_is_for_its_owner_and_its_time(store: SqlStore) -> None:
    """Whoever else has its text has nothing."""
    await store.keep_cursor("c", "billing/ci", b"page 2", 60)
    await store.keep_cursor("d", "billing/ci", b"page 3", 0)
    assert await store.cursor("c", "billing/ci") == b"page 2"
    assert await store.cursor("c", "billing/other") is None
    assert await store.cursor("d", "billing/ci") is None


async def test_decisions_are_paged_newest_first_without_a_gap(store: SqlStore) -> None:
    """Also where several are of one millisecond; each team has its own."""
    made = [KeptDecision(f"d{number}", "ab"[number % 2], number // 4, b"{}") for number in range(12)]
    await store.keep_decisions(made)
    pages: list[KeptDecision] = []
    before = None
    while page := await store.decisions(None, 5, before):
        pages += page
        before = (page[-1].at_ms, page[-1].decision_id)
    assert sorted(pages, key=lambda one: (one.at_ms, one.decision_id), reverse=True) == pages
    assert sorted(one.decision_id for one in pages) == sorted(one.decision_id for one in made)
    assert {one.team for one in await store.decisions("a", 50, None)} == {"a"}


async def test_a_decision_is_what_was_known_of_it_last(store: SqlStore) -> None:
    """Also within one call."""
    first = KeptDecision("d", "a", 1, b"first")
    await store.keep_decisions([])
    await store.keep_decisions([first, replace(first, document=b"second")])
    assert (await store.decision("d")) == replace(first, document=b"second")
    await store.keep_decisions([replace(first, document=b"third")])
    assert (await store.decision("d")) == replace(first, document=b"third")
    assert await store.decision("e") is None


async def test_what_has_expired_is_deleted_and_nothing_else(store: SqlStore) -> None:
    """A bounded number of rows at a time."""
    now = (await store.beat("one", 0)).now_ms
    await store.keep_plan(PLAN)
    await store.keep_plan(replace(PLAN, plan_id="old", expires_ms=1))
    await store.keep_decisions([KeptDecision("d", "a", now, b""), KeptDecision("old", "a", 1, b"")])
    await store.keep_cursor("old", "a", b"", -60)
    await store.purge()
    assert [one.decision_id for one in await store.decisions(None, 9, None)] == ["d"]
    assert await store.plan("p") == PLAN
    await store.keep_plan(replace(PLAN, plan_id="old", document=b"again"))
    assert getattr(await store.plan("old"), "document", None) == b"again"


async def test_however_much_has_expired_a_purge_deletes_all_of_it(store: SqlStore) -> None:
    """A caller within its limits leaves more rows in a minute than are deleted at a time."""
    old = [KeptDecision(f"old{number}", "a", 1, b"") for number in range(2 * MOST_PURGED + 1)]
    await store.keep_decisions(old)
    await store.purge()
    assert await store.decisions(None, 9, None) == []


async def test_large_plans_that_have_expired_are_deleted_and_keep_nothing_else_from_it(store: SqlStore) -> None:
    """A hundred of them at once would take longer than a call may, each time."""
    large = replace(PLAN, document=bytes(1_400_000), expires_ms=1)
    for number in range(40):
        await store.keep_plan(replace(large, plan_id=f"old{number}"))
    await store.keep_plan(PLAN)
    await store.keep_decisions([KeptDecision("old", "a", 1, b"")])
    await store.purge()
    held = await store._database.read(lambda one: one.execute(PLANS.select().with_only_columns(PLANS.c.plan_id)).all())
    assert [row.plan_id for row in held] == ["p"]
    assert await store.decision("old") is None
