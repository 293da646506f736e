"""Look-ups and the plans they become: the runs that a permitted request selects, kept in memory until cancelled.

A principal has one look-up at a time, a team two, and the gateway four. A plan can be applied once, within ten minutes,
by the principal that made it; it is shown for ten minutes more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from gateway.audit.events.declare import Members
from gateway.audit.record import plan_members, withdrawn_members
from gateway.core.errors import NARROW, LookupFailed, Overloaded, Refusal, ShuttingDown, Throttled
from gateway.core.plan import Denial, Permit
from gateway.core.ports import Clock
from gateway.core.request import CANCEL_RUNS, Action, ActionRequest, ByIds, Principal
from gateway.core.run import Listing, LookUp, LookUpBounds
from gateway.execution.judging import Judging
from gateway.execution.plans.draft import (
    NO_RUNS,
    NO_TIMES,
    Draft,
    Learnt,
    State,
    Times,
    Withdrawal,
    check_ready,
    look_up_of,
    no_read_token,
    no_such_plan,
    not_listed,
)
from gateway.execution.plans.handled import Handled
from gateway.execution.plans.shelf import Shelf
from gateway.execution.ports import AuditPort, Call, LookUps, RunLog, at_once
from gateway.operations.words import WORDS
from gateway.process import Net, internal, report
from gateway.state.freezes import Stop
from gateway.upstream.shares import Bounds, TeamShare

LIFETIME_S = 600.0
"""How long after the request for a plan it can be applied, in seconds."""

SHOWN_S = 2 * LIFETIME_S
"""How long after that request the plan is shown, in seconds: what came of it, or that it expired."""

JUDGING_S = 10.0
"""How long the judgement of what a look-up found may take in addition to the look-up itself, in seconds."""

SPARE_S = 20.0
"""How much longer another gateway believes that a look-up goes on, in seconds; then the one that began it is gone."""

MOST_LOOKUPS = 4
MOST_OF_A_TEAM = 2

MOST_OF_ONE = 8
MOST_DRAFTS = 64
MOST_RUNS = 20_000
"""How many plans are kept of one principal and in all, and how many runs in all plans; a team has its share of both.

Above a bound, the oldest plan of the principal that holds most is dropped, but never one being looked up or applied.
"""


class Drafts:
    """All look-ups under way and all plans that can still be applied.

    With a `shelf`, which may be set later, other gateways know the plans whose IDs were told.
    """

    def __init__(
        self,
        look_ups: LookUps | None,
        audit: AuditPort,
        clock: Clock,
        judging: Judging,
        *,
        upstream: str,
        share: TeamShare | None = None,
    ) -> None:
        self._look_ups = look_ups
        self._operators_log = look_ups.operators_log if look_ups is not None else None
        self._bounds = look_ups.bounds if look_ups is not None else LookUpBounds
        self._known = look_ups.known if look_ups is not None else at_once
        self.handled = Handled(clock)
        self._audit = audit
        self._clock = clock
        self._judging = judging
        self._upstream = upstream
        self._share = share or TeamShare()
        self.shelf: Shelf | None = None
        self._kept: dict[str, Draft] = {}
        self._stopping = False

    def log(self, action: Action) -> RunLog:
        """Return the port for look-ups of an action. Raises: NotFound: no read-only token, or nothing to look at."""
        if self._look_ups is None:
            raise no_read_token(action)
        found = self._look_ups.of(action)
        if found is None:
            raise not_listed(action)
        return found

    def begin(self, call: Call, permit: Permit) -> Draft:
        """Start looking up the runs of a permitted request, or return the identical look-up that is under way.

        Raises:
            NotFound: this gateway cannot look runs up.
            Throttled: another look-up of the principal is under way, or two of its team.
            Overloaded: four look-ups are under way.
            ShuttingDown: the process is ending.
        """
        log = self.log(call.request.action)
        looking = [draft for draft in self._kept.values() if draft.state is State.LOOKING]
        for draft in looking:
            if (draft.call.principal, draft.call.request) == (call.principal, call.request):
                return draft
        self._admit(looking, call.principal)
        draft = Draft(call, permit, self._clock.monotonic_s(), times=self._times())
        self._kept[draft.plan_id] = draft
        draft.task = asyncio.create_task(self._look(draft, log))
        return draft

    def get(self, principal: Principal | None, plan_id: str) -> Draft:
        """Return a plan of this principal (None: of any). Raises: NotFound: there is no such plan, or no longer."""
        draft = self._here(principal, plan_id)
        if draft is None:
            raise no_such_plan()
        return draft

    def of(self, principal: Principal | None) -> list[Draft]:
        """Return the plans of this principal (None: of any), the newest first."""
        self._forget()
        return [draft for draft in reversed(self._kept.values()) if principal in (None, draft.call.principal)]

    async def find(self, principal: Principal | None, plan_id: str) -> Draft:
        """Return a plan of this principal (None: of any), also one that another gateway has made, applied or stopped.

        Raises:
            NotFound: there is no such plan, or no longer.
            Conflict: the store does not have it as it was made.
            StateUnavailable: the store cannot say what became of it.
        """
        if self.shelf is None:
            return self.get(principal, plan_id)
        here = self._here(principal, plan_id)
        if here is not None and not here.may_be_elsewhere:
            return here
        there = await self.shelf.find(principal, plan_id)
        found = here if there is None or (here is not None and there.state is State.READY) else there
        if found is None:
            raise no_such_plan()
        return found

    async def listed(self, principal: Principal | None) -> list[Draft]:
        """Return the plans of this principal (None: of any) in all gateways, the newest first.

        Of others' the store is asked for the newest only. Raises: StateUnavailable.
        """
        here = self.of(principal)
        if self.shelf is None:
            return here
        found = {draft.plan_id: draft for draft in here}
        for there in await self.shelf.of(principal, MOST_DRAFTS):
            known = found.get(there.plan_id)
            if known is None or (known.may_be_elsewhere and there.state is not State.READY):
                found[there.plan_id] = there
        return sorted(found.values(), key=lambda draft: draft.times.made_ms, reverse=True)

    async def give(self, draft: Draft) -> None:
        """Have a plan kept in the store, if there is one, because its ID is told. Raises: StateUnavailable."""
        if self.shelf is not None:
            draft.given = True
            if not draft.kept:
                await self.shelf.keep(draft)

    async def claim(self, draft: Draft) -> None:
        """Claim a plan that others may know, so that no other gateway applies it; the others need no claim.

        Raises: Conflict, NotFound, StateUnavailable: nothing of it may be sent.
        """
        if self.shelf is None or not draft.given:
            return
        here = self._kept.get(draft.plan_id)
        if here is not None and here is not draft:
            # Another request has read it from the store as well.
            check_ready(here)
        self._kept[draft.plan_id] = draft
        await self.shelf.claim(draft)
        self.shelf.keep_soon(draft)

    async def not_sent(self, draft: Draft) -> None:
        """Note that nothing of a plan was sent after it was claimed: it can be applied, here or elsewhere."""
        draft.not_applied()
        if self.shelf is not None and draft.given:
            await self.shelf.give_back(draft)
            self.note(draft)
        if draft.approval:
            self.let_go(draft)

    def let_go(self, draft: Draft) -> None:
        """Forget a plan here: the store has it, for as long as it waits for approval."""
        self._kept.pop(draft.plan_id, None)

    async def halted(self, principal: Principal | None, plan_id: str, by: Withdrawal) -> Draft:
        """Stop a plan of this principal for good, whichever gateway applies it, and return it.

        What was not being applied is recorded as withdrawn; the outcome of another says who stopped it. Raises: as
        `find`.
        """
        here = self._here(principal, plan_id)
        if self.shelf is None or (here is not None and not here.may_be_elsewhere):
            draft = self.get(principal, plan_id)
            await self._withdraw(draft, by)
            self.note(draft)
            return draft
        there, withdrawn = await self.shelf.stop(principal, plan_id, by.principal.name)
        if here is not None and (there is None or (there.state is State.STOPPED and there.outcome is None)):
            await self._withdraw(here, by)
            return here
        if there is None:
            raise no_such_plan()
        await self._recorded(there, by, withdrawn=withdrawn)
        return there

    async def _withdraw(self, draft: Draft, by: Withdrawal) -> None:
        """Stop a plan, and record who did if it was not being applied. Raises nothing, even if it is not recorded."""
        withdrawn = draft.state in (State.LOOKING, State.READY)
        draft.stop(by.principal.name)
        await self._recorded(draft, by, withdrawn=withdrawn)

    async def _recorded(self, draft: Draft, by: Withdrawal, *, withdrawn: bool) -> None:
        if withdrawn:
            who = withdrawn_members(by.decision_id, plan=draft.plan_id, principal=by.principal, remote=by.remote)
            with Net() as net:
                await self._audit.note("withdrawn", who)
            if net.fault is not None:
                report(net.fault, "the stop of a plan is not on record")

    def stop_asked(self, stops: Iterable[Stop]) -> None:
        """Stop the plans of this gateway that somebody has asked another gateway to stop."""
        for stop in stops:
            draft = self._kept.get(stop.plan_id)
            if draft is not None and draft.state is not State.STOPPED:
                draft.stop(stop.by)
                self.note(draft)

    def note(self, draft: Draft) -> None:
        """Have the store know what has become of a plan, if it has the plan. Returns at once, never raises."""
        if self.shelf is not None and draft.given:
            self.shelf.keep_soon(draft)

    async def written(self, most_s: float) -> None:
        """Wait up to `most_s` seconds until the store knows what became of the plans; nothing is written after it."""
        if self.shelf is not None:
            await self.shelf.end(most_s)

    def settled(self, found: Members) -> None:
        """Note what the follow-up of an outcome has found: a `settled` record. The plan may be kept no more."""
        if found["cancelled"] is not None:
            self.handled.read_back(str(found["decision_id"]))
        for draft in self._kept.values():
            if draft.sent is not None and draft.sent.decision_id == found["decision_id"]:
                cancelled = found["cancelled"]
                known = cancelled if isinstance(cancelled, int) else None
                draft.settled = Learnt(self._clock.now_ms(), str(found["source"]), known)
                self.note(draft)

    async def stop(self) -> None:
        """Cancel every look-up and wait until they have ended; let no plan wait any longer for QStash."""
        self._stopping = True
        for draft in self._kept.values():
            draft.halt.end_waits()
        tasks = [draft.task for draft in self._kept.values() if draft.task is not None and not draft.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def expires_in_s(self, draft: Draft) -> int:
        """Return how long a plan can still be applied, in whole seconds."""
        if draft.approval:
            return max(0, (draft.times.applied_until_ms - self._clock.now_ms()) // 1000)
        return max(0, int(draft.made_s + LIFETIME_S - self._clock.monotonic_s()))

    def _here(self, principal: Principal | None, plan_id: str) -> Draft | None:
        self._forget()
        draft = self._kept.get(plan_id)
        return None if draft is None or principal not in (None, draft.call.principal) else draft

    def _times(self) -> Times:
        if self.shelf is None:
            return NO_TIMES
        now_ms, looks_s = self._clock.now_ms(), self._bounds().seconds + JUDGING_S + SPARE_S
        return Times(now_ms, *(now_ms + round(seconds * 1000) for seconds in (looks_s, LIFETIME_S, SHOWN_S)))

    def _admit(self, looking: list[Draft], principal: Principal) -> None:
        if self._stopping:
            raise ShuttingDown("stopping", "The gateway is shutting down; nothing was sent. Try again in a moment.")
        if any(draft.call.principal == principal for draft in looking):
            sentence = "Another look-up of yours is under way, and one at a time is the most. Wait for it to end."
            raise Throttled("lookups", sentence, limit=1, retry_after_s=5)
        if sum(draft.call.principal.team == principal.team for draft in looking) >= MOST_OF_A_TEAM:
            sentence = f"{MOST_OF_A_TEAM} look-ups of your team are under way, the most at a time. Wait for one to end."
            raise Throttled("lookups", sentence, limit=MOST_OF_A_TEAM, retry_after_s=5)
        if len(looking) >= MOST_LOOKUPS:
            raise Overloaded("lookups", "The gateway looks up as much as it may; nothing was sent. Try again shortly.")

    async def _look(self, draft: Draft, log: RunLog) -> None:
        net = Net()
        try:
            with net:
                async with asyncio.timeout(self._bounds().seconds + JUDGING_S):
                    await self._looked_up(draft, log)
        except asyncio.CancelledError:
            sentence = "The gateway is shutting down; nothing was sent. Try again in a moment."
            draft.state, draft.failure = State.FAILED, ShuttingDown("stopping", sentence)
        if draft.halt.by is not None:
            draft.state, draft.failure = State.STOPPED, None
        elif net.fault is not None:
            draft.state, draft.failure = State.FAILED, _failure(net.fault, draft.call.request.action)
            self._tell_of(draft)
        self.note(draft)
        self._forget()

    def _tell_of(self, draft: Draft) -> None:
        """Log a look-up that failed after its last waiter had left; a request that still waits is told itself."""
        if isinstance(draft.failure, LookupFailed) and not draft.waiting and self._operators_log is not None:
            with Net() as net:
                self._operators_log.error("lookup_failed", decision_id=draft.plan_id, **draft.failure.particulars())
                return
            report(net.caught, "the operators' log failed to take lookup_failed")

    async def _looked_up(self, draft: Draft, log: RunLog) -> None:
        # The age counts from the start: the first page is as old as the look-up took.
        call, looked_at_s, permit = draft.call, self._clock.monotonic_s(), draft.permit
        draft.look = look_up_of(permit, self._clock.now_ms(), self.handled.of(call.request.action))
        await self._known()
        listing = await _listing(call.request, log, draft.look)
        listing = self.handled.corrected(listing, call.request.action)
        chosen = await self._judging.chosen(call, permit, listing)
        if isinstance(chosen, Denial):
            draft.state, draft.denial = State.REFUSED, chosen
            return
        draft.resolved, draft.looked_at_s = chosen, looked_at_s
        # What was not listed may be another run under one of the IDs.
        draft.narrowed, draft.read_to_end = listing.narrowed or listing.ended_early, not listing.ended_early
        draft.as_of_ms, draft.much_news = listing.as_of_ms, listing.much_news
        members = plan_members(call.planned(permit, ()), chosen, upstream=self._upstream)
        await self._audit.keep("plan", members)
        draft.state = State.READY

    def _forget(self) -> None:
        """Let plans expire and, above a bound, drop the oldest plans of the principals that hold most."""
        now_s = self._clock.monotonic_s()
        for draft in [draft for draft in self._kept.values() if not draft.at_work]:
            if now_s - draft.made_s >= SHOWN_S:
                del self._kept[draft.plan_id]
            elif draft.state is State.READY and now_s - draft.made_s >= LIFETIME_S:
                draft.state, draft.resolved = State.EXPIRED, NO_RUNS
        while (above := self._giving_way()) is not None:
            del self._kept[above.plan_id]

    def _giving_way(self) -> Draft | None:
        kept, share = list(self._kept.values()), self._share
        plans = [(draft.call.principal, 1) for draft in kept]
        runs = [(draft.call.principal, len(draft.resolved.runs)) for draft in kept]
        # A plan that has ended gives way before one that can still be applied.
        at_rest = sorted((one for one in kept if not one.at_work), key=lambda one: one.state is State.READY)
        with_runs = [draft for draft in at_rest if draft.resolved.runs]
        for bounds, held, free in (
            (Bounds(MOST_OF_ONE, share.of(MOST_DRAFTS), MOST_DRAFTS), plans, at_rest),
            (Bounds(MOST_RUNS, share.of(MOST_RUNS), MOST_RUNS), runs, with_runs),
        ):
            holder = bounds.gives_way(held, {draft.call.principal for draft in free})
            if holder is not None:
                return next(draft for draft in free if draft.call.principal == holder)
        return None


def _failure(fault: BaseException, action: Action) -> Refusal:
    """Return why there is no plan. An error in our own code also becomes a refusal, so it ends only this look-up."""
    words = WORDS[action]
    match fault:
        case LookupFailed() if action is not CANCEL_RUNS:
            return fault.of_what_is(words.done)
        case Refusal():
            return fault
        case TimeoutError():
            what = f"Looking the {words.things} up and judging them took too long."
            return LookupFailed("deadline", what, NARROW, done=words.done)
    what = f"The gateway failed while it looked the {words.things} up."
    return LookupFailed(internal(fault), what, "Tell its operators the decision id.", done=words.done)


async def _listing(asked: ActionRequest, log: RunLog, look: LookUp) -> Listing:
    if isinstance(asked.selection, ByIds):
        return await log.look_up(asked.selection.ids)
    return await log.running(asked.selection, look)
