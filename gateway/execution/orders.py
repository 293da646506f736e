"""The carrier of a plan: intent -> its orders, each once -> the closing record. After the intent nothing raises.

    receipt  = await audit.intent(plan)              durable, otherwise nothing is sent
    outcomes = [await upstream.cancel(order, receipt) for order in plan.orders]
    await audit.close(receipt, closing)              durable, then the answer

If runs were looked up there may be several orders. Each is recorded before the next is sent. Before each, the caller's
credential, the policies and the runs themselves are checked again, and the plan ends where one no longer holds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.audit.record import chunk_members
from gateway.core.outcome import Accepted, Cancelled, Closing, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Order, Plan, Receipt
from gateway.core.ports import Clock
from gateway.core.request import ByRunIds
from gateway.core.run import Skipped, joined
from gateway.execution.flights import Carried, Flight
from gateway.execution.ports import Arrival, AuditPort, CancelPort, SettlerPort
from gateway.execution.recheck import Look, SecondLook
from gateway.process import Net, internal, report
from gateway.upstream.shares import Lane, Lanes

Told = Callable[[int, int], None]
"""A callback after each order, with how many orders were sent and how many runs are certainly cancelled."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """The part that carries out plans of every kind. `settler` learns later what an outcome could not say.

    `lanes` limits how many connections to upstream the orders of one team may use.
    """

    upstream: CancelPort
    audit: AuditPort
    clock: Clock
    stopping: Callable[[], bool]
    settler: SettlerPort | None = None
    lanes: Lanes | None = None

    async def out(
        self, plan: Plan, flight: Flight, arrival: Arrival, *, again: SecondLook | None = None, told: Told | None = None
    ) -> Carried:
        """Carry out one plan. `again` checks each order just before it is sent, if the plan's runs were looked up.

        Raises: AuditUnavailable: the intent could not be made durable; nothing was sent.
        """
        receipt = await self.audit.intent(plan)
        course = _Course(self, plan, receipt, again=again, told=told)
        started_s = self._now_s()
        flight.sending = True
        try:
            await course.run()
        finally:
            flight.sending = False
        closing = Closing(
            outcome=course.outcome(),
            over_cancelled=course.over_cancelled,
            duration_ms=self._since_ms(started_s),
            caller_gone=await _gone(arrival),
            skipped=course.skipped,
            joins_left_out=flight.turned_away,
        )
        outcome = await self._closed(receipt, closing)
        self._follow(plan, outcome)
        before = plan.resolved.skipped if plan.resolved is not None else {}
        return Carried(plan, outcome, joined(before, course.skipped), course.over_cancelled)

    def _now_s(self) -> float | None:
        with Net() as net:
            return self.clock.monotonic_s()
        # A missing duration must not cost the closing record.
        report(net.caught, "the clock failed")
        return None

    def _since_ms(self, started_s: float | None) -> int:
        now_s = self._now_s()
        return 0 if started_s is None or now_s is None else round((now_s - started_s) * 1000)

    async def _closed(self, receipt: Receipt, closing: Closing) -> Outcome:
        """Return the outcome once the log has it; Unknown if the log failed twice, so no unrecorded number is shown."""
        with Net() as net:
            await self.audit.close(receipt, closing)
            return closing.outcome
        report(net.caught, "the log failed to take an outcome")
        with Net() as net:
            # The log makes sure that closing again writes no second record.
            await self.audit.close(receipt, closing)
            return closing.outcome
        return Unknown(internal(net.caught))

    def _follow(self, plan: Plan, outcome: Outcome) -> None:
        if self.settler is None:
            return
        with Net() as net:
            self.settler.follow(plan, outcome)
            return
        # A follow-up that fails to start must not cost this answer.
        report(net.caught, "an outcome is not followed")


@dataclass(slots=True)
class _Course:
    """One plan being carried out: the orders sent so far, the outcome of each, and what stopped the plan."""

    by: Carrier
    plan: Plan
    receipt: Receipt
    again: SecondLook | None
    told: Told | None
    sent: list[tuple[Order, Outcome]] = field(default_factory=list)
    stopped: str | None = None
    skipped: Skipped = field(default_factory=dict)

    async def run(self) -> None:
        """Send the orders in turn, up to the first that is not carried out. Raises nothing."""
        net = Net()
        try:
            with net:
                for number, order in enumerate(self.plan.orders, 1):
                    await self._order(number, order)
                    if self.stopped is not None:
                        return
        except asyncio.CancelledError:
            self.stopped = "stopping"
        if net.fault is not None:
            self.stopped = internal(net.fault)

    async def _order(self, number: int, planned: Order) -> None:
        look = Look(planned)
        if self.by.stopping():
            self.stopped = "stopping"
            return
        if self.again is not None:
            look = await self.again(planned, number)
            self.stopped, self.skipped = look.stopped, joined(self.skipped, look.skipped)
        order = look.order
        if order is None:
            return
        # Unknown from the moment the order may be on its way, whatever ends this method early.
        self.sent.append((order, Unknown("stopping")))
        outcome = await self._sent(order)
        self.sent[-1] = (order, outcome)
        if not isinstance(outcome, Cancelled):
            self.stopped = outcome.name
        elif outcome.cancelled > order.count and number < len(self.plan.orders):
            # Upstream cancelled more than the runs listed, so it is sent nothing more.
            self.stopped = "over_cancelled"
        if self.plan.resolved is not None:
            await self._recorded(number, order, outcome, look.skipped)

    async def _sent(self, order: Order) -> Outcome:
        lane = Lane(None) if self.by.lanes is None else await self.by.lanes.enter(self.plan.principal.team)
        if lane is None:
            return NotSent("team_connections")
        try:
            with Net() as net:
                return await self.by.upstream.cancel(order, self.receipt)
            # Our own code failed, and bytes may have been sent.
            return Unknown(internal(net.caught))
        finally:
            lane.leave()

    async def _recorded(self, number: int, order: Order, outcome: Outcome, skipped: Skipped) -> None:
        members = chunk_members(
            self.plan.decision_id,
            number=number,
            orders=len(self.plan.orders),
            order=order,
            outcome=outcome,
            skipped=skipped,
        )
        if not await self.by.audit.chunk(members) and self.stopped is None:
            self.stopped = "audit"
        if self.told is not None:
            self.told(number, self.cancelled)

    @property
    def cancelled(self) -> int:
        """The number of runs that upstream says it cancelled."""
        return sum(outcome.cancelled for _, outcome in self.sent if isinstance(outcome, Cancelled))

    @property
    def over_cancelled(self) -> int:
        """The number of runs cancelled above those ordered, over the orders that were carried out."""
        ordered = sum(order.count for order, outcome in self.sent if isinstance(outcome, Cancelled))
        return max(0, self.cancelled - ordered)

    def outcome(self) -> Outcome:
        """Return the outcome of all orders: the sum if each was carried out, else what is known of the plan."""
        last = self.sent[-1][1] if self.sent else None
        everything_done = self.stopped is None
        if everything_done and (last is None or isinstance(last, Cancelled)):
            action_id = last.action_id if last is not None and len(self.plan.orders) == 1 else None
            return Cancelled(last.upstream_status if last is not None else None, self.cancelled, action_id)
        if last is None:
            return NotSent(self.stopped or "stopping")
        if self.plan.resolved is None or (isinstance(last, (Refused, NotSent)) and not self.cancelled):
            return last
        cause = last.cause if isinstance(last, Unknown) else f"partial_{self.stopped}"
        return Unknown(cause, last.upstream_status, self._progress())

    def _progress(self) -> Progress:
        carried = set(_ids(order for order, outcome in self.sent if not isinstance(outcome, (Refused, NotSent))))
        return Progress(
            cancelled=self.cancelled,
            unsent=tuple(run_id for run_id in _ids(self.plan.orders) if run_id not in carried),
            unknown=tuple(_ids(order for order, outcome in self.sent if isinstance(outcome, (Unknown, Accepted)))),
        )


def _ids(orders: Iterable[Order]) -> list[str]:
    return [run_id for order in orders if isinstance(order.selection, ByRunIds) for run_id in order.selection.run_ids]


async def _gone(arrival: Arrival) -> bool:
    """Return whether the caller has disconnected. If that cannot be found out, the caller counts as gone."""
    with Net():
        return await arrival.gone()
    return True
