"""Entries and messages that orders of ours named are not ordered again, whoever looks them up next."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Order
from gateway.core.request import Action, ByIds
from gateway.core.run import HANDLED, ORDERED, STARTED, Listing, Run
from gateway.execution.plans.handled import KEPT_S, MOST, Earlier, Handled
from tests.execution.fakes import StillClock

ENTRIES = tuple(Run(f"dlq_{number}", "https://a.example/x", 1_794_000_000_000 + number) for number in range(3))


def ordered(entries: Sequence[Run], action: Action = Action.RESTART_DLQ) -> Order:
    """An order that names these entries."""
    return Order(ByIds(tuple(one.run_id for one in entries), "dlqIds"), len(entries), action)


def states(handled: Handled) -> list[str]:
    """How a look-up shows the entries then."""
    return [one.state for one in handled.corrected(Listing(ENTRIES), Action.RESTART_DLQ).runs]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Cancelled(200, 3), HANDLED),
        (Cancelled(200, 2), ORDERED),
        (Unknown("timeout"), ORDERED),
        (Refused(403, "no"), STARTED),
        (NotSent("dns"), STARTED),
    ],
)
@pytest.mark.parametrize("looked_up", [True, False])
async def test_what_may_have_been_restarted_is_done(outcome: Outcome, state: str, *, looked_up: bool) -> None:
    """Also where fewer were restarted than ordered: nobody knows which, and twice would be one time too many."""
    handled, order = Handled(StillClock()), ordered(ENTRIES)
    if looked_up:
        handled.begin("d1", ENTRIES, order.action)
        handled.end("d1", ENTRIES, outcome, order.action)
    else:

        async def send(_: Order) -> Outcome:
            assert states(handled) == [ORDERED] * 3
            return outcome

        assert await handled.noted("d1", send, order) == outcome
    assert states(handled) == [state] * 3
    assert all(((one.run_id, one.created_ms) in handled.of(order.action)) is (state != STARTED) for one in ENTRIES)


async def lost(_: Order) -> Outcome:
    """An order of which nobody knows whether it arrived."""
    return Unknown("timeout")


async def test_after_ten_minutes_it_is_shown_as_it_is_listed() -> None:
    """As with runs."""
    clock = StillClock()
    handled = Handled(clock)
    await handled.noted("d1", lost, ordered(ENTRIES))
    assert states(handled) == [ORDERED] * 3
    clock.steady_s += KEPT_S + 1
    assert states(handled) == [STARTED] * 3


@pytest.mark.parametrize(
    "order",
    [
        Order(ByIds(("dlq_0",)), 1),
        Order(ByIds(("dlq_0",), "flowControlKey"), 1, Action.PAUSE),
        Order(ByIds(("dlq_0",), "queue"), 1, Action.RESUME),
    ],
    ids=lambda order: order.action,
)
async def test_an_id_that_can_come_again_is_not_known_without_a_time(order: Order) -> None:
    """A custom ID may be another run by now, and a name that is paused may be paused again."""
    handled = Handled(StillClock())
    await handled.noted("d1", lost, order)
    assert states(handled) == [STARTED] * 3


class BrokenClock(StillClock):
    """A clock with an error of our own code in it."""

    def monotonic_s(self) -> float:
        raise ZeroDivisionError


async def test_what_cannot_be_noted_is_not_sent() -> None:
    """The intent is durable by then, so that is its outcome, and no exception."""
    sent: list[Order] = []

    async def send(order: Order) -> Outcome:
        sent.append(order)
        return Cancelled(200, 3)

    outcome = await Handled(BrokenClock()).noted("d1", send, ordered(ENTRIES))
    assert (outcome, sent) == (NotSent("internal_ZeroDivisionError"), [])


def test_what_an_earlier_process_ordered_is_done_here() -> None:
    """With a creation time or without, as its record says."""
    handled = Handled(StillClock())
    handled.recall(
        [
            Earlier("dlqIds", "dlq_0", None, 5.0, "d1", certain=True),
            Earlier("dlqIds", "dlq_1", ENTRIES[1].created_ms, 5.0, "d1", certain=False),
        ]
    )
    assert states(handled) == [HANDLED, ORDERED, STARTED]


@pytest.mark.parametrize(
    ("order", "action"),
    [
        (ordered(ENTRIES), Action.CANCEL_RUNS),
        (ordered(ENTRIES, Action.DELETE_MESSAGE_DLQ), Action.CANCEL_MESSAGES),
        (Order(ByIds(("dlq_0", "dlq_1", "dlq_2"), "messageIds"), 3, Action.CANCEL_MESSAGES), Action.RESTART_DLQ),
    ],
    ids=str,
)
async def test_an_id_that_is_named_as_another_kind_of_thing_is_not_done(order: Order, action: Action) -> None:
    """A caller that may name any entry must not keep others for ten minutes from a run or message with that ID."""
    handled = Handled(StillClock())
    await handled.noted("d1", lost, order)
    assert isinstance(order.selection, ByIds)
    field = order.selection.name
    handled.recall(Earlier(field, one, None, 5.0, "d0", certain=True) for one in order.selection.ids)
    assert [one.state for one in handled.corrected(Listing(ENTRIES), action).runs] == [STARTED] * 3
    assert all((one.run_id, one.created_ms) not in handled.of(action) for one in ENTRIES)


async def test_an_entry_that_is_named_once_more_is_done_for_ten_minutes_from_then() -> None:
    """Ordered from a look-up, nine minutes later by its ID alone: the first time does not end the second."""
    clock = StillClock()
    handled, order = Handled(clock), ordered(ENTRIES)
    handled.begin("d1", ENTRIES, order.action)
    clock.steady_s += KEPT_S - 60
    await handled.noted("d2", lost, order)
    clock.steady_s += 120
    assert states(handled) == [ORDERED] * 3


async def test_invented_ids_do_not_have_an_entry_forgotten_that_was_looked_up() -> None:
    """A team that may name any entry could otherwise name so many that others restart theirs twice."""
    handled = Handled(StillClock())
    handled.begin("d1", ENTRIES, Action.RESTART_DLQ)
    for part in range(0, MOST + 1, 1000):
        ids = tuple(f"made_up_{number}" for number in range(part, part + 1000))
        await handled.noted("d2", lost, Order(ByIds(ids, "dlqIds"), len(ids), Action.RESTART_DLQ))
    assert states(handled) == [ORDERED] * 3


def test_invented_ids_of_an_earlier_process_do_not_either() -> None:
    """The record holds as many of them."""
    handled = Handled(StillClock())
    mine = [Earlier("dlqIds", one.run_id, one.created_ms, 9.0, "d1", certain=False) for one in ENTRIES]
    theirs = [Earlier("dlqIds", f"made_up_{number}", None, 5.0, "d2", certain=False) for number in range(MOST + 1)]
    handled.recall([*mine, *theirs])
    assert states(handled) == [ORDERED] * 3


async def test_an_order_by_ids_that_came_to_nothing_leaves_what_a_look_up_ordered_as_it_was() -> None:
    """Refused the second time says nothing about the first."""
    handled, order = Handled(StillClock()), ordered(ENTRIES)
    handled.begin("d1", ENTRIES, order.action)

    async def refused(_: Order) -> Outcome:
        return Refused(403, "no")

    await handled.noted("d2", refused, order)
    assert states(handled) == [ORDERED] * 3


@pytest.mark.parametrize("first", [Unknown("timeout"), Cancelled(200, 3), Cancelled(200, 1)], ids=repr)
@pytest.mark.parametrize("then", [Refused(429, "slow"), NotSent("team_connections")], ids=repr)
async def test_a_second_order_by_ids_that_was_not_carried_out_does_not_undo_the_first(
    first: Outcome, then: Outcome
) -> None:
    """A loop by IDs that meets a 429 would have a look-up restart the entries once more."""
    handled, order, outcomes = Handled(StillClock()), ordered(ENTRIES), [first, then]

    async def send(_: Order) -> Outcome:
        return outcomes.pop(0)

    await handled.noted("d1", send, order)
    known = states(handled)
    await handled.noted("d2", send, order)
    assert states(handled) == known
    assert STARTED not in known
