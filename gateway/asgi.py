"""The edge: ASGI messages to arguments, results to bytes. Order of refusal: size, 401, 404 and 405, 400, policy.

It is one plain ASGI application, because what must be compared is the raw path, byte for byte, and because a caller
without a key may not learn which paths exist.
"""

from __future__ import annotations

from typing import Protocol

import uuid_utils
from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.calls import Calls
from gateway.connections import TEAM
from gateway.errors import AuditUnavailable, Overloaded, Refusal, Throttled
from gateway.health import HealthPages
from gateway.inbound import Inbound
from gateway.live import Current
from gateway.outcome import Cancelled
from gateway.pipeline import Settled
from gateway.ports import Clock
from gateway.problems import Answer
from gateway.refusals import RefusalLog


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
        live = self._current.live
        inbound = Inbound(scope, receive, str(uuid_utils.uuid7()), live.proxies.remote(scope), live)
        try:
            page = self._pages.page(scope["method"], scope["raw_path"], inbound.decision_id)
            answer = page or await self._authenticated(inbound)
        except Refusal as refused:
            if isinstance(refused, AuditUnavailable):
                self._log.error(refused.code, decision_id=inbound.decision_id, cause=refused.cause)
            await self._refusals.record(
                refused, decision_id=inbound.decision_id, remote=inbound.remote, principal=inbound.principal
            )
            answer = problems.refusal(refused, inbound.decision_id, now_ms=self._clock.now_ms())
        except Exception as exc:  # noqa: BLE001 - the last handler: no error of our own code reaches the server
            self._log.error("internal_error", decision_id=inbound.decision_id, error=type(exc).__name__)
            answer = problems.broken(inbound.decision_id)
        if isinstance(answer, Settled):
            await self._deliver(inbound, answer, send)
        else:
            await _write(inbound, answer, send)

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
        gone = True
        self._tell_operators(settled)
        try:
            gone = await inbound.gone()
            await _write(inbound, problems.outcome(settled.carried, inbound.decision_id), send)
        finally:
            self._calls.pipeline.answered(settled, caller_gone=gone)

    def _tell_operators(self, settled: Settled) -> None:
        """One line for every call that did not do what it was sent for; what callers did is in the audit log."""
        outcome, decision_id = settled.outcome, settled.plan.decision_id
        if not isinstance(outcome, Cancelled):
            cause = getattr(outcome, "cause", None)
            status = outcome.upstream_status
            self._log.error(f"upstream_{outcome.name}", decision_id=decision_id, cause=cause, upstream_status=status)
        elif over := settled.carried.over_cancelled:
            self._log.error("over_cancelled", decision_id=decision_id, cancelled=outcome.cancelled, over_cancelled=over)


async def _write(inbound: Inbound, answer: Answer, send: Send) -> None:
    # What is left of a body that was not read keeps the connection from carrying another request.
    unread = inbound.has_body() and not inbound.body_read
    await problems.write(answer, send, more=[(b"connection", b"close")] if unread else None)
