"""The pipeline takes one request from principal to outcome: decide -> plan -> intent -> send -> close.

    decision = decide(policies, principal, request, now)      Denial | Permit
    plan     = the request itself, as one order               or several, of the runs that its look-up found
    receipt  = await audit.intent(plan)                       durable, otherwise nothing is sent
    outcome  = await upstream.send(order, receipt)          once
    await audit.close(receipt, closing)                       durable, then the answer

After the intent nothing raises. A plan that is shown to a person first stops before the intent; applying the plan
begins there. What several orders need more than one is in `execution/plans/orders`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from functools import partial
from typing import cast

from gateway.audit.record import joined_members
from gateway.core.errors import Conflict, ShuttingDown
from gateway.core.outcome import Cancelled, NotSent, Outcome, Unknown
from gateway.core.plan import Decision, Denial, Order, Permit, Plan, Receipt, order_of
from gateway.core.ports import Clock
from gateway.core.request import CANCEL_RUNS, Principal
from gateway.core.run import Resolved
from gateway.execution.closing import Closer
from gateway.execution.gates.gate import Gate
from gateway.execution.in_flight import (
    MOST_JOINS,
    MOST_KEYED_JOINS,
    WAITING,
    Done,
    Ended,
    InFlight,
    InFlightCancels,
    Key,
    Replay,
    Result,
    Told,
    WaitEnded,
    Work,
)
from gateway.execution.judging import Judging, takes_long
from gateway.execution.plans.draft import Draft, State, check_ready
from gateway.execution.plans.drafts import Drafts
from gateway.execution.plans.handled import Earlier
from gateway.execution.plans.orders import FROZEN, OrdersInTurn, Send
from gateway.execution.plans.planner import Planner
from gateway.execution.ports import AuditPort, Call, LookUps, OrderPort, SettlerPort
from gateway.operations.words import WORDS
from gateway.policy.rules import Policies, TeamRules
from gateway.process import Net, fault_of, internal, report
from gateway.state.admissions import NeedsApproval
from gateway.upstream.shares import NO_LANE, Lanes

WRITTEN_S = 2.0
"""How long, in seconds, a process that ends waits until the store knows what became of its plans."""

STOPPING = "The gateway is shutting down; nothing was sent. Try again in a moment."


class Pipeline:
    """The way of every request: it is judged and, if permitted, sent once.

    `settler` learns later what an outcome could not say. `lanes` limits how many connections to upstream the orders of
    one team may use. With a `gate` a permitted request has more to pass before it is sent; it may be set later.
    """

    def __init__(  # noqa: PLR0913 - its parts
        self,
        *,
        upstream: OrderPort,
        upstream_url: str,
        audit: AuditPort,
        clock: Clock,
        look_ups: LookUps | None = None,
        settler: SettlerPort | None = None,
        lanes: Lanes | None = None,
        judging: Judging | None = None,
        gate: Gate | None = None,
    ) -> None:
        self._upstream = upstream
        self._upstream_url = upstream_url
        self._audit = audit
        self._clock = clock
        self._closer = Closer(audit, clock, settler)
        self._lanes = lanes
        self.gate = gate
        self._cancels = InFlightCancels()
        self._judging = judging = judging or Judging(clock)
        share = lanes.share if lanes is not None else None
        drafts = Drafts(look_ups, audit, clock, judging, upstream=upstream_url, share=share)
        self._planner = Planner(drafts, audit, clock, judging)

    @property
    def stopping(self) -> bool:
        """Whether new intents are refused because the process is ending."""
        return self._cancels.stopping

    @property
    def plans(self) -> Drafts:
        """The plans that are kept, to be shown and stopped."""
        return self._planner.drafts

    def recall(self, runs: Iterable[Earlier]) -> None:
        """Note the runs that earlier processes ordered."""
        self._planner.drafts.handled.recall(runs)

    async def prepared(self, policies: Policies, principal: Principal) -> TeamRules:
        """Return the rules of the principal's team, prepared for asking which runs it may see."""
        await self._judging.prepared(policies, principal)
        return policies.for_team(principal.team)

    def any_to_join(self, principal: Principal) -> bool:
        """Return whether the principal has a cancel in flight, which a new request may repeat."""
        return self._cancels.any_of(principal)

    async def join(self, call: Call) -> Told | None:
        """Wait for the identical request in flight, without starting anything.

        Return None if there is none, or if policy no longer permits the request.

        Raises:
            Throttled: too many requests have joined already.
            AuditUnavailable, Conflict, LookupFailed: that request ended so.
        """
        other = self._cancels.get(call.key)
        if other is None:
            return None
        call, permit = await self._judged(call, other.key)
        return None if isinstance(permit, Denial) else await self._joined(other, call)

    async def run(self, call: Call) -> Told:
        """Judge a request and, if permitted, send it once or join the identical one in flight.

        Its records carry the digest of the policies that it was judged by, even if a reload has replaced them since.

        Raises:
            Unauthenticated: the credential was revoked while the request waited to be judged.
            AuditUnavailable: the intent could not be made durable; nothing was sent.
            Conflict: its runs are still being looked up, or others have to approve its plan, which then can be applied.
            LookupFailed: its runs could not be looked up; nothing was sent.
            ShuttingDown: the process takes no new intents.
            StateUnavailable, KeyReused: nothing was sent.
        """
        key = call.key
        decision: Decision
        if takes_long(call):
            call, decision = await self._judged(call, key)
        else:
            decision = self._judging.decide(call)
        if isinstance(decision, Denial):
            return await self._denied(call, decision)
        work = partial(self._direct if decision.resolution is None else self._resolved, call, decision)
        return await self._joined_or_started(key, self._gated(work, call, decision), call)

    async def plan(self, call: Call) -> Denial | Draft:
        """Judge a request and look its runs up, for a person to see first. Nothing is sent.

        The look-up may still be under way in the draft that is returned.

        Raises:
            LookupFailed, NotFound, Throttled, Overloaded, AuditUnavailable: there is no plan.
            StateUnavailable: other gateways cannot be told of it.
        """
        call, permit = await self._judged(call)
        if isinstance(permit, Denial):
            return await self._denied(call, permit)
        draft = await self._planner.drafted(call, permit)
        if draft.denial is not None:
            return await self._denied(call, draft.denial)
        await self.plans.give(draft)
        return draft

    async def apply(self, call: Call, draft: Draft) -> Told:
        """Judge a plan's request again, as `call`, and cancel those runs of the plan that still run, once.

        `draft` is a plan of the same principal, from `plans.find`. If its runs cannot be looked at again, that is the
        outcome.

        Raises:
            Conflict, NotFound: the plan is still being looked up, was already applied, was stopped, or has expired.
            Unauthenticated: the credential was revoked while the call waited to be judged.
            Throttled: too many requests have joined the same apply already.
            AuditUnavailable, ShuttingDown, StateUnavailable, KeyReused: nothing was sent.
        """
        key = ("plan", draft.plan_id)
        # With an Idempotency-Key a plan that was applied is answered as it was then; the gate knows what was approved.
        if self._cancels.get(key) is None and call.once is None and not draft.approval:
            check_ready(draft)
        call, permit = await self._judged(call, key)
        if isinstance(permit, Denial):
            return await self._denied(call, permit)
        work = partial(self._applied, call, permit, draft)
        return await self._joined_or_started(key, self._gated(work, call, permit, draft), call)

    def answered(self, done: Done, *, caller_gone: bool) -> None:
        """Call after the answer was written, or when the caller has disconnected (`caller_gone`)."""
        self._cancels.answered(done.in_flight, caller_gone=caller_gone)

    async def stop(self, grace_s: float) -> None:
        """Refuse new intents and wait for calls in flight; after `grace_s` seconds, close the rest as unknown."""
        self._cancels.stopping = True
        await self._planner.drafts.stop()
        await self._cancels.stop(grace_s)
        await self.plans.written(WRITTEN_S)
        self._judging.close()

    async def _judged(self, call: Call, key: Key | None = None) -> tuple[Call, Decision]:
        """Return the decision, and the call with the policies that it was judged by.

        Raises: Unauthenticated: the credential was revoked while the call waited for a thread.
        """
        if not takes_long(call):
            return call, self._judging.decide(call)
        try:
            return await self._judging.judged(call)
        except asyncio.CancelledError:
            # The repeat of a cancel under way is not told to try again, even if its own wait ends here.
            if key is None or self._cancels.get(key) is None:
                raise
            raise WaitEnded from None

    async def _denied(self, call: Call, denial: Denial) -> Denial:
        await self._audit.note("denied", call.denied_members(denial, self._upstream_url))
        return denial

    async def _joined_or_started(self, key: Key, work: Work, call: Call) -> Told:
        """Join the cancel with that key if it is in flight, else start it, and wait for its result."""
        other = self._cancels.get(key)
        if other is not None:
            return await self._joined(other, call)
        if self._cancels.stopping:
            raise ShuttingDown("stopping", STOPPING)
        with WAITING:
            return await self._cancels.start(key, call.decision_id, work).told()

    def _gated(self, work: Work, call: Call, permit: Permit, draft: Draft | None = None) -> Work:
        """Return the work, done once the request passes the gate; `draft` is the plan that it applies, if it does."""
        gate = self.gate
        if gate is None:
            return work

        async def gated(in_flight: InFlight) -> Ended:
            """Pass the gate, then do the work."""
            met = await gate.enter(call, permit, draft)
            try:
                if isinstance(met, Draft):  # what others have approved for it
                    return await self._applied(call, permit, met, in_flight)
                if met is None:
                    return await work(in_flight)
            except Conflict as conflict:
                met = await gate.overtaken(conflict, call, permit)
                if met is None:
                    raise
            return await self._barred(met, call)

        return gated

    async def _barred(self, barred: Denial | Replay, call: Call) -> Denial | Replay:
        """Record what the gate answers a request with."""
        if isinstance(barred, Denial):
            return await self._denied(call, barred)
        await self._note_join(barred.decision_id, call)
        return barred

    async def _joined(self, other: InFlight, call: Call) -> Told:
        """Wait for the result of another request's cancel. Raises: Throttled: too many have joined it."""
        other.join(MOST_JOINS if call.once is None else MOST_KEYED_JOINS, act=WORDS[call.request.action].act)
        with WAITING:
            if call.once is None:
                await self._note_join(other.decision_id, call)
                return await other.told()
            # What has this key may have been answered before: then that is what this one joins.
            told = await other.told()
            await self._note_join(told.decision_id if isinstance(told, Replay) else other.decision_id, call)
            return told

    async def _note_join(self, joins: str, call: Call) -> None:
        with Net() as net:
            joined = joined_members(call.decision_id, joins=joins, principal=call.principal, remote=call.remote)
            await self._audit.note("joined", joined)
        if net.fault is not None:
            report(net.fault, "a repeat is not on record")

    def _direct(self, call: Call, permit: Permit, in_flight: InFlight) -> Coroutine[None, None, Ended]:
        """Return the sending of a request as it is: one order, without a look-up, so that nobody has to approve it."""
        plan = call.planned(permit, (order_of(permit.effective),))
        return cast("Coroutine[None, None, Ended]", self._sent(plan, call, in_flight))

    async def _sent(
        self, plan: Plan, call: Call, in_flight: InFlight, *, orders: OrdersInTurn | None = None
    ) -> Ended | NeedsApproval:
        """Take what the gate asks for, and send; `orders` are those of a plan whose runs were looked up.

        Raises: StateUnavailable, AuditUnavailable, KeyReused, Conflict: nothing was sent.
        """
        gate = self.gate
        if gate is None:
            return await self._sent_once(plan, await self._audit.intent(plan), call, in_flight, orders=orders)
        admitted = await gate.admit(plan, call)
        if isinstance(admitted, NeedsApproval):
            return admitted
        if not isinstance(admitted, Plan):
            return await self._barred(admitted, call)
        try:
            receipt = await self._audit.intent(admitted)
        except BaseException:
            await gate.withdraw(admitted)
            raise
        result = await self._sent_once(admitted, receipt, call, in_flight, orders=orders)
        await gate.close(admitted, call, result)
        return result

    async def _sent_once(
        self, plan: Plan, receipt: Receipt, call: Call, in_flight: InFlight, *, orders: OrdersInTurn | None
    ) -> Result:
        """Send a plan whose intent is durable, and record the outcome. Raises nothing."""
        started_s = self._closer.now_s()
        in_flight.sending = True
        try:
            if orders is not None:
                result = await orders.send_by(partial(self._send, plan, receipt), partial(self._halted, plan))
                # The orders know the plan as it was before the gate: without what was reserved for it.
                result = result._replace(plan=plan)
            else:
                result = await self._send_only(plan, receipt)
        finally:
            in_flight.sending = False
        return await self._closer.closed(plan, receipt, result, call=call, in_flight=in_flight, started_s=started_s)

    async def _send_only(self, plan: Plan, receipt: Receipt) -> Result:
        """Send the only order of a plan. Raises nothing."""
        if (halted := self._halted(plan)) is not None:
            return Result(plan, NotSent(halted))
        [order] = plan.orders
        send: Send = partial(self._send, plan, receipt)
        if order.action is not CANCEL_RUNS:
            send = partial(self.plans.handled.noted, plan.decision_id, send)
        try:
            outcome = await send(order)
        except asyncio.CancelledError:
            # Given up after the grace period: the order may have arrived.
            return Result(plan, Unknown("stopping"))
        over = outcome.cancelled - order.count if isinstance(outcome, Cancelled) else 0
        return Result(plan, outcome, over_cancelled=max(0, over))

    def _halted(self, plan: Plan) -> str | None:
        """Return why no order of this plan may be sent now, as a fixed word; None if one may."""
        if self._cancels.stopping:
            return "stopping"
        frozen = self.gate is not None and self.gate.frozen(plan.principal, plan.permit.rule)
        return FROZEN if frozen else None

    async def _send(self, plan: Plan, receipt: Receipt, order: Order) -> Outcome:
        """Send one order of a plan, once. Raises: CancelledError: it was given up, and may have arrived."""
        try:
            lane = NO_LANE if self._lanes is None else await self._lanes.enter(plan.principal.team)
            if lane is None:
                return NotSent("team_connections")
            try:
                return await self._upstream.send(order, receipt)
            finally:
                lane.leave()
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            # Our own code failed, and bytes may have been sent.
            return Unknown(internal(fault_of(exc)))

    async def _resolved(self, call: Call, permit: Permit, in_flight: InFlight) -> Ended:
        """Look up the runs that a permitted request selects, and cancel exactly those."""
        draft = await self._planner.drafted(call, permit)
        if draft.denial is not None:
            return await self._denied(call, draft.denial)
        if draft.state is State.LOOKING:
            await self.plans.give(draft)
        return await self._sent_runs(draft, draft.resolved, call, permit=permit, in_flight=in_flight)

    async def _applied(self, call: Call, permit: Permit, draft: Draft, in_flight: InFlight) -> Ended:
        """Cancel the runs of a plan that was shown before: only those that would be chosen now."""
        chosen = await self._planner.chosen_again(draft, call, permit)
        if isinstance(chosen, Denial):
            return await self._denied(call, chosen)
        return await self._sent_runs(draft, chosen, call, permit=permit, in_flight=in_flight)

    async def _sent_runs(
        self, draft: Draft, chosen: Resolved, call: Call, *, permit: Permit, in_flight: InFlight
    ) -> Ended:
        async with self._planner.applying(draft, chosen, call, permit=permit) as orders:
            result = await self._sent(orders.plan, call, in_flight, orders=orders)
            if isinstance(result, Result):
                draft.ended(result.outcome, stopped=None if result.stop is None else result.stop.came_to)
                self.plans.note(draft)
                return result
            await self.plans.not_sent(draft)
        if not isinstance(result, NeedsApproval):
            return result
        assert self.gate is not None
        raise await self.gate.ask(draft, call, permit, result)
