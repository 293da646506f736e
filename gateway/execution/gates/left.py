"""What is left of budgets, for those who ask: whose budget a request draws on, and the port that says what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.core.forms.shown import budget_field
from gateway.core.plan import Budget, Decision, Permit
from gateway.core.request import Principal
from gateway.state.admissions import Left, Reservation, team_scope


class LeftPort(Protocol):
    """The port that says what is left of budgets."""

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left] | None:
        """Return what is left of each of these budgets, in turn; None if the store does not say it in time."""


def scope_of(rule: str, budget: Budget, principal: Principal) -> str:
    """Return whose budget it is, unique over all rules: that of all under the rule, of a team, or of a principal."""
    match budget.shared:
        case "rule":
            return rule
        case "team":
            return team_scope(rule, principal.team)
        case "key":
            return f"{rule} key:{principal.name}"


def drawn_on(rule: str, budget: Budget, principal: Principal, *, runs: int = 0) -> Reservation:
    """Return what a request of this principal takes of the budget of a rule; without `runs` it only names it."""
    return Reservation(rule, scope_of(rule, budget, principal), runs, budget)


@dataclass(slots=True)
class Under:
    """The budget that a request stands under once its rule is known, and what its answer says of it.

    `said` is the value of `Gateway-Budget`; None: the store was not `asked`, or did not say it in time.
    """

    port: LeftPort
    drawn: Reservation | None = None
    asked: bool = False
    said: str | None = None

    def judged(self, decision: Decision, principal: Principal) -> None:
        """Note the budget of the rule that permits the request, if it has one."""
        if isinstance(decision, Permit) and decision.rule is not None and decision.budget is not None:
            self.drawn = drawn_on(decision.rule, decision.budget, principal)

    def told(self, left: Left | None) -> None:
        """Note what the store has said, if it has."""
        self.asked = True
        self.said = None if left is None else budget_field(left.runs, left.requests, left.resets_ms)

    async def ask(self) -> None:
        """Ask the store, unless that was done; one call, within the deadline of the store. Raises nothing."""
        if self.drawn is not None and not self.asked:
            found = await self.port.left([self.drawn])
            self.told(None if found is None else found[0])
