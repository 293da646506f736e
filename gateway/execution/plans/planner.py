"""The part of the pipeline that looks up the runs of calls, and hands out the orders of plans, once."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial

from gateway.core.errors import Refusal
from gateway.core.plan import Denial, Permit, Plan
from gateway.core.ports import Clock
from gateway.core.run import Listing, Resolved, merged
from gateway.execution.judging import Judging
from gateway.execution.plans.draft import Draft, State, check_ready
from gateway.execution.plans.drafts import Drafts
from gateway.execution.plans.orders import OrdersInTurn
from gateway.execution.plans.recheck import SecondLook, about
from gateway.execution.ports import AuditPort, Call
from gateway.operations.table import OPERATIONS

WAIT_S = 10.0
"""How long, in seconds, a request waits for its look-up; after that its caller can apply the plan when it is ready."""


@dataclass(frozen=True, slots=True)
class Planner:
    """The part that looks up the runs of calls, and hands out the orders of plans, once."""

    drafts: Drafts
    audit: AuditPort
    clock: Clock
    judging: Judging

    async def drafted(self, call: Call, permit: Permit) -> Draft:
        """Return the look-up of a permitted call: ended, refused by policy, or still under way after `WAIT_S`.

        Raises: LookupFailed, NotFound, Throttled, Overloaded, TooLarge, AuditUnavailable, ShuttingDown.
        """
        draft = self.drafts.begin(call, permit)
        await draft.wait(WAIT_S)
        if draft.failure is not None:
            raise draft.failure
        return draft

    async def chosen_again(self, draft: Draft, call: Call, permit: Permit) -> Denial | Resolved:
        """Return which of a plan's runs policy would choose now. Their state upstream is checked when they are sent."""
        runs = draft.resolved.runs
        if not runs:
            return Resolved(())
        about_them = replace(call, request=about(call.request, runs))
        return await self.judging.chosen(
            about_them, permit, self.drafts.handled.corrected(Listing(runs), call.request.action)
        )

    @contextlib.asynccontextmanager
    async def applying(
        self, draft: Draft, chosen: Resolved, call: Call, *, permit: Permit
    ) -> AsyncIterator[OrdersInTurn]:
        """Hand out the orders for the chosen runs of a plan, to be sent inside; once sent, the plan is applied.

        Raises: Conflict, NotFound, StateUnavailable: the plan cannot be applied now; nothing was sent.
        """
        check_ready(draft)
        draft.state = State.APPLYING
        try:
            await self.drafts.claim(draft)
        except BaseException:
            draft.not_applied()
            raise
        plan = _planned(draft, chosen, call, permit)
        draft.sent = plan
        again = SecondLook(
            plan,
            call,
            self.drafts.log(call.request.action),
            self.clock,
            draft.looked_at_s,
            self.judging,
            self.drafts.handled,
            narrowed=draft.narrowed,
            as_of_ms=None if draft.much_news else draft.as_of_ms,
        )
        try:
            yield OrdersInTurn(plan, again, self.audit, partial(self._told, draft), draft.halt)
        except Refusal:
            # Nothing raises after the receipt, so nothing was sent.
            await self.drafts.not_sent(draft)
            raise
        except BaseException:
            # The process ends, or our own code failed: a claim that others know of stays.
            draft.not_applied()
            raise

    def _told(self, draft: Draft, orders_sent: int, cancelled: int) -> None:
        draft.told(orders_sent, cancelled)
        self.drafts.note(draft)


def _planned(draft: Draft, chosen: Resolved, call: Call, permit: Permit) -> Plan:
    """Return what is sent of a plan that was shown before: orders for the chosen runs, and all that was left out."""
    more = draft.resolved.more or chosen.more
    resolved = Resolved(chosen.runs, merged(draft.resolved.skipped, chosen.skipped), more)
    orders = OPERATIONS[call.request.action].orders(resolved.runs, call.request)
    plan = call.planned(permit, orders, resolved=resolved, plan_id=draft.plan_id)
    return plan._replace(approved_by=draft.approved_by)
