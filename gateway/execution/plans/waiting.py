"""The waits of a plan whose order QStash refused with 429: when the order may be sent again, and what ends the wait.

An order that was refused with 429 was not carried out, so to send it again repeats nothing. Only an order of run IDs is
sent again, as an order of its own: whatever comes before an order comes before it too. After any other outcome nothing
is.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

from gateway.core.outcome import Outcome, Pace, Refused
from gateway.core.plan import Order
from gateway.core.request import ByIds

MOST_WAITS_S = 60
"""How long one plan waits in all, in seconds. Where a wait would go beyond it, the plan ends at once."""

MOST_AGAIN = 3
"""How often one order is sent again."""

LEAST_S = 1
"""The shortest wait, in seconds: upstream tells its time in whole seconds, so less would come before its reset."""


def wait_s(pace: Pace) -> int | None:
    """Return how long upstream wants to be left alone, in seconds; None if it did not say.

    It is the time from upstream's `Date` to its `Burst-RateLimit-Reset`, both by its own clock; where one of them is
    missing, or the reset lies before the date, it is `Retry-After`.
    """
    if pace.now_s is not None and pace.reset_s is not None and pace.reset_s >= pace.now_s:
        return max(LEAST_S, pace.reset_s - pace.now_s)
    return None if pace.retry_after_s is None else max(LEAST_S, pace.retry_after_s)


@dataclass(slots=True)
class Patience:
    """How long one plan has waited for upstream so far, in seconds, and whether it may wait again."""

    waited_s: int = 0

    def wait_s(self, order: Order, outcome: Outcome, attempt: int) -> int | None:
        """Return how long to wait before the order may be sent again; None if it may not. A wait counts at once.

        `attempt` is how often the order was sent, this time included.
        """
        if not isinstance(order.selection, ByIds) or attempt > MOST_AGAIN:
            return None
        if not isinstance(outcome, Refused) or outcome.upstream_status != 429:
            return None
        wait = wait_s(outcome.pace)
        if wait is None or self.waited_s + wait > MOST_WAITS_S:
            return None
        self.waited_s += wait
        return wait


class Halt:
    """The stop of one plan: `by` names the principal that asked for it. A wait of the plan ends with it at once."""

    def __init__(self) -> None:
        self.by: str | None = None
        self._ended = asyncio.Event()

    def ask(self, by: str) -> None:
        """Stop the plan before its next order. Only the first to ask is remembered."""
        if self.by is None:
            self.by = by
        self.end_waits()

    def end_waits(self) -> None:
        """End the wait of the plan, and every later one: the plan, or the process, is stopping."""
        self._ended.set()

    async def wait(self, seconds: float) -> None:
        """Wait so long, or until the waits are ended."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
