"""The laws of delivery on both databases: two gateways, one receiver, and an hour in which it is down."""

from __future__ import annotations

import asyncio

from gateway.core.errors import StateUnavailable
from gateway.notices.delivery import Delivery
from gateway.notices.post import Failure
from gateway.state.notices import KeptNotice
from gateway.store.opened import SqlStore
from tests.notices.house import Hand, notice
from tests.store.test_notices import passes
from tests.support.stand_ins import Lines, StillClock

NUMBER, DECISIONS = 30, 5


def sender(store: SqlStore, hand: Hand, holder: str, clock: StillClock) -> Delivery:
    """One gateway; how long the store takes is no matter here."""
    return Delivery(
        store, hand, name="receiver", shown="https://b.example", holder=holder, log=Lines(),
        monotonic_s=clock.monotonic_s,
    )  # fmt: skip


async def kept(store: SqlStore) -> None:
    """Notices of several decisions, in turn."""
    for number in range(NUMBER):
        subject = f"d{number % DECISIONS}"
        document = notice(subject=subject).document()
        await store.keep_notices([KeptNotice(f"{subject}-{number:02}", "receiver", subject, number, document)], 1_000)


async def delivered(*senders: Delivery) -> None:
    """Whatever is due, by all at once, until nothing is."""
    while True:
        found = await asyncio.gather(*(one.deliver() for one in senders), return_exceptions=True)
        assert all(isinstance(one, int | StateUnavailable) for one in found), found
        if not any(found):
            return


async def test_several_gateways_deliver_each_notice_once_in_the_order_of_its_decision(store: SqlStore) -> None:
    """Also where they ask at the same moment."""
    hand = Hand()
    await kept(store)
    await delivered(*(sender(store, hand, holder, StillClock()) for holder in "abc"))
    assert sorted(hand.names) == sorted({*hand.names})
    assert len(hand.names) == NUMBER
    for decision in range(DECISIONS):
        of_it = [name for name in hand.names if name.startswith(f"d{decision}-")]
        assert of_it == sorted(of_it)


async def test_a_receiver_that_was_down_for_an_hour_gets_everything(store: SqlStore) -> None:
    """Of each decision at most the first was tried, now and then; and then all of it comes, in order."""
    hand, clock = Hand(down=Failure("no_connection")), StillClock()
    senders = [sender(store, hand, holder, clock) for holder in "ab"]
    await kept(store)
    for _ in range(12):
        await delivered(*senders)
        await passes(store, 300_000)
        clock.steady_s += 300
    assert (hand.got, len(hand.tried)) == ([], 24)
    assert {*hand.tried} <= {f"d{number}-{number:02}" for number in range(DECISIONS)}
    hand.down = None
    await delivered(*senders)
    assert len(hand.names) == len({*hand.names}) == NUMBER
    for decision in range(DECISIONS):
        of_it = [name for name in hand.names if name.startswith(f"d{decision}-")]
        assert of_it == sorted(of_it)
