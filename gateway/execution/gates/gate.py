"""The port of the gate between a permit and its intent. Without `state` in the configuration there is none.

enter      before anything is looked up: is the request frozen, was its Idempotency-Key used, does it wait for approval?
overtaken  another gateway has claimed the plan meanwhile: for the same request, perhaps?
admit      just before the intent: what the request takes of the state is taken, durably
ask        others have to approve it first: its plan waits for that
frozen     before each order
withdraw   no intent came of it
close      the outcome is known, as far as it will be now
"""

from __future__ import annotations

from typing import Protocol

from gateway.core.errors import Conflict
from gateway.core.plan import Denial, Permit, Plan
from gateway.core.request import Principal
from gateway.execution.in_flight import Replay, Result
from gateway.execution.plans.draft import Draft
from gateway.execution.ports import Call
from gateway.state.admissions import NeedsApproval


class Gate(Protocol):
    """What a request has to pass after policy has permitted it."""

    async def enter(self, call: Call, permit: Permit, draft: Draft | None) -> Denial | Replay | Draft | None:
        """Return why the request may not go on, or what a repeat of it is answered; None if it goes on.

        `draft` is the plan that it applies, if it does. A plan that is returned was approved, and is applied instead.

        Raises:
            StateUnavailable: that cannot be said.
            KeyReused: its Idempotency-Key was used before.
            Conflict: so it was, or the plan of an identical request waits for approval, or its approval does not hold.
            AuditUnavailable: that it does not hold cannot be recorded.
        """

    async def overtaken(self, conflict: Conflict, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return what a repeat is answered whose first request has just claimed the plan; None if there is none.

        Raises: StateUnavailable, KeyReused, Conflict: as in `enter`.
        """

    async def admit(self, plan: Plan, call: Call) -> Plan | Denial | Replay | NeedsApproval:
        """Take what the plan needs and return it with that; or what it is answered: then nothing is taken.

        Raises:
            StateUnavailable: it is not known whether it was taken; nothing may be sent.
            KeyReused, Conflict: its Idempotency-Key was used before.
        """

    async def ask(self, draft: Draft, call: Call, permit: Permit, needs: NeedsApproval) -> Conflict:
        """Have a plan of which nothing was sent wait for approval; return the refusal that says so.

        Raises:
            Throttled: too many wait already.
            StateUnavailable, AuditUnavailable: it does not wait.
        """

    def frozen(self, principal: Principal, rule: str | None) -> bool:
        """Return whether no order of this principal, admitted by this rule, may be sent now. Asks nobody."""

    async def withdraw(self, plan: Plan) -> None:
        """Give back what an admitted plan took: it has no intent, and nothing was sent. Never raises."""

    async def close(self, plan: Plan, call: Call, result: Result) -> None:
        """Settle what an admitted plan took, by what is certain of its outcome. Never raises."""
