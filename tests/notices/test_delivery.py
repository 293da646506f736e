"""A notice is tried until it is taken: in order, by one gateway at a time, and never all at one moment."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import StateUnavailable
from gateway.notices.delivery import FIRST_WAIT_S, LEASE_MS, MOST_WAIT_S, Delivery, wait_after
from gateway.notices.post import ATTEMPT_S, Failure
from gateway.state.notices import KeptNotice
from tests.notices.house import AT_MS, Hand, notice
from tests.support.stand_ins import Lines, StillClock
from tests.support.state.notices import MemoryNotices

AWAY = Failure("no_connection")
HOUR_MS = 3_600_000


@dataclass
class Sender:
    """One gateway that delivers to one receiver."""

    store: MemoryNotices
    hand: Hand
    holder: str = "a"
    lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self.delivery = Delivery(
            self.store, self.hand, name="receiver", shown="https://b.example", holder=self.holder, log=self.lines,
            monotonic_s=self.store.clock.monotonic_s,
        )  # fmt: skip


def passes(clock: StillClock, milliseconds: int) -> None:
    """Time passes."""
    clock.wall_ms += milliseconds
    clock.steady_s += milliseconds / 1000


async def kept(store: MemoryNotices, *names: tuple[str, str, int]) -> None:
    """Notices that wait: the ID, the subject and the time of each."""
    notices = [
        KeptNotice(name, "receiver", subject, AT_MS + at_ms, notice(name, subject=subject).document())
        for name, subject, at_ms in names
    ]
    await store.keep_notices(notices, 1_000)


async def rounds(*senders: Sender) -> None:
    """Whatever is due now, until nothing is."""
    while any([await sender.delivery.deliver() for sender in senders]):
        continue


async def test_a_receiver_that_was_down_for_an_hour_gets_everything_in_order() -> None:
    """In the order of each decision, from either of two gateways, and once it is back within five minutes."""
    store, hand = MemoryNotices(), Hand(down=AWAY)
    one, other = Sender(store, hand, "a"), Sender(store, hand, "b")
    for number in range(60):
        await kept(store, (f"d{number % 7}-{number:02}", f"d{number % 7}", number))
        await rounds(one, other)
        passes(store.clock, HOUR_MS // 60)
    assert (hand.got, len(store.waiting("receiver"))) == ([], 60)
    hand.down = None
    waited_ms = 0
    while store.waiting("receiver"):
        await rounds(one, other)
        passes(store.clock, 1_000)
        waited_ms += 1_000
    assert waited_ms <= MOST_WAIT_S * 1000 + 1_000
    assert sorted(hand.names) == sorted({*hand.names})
    assert len(hand.names) == 60
    for decision in range(7):
        of_it = [name for name in hand.names if name.startswith(f"d{decision}-")]
        assert of_it == sorted(of_it)


async def test_what_is_refused_holds_back_what_comes_after_it_of_its_own_decision_alone() -> None:
    """Another decision's notices go on."""
    store, hand = MemoryNotices(), Hand()
    sender = Sender(store, hand)

    async def deliver(notice: object) -> Failure | None:
        hand.tried.append(getattr(notice, "notice_id", ""))
        return Failure("status_400") if hand.tried[-1] == "a1" else None

    hand.deliver = deliver  # type: ignore[method-assign]
    await kept(store, ("a1", "a", 1), ("a2", "a", 2), ("b1", "b", 3), ("b2", "b", 4))
    await rounds(sender)
    passes(store.clock, round(FIRST_WAIT_S * 1000))
    await rounds(sender)
    passes(store.clock, round(FIRST_WAIT_S * 1000))
    await rounds(sender)
    assert [name for name in hand.tried if name != "a1"] == ["b1", "b2"]


async def test_a_gateway_that_dies_between_delivery_and_its_note_repeats_one_under_its_id() -> None:
    """Nothing is lost, and the receiver knows the repeat."""
    store, hand = MemoryNotices(), Hand()
    one, other = Sender(store, hand, "a"), Sender(store, hand, "b")
    await kept(store, ("a1", "a", 1), ("a2", "a", 2))
    store.faults.before = ["notice_delivered"]  # as far as the store knows, it was never delivered
    await one.delivery.deliver()
    store.faults.before = ()
    await rounds(other)
    assert hand.names == ["a1"]
    passes(store.clock, LEASE_MS)
    await rounds(other)
    assert hand.names == ["a1", "a1", "a2"]


async def test_a_gateway_that_was_held_up_does_not_send_under_a_lease_that_may_have_ended() -> None:
    """Another one may have it by then."""
    store, hand = MemoryNotices(), Hand()
    sender = Sender(store, hand)
    await kept(store, ("a1", "a", 1))
    take = store.take_notices

    async def slow(receiver: str, holder: str, *, most: int, lease_ms: int) -> object:
        found = await take(receiver, holder, most=most, lease_ms=lease_ms)
        passes(store.clock, LEASE_MS)
        return found

    store.take_notices = slow  # type: ignore[assignment, method-assign]
    assert not await sender.delivery.deliver()
    assert hand.tried == []
    assert LEASE_MS / 1000 - ATTEMPT_S >= ATTEMPT_S


async def test_a_receiver_that_asks_to_be_left_alone_is() -> None:
    """For as long as it says."""
    store, hand = MemoryNotices(), Hand(down=Failure("status_429", 1_800.0))
    sender = Sender(store, hand)
    await kept(store, ("a1", "a", 1))
    await rounds(sender)
    hand.down = None
    passes(store.clock, 1_799_000)
    await rounds(sender)
    assert hand.got == []
    passes(store.clock, 1_000)
    await rounds(sender)
    assert hand.names == ["a1"]


async def test_a_receiver_that_is_away_costs_little_however_much_waits_for_it() -> None:
    """In a day an attempt each five minutes, or half of that, and one at a time."""
    store, hand = MemoryNotices(), Hand(down=AWAY)
    sender = Sender(store, hand)
    await kept(store, *((f"n{number}", str(number), number) for number in range(200)))
    for _ in range(24 * 60):
        await rounds(sender)
        passes(store.clock, 60_000)
    assert 24 * 12 <= len(hand.tried) <= 24 * 30
    hand.down = None
    passes(store.clock, 300_000)
    await rounds(sender)
    assert len(hand.names) == 200


async def test_operators_are_told_when_a_receiver_begins_to_fail_and_when_it_is_back() -> None:
    """One line for each cause, however many notices and attempts; and a notice for as long as it lasts."""
    store, hand = MemoryNotices(), Hand(down=AWAY)
    sender = Sender(store, hand)
    await kept(store, *((f"n{number}", str(number), number) for number in range(5)))
    for _ in range(20):
        await rounds(sender)
        passes(store.clock, 60_000)
    assert sender.lines.said == [("notice_not_taken", {"receiver": "https://b.example", "cause": "no_connection"})]
    [said] = sender.delivery.notices()
    assert said == (
        "the receiver https://b.example has taken no notice for 1200 s (no_connection): they are kept, and tried again"
    )
    hand.down = None
    passes(store.clock, 600_000)
    await rounds(sender)
    assert sender.lines.said[1:] == [("notices_taken_again", {"receiver": "https://b.example"})]
    assert sender.delivery.notices() == []


async def test_a_store_that_is_away_is_no_fault_of_the_receiver() -> None:
    """Nothing is tried, nothing is logged here: it is said elsewhere."""
    store, hand = MemoryNotices(), Hand()
    sender = Sender(store, hand)
    await kept(store, ("a1", "a", 1))
    store.faults.before = "*"
    with pytest.raises(StateUnavailable):
        await sender.delivery.deliver()
    assert (hand.tried, sender.lines.said, sender.delivery.notices()) == ([], [], [])


@given(st.integers(0, 10_000))
def test_waits_double_up_to_five_minutes_and_are_spread(attempts: int) -> None:
    """Between half of the longest and all of it."""
    longest_s = min(FIRST_WAIT_S * 2 ** min(attempts, 50), MOST_WAIT_S)
    assert longest_s / 2 <= wait_after(attempts) <= longest_s
