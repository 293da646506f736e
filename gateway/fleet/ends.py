"""The task that records plans whose time is up before they were approved or applied.

Each gateway records those that it has had wait, and those of gateways that have died; so each end is on record, after
the time is up, as long as one gateway runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.errors import AuditUnavailable, StateUnavailable
from gateway.core.ports import Clock
from gateway.execution.gates.approving import Approving
from gateway.policy.rules import Policies
from gateway.process import Net, report

EVERY_S = 2.0
SELDOM_S = 600.0
"""How long after a look for such plans the next comes, in seconds: while one may wait, and while no rule asks."""

SPARE_MS = 20_000
"""How much longer one is looked for, in milliseconds: the store's clock is another."""


class Ends:
    """The ends of the plans that wait for approval, as long as it runs."""

    def __init__(self, approving: Approving, clock: Clock, policies: Callable[[], Policies]) -> None:
        self._approving = approving
        self._clock = clock
        self._policies = policies

    async def run(self) -> None:
        """Record them until cancelled. What cannot be recorded now is recorded later."""
        while True:
            with Net() as net:
                await self._approving.record_ends()
            if net.fault is not None and not isinstance(net.fault, AuditUnavailable | StateUnavailable):
                report(net.fault, "the end of a plan that waited was not recorded")
            await asyncio.sleep(EVERY_S if self._may_wait() else SELDOM_S)

    def _may_wait(self) -> bool:
        waits = self._clock.now_ms() < self._approving.waits_until_ms + SPARE_MS
        return waits or any(rule.approval is not None for rule in self._policies().rules)
