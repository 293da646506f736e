"""What is left of budgets: on the pages that show them, and in a header of the answers to requests under one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from gateway.core.errors import Refusal, ShuttingDown, StateUnavailable
from gateway.core.forms.budgets import LeftOver, ShownBudget
from gateway.core.forms.times import run_time
from gateway.core.plan import Budget
from gateway.core.request import Principal
from gateway.edge.answers import BUDGET, REPLAYED, Answer
from gateway.edge.inbound import Inbound, Intake
from gateway.edge.pages.overview.events import Stream
from gateway.execution.gates.left import Under, drawn_on
from gateway.execution.in_flight import Done
from gateway.policy.window import duration
from gateway.state.admissions import Left, Reservation

MOST_ASKED = 100
"""Of how many budgets one page asks what is left, in one call to the store; of further ones it does not say it."""

Action = Callable[[Inbound], Awaitable[Answer | Done | Stream]]
"""The function that answers the requests of one path. Raises: Refusal."""


async def with_budget(action: Action, inbound: Inbound) -> Answer | Done | Stream:
    """Return the answer of an action; if nothing was sent, first ask what is left of the budget it stands under.

    The outcome of a cancel knows that by itself, and so does the answer to a repeat. Raises: Refusal.
    """
    try:
        answer = await action(inbound)
    except (StateUnavailable, ShuttingDown):
        raise  # the store was asked just now, or nobody may wait any more
    except Refusal:
        if inbound.under is not None:
            await inbound.under.ask()
        raise
    if inbound.under is not None and isinstance(answer, Answer) and not _says(answer):
        await inbound.under.ask()
    return answer


def _says(answer: Answer) -> bool:
    return any(name in (BUDGET, REPLAYED) for name, _ in answer.headers)


async def budgets_of(
    intake: Intake, inbound: Inbound, asked: Sequence[tuple[str | None, Principal]], *, about: bool = False
) -> list[ShownBudget | None]:
    """Return the budget of each rule for each principal, with what is left of it; None: the rule has none now.

    The store is asked once for all of them. A store that does not say it in time is no reason to give no answer. If the
    answer is `about` one rule, its header says the same.
    """
    budgets = inbound.live.policies.budgets
    drawn = [
        None if rule is None or rule not in budgets else drawn_on(rule, budgets[rule], principal)
        for rule, principal in asked
    ]
    left = await _left(intake, [one for one in drawn if one is not None])
    if about and intake.state is not None and (only := drawn[0]) is not None:
        inbound.under = Under(intake.state, only)
        inbound.under.told(left.get(only))
    return [None if one is None else shown(one.budget, left.get(one)) for one in drawn]


async def _left(intake: Intake, drawn: Sequence[Reservation]) -> dict[Reservation, Left]:
    wanted = list(dict.fromkeys(drawn))[:MOST_ASKED]
    found = None if intake.state is None or not wanted else await intake.state.left(wanted)
    return {} if found is None else dict(zip(wanted, found, strict=True))


def as_member(budget: ShownBudget | None) -> dict[str, object]:
    """Return the member of a page that shows a budget; none if there is no budget."""
    return {} if budget is None else {"budget": budget.to_json()}


def shown(budget: Budget, left: Left | None) -> ShownBudget:
    """Return a budget as it is shown, with what is left of it (None: not known)."""
    over = None if left is None else LeftOver(left.runs, left.requests, run_time(left.resets_ms))
    return ShownBudget(budget.runs, budget.requests, duration(budget.per_ms), budget.shared, over)
