"""The pipeline takes one request from principal to outcome: decide -> plan -> intent -> send -> close.

    decision = decide(policies, principal, request, now)      Denial | Permit
    plan     = the request itself, or what its look-up found  Denial | orders
    outcome  = carried out, once                              orders.py

A plan that is shown to a person first stops before the last line; applying the plan begins there.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from gateway.audit.events.declare import Members
from gateway.audit.record import denied_members, joined_members
from gateway.core.errors import ShuttingDown
from gateway.core.outcome import Outcome
from gateway.core.plan import Decision, Denial, Permit, Plan, order_of
from gateway.core.ports import Clock
from gateway.core.request import CancelRequest, Principal
from gateway.core.run import Skipped
from gateway.execution.flights import Carried, Carry, Flight, Flights, Key, Result
from gateway.execution.judging import Judging
from gateway.execution.orders import Carrier
from gateway.execution.plans import Draft, Drafts, Planner, check_ready
from gateway.execution.ports import Arrival, AuditPort, Call, CancelPort, LookUps, SettlerPort
from gateway.policy.rules import Policies, TeamRules
from gateway.process import Net, report
from gateway.upstream.shares import Lanes

STOPPING = "The gateway is shutting down; nothing was sent. Try again in a moment."


class WaitEnded(asyncio.CancelledError):
    """The caller's task was cancelled while its cancel, or the one that it repeats, was in flight.

    The cancel goes on and is recorded. A cancellation of any other class means that the request has sent nothing.
    """


@dataclass(frozen=True, slots=True)
class Done:
    """A request that was carried out or joined another; pass it to `Pipeline.answered` after writing the answer."""

    carried: Carried
    flight: Flight

    @property
    def plan(self) -> Plan:
        """The plan that was carried out."""
        return self.carried.plan

    @property
    def outcome(self) -> Outcome:
        """The outcome of the plan."""
        return self.carried.outcome

    @property
    def skipped(self) -> Skipped:
        """The runs that the request selects but that were not cancelled, by reason."""
        return self.carried.skipped


class Pipeline:
    """The way of every request: it is judged and, if permitted, carried out once."""

    def __init__(
        self,
        *,
        upstream: CancelPort,
        upstream_url: str,
        audit: AuditPort,
        clock: Clock,
        look_ups: LookUps | None = None,
        settler: SettlerPort | None = None,
        lanes: Lanes | None = None,
    ) -> None:
        self._upstream_url = upstream_url
        self._audit = audit
        self._clock = clock
        self._flights = Flights()
        self._judging = judging = Judging(clock)
        self._carrier = Carrier(upstream, audit, clock, lambda: self._flights.stopping, settler, lanes)
        share = lanes.share if lanes is not None else None
        drafts = Drafts(look_ups, audit, clock, judging, upstream=upstream_url, share=share)
        self._planner = Planner(drafts, self._carrier, clock, judging)

    @property
    def stopping(self) -> bool:
        """Whether new intents are refused because the process is ending."""
        return self._flights.stopping

    async def prepared(self, policies: Policies, principal: Principal) -> TeamRules:
        """Return the rules of the principal's team, prepared for asking which runs it may see."""
        await self._judging.prepared(policies, principal)
        return policies.for_team(principal.team)

    def any_to_join(self, principal: Principal) -> bool:
        """Return whether the principal has a cancel in flight, which a new request may repeat."""
        return self._flights.any_of(principal)

    async def join(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> Denial | Done | None:
        """Wait for the identical request in flight, without starting anything.

        Return None if there is none, or if policy no longer permits the request.

        Raises:
            Throttled: too many requests have joined already.
            AuditUnavailable, Conflict, LookupFailed: that request ended so.
        """
        flight = self._flights.get((principal, request))
        if flight is None:
            return None
        call, permit = await self._judged(Call(policies, principal, request, arrival), flight.key)
        return None if isinstance(permit, Denial) else await self._joined(flight, call)

    async def run(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> Denial | Done:
        """Judge a request and, if permitted, send it once or join the identical one in flight.

        Its records carry the digest of the policies that it was judged by, even if a reload has replaced them since.

        Raises:
            Unauthenticated: the credential was revoked while the request waited to be judged.
            AuditUnavailable: the intent could not be made durable; nothing was sent.
            Conflict: its runs are still being looked up; its plan can be applied afterwards.
            LookupFailed: its runs could not be looked up; nothing was sent.
            ShuttingDown: the process takes no new intents.
        """
        key = (principal, request)
        call, permit = await self._judged(Call(policies, principal, request, arrival), key)
        if isinstance(permit, Denial):
            return await self._denied(call, permit)
        return await self._in_flight(key, partial(self._fly, call, permit), call)

    async def plan(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> Denial | Draft:
        """Judge a request and look its runs up, for a person to see first. Nothing is sent.

        The look-up may still be under way in the draft that is returned.

        Raises: LookupFailed, NotFound, Throttled, Overloaded, AuditUnavailable: there is no plan.
        """
        call, permit = await self._judging.judged(Call(policies, principal, request, arrival))
        if isinstance(permit, Denial):
            return await self._denied(call, permit)
        draft = await self._planner.drafted(call, permit)
        return draft if draft.denial is None else await self._denied(call, draft.denial)

    def planned(self, principal: Principal, plan_id: str) -> Draft:
        """Return a plan of the principal, in any state. Raises: NotFound."""
        return self._planner.drafts.get(principal, plan_id)

    def expires_in_s(self, draft: Draft) -> int:
        """Return how long a plan can still be applied, in whole seconds."""
        return self._planner.drafts.expires_in_s(draft)

    async def apply(self, policies: Policies, principal: Principal, plan_id: str, *, arrival: Arrival) -> Denial | Done:
        """Judge a plan's request again and cancel those runs of the plan that still run, once.

        Raises:
            NotFound: the principal has no such plan, or no longer has it.
            Conflict: the plan is still being looked up, or was already applied.
            AuditUnavailable, LookupFailed, ShuttingDown: nothing was sent.
        """
        draft = self.planned(principal, plan_id)
        key = ("plan", plan_id)
        if self._flights.get(key) is None:
            check_ready(draft)
        call, permit = await self._judged(Call(policies, principal, draft.call.request, arrival), key)
        if isinstance(permit, Denial):
            return await self._denied(call, permit)
        return await self._in_flight(key, partial(self._apply, call, permit, draft), call)

    def answered(self, settled: Done, *, caller_gone: bool) -> None:
        """Call after the answer was written, or when the caller has disconnected (`caller_gone`)."""
        self._flights.answered(settled.flight, caller_gone=caller_gone)

    async def stop(self, grace_s: float) -> None:
        """Refuse new intents and wait for calls in flight; after `grace_s` seconds, close the rest as unknown."""
        self._flights.stopping = True
        await self._planner.drafts.stop()
        await self._flights.stop(grace_s)
        self._judging.close()

    async def _judged(self, call: Call, key: Key) -> tuple[Call, Decision]:
        """Judge a call. A repeat of a cancel under way is not told to try again, even if its own wait ends here."""
        try:
            return await self._judging.judged(call)
        except asyncio.CancelledError:
            if self._flights.get(key) is None:
                raise
            raise WaitEnded from None

    async def _denied(self, call: Call, denial: Denial) -> Denial:
        members = denied_members(
            call.arrival.decision_id,
            principal=call.principal,
            asked=call.request,
            denial=denial,
            policy_digest=call.policies.digest,
            upstream=self._upstream_url,
            remote=call.arrival.remote,
        )
        await self._audit.note("denied", members)
        return denial

    async def _in_flight(self, key: Key, carry: Carry, call: Call) -> Denial | Done:
        """Start the flight with that key, or join it, and wait for its result."""
        flight = self._flights.get(key)
        if flight is not None:
            return await self._joined(flight, call)
        if self._flights.stopping:
            raise ShuttingDown("stopping", STOPPING)
        with _waiting():
            return await _result_of(self._flights.start(key, call.arrival.decision_id, carry))

    async def _joined(self, flight: Flight, call: Call) -> Denial | Done:
        """Wait for the result of another request's flight. Raises: Throttled: too many have joined it."""
        flight.join()
        with _waiting():
            with Net() as net:
                await self._audit.note("joined", _joined_members(flight, call))
            if net.fault is not None:
                report(net.fault, "a repeat is not on record")
            return await _result_of(flight)

    async def _fly(self, call: Call, permit: Permit, flight: Flight) -> Result:
        """Carry out a permitted request: as it is, or as the runs that its look-up finds."""
        if permit.resolution is None:
            return await self._carrier.out(call.planned(permit, (order_of(permit.effective),)), flight, call.arrival)
        draft = await self._planner.drafted(call, permit)
        if draft.denial is not None:
            return await self._denied(call, draft.denial)
        return await self._planner.carried(draft, draft.resolved, call, permit=permit, flight=flight)

    async def _apply(self, call: Call, permit: Permit, draft: Draft, flight: Flight) -> Result:
        """Carry out a plan that was shown before: only its runs, and only those that would be chosen now."""
        chosen = await self._planner.chosen_again(draft, call, permit)
        if isinstance(chosen, Denial):
            return await self._denied(call, chosen)
        return await self._planner.carried(draft, chosen, call, permit=permit, flight=flight)


@contextlib.contextmanager
def _waiting() -> Iterator[None]:
    """Turn every cancellation inside into WaitEnded: a cancel is in flight, and its outcome is not known here."""
    try:
        yield
    except asyncio.CancelledError:
        raise WaitEnded from None


def _joined_members(flight: Flight, call: Call) -> Members:
    arrival = call.arrival
    return joined_members(
        arrival.decision_id, joins=flight.decision_id, principal=call.principal, remote=arrival.remote
    )


async def _result_of(flight: Flight) -> Denial | Done:
    # A flight that was given up ends with a cancellation too.
    result = await flight.result()
    return result if isinstance(result, Denial) else Done(result, flight)
