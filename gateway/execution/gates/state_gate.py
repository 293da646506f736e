"""The gate of a gateway with shared state: freezes first, then what a request takes of it, or waits for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gateway.core.errors import Conflict, StateUnavailable
from gateway.core.outcome import Excess
from gateway.core.plan import Denial, Permit, Plan
from gateway.core.request import Action, ByIds, Principal
from gateway.execution.gates.freezes import FreezesInForce, Trip
from gateway.execution.in_flight import Replay, Result
from gateway.execution.plans.draft import Draft
from gateway.execution.ports import Call
from gateway.operations.words import WORDS
from gateway.state.admissions import NeedsApproval

SWITCHES = (Action.PAUSE, Action.RESUME)
"""The actions after which a timer may begin or be over."""


class TakesPort(Protocol):
    """The part of the gate that takes something of the store for each request (see `Gate` for the methods)."""

    async def enter(self, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return what a repeat is answered, if it is one. Raises: StateUnavailable, KeyReused, Conflict."""

    async def overtaken(self, conflict: Conflict, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return what a repeat is answered whose first request has the claim. Raises: as `enter`."""

    async def admit(self, plan: Plan, call: Call) -> Plan | Denial | Replay | NeedsApproval:
        """Take what the plan needs, or say what it is answered. Raises: StateUnavailable, KeyReused, Conflict."""

    async def withdraw(self, plan: Plan) -> None:
        """Give back what a plan without an intent took. Never raises."""

    async def close(self, plan: Plan, call: Call, result: Result) -> None:
        """Settle what a plan took. Never raises."""


class ApprovingPort(Protocol):
    """The part of the gate that has plans wait for other people (see `Gate` for the methods)."""

    async def enter(self, call: Call, permit: Permit, draft: Draft | None) -> Draft | None:
        """Return the plan that was approved for it. Raises: StateUnavailable, Conflict, AuditUnavailable."""

    async def ask(self, draft: Draft, call: Call, permit: Permit, needs: NeedsApproval) -> Conflict:
        """Have a plan wait, and return what says so. Raises: Throttled, StateUnavailable, AuditUnavailable."""


class TimedPort(Protocol):
    """The part of the gate that has pauses end by themselves."""

    def enter(self, call: Call, permit: Permit) -> Denial | None:
        """Return why a pause may not end by itself, if it is to and may not."""

    async def admit(self, plan: Plan) -> None:
        """Keep the timer of a pause that ends by itself. Raises: StateUnavailable."""

    def withdraw(self, plan: Plan) -> None:
        """Let the timer of a pause go that has no intent. Never raises."""

    async def close(self, plan: Plan, result: Result) -> None:
        """Note what came of a pause or resume. Never raises."""


class StateGate:
    """The gate, `Gate`. `trip` freezes a rule for a team whose order cancelled more than was sent.

    `exceeded` is told whenever that happens, also by a filter; whoever wants to know sets it. It raises nothing.
    `approving` may be set later; a gateway has it that may have rules with `approve`. So may `timed`, which has pauses
    end by themselves.
    """

    def __init__(self, freezes: FreezesInForce, trip: Trip, takes: TakesPort | None = None) -> None:
        self._freezes = freezes
        self._trip = trip
        self._takes = takes
        self.exceeded: Callable[[Excess], None] = lambda _: None
        self.approving: ApprovingPort | None = None
        self.timed: TimedPort | None = None

    async def enter(self, call: Call, permit: Permit, draft: Draft | None) -> Denial | Replay | Draft | None:
        """Return what a repeat is answered, also while it would be frozen; or why the request may not go on.

        Raises: StateUnavailable, KeyReused, Conflict, AuditUnavailable: as in `Gate`.
        """
        told = None if self._takes is None or call.once is None else await self._takes.enter(call, permit)
        found = self._freezes.denial(call.principal, permit) if told is None else told
        if found is None and self.timed is not None and call.request.lasts_ms is not None:
            found = self.timed.enter(call, permit)
        if found is None and self.approving is not None:
            return await self.approving.enter(call, permit, draft)
        return found

    async def overtaken(self, conflict: Conflict, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return what a repeat is answered whose first request has the claim. Raises: as in `Gate`."""
        return None if self._takes is None else await self._takes.overtaken(conflict, call, permit)

    async def ask(self, draft: Draft, call: Call, permit: Permit, needs: NeedsApproval) -> Conflict:
        """Have a plan of which nothing was sent wait for approval; return what says so. Raises: as in `Gate`."""
        if self.approving is None:
            raise StateUnavailable("refused")
        return await self.approving.ask(draft, call, permit, needs)

    async def admit(self, plan: Plan, call: Call) -> Plan | Denial | Replay | NeedsApproval:
        """Ask for freezes again, because a look-up takes time; then take what the plan needs.

        A freeze that comes into force later is met by `frozen`, before the first order. Raises: StateUnavailable,
        KeyReused, Conflict: as in `Gate`.
        """
        frozen = self._freezes.denial(plan.principal, plan.permit)
        if frozen is not None:
            return frozen
        permit, timed = plan.permit, self.timed if plan.asked.lasts_ms is not None else None
        if timed is not None:
            await timed.admit(plan)
        if self._takes is None or (permit.budget is None and permit.approval is None and call.once is None):
            return plan
        admitted: Plan | Denial | Replay | NeedsApproval | None = None
        try:
            admitted = await self._takes.admit(plan, call)
        finally:
            if timed is not None and not isinstance(admitted, Plan):
                timed.withdraw(plan)
        return admitted

    def frozen(self, principal: Principal, rule: str | None) -> bool:
        """Return whether no order of this principal, admitted by this rule, may be sent now. Asks nobody."""
        return not self._freezes.read or self._freezes.about(principal.team, rule) is not None

    async def withdraw(self, plan: Plan) -> None:
        """Give back what an admitted plan took: it has no intent, and nothing was sent. Never raises."""
        if self.timed is not None and plan.asked.lasts_ms is not None:
            self.timed.withdraw(plan)
        if self._takes is not None:
            await self._takes.withdraw(plan)

    async def close(self, plan: Plan, call: Call, result: Result) -> None:
        """Freeze the rule if an order by IDs cancelled more than was sent; settle what the plan took. Never raises."""
        if result.over_cancelled:
            team, rule, action = plan.principal.team, plan.permit.rule, plan.asked.action.value
            self.exceeded(Excess(plan.decision_id, team, rule, result.over_cancelled, action))
        if result.over_cancelled and all(isinstance(order.selection, ByIds) for order in plan.orders):
            words = WORDS[plan.asked.action]
            more = f"{words.done} {words.number(result.over_cancelled, before='more ')}"
            why = f"decision {plan.decision_id} {more} than were sent, which is not as QStash is known to act"
            self._trip(plan.principal.team, plan.permit.rule, why)
        if self.timed is not None and plan.asked.action in SWITCHES:
            await self.timed.close(plan, result)
        if self._takes is not None:
            await self._takes.close(plan, call, result)
