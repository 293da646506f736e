"""From a permit to a plan of runs, and from a plan to its cancels: a call does both, or a person looks between."""

from __future__ import annotations

from dataclasses import dataclass, replace

from gateway.carrying import Carrier
from gateway.core.errors import Conflict
from gateway.core.plan import Denial, Permit, orders_of
from gateway.core.ports import Clock
from gateway.core.run import Listing, Resolved, joined
from gateway.drafts import Draft, Drafts, State
from gateway.flights import Carried, Flight
from gateway.judging import Judging
from gateway.ports import Call
from gateway.second_look import SecondLook, about

WAIT_S = 10.0
"""How long a request waits for its look-up; after that the plan is there to be applied."""


@dataclass(frozen=True, slots=True)
class Planner:
    """Looks up the runs that calls mean, and cancels those of plans."""

    drafts: Drafts
    carrier: Carrier
    clock: Clock
    judging: Judging

    async def drafted(self, call: Call, permit: Permit) -> Draft:
        """The look-up of a permitted call: ended, refused by policy, or still under way after `WAIT_S`.

        Raises: LookupFailed, NotFound, Throttled, Overloaded, TooLarge, AuditUnavailable, ShuttingDown.
        """
        draft = self.drafts.begin(call, permit)
        await draft.wait(WAIT_S)
        if draft.failure is not None:
            raise draft.failure
        return draft

    async def chosen_again(self, draft: Draft, call: Call, permit: Permit) -> Denial | Resolved:
        """What of a plan's runs would be chosen now; what became of them upstream is looked at when they are sent."""
        runs = draft.resolved.runs
        if not runs:
            return Resolved(())
        about_them = replace(call, request=about(call.request, runs))
        return await self.judging.chosen(about_them, permit, Listing(runs))

    async def carried(self, draft: Draft, chosen: Resolved, call: Call, *, permit: Permit, flight: Flight) -> Carried:
        """Cancels the runs chosen of a plan, once. Raises: Conflict, AuditUnavailable: nothing was sent."""
        check_ready(draft)
        draft.state = State.APPLYING
        resolved = Resolved(chosen.runs, joined(draft.resolved.skipped, chosen.skipped))
        plan = call.planned(permit, orders_of(resolved.runs), resolved=resolved, plan_id=draft.plan_id)
        again = SecondLook(
            plan,
            call.arrival,
            self.drafts.log,
            self.clock,
            draft.looked_at_s,
            self.judging,
            narrowed=draft.narrowed,
        )
        try:
            carried = await self.carrier.out(plan, flight, call.arrival, again=again, told=draft.told)
        except BaseException:
            # Only before the receipt does anything raise: nothing was sent, and the plan can still be applied.
            draft.state = State.READY
            raise
        draft.state = State.APPLIED
        return carried


def check_ready(draft: Draft) -> None:
    """Raises: Conflict, unless the plan can be applied now."""
    if draft.state is State.READY:
        return
    name = draft.plan_id
    code, sentence = "plan_refused", "The look-up came to no plan, so there is nothing to apply. Plan again."
    if draft.state is State.LOOKING:
        code = "plan_pending"
        sentence = (
            "Looking the runs up takes longer than a request may wait; nothing was sent. "
            f"See the plan: GET /gateway/v1/plans/{name}; apply it: POST /gateway/v1/plans/{name}/apply."
        )
    if draft.state in (State.APPLYING, State.APPLIED):
        code, sentence = "plan_applied", "This plan was applied, and a plan is applied once. Plan again."
    raise Conflict(code, sentence, members={"plan": name, "state": draft.state.value})
