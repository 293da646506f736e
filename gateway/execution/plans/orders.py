"""The orders of a plan whose runs were looked up: sent in turn, each checked again just before it and recorded after.

A plan may have several orders. Before each, the caller's credential, the policies and the runs themselves are checked
again, and the plan ends where one no longer holds. Each is recorded before the next is sent. The pipeline records the
intent, sends each order, and closes: here is only what several orders need more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from gateway.audit.record import chunk_members
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Order, Plan
from gateway.core.request import ByRunIds
from gateway.core.run import Skipped, merged
from gateway.execution.in_flight import InFlightCancels, Result
from gateway.execution.plans.recheck import SecondLook
from gateway.execution.ports import AuditPort
from gateway.process import Net, internal

Send = Callable[[Order], Awaitable[Outcome]]
"""The function that sends one order, once. Raises: CancelledError: it was given up, and may have arrived."""

Told = Callable[[int, int], None]
"""A callback after each order, with how many orders were sent and how many runs are certainly cancelled."""


@dataclass(slots=True)
class OrdersInTurn:
    """The orders of one plan: those sent so far, the outcome of each, and what stopped the plan.

    `again` checks each order just before it is sent, `told` is called after it.
    """

    plan: Plan
    again: SecondLook
    audit: AuditPort
    told: Told
    sent: list[tuple[Order, Outcome]] = field(default_factory=list)
    stopped: str | None = None
    left_out: Skipped = field(default_factory=dict)

    async def send_by(self, send: Send, cancels: InFlightCancels) -> Result:
        """Send the orders in turn, up to the first that is not carried out or until `cancels` stop. Raises nothing."""
        net = Net()
        try:
            with net:
                for number, order in enumerate(self.plan.orders, 1):
                    if cancels.stopping:
                        self.stopped = "stopping"
                    else:
                        await self._order(number, order, send)
                    if self.stopped is not None:
                        break
        except asyncio.CancelledError:
            self.stopped = "stopping"
        if net.fault is not None:
            self.stopped = internal(net.fault)
        return Result(self.plan, self._outcome(), self.left_out, self._over_cancelled)

    async def _order(self, number: int, planned: Order, send: Send) -> None:
        look = await self.again(planned, number)
        self.stopped, self.left_out = look.stopped, merged(self.left_out, look.skipped)
        order = look.order
        if order is None:
            return
        # Unknown from the moment the order may be on its way, whatever ends this method early.
        self.sent.append((order, Unknown("stopping")))
        outcome = await send(order)
        self.sent[-1] = (order, outcome)
        if not isinstance(outcome, (Refused, NotSent)):
            self.again.order_was_sent(order)
        if not isinstance(outcome, Cancelled):
            self.stopped = outcome.name
        elif outcome.cancelled > order.count and number < len(self.plan.orders):
            # Upstream cancelled more than the runs listed, so it is sent nothing more.
            self.stopped = "over_cancelled"
        await self._recorded(number, order, outcome, look.skipped)

    async def _recorded(self, number: int, order: Order, outcome: Outcome, skipped: Skipped) -> None:
        members = chunk_members(
            self.plan.decision_id,
            number=number,
            orders=len(self.plan.orders),
            order=order,
            outcome=outcome,
            skipped=skipped,
        )
        if not await self.audit.chunk(members) and self.stopped is None:
            self.stopped = "audit"
        self.told(number, self._cancelled)

    @property
    def _cancelled(self) -> int:
        """The number of runs that upstream says it cancelled."""
        return sum(outcome.cancelled for _, outcome in self.sent if isinstance(outcome, Cancelled))

    @property
    def _over_cancelled(self) -> int:
        """The number of runs cancelled above those ordered, over the orders that were carried out."""
        ordered = sum(order.count for order, outcome in self.sent if isinstance(outcome, Cancelled))
        return max(0, self._cancelled - ordered)

    def _outcome(self) -> Outcome:
        """Return the outcome of all orders: the sum if each was carried out, else what is known of the plan."""
        last = self.sent[-1][1] if self.sent else None
        everything_done = self.stopped is None
        if everything_done and (last is None or isinstance(last, Cancelled)):
            action_id = last.action_id if last is not None and len(self.plan.orders) == 1 else None
            return Cancelled(last.upstream_status if last is not None else None, self._cancelled, action_id)
        if last is None:
            return NotSent(self.stopped or "stopping")
        if isinstance(last, (Refused, NotSent)) and not self._cancelled:
            return last
        cause = last.cause if isinstance(last, Unknown) else f"partial_{self.stopped}"
        return Unknown(cause, last.upstream_status, self._progress())

    def _progress(self) -> Progress:
        arrived = set(_ids(order for order, outcome in self.sent if not isinstance(outcome, (Refused, NotSent))))
        return Progress(
            cancelled=self._cancelled,
            unsent=tuple(run_id for run_id in _ids(self.plan.orders) if run_id not in arrived),
            unknown=tuple(_ids(order for order, outcome in self.sent if isinstance(outcome, (Unknown, Accepted)))),
        )


def _ids(orders: Iterable[Order]) -> list[str]:
    return [run_id for order in orders if isinstance(order.selection, ByRunIds) for run_id in order.selection.run_ids]
