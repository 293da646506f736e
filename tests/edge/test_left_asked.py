"""What is left of budgets is asked of the store once for a page, for so many at the most, and never holds it up."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from gateway.core.errors import Conflict, Refusal, StateUnavailable
from gateway.core.forms.budgets import LeftOver, ShownBudget
from gateway.core.plan import Budget
from gateway.core.request import Principal
from gateway.edge.answers import Answer, budgeted
from gateway.edge.inbound import Inbound, Intake
from gateway.edge.pages.budgets import MOST_ASKED, budgets_of, with_budget
from gateway.execution.gates.left import Under, drawn_on
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.state.admissions import Left, Reservation

ANN, BOB = Principal("billing", "ann"), Principal("search", "bob")
DAY_MS = 86_400_000
TEAMS = Budget(DAY_MS, runs=100, shared="team")


class Store:
    """Says of every budget that seven runs are left, or nothing; `asked` are its calls."""

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.asked: list[Sequence[Reservation]] = []

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left] | None:
        self.asked.append(drawn)
        return None if self.away else [Left(7, None, 1_700_000_000_000) for _ in drawn]


def rule(number: int, budget: Budget | None = TEAMS) -> Rule:
    return Rule("own", f"r{number}", Effect.ALLOW, {}, teams=frozenset("*"), budget=budget)


def asking(store: Store, *rules: Rule) -> tuple[Intake, Inbound]:
    """The parts of a request that its pages need for this."""
    live = SimpleNamespace(policies=Policies(rules, "d"))
    return cast("Intake", SimpleNamespace(state=store)), cast("Inbound", SimpleNamespace(live=live, under=None))


async def test_a_page_asks_once_for_all_budgets_on_it() -> None:
    """Each budget once, whoever shares it; a rule without one, or that is gone, has none."""
    store = Store()
    intake, inbound = asking(store, rule(1), rule(2), rule(3, None))
    twice = [("own/r1", ANN), ("own/r1", ANN), ("own/r1", BOB), ("own/r2", ANN)]
    found = await budgets_of(intake, inbound, [*twice, ("own/r3", ANN), ("own/r9", ANN), (None, ANN)])
    shown = ShownBudget(100, None, "1d", "team", LeftOver(7, None, "2023-11-14T22:13:20.000Z"))
    assert found == [shown, shown, shown, shown, None, None, None]
    [drawn] = store.asked
    assert [one.scope for one in drawn] == ["own/r1 team:billing", "own/r1 team:search", "own/r2 team:billing"]


async def test_a_page_of_very_many_budgets_asks_for_a_bounded_number() -> None:
    """Of the others it says that it does not know."""
    store = Store()
    number = MOST_ASKED + 5
    intake, inbound = asking(store, *(rule(one) for one in range(number)))
    found = await budgets_of(intake, inbound, [(f"own/r{one}", ANN) for one in range(number)])
    assert [len(drawn) for drawn in store.asked] == [MOST_ASKED]
    assert sum(one is not None and one.left is None for one in found) == 5


async def test_a_page_without_a_budget_asks_nothing() -> None:
    """It needs no store."""
    store = Store()
    intake, inbound = asking(store, rule(1, None))
    assert await budgets_of(intake, inbound, [("own/r1", ANN)]) == [None]
    assert store.asked == []


async def test_a_store_that_is_away_is_a_member_of_the_page() -> None:
    """The budget is shown, and that nobody knows what is left of it."""
    intake, inbound = asking(Store(away=True), rule(1))
    [found] = await budgets_of(intake, inbound, [("own/r1", ANN)], about=True)
    assert found is not None
    assert found.to_json() == {"runs": 100, "per": "1d", "shared": "team", "left": None}
    assert inbound.under is not None
    assert inbound.under.said is None


def under(store: Store) -> Inbound:
    """A request that stands under a budget."""
    inbound = SimpleNamespace(under=Under(store, drawn_on("own/r1", TEAMS, ANN)))
    return cast("Inbound", inbound)


async def ended(inbound: Inbound, end: Answer | Refusal) -> Answer | Refusal:
    """What a call answers that ends so."""

    async def action(_: Inbound) -> Answer:
        if isinstance(end, Refusal):
            raise end
        return end

    try:
        return cast("Answer", await with_budget(action, inbound))
    except Refusal as refusal:
        return refusal


@pytest.mark.parametrize(
    ("end", "calls"),
    [
        (Answer(403, [], b""), 1),
        (Conflict("preview", "x"), 1),
        (Answer(403, [(b"gateway-budget", b"left=0;reset=1")], b""), 0),
        (Answer(200, [(b"gateway-replayed", b"true")], b""), 0),
        (StateUnavailable("timeout"), 0),
    ],
    ids=["denied", "refused", "says it already", "a repeat", "the store did not answer"],
)
async def test_an_answer_asks_once_unless_it_is_known_or_the_store_has_just_failed(
    end: Answer | Refusal, calls: int
) -> None:
    """So that no answer waits for more than one call."""
    store = Store()
    inbound = under(store)
    assert await ended(inbound, end) is end
    assert len(store.asked) == calls
    said = None if inbound.under is None else inbound.under.said
    assert said == ("left=7;reset=1700000000" if calls else None)


def test_a_header_that_is_there_is_not_written_again() -> None:
    """What was known before stands; nothing is said where nothing is known."""
    answer = Answer(403, [(b"gateway-budget", b"left=0;reset=1")], b"")
    assert budgeted(answer, "left=7;reset=2").headers == [(b"gateway-budget", b"left=0;reset=1")]
    assert budgeted(Answer(403, [], b""), None).headers == []
    assert budgeted(Answer(403, [], b""), "left=7;reset=2").headers == [(b"gateway-budget", b"left=7;reset=2")]
