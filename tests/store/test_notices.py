"""Notices in the store: kept once, taken by one gateway at a time, in order, for as long as it takes."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from sqlalchemy import update

from gateway.state.notices import KEPT_DELIVERED_MS, UNSERVED_MS, KeptNotice
from gateway.store.opened import SqlStore
from gateway.store.tables import NOTICES

MOST = 1_000
NOTICE = KeptNotice("freeze_1", "receiver", "1", 1_000, b'{"kind": "freeze"}')


def named(name: str, *, subject: str = "1", at_ms: int = 1_000, receiver: str = "receiver") -> KeptNotice:
    """A notice."""
    return replace(NOTICE, notice_id=name, subject=subject, at_ms=at_ms, receiver=receiver)


async def taken(store: SqlStore, holder: str = "a", *, most: int = 8, receiver: str = "receiver") -> list[str]:
    """The IDs of what is taken now."""
    return [one.notice_id for one in await store.take_notices(receiver, holder, most=most, lease_ms=60_000)]


async def passes(store: SqlStore, milliseconds: int) -> None:
    """What time does to waits and leases, without the time."""
    moved = update(NOTICES).values(
        due_ms=NOTICES.c.due_ms - milliseconds, leased_until_ms=NOTICES.c.leased_until_ms - milliseconds
    )
    await store._database.write(lambda connection: connection.execute(moved).rowcount)


async def test_a_notice_is_taken_as_it_was_kept(store: SqlStore) -> None:
    """Byte for byte, and once it is delivered no more."""
    assert await store.keep_notices([NOTICE], MOST) == {}
    [one] = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    assert (one.notice_id, one.receiver, one.document, one.attempts) == ("freeze_1", "receiver", NOTICE.document, 0)
    await store.notice_delivered(one)
    await passes(store, 120_000)
    assert await taken(store) == []


async def test_a_notice_that_is_known_is_left_as_it_is(store: SqlStore) -> None:
    """Whoever repeats it after a death, before or after it was delivered."""
    await store.keep_notices([NOTICE], MOST)
    await store.keep_notices([replace(NOTICE, document=b"{}")], MOST)
    [one] = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    assert one.document == NOTICE.document
    await store.notice_delivered(one)
    await store.keep_notices([NOTICE], MOST)
    await passes(store, 120_000)
    assert await taken(store) == []


async def test_each_receiver_has_its_own(store: SqlStore) -> None:
    """What one has taken, another still gets."""
    await store.keep_notices([NOTICE, replace(NOTICE, receiver="other")], MOST)
    [one] = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    await store.notice_delivered(one)
    assert await taken(store, receiver="other") == ["freeze_1"]


async def test_one_gateway_at_a_time_has_a_notice(store: SqlStore) -> None:
    """Whoever asks at once; and when its lease has ended, another one may."""
    await store.keep_notices([named(f"n{number}", subject=str(number)) for number in range(20)], MOST)
    asked = await asyncio.gather(*(taken(store, f"gateway-{number}", most=5) for number in range(6)))
    found = [name for names in asked for name in names]
    assert len(found) == len(set(found)) == 20
    assert await taken(store) == []
    await passes(store, 60_000)
    assert len(await taken(store, most=100)) == 20


async def test_of_one_subject_the_first_that_waits_is_taken(store: SqlStore) -> None:
    """In the order of their time, not in that of writing; also while the first waits to be tried again."""
    await store.keep_notices([named("thaw", at_ms=2_000), named("freeze"), named("x", subject="2", at_ms=3_000)], MOST)
    first, other = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    assert [first.notice_id, other.notice_id] == ["freeze", "x"]
    assert await taken(store, "b") == []
    await store.notice_postponed(first, "a", 3_600_000)
    await store.notice_delivered(other)
    assert await taken(store) == []
    await passes(store, 3_600_000)
    [again] = await store.take_notices("receiver", "b", most=8, lease_ms=60_000)
    assert (again.notice_id, again.attempts) == ("freeze", 1)
    await store.notice_delivered(again)
    assert await taken(store) == ["thaw"]


async def test_notices_of_one_instant_go_by_their_ids(store: SqlStore) -> None:
    """So that every gateway sees one order."""
    await store.keep_notices([named("b"), named("a")], MOST)
    assert await taken(store) == ["a"]


async def test_whoever_lost_its_lease_does_not_postpone(store: SqlStore) -> None:
    """Another gateway has the notice; but a delivery counts, whoever made it."""
    await store.keep_notices([NOTICE], MOST)
    [one] = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    await passes(store, 60_000)
    assert await taken(store, "b") == ["freeze_1"]
    await store.notice_postponed(one, "a", 0)
    assert await taken(store, "c") == []
    await store.notice_delivered(one)
    await passes(store, 60_000)
    assert await taken(store, "c") == []


async def test_the_oldest_are_dropped_beyond_the_bound_and_it_is_said_how_many(store: SqlStore) -> None:
    """For each receiver by itself; what was delivered does not count."""
    [done] = [named("n0", subject="0", at_ms=1)]
    await store.keep_notices([done], 3)
    [one] = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    await store.notice_delivered(one)
    notices = [named(f"n{number}", subject=str(number), at_ms=number) for number in range(1, 6)]
    assert await store.keep_notices([*notices, named("n9", receiver="other")], 3) == {"receiver": 2}
    assert await taken(store, most=100) == ["n3", "n4", "n5"]
    assert await taken(store, receiver="other") == ["n9"]


async def test_what_nobody_needs_any_more_is_purged(store: SqlStore) -> None:
    """A delivered one after a day; one that no gateway has tried for a month."""
    await store.keep_notices([named("old", subject="1"), named("kept", subject="2")], MOST)
    old, _ = await store.take_notices("receiver", "a", most=8, lease_ms=60_000)
    await store.notice_delivered(old)
    await passes(store, KEPT_DELIVERED_MS + 60_000)
    await store.purge()
    counted = await store._database.read(lambda connection: connection.execute(NOTICES.select()).all())
    assert len(counted) == 1
    await passes(store, UNSERVED_MS)
    await store.purge()
    assert await store._database.read(lambda connection: connection.execute(NOTICES.select()).all()) == []
