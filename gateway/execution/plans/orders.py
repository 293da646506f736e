"""The orders of a plan whose runs were looked up: sent in turn, each checked again just before it and recorded after.

A plan may have several orders. Before each, the caller's credential, the policies and the runs themselves are checked
again, and the plan ends where one no longer holds, or where somebody stops it. Each is recorded before the next is
sent. One that upstream refused with 429 may be sent again (`waiting`), after the same checks. The pipeline records the
intent, sends each order, and closes: here is only what several orders need more than one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from gateway.audit.record import chunk_members
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Order, Plan
from gateway.core.request import ByIds
from gateway.core.run import Skipped, merged
from gateway.execution.in_flight import Result, Stopped
from gateway.execution.plans.recheck import SecondLook
from gateway.execution.plans.waiting import Halt, Patience
from gateway.execution.ports import AuditPort
from gateway.process import Net, internal

Send = Callable[[Order], Awaitable[Outcome]]
"""The function that sends one order, once. Raises: CancelledError: it was given up, and may have arrived."""

STOPPED = "stopped"
"""The word for a plan that somebody stopped."""

FROZEN = "frozen"
"""The word for a plan, or a request, that a freeze keeps from being sent."""

Halted = Callable[[], str | None]
"""A question before each order: why none may be sent now, as a fixed word; None if one may."""

Told = Callable[[int, int], None]
"""A callback after each order, with how many orders were sent and how many runs are certainly cancelled."""


@dataclass(slots=True)
class OrdersInTurn:
    """The orders of one plan: those sent so far, the outcome of each, and what stopped the plan.

    `again` checks each order just before it is sent, `told` is called after it, and `halt` says whether somebody stops
    the plan.
    """

    plan: Plan
    again: SecondLook
    audit: AuditPort
    told: Told
    halt: Halt
    sent: list[tuple[Order, Outcome]] = field(default_factory=list)
    orders_sent: int = 0
    stopped: str | None = None
    left_out: Skipped = field(default_factory=dict)
    patience: Patience = field(default_factory=Patience)

    async def send_by(self, send: Send, halted: Halted) -> Result:
        """Send the orders in turn, up to one that is not carried out or until they are `halted`. Raises nothing."""
        net = Net()
        try:
            with net:
                for number, order in enumerate(self.plan.orders, 1):
                    await self._order(number, order, send, halted)
                    if self.stopped is not None:
                        break
        except asyncio.CancelledError:
            self.stopped = "stopping"
        if self.stopped is not None and self.halt.by is not None and not self._progress().unknown:
            # Whatever ended the plan first, it was to be stopped, and what was sent is certain.
            self.stopped = STOPPED
        if net.fault is not None:
            self.stopped = internal(net.fault)
        return Result(self.plan, self._outcome(), self.left_out, self._over_cancelled, self._stop)

    async def _order(self, number: int, planned: Order, send: Send, halted: Halted) -> None:
        """Send one order; send it again, after a wait, as long as upstream refuses it for the pace and allows that."""
        order, attempt = planned, 1
        while not self._is_halted(halted):
            look = await self.again(order, number, by_id=attempt > 1)
            self.stopped, self.left_out = look.stopped, merged(self.left_out, look.skipped)
            # The look may have taken long.
            if look.order is None or self._is_halted(halted):
                return
            order = look.order
            outcome = await self._sent(number, order, send)
            again_s = self.patience.wait_s(order, outcome, attempt)
            self._judge(number, order, outcome, may_be_sent_again=again_s is not None)
            tried = None if attempt == 1 and again_s is None else attempt
            await self._recorded(number, order, outcome, look.skipped, attempt=tried)
            if again_s is None or self.stopped is not None:
                return
            await self.halt.wait(again_s)
            attempt += 1

    async def _sent(self, number: int, order: Order, send: Send) -> Outcome:
        # Unknown from the moment the order may be on its way, whatever ends this method early.
        self.sent.append((order, Unknown("stopping")))
        self.orders_sent = number
        runs, handled = self.again.runs_of(order), self.again.handled
        handled.begin(self.plan.decision_id, runs, order.action)
        outcome = await send(order)
        self.sent[-1] = (order, outcome)
        handled.end(self.plan.decision_id, runs, outcome, order.action)
        return outcome

    def _judge(self, number: int, order: Order, outcome: Outcome, *, may_be_sent_again: bool) -> None:
        """End the plan unless the order was carried out as it was sent, or was certainly not and may be sent again."""
        if not isinstance(outcome, Cancelled):
            self.stopped = None if may_be_sent_again else outcome.name
        elif outcome.cancelled > order.count and number < len(self.plan.orders):
            # Upstream cancelled more than the runs listed, so it is sent nothing more.
            self.stopped = "over_cancelled"

    def _is_halted(self, halted: Halted) -> bool:
        """Return whether the plan has ended, also because somebody stops or freezes it, or the process ends."""
        if self.stopped is None:
            self.stopped = STOPPED if self.halt.by is not None else halted()
        return self.stopped is not None

    async def _recorded(
        self, number: int, order: Order, outcome: Outcome, skipped: Skipped, *, attempt: int | None
    ) -> None:
        members = chunk_members(
            self.plan.decision_id,
            number=number,
            orders=len(self.plan.orders),
            order=order,
            outcome=outcome,
            skipped=skipped,
            attempt=attempt,
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
        if self.stopped in (None, STOPPED):
            # What was refused and not sent again has ended meanwhile, or is not sent any more.
            done = [outcome for _, outcome in self.sent if isinstance(outcome, Cancelled)]
            action_id = done[-1].action_id if done and len(self.plan.orders) == 1 else None
            made = tuple(one for outcome in done for one in outcome.made)
            return Cancelled(done[-1].upstream_status if done else None, self._cancelled, action_id, made)
        if last is None:
            return NotSent(self.stopped or "stopping")
        if isinstance(last, (Refused, NotSent)) and not self._cancelled:
            return last
        cause = last.cause if isinstance(last, Unknown) else f"partial_{self.stopped}"
        return Unknown(cause, last.upstream_status, self._progress())

    @property
    def _stop(self) -> Stopped | None:
        """Who stopped the plan and how far it had come, if that is what ended it."""
        if self.stopped != STOPPED or self.halt.by is None or self.plan.plan_id is None:
            return None
        names = [outcome.name for _, outcome in self.sent]
        came_to = Cancelled.name if Cancelled.name in names else names[-1] if names else NotSent.name
        return Stopped(self.halt.by, self.plan.plan_id, self.orders_sent, self._progress().unsent, came_to)

    def _progress(self) -> Progress:
        arrived = set(_ids(order for order, outcome in self.sent if not isinstance(outcome, (Refused, NotSent))))
        return Progress(
            cancelled=self._cancelled,
            unsent=tuple(run_id for run_id in _ids(self.plan.orders) if run_id not in arrived),
            unknown=tuple(_ids(order for order, outcome in self.sent if isinstance(outcome, (Unknown, Accepted)))),
        )


def _ids(orders: Iterable[Order]) -> list[str]:
    return [run_id for order in orders if isinstance(order.selection, ByIds) for run_id in order.selection.ids]
