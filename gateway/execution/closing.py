"""The end of a plan that was sent: its outcome is recorded, and followed where it leaves something open.

Nothing here raises: the order is sent, and whatever fails now must not cost its answer.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.core.outcome import Closing, Outcome, Unknown
from gateway.core.plan import Plan, Receipt
from gateway.core.ports import Clock
from gateway.execution.in_flight import InFlight, Result
from gateway.execution.ports import AuditPort, Call, SettlerPort
from gateway.process import Net, fault_of, internal, report


@dataclass(frozen=True, slots=True)
class Closer:
    """The part that ends plans. `settler` learns later what an outcome could not say."""

    audit: AuditPort
    clock: Clock
    settler: SettlerPort | None

    def now_s(self) -> float | None:
        """Return the monotonic time; None if the clock fails: a missing duration must not cost the closing record."""
        try:
            return self.clock.monotonic_s()
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            report(fault_of(exc), "the clock failed")
            return None

    async def closed(
        self, plan: Plan, receipt: Receipt, result: Result, *, call: Call, in_flight: InFlight, started_s: float | None
    ) -> Result:
        """Record the outcome of a plan and follow it; return the result as it may be shown."""
        closing = Closing(
            outcome=result.outcome,
            over_cancelled=result.over_cancelled,
            duration_ms=self._since_ms(started_s),
            caller_gone=await _has_gone(call),
            skipped=result.left_out,
            joins_left_out=in_flight.turned_away,
            stopped_by=result.stop.by if result.stop is not None else None,
        )
        outcome = await self._recorded(receipt, closing)
        self._follow(plan, outcome)
        return result if outcome is result.outcome else result._replace(outcome=outcome, stop=None)

    async def _recorded(self, receipt: Receipt, closing: Closing) -> Outcome:
        """Return the outcome once the log has it; Unknown if the log failed twice, so no unrecorded number is shown."""
        try:
            await self.audit.close(receipt, closing)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            report(fault_of(exc), "the log failed to take an outcome")
        else:
            return closing.outcome
        with Net() as net:
            # The log makes sure that closing again writes no second record.
            await self.audit.close(receipt, closing)
            return closing.outcome
        return Unknown(internal(net.caught))

    def _follow(self, plan: Plan, outcome: Outcome) -> None:
        if self.settler is None:
            return
        try:
            self.settler.follow(plan, outcome)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            # A follow-up that fails to start must not cost this answer.
            report(fault_of(exc), "an outcome is not followed")

    def _since_ms(self, started_s: float | None) -> int:
        now_s = self.now_s()
        return 0 if started_s is None or now_s is None else round((now_s - started_s) * 1000)


async def _has_gone(call: Call) -> bool:
    """Return whether the caller has disconnected. If that cannot be found out, the caller counts as gone."""
    try:
        return await call.gone()
    except BaseException as exc:  # noqa: BLE001 - as in a Net
        fault_of(exc)
        return True
