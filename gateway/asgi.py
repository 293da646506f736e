"""The edge: ASGI messages to arguments, results to bytes. Order of refusal: size, 401, 404 and 405, 400, policy.

It is one plain ASGI application, because what must be compared is the raw path, byte for byte, and because a caller
without a key may not learn which paths exist.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import uuid_utils
from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.calls import Calls
from gateway.connections import TEAM
from gateway.errors import AuditUnavailable, Overloaded, Refusal, ShuttingDown, Throttled
from gateway.faults import Net, place, report
from gateway.health import HealthPages
from gateway.inbound import Inbound
from gateway.live import Current
from gateway.outcome import Cancelled, NotSent, Unknown
from gateway.pipeline import STOPPING, Settled, WaitEnded
from gateway.ports import Clock
from gateway.problems import Answer
from gateway.refusals import RefusalLog

NO_ID = "00000000-0000-0000-0000-000000000000"
"""The decision id of a request for which none could be made; no record has it."""


class OperatorsLog(Protocol):
    """Where operators read of news and faults."""

    def info(self, event: str, **members: object) -> None:
        """Writes one line of news."""

    def error(self, event: str, **members: object) -> None:
        """Writes one line for the operators."""


class Edge:
    """The ASGI application."""

    def __init__(
        self,
        *,
        current: Current,
        calls: Calls,
        refusals: RefusalLog,
        pages: HealthPages,
        clock: Clock,
        log: OperatorsLog,
    ) -> None:
        self._current = current
        self._calls = calls
        self._refusals = refusals
        self._pages = pages
        self._clock = clock
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; nothing raises out of here."""
        decision_id, inbound, refused, answer = NO_ID, None, None, None
        with Net() as net:
            decision_id, live = str(uuid_utils.uuid7()), self._current.live
            inbound = Inbound(scope, receive, decision_id, live.proxies.remote(scope), live)
            try:
                answer = await self._answer(inbound)
            except Refusal as refusal:
                refused = refusal
                await self._refusals.record(
                    refusal, decision_id=decision_id, remote=inbound.remote, principal=inbound.principal
                )
                answer = problems.refusal(refusal, decision_id, now_ms=self._clock.now_ms())
        with Net() as late:
            if isinstance(answer, Settled):
                assert inbound is not None
                await self._deliver(inbound, answer, send)
            else:
                await _write(inbound, answer or problems.broken(decision_id), send)
        # Operators are told when the caller has its answer.
        if isinstance(refused, AuditUnavailable):
            self._tell(refused.code, decision_id=decision_id, cause=refused.cause)
        for fault in (net.fault, late.fault):
            if fault is not None:
                self._tell("internal_error", decision_id=decision_id, error=type(fault).__name__, at=place(fault))

    async def _answer(self, inbound: Inbound) -> Answer | Settled:
        """The answer, also to a request whose task is cancelled: the server does that when its grace period is over."""
        try:
            page = self._pages.page(inbound.scope["method"], inbound.scope["raw_path"], inbound.decision_id)
            return page or await self._authenticated(inbound)
        except WaitEnded:
            return problems.not_awaited(inbound.decision_id)
        except asyncio.CancelledError:
            raise ShuttingDown("stopping", STOPPING) from None

    async def _authenticated(self, inbound: Inbound) -> Answer | Settled:
        inbound.check_body()
        inbound.check_length()
        authenticate = inbound.live.authenticator.authenticate
        principal = authenticate(inbound.credential(), self._clock.now_ms())
        inbound.principal = principal
        inbound.scope.setdefault("state", {})[TEAM] = principal.team
        try:
            place = self._current.admission.place(principal, self._clock.monotonic_s(), cost=inbound.cost())
        except (Throttled, Overloaded) as limited:
            return await self._joined(inbound, limited)
        inbound.place = place
        with place:
            return await self._calls.answer(inbound)

    async def _joined(self, inbound: Inbound, limited: Refusal) -> Answer | Settled:
        """Above a limit only the repeat of a cancel in flight gets through: its cancel has been sent already."""
        result = await self._calls.joined(inbound)
        if result is None:
            raise limited
        return result

    async def _deliver(self, inbound: Inbound, settled: Settled, send: Send) -> None:
        written = False
        try:
            gone = await inbound.gone()
            await _write(inbound, self._shown(settled, inbound.decision_id), send)
            written = not gone
        finally:
            self._calls.pipeline.answered(settled, caller_gone=not written)
            self._tell_of(settled)

    def _shown(self, settled: Settled, decision_id: str) -> Answer:
        with Net() as net:
            return problems.outcome(settled.carried, decision_id)
        self._tell("internal_error", decision_id=decision_id, error=type(net.caught).__name__, at=place(net.caught))
        return problems.not_shown(decision_id)

    def _tell_of(self, settled: Settled) -> None:
        """One line for every call that did not do what it was sent for; what callers did is in the audit log."""
        outcome, decision_id = settled.outcome, settled.plan.decision_id
        if not isinstance(outcome, Cancelled):
            cause = outcome.cause if isinstance(outcome, (NotSent, Unknown)) else None
            status = outcome.upstream_status
            self._tell(f"upstream_{outcome.name}", decision_id=decision_id, cause=cause, upstream_status=status)
        elif over := settled.carried.over_cancelled:
            self._tell("over_cancelled", decision_id=decision_id, cancelled=outcome.cancelled, over_cancelled=over)

    def _tell(self, event: str, **members: object) -> None:
        """One line for the operators; a log that fails is no caller's fault."""
        with Net() as net:
            self._log.error(event, **members)
            return
        report(net.caught, f"the operators' log failed to take {event}")


async def _write(inbound: Inbound | None, answer: Answer, send: Send) -> None:
    # What is left of a body that was not read keeps the connection from carrying another request.
    unread = inbound is None or (inbound.has_body() and not inbound.body_read)
    await problems.write(answer, send, more=[(b"connection", b"close")] if unread else None)
