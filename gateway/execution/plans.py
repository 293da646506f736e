"""Look-ups, and the plans they become: which runs a permitted request means, kept in memory until they are cancelled.

One look-up at a time for a principal, two for a team and four in all; a plan can be applied once, by who made it, for
ten minutes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from enum import StrEnum

from gateway.audit.record import plan_members
from gateway.core.errors import NARROW, Conflict, LookupFailed, NotFound, Overloaded, Refusal, ShuttingDown, Throttled
from gateway.core.plan import Denial, Permit, orders_of
from gateway.core.ports import Clock
from gateway.core.request import ByRunIds, CancelRequest, Principal
from gateway.core.run import Listing, Resolved, joined
from gateway.execution.flights import Carried, Flight
from gateway.execution.judging import Judging
from gateway.execution.orders import Carrier
from gateway.execution.ports import AuditPort, Call, LookUps, RunLog
from gateway.execution.recheck import SecondLook, about
from gateway.process import Net, internal, report
from gateway.upstream.shares import Bounds, TeamShare

LIFETIME_S = 600.0
"""How long a plan can be applied after it was asked for."""

DEADLINE_S = 60.0
"""How long a look-up may take in all."""

_LOOKS_NOTHING_UP = (
    "This gateway cannot look runs up, because it has no read-only token (upstream.read_token): ask its operators for "
    "one, or send the cancel itself."
)

MOST_LOOKUPS = 4
MOST_OF_A_TEAM = 2

MOST_OF_ONE = 8
MOST_DRAFTS = 64
MOST_RUNS = 20_000
"""How many plans are kept of a principal and in all, and runs in all of them; a team has its share of both.

The oldest plan of whoever holds most gives way, unless it is at work.
"""


class State(StrEnum):
    """Where a plan stands."""

    LOOKING = "looking"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    APPLYING = "applying"
    APPLIED = "applied"


def no_such_plan() -> NotFound:
    """Returns the refusal of a plan that the caller has not, has no more, or that none can be."""
    return NotFound("plan", "There is no such plan of yours any more; plan again (POST /gateway/v1/plans).")


@dataclass(slots=True, eq=False)
class Draft:
    """One look-up and the plan it becomes; named by the decision id of the call that asked for it."""

    call: Call
    permit: Permit
    made_s: float
    state: State = State.LOOKING
    looked_at_s: float = 0.0
    narrowed: bool = False
    resolved: Resolved = field(default_factory=lambda: Resolved(()))
    denial: Denial | None = None
    failure: Refusal | None = None
    orders_sent: int = 0
    cancelled: int = 0
    task: asyncio.Task[None] | None = None
    waiting: int = 0

    @property
    def plan_id(self) -> str:
        """Its name."""
        return self.call.arrival.decision_id

    @property
    def at_work(self) -> bool:
        """Whether it is being looked up or applied."""
        return self.state in (State.LOOKING, State.APPLYING)

    async def wait(self, most_s: float) -> State:
        """Waits for the look-up to end, or for `most_s`; who goes away does not end it."""
        assert self.task is not None
        self.waiting += 1
        try:
            await asyncio.wait([self.task], timeout=most_s)
        finally:
            self.waiting -= 1
        return self.state

    def told(self, orders_sent: int, cancelled: int) -> None:
        """Notes how far its orders have got."""
        self.orders_sent, self.cancelled = orders_sent, cancelled


class Drafts:
    """Every look-up under way and every plan that can still be applied."""

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
        self._log = look_ups.runs if look_ups is not None else None
        self._operators_log = look_ups.operators_log if look_ups is not None else None
        self._audit = audit
        self._clock = clock
        self._judging = judging
        self._upstream = upstream
        self._share = share or TeamShare()
        self._kept: dict[str, Draft] = {}
        self._stopping = False

    @property
    def log(self) -> RunLog:
        """Where runs are looked up. Raises: NotFound: the configuration has no read-only token."""
        if self._log is None:
            raise NotFound("no_read_token", _LOOKS_NOTHING_UP)
        return self._log

    def begin(self, call: Call, permit: Permit) -> Draft:
        """Begins to look the runs of a permitted request up, or gives the look-up of the same that is under way.

        Raises:
            NotFound: nothing can be looked up here.
            Throttled: another look-up of the principal is under way, or two of its team.
            Overloaded: four look-ups are.
            ShuttingDown: the process ends.
        """
        log, looking = self.log, [draft for draft in self._kept.values() if draft.state is State.LOOKING]
        for draft in looking:
            if (draft.call.principal, draft.call.request) == (call.principal, call.request):
                return draft
        self._admit(looking, call.principal)
        draft = Draft(call, permit, self._clock.monotonic_s())
        self._kept[draft.plan_id] = draft
        draft.task = asyncio.create_task(self._look(draft, log))
        return draft

    def get(self, principal: Principal, plan_id: str) -> Draft:
        """A plan of this principal. Raises: NotFound: there is none, or not any more."""
        self._forget()
        draft = self._kept.get(plan_id)
        if draft is None or draft.call.principal != principal:
            raise no_such_plan()
        return draft

    async def stop(self) -> None:
        """Ends every look-up."""
        self._stopping = True
        tasks = [draft.task for draft in self._kept.values() if draft.task is not None and not draft.task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def expires_in_s(self, draft: Draft) -> int:
        """How long a plan can still be applied, in whole seconds."""
        return max(0, int(draft.made_s + LIFETIME_S - self._clock.monotonic_s()))

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
                async with asyncio.timeout(DEADLINE_S):
                    await self._looked_up(draft, log)
        except asyncio.CancelledError:
            sentence = "The gateway is shutting down; nothing was sent. Try again in a moment."
            draft.state, draft.failure = State.FAILED, ShuttingDown("stopping", sentence)
        if net.fault is not None:
            draft.state, draft.failure = State.FAILED, _failure(net.fault)
            self._tell_of(draft)
        self._forget()

    def _tell_of(self, draft: Draft) -> None:
        """One line for a look-up that failed when nobody waited for it any more; else its request is answered so."""
        if isinstance(draft.failure, LookupFailed) and not draft.waiting and self._operators_log is not None:
            with Net() as net:
                self._operators_log.error("lookup_failed", decision_id=draft.plan_id, **draft.failure.particulars())
                return
            report(net.caught, "the operators' log failed to take lookup_failed")

    async def _looked_up(self, draft: Draft, log: RunLog) -> None:
        # A run on the first page is as old news as the look-up is long.
        call, looked_at_s = draft.call, self._clock.monotonic_s()
        listing = await _listing(call.request, log)
        chosen = await self._judging.chosen(call, draft.permit, listing)
        if isinstance(chosen, Denial):
            draft.state, draft.denial = State.REFUSED, chosen
            return
        draft.resolved, draft.looked_at_s, draft.narrowed = chosen, looked_at_s, listing.narrowed
        members = plan_members(call.planned(draft.permit, ()), chosen, upstream=self._upstream)
        await self._audit.keep("plan", members)
        draft.state = State.READY

    def _forget(self) -> None:
        """Lets go of what has ended, and above the bounds of the oldest plan of whoever holds most."""
        now_s = self._clock.monotonic_s()
        for draft in list(self._kept.values()):
            if not draft.at_work and now_s - draft.made_s >= LIFETIME_S:
                del self._kept[draft.plan_id]
        while (above := self._giving_way()) is not None:
            del self._kept[above.plan_id]

    def _giving_way(self) -> Draft | None:
        kept, share = list(self._kept.values()), self._share
        plans = [(draft.call.principal, 1) for draft in kept]
        runs = [(draft.call.principal, len(draft.resolved.runs)) for draft in kept]
        at_rest = [draft for draft in kept if not draft.at_work]
        with_runs = [draft for draft in at_rest if draft.resolved.runs]
        for bounds, held, free in (
            (Bounds(MOST_OF_ONE, share.of(MOST_DRAFTS), MOST_DRAFTS), plans, at_rest),
            (Bounds(MOST_RUNS, share.of(MOST_RUNS), MOST_RUNS), runs, with_runs),
        ):
            holder = bounds.gives_way(held, {draft.call.principal for draft in free})
            if holder is not None:
                return next(draft for draft in free if draft.call.principal == holder)
        return None


def _failure(fault: BaseException) -> Refusal:
    """Why there is no plan; an error of our own code ends the look-up, not its principal's turn."""
    match fault:
        case Refusal():
            return fault
        case TimeoutError():
            return LookupFailed("deadline", f"Looking the runs up took longer than {DEADLINE_S:.0f} s.", NARROW)
    what = "The gateway failed while it looked the runs up."
    return LookupFailed(internal(fault), what, "Tell its operators the decision id.")


async def _listing(asked: CancelRequest, log: RunLog) -> Listing:
    if isinstance(asked.selection, ByRunIds):
        return await log.look_up(asked.selection.run_ids)
    return await log.running(asked.selection)


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
