"""The record of refusals: complete for known principals, bounded for strangers, so that nobody can fill the disk."""

from __future__ import annotations

from gateway.audit.events.declare import Members
from gateway.audit.record import refused_members, throttled_members
from gateway.core.bucket import Bucket
from gateway.core.errors import ExpiredKey, RealTokenUsed, Refusal, Throttled
from gateway.core.forms.correlation import NOT_GIVEN, Correlation
from gateway.core.ports import Alarm, Clock, NotePort
from gateway.core.request import Principal
from gateway.process import Net, report

BURST = 100
PER_SECOND = 10
"""The budget of refusals that nothing else bounds: BURST records at once, then PER_SECOND. `left_out` counts the rest.
"""

ALARM_BURST = 5
ALARMS_PER_SECOND = 1 / 60
"""The budget of log lines about uses of the real token: ALARM_BURST at once, then one a minute, with the number of uses
left out.
"""


class Budget:
    """A token bucket, full at its first use, that counts what it turns away."""

    def __init__(self, *, burst: int, per_second: float) -> None:
        self._burst = burst
        self._per_second = per_second
        self._bucket: Bucket | None = None
        self.left_out = 0

    def spend(self, now_s: float) -> int | None:
        """Return how many were turned away since the last one that passed, or None if this one is turned away too."""
        if self._bucket is None:
            self._bucket = Bucket(self._burst, now_s)
        if self._bucket.spend(now_s, size=self._burst, per_second=self._per_second) is not None:
            self.left_out += 1
            return None
        left_out, self.left_out = self.left_out, 0
        return left_out


class RefusalLog:
    """The writer of `refused` and `throttled` records.

    A flood consists of strangers' refusals or of throttled requests. So strangers have one budget, and the throttled
    requests of each team have another. Uses of the account's real token and of expired keys have budgets of their own,
    so that no flood hides them. Operators also hear of the real token at once. Other refusals of a known principal are
    bounded by its own `requests_per_minute`.
    """

    def __init__(self, audit: NotePort, clock: Clock, *, log: Alarm) -> None:
        self._audit = audit
        self._clock = clock
        self._log = log
        self._budgets: dict[str, Budget] = {}
        self._alarms = Budget(burst=ALARM_BURST, per_second=ALARMS_PER_SECOND)
        self._failed = 0

    @property
    def left_out(self) -> int:
        """How many refusals are neither recorded nor counted in a later record yet."""
        return sum(budget.left_out for budget in self._budgets.values()) + self._failed

    async def record(
        self,
        refusal: Refusal,
        *,
        decision_id: str,
        remote: str | None,
        principal: Principal | None,
        action: str | None = None,
        correlation: Correlation = NOT_GIVEN,
    ) -> None:
        """Record one refusal, and wait a bounded time until it is written; never raise.

        `action` is what was to be done, if that was read.
        """
        with Net() as net:
            if isinstance(refusal, RealTokenUsed):
                self._alarm(decision_id, remote)
            entry = self._entry(refusal, decision_id, remote, principal, action=action, correlation=correlation)
            if entry is not None:
                await self._audit.note(*entry)
            return
        self._lost(net.caught)

    def record_soon(self, refusal: Refusal, *, decision_id: str, remote: str | None, correlation: Correlation) -> None:
        """Record one refusal of a stranger, from code that cannot wait; never raise."""
        with Net() as net:
            entry = self._entry(refusal, decision_id, remote, None, correlation=correlation)
            if entry is not None:
                self._audit.note_soon(*entry)
            return
        self._lost(net.caught)

    def _lost(self, fault: BaseException) -> None:
        self._failed += 1
        report(fault, "a refusal is not on record")

    def _alarm(self, decision_id: str, remote: str | None) -> None:
        left_out = self._alarms.spend(self._clock.monotonic_s())
        if left_out is not None:
            self._log.error("upstream_token_used", decision_id=decision_id, remote=remote, left_out=left_out)

    def _left_out(self, kind: str) -> int | None:
        """Spend from the budget of one kind. Return how many were left out before, or None if this one is left out."""
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = Budget(burst=BURST, per_second=PER_SECOND)
        return budget.spend(self._clock.monotonic_s())

    def _entry(
        self,
        refusal: Refusal,
        decision_id: str,
        remote: str | None,
        principal: Principal | None,
        *,
        action: str | None = None,
        correlation: Correlation = NOT_GIVEN,
    ) -> tuple[str, Members] | None:
        if isinstance(refusal, Throttled) and principal is not None:
            left_out = self._left_out(f"throttled {principal.team}")
            if left_out is None:
                return None
            return "throttled", throttled_members(
                decision_id,
                principal=principal,
                remote=remote,
                cause=refusal.cause,
                limit=refusal.limit,
                retry_after_s=refusal.retry_after_s,
                left_out=left_out,
            )
        left_out = 0 if principal is not None else self._left_out(_kind(refusal))
        if left_out is None:
            return None
        return "refused", refused_members(
            decision_id,
            status=refusal.status,
            code=refusal.code,
            cause=refusal.cause,
            remote=remote,
            action=action,
            correlation=correlation,
            principal=refusal.principal if isinstance(refusal, ExpiredKey) else principal,
            left_out=left_out,
        )


def _kind(refusal: Refusal) -> str:
    """Return the name of the budget for a stranger's refusal.

    What an operator has to see is counted apart from what anybody can send.
    """
    return refusal.cause if isinstance(refusal, (ExpiredKey, RealTokenUsed)) else "strangers"
