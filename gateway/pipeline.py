"""One request from principal to outcome: decide -> plan -> intent -> send -> close.

    decision = decide(policies, principal, request, now)
    receipt  = await audit.intent(plan)              durable, or nothing is sent
    outcomes = [await upstream.cancel(order, receipt) for order in plan.orders]
    await audit.close(receipt, closing)              durable, then the answer

The part from the intent on runs in a task of its own, so it is finished and recorded when the caller goes away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.audit.record import Closing, denied_members, explained_members, joined_members
from gateway.cancel import CancelRequest, Denial, Order, Permit, Plan, Principal, Receipt
from gateway.errors import ShuttingDown
from gateway.explaining import answer
from gateway.outcome import Cancelled, NotSent, Outcome, Unknown
from gateway.policy.decide import decide
from gateway.policy.rules import Policies
from gateway.policy_tools.explain import explain
from gateway.policy_tools.question import Question
from gateway.upstream import CancelPort
from gateway.whoami import whoami

JOINABLE_S = 10.0
"""How long an outcome that its caller did not wait for can still be joined (clients repeat within about 4 s)."""

STOPPING = "The gateway is shutting down; nothing was sent. Try again in a moment."


class AuditPort(Protocol):
    """What the pipeline needs of the audit log."""

    async def intent(self, plan: Plan) -> Receipt:
        """Makes the intent durable; raises AuditUnavailable, and then nothing may be sent."""

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        """Records the outcome; never raises."""

    async def note(self, event: str, members: dict[str, object]) -> None:
        """Records something that needs no receipt; never raises."""


class Clock(Protocol):
    """Where time comes from, so that tests can hold it still."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request at the door: its decision id, its peer, and a way to ask whether the caller has gone."""

    decision_id: str
    remote: str | None
    gone: Callable[[], Awaitable[bool]]


@dataclass(slots=True, eq=False)
class _Flight:
    """A cancel under way. `sending` is true exactly while upstream is being called."""

    plan: Plan
    key: tuple[Principal, CancelRequest]
    task: asyncio.Task[Outcome] | None = None
    sending: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """A carried-out (or joined) request; hand it to `Pipeline.answered` when the answer was written or could not be."""

    plan: Plan
    outcome: Outcome
    flight: _Flight


class Pipeline:
    """Judges requests and carries out what is permitted, each once."""

    def __init__(self, *, upstream: CancelPort, upstream_url: str, audit: AuditPort, clock: Clock) -> None:
        self._upstream = upstream
        self._upstream_url = upstream_url
        self._audit = audit
        self._clock = clock
        self._flights: dict[tuple[Principal, CancelRequest], _Flight] = {}
        self._tasks: dict[asyncio.Task[Outcome], _Flight] = {}
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether new intents are refused because the process ends."""
        return self._stopping

    def whoami(self, policies: Policies, principal: Principal) -> dict[str, object]:
        """Who the caller is and what it may do now."""
        return whoami(principal, policies, self._clock.now_ms())

    def would_join(self, principal: Principal, request: CancelRequest) -> bool:
        """Whether an identical request is in flight, so that nothing more would be sent for this one."""
        return (principal, request) in self._flights

    async def explain(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> dict[str, object]:
        """Why the request would be decided as it would be now; recorded, and never sent."""
        # In a thread: with 10,000 rules it takes long enough to be felt by other callers.
        explained = await asyncio.to_thread(explain, policies, Question(principal, request, self._clock.now_ms()))
        members = explained_members(
            arrival.decision_id,
            principal=principal,
            asked=request,
            decision=explained.decision,
            remote=arrival.remote,
            policy_digest=explained.policy_digest,
        )
        await self._audit.note("explained", members)
        return answer(explained)

    async def run(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> Denial | Settled:
        """Judges a request and, if permitted, sends it once or joins the identical one in flight.

        Its records carry the digest of `policies`, whatever has taken their place by then.

        Raises:
            AuditUnavailable: the intent could not be made durable; nothing was sent.
            ShuttingDown: the process takes no new intents.
        """
        decision = decide(policies, principal, request, self._clock.now_ms())
        if isinstance(decision, Denial):
            members = denied_members(
                arrival.decision_id,
                principal=principal,
                asked=request,
                denial=decision,
                policy_digest=policies.digest,
                upstream=self._upstream_url,
                remote=arrival.remote,
            )
            await self._audit.note("denied", members)
            return decision
        plan = _plan(principal, request, permit=decision, policy_digest=policies.digest, arrival=arrival)
        flight = self._flights.get((principal, request))
        if flight is None and self._stopping:
            raise ShuttingDown("stopping", STOPPING)
        if flight is not None:
            joins = flight.plan.decision_id
            members = joined_members(plan.decision_id, joins=joins, principal=principal, remote=arrival.remote)
            await self._audit.note("joined", members)
        else:
            flight = self._take_off(plan, arrival)
        assert flight.task is not None
        return Settled(plan, await asyncio.shield(flight.task), flight)

    def answered(self, settled: Settled, *, caller_gone: bool) -> None:
        """The answer was written to a caller still connected, or the caller had gone and may repeat the request."""
        if caller_gone:
            asyncio.get_running_loop().call_later(JOINABLE_S, self._land, settled.flight)
        else:
            self._land(settled.flight)

    async def stop(self, grace_s: float) -> None:
        """Takes no new intents, lets calls in flight finish, and closes as unknown what does not end in time."""
        self._stopping = True
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        for task, flight in list(self._tasks.items()):
            if flight.sending:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _take_off(self, plan: Plan, arrival: Arrival) -> _Flight:
        flight = _Flight(plan, (plan.principal, plan.asked))
        flight.task = asyncio.create_task(self._carry_out(flight, arrival))
        self._flights[flight.key] = flight
        self._tasks[flight.task] = flight
        flight.task.add_done_callback(self._ended)
        return flight

    def _ended(self, task: asyncio.Task[Outcome]) -> None:
        flight = self._tasks.pop(task)
        # Without a receipt there is nothing to join. Reading the exception also marks it as seen, should all be gone.
        if task.cancelled() or task.exception() is not None:
            self._land(flight)

    def _land(self, flight: _Flight) -> None:
        if self._flights.get(flight.key) is flight:
            del self._flights[flight.key]

    async def _carry_out(self, flight: _Flight, arrival: Arrival) -> Outcome:
        plan = flight.plan
        receipt = await self._audit.intent(plan)
        started_s = self._clock.monotonic_s()
        outcome = await self._send(flight, receipt)
        ordered = sum(order.count for order in plan.orders)
        closing = Closing(
            outcome=outcome,
            over_cancelled=max(0, outcome.cancelled - ordered) if isinstance(outcome, Cancelled) else 0,
            duration_ms=round((self._clock.monotonic_s() - started_s) * 1000),
            caller_gone=await _gone(arrival),
        )
        await self._audit.close(receipt, closing)
        return outcome

    async def _send(self, flight: _Flight, receipt: Receipt) -> Outcome:
        if self._stopping:
            return NotSent("stopping")
        outcomes: list[Outcome] = []
        flight.sending = True
        try:
            for order in flight.plan.orders:
                outcomes.append(await self._upstream.cancel(order, receipt))
                if not isinstance(outcomes[-1], Cancelled):
                    break
        except asyncio.CancelledError:
            outcomes.append(Unknown("stopping"))
        except Exception as exc:  # noqa: BLE001 - after the receipt nothing raises, also not an error of our own code
            outcomes.append(Unknown(f"internal_{type(exc).__name__}"))
        finally:
            flight.sending = False
        return _together(outcomes)


def _plan(principal: Principal, asked: CancelRequest, *, permit: Permit, policy_digest: str, arrival: Arrival) -> Plan:
    order = Order(permit.effective.selection, permit.effective.count)  # type: ignore[arg-type]
    return Plan(arrival.decision_id, principal, asked, permit, (order,), policy_digest, arrival.remote)


async def _gone(arrival: Arrival) -> bool:
    """Whether the caller has gone; one who cannot be asked counts as gone."""
    try:
        return await arrival.gone()
    except Exception:  # noqa: BLE001 - after the receipt nothing raises: the outcome has to reach the record
        return True


def _together(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of all orders: the sum where each was carried out, else the first that was not."""
    done = [outcome for outcome in outcomes if isinstance(outcome, Cancelled)]
    if len(done) < len(outcomes):
        return next(outcome for outcome in outcomes if not isinstance(outcome, Cancelled))
    return Cancelled(done[-1].upstream_status, sum(outcome.cancelled for outcome in done))
