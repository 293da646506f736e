"""The edge: ASGI messages to arguments, results to bytes. Order of refusal: size, 401, 404 and 405, 400, policy.

It is one plain ASGI application, because what must be compared is the raw path, byte for byte, and because a caller
without a key may not learn which paths exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Protocol

import uuid_utils
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.cancel import ByRunIds, CancelRequest, Denial, Principal
from gateway.errors import (
    AuditUnavailable,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    ReceiveTimeout,
    Refusal,
    Throttled,
    TooLarge,
)
from gateway.explaining import question_in
from gateway.framing import BROKEN_BODY
from gateway.health import HealthPages
from gateway.live import Current, Live
from gateway.outcome import Cancelled
from gateway.pipeline import Arrival, Clock, Pipeline, Settled
from gateway.problems import Answer
from gateway.read import Body, parse_cancel, parse_reason
from gateway.refusals import RefusalLog

CANCEL_PATH = b"/v2/workflows/runs"
COST_BYTES = 8192
WHOAMI_PATH = b"/gateway/v1/whoami"
EXPLAIN_PATH = b"/gateway/v1/explain"
PATHS = {CANCEL_PATH: "DELETE", WHOAMI_PATH: "GET", EXPLAIN_PATH: "POST"}
"""Every path that takes a key, byte for byte, and its one method."""

_ONLY = "This gateway only passes bulk cancels, DELETE /v2/workflows/runs;"


class OperatorsLog(Protocol):
    """Where operators read of news and faults."""

    def info(self, event: str, **members: object) -> None:
        """Writes one line of news."""

    def error(self, event: str, **members: object) -> None:
        """Writes one line for the operators."""


@dataclass(slots=True)
class _Exchange:
    """One request on its way through the edge, under `live` to its end; `principal` once it is known."""

    scope: Scope
    receive: Receive
    decision_id: str
    remote: str | None
    live: Live
    principal: Principal | None = None
    body_read: bool = False

    def header(self, name: bytes) -> tuple[bytes, ...]:
        """Every value of one header field, its name in lower case."""
        return tuple(value for key, value in self.scope["headers"] if key == name)

    def has_body(self) -> bool:
        """Whether the head announces a body."""
        return bool(self.header(b"transfer-encoding")) or self.header(b"content-length") not in ((), (b"0",))

    def check_body(self) -> None:
        """Raises the refusal that the protocol found while the body came in, if it found one."""
        broken: Refusal | None = self.scope.get("state", {}).get(BROKEN_BODY)
        if broken is not None:
            raise broken

    def cost(self) -> int:
        """How many requests this one counts for: a large one takes as much of the record as many small ones."""
        lengths = [int(length) for length in self.header(b"content-length") if length.isdigit()]
        return 1 + (len(self.scope["query_string"]) + sum(lengths)) // COST_BYTES

    async def gone(self) -> bool:
        """Whether the caller has gone away."""
        try:
            return await Request(self.scope, self.receive).is_disconnected()
        except Exception:  # noqa: BLE001 - who cannot be asked counts as gone; the outcome is still written to them
            return True


class Edge:
    """The ASGI application."""

    def __init__(
        self,
        *,
        current: Current,
        pipeline: Pipeline,
        refusals: RefusalLog,
        pages: HealthPages,
        clock: Clock,
        is_secret: Callable[[str], bool],
        log: OperatorsLog,
    ) -> None:
        self._current = current
        self._pipeline = pipeline
        self._refusals = refusals
        self._pages = pages
        self._clock = clock
        self._is_secret = is_secret
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; nothing raises out of here."""
        live = self._current.live
        exchange = _Exchange(scope, receive, str(uuid_utils.uuid7()), live.proxies.remote(scope), live)
        try:
            page = self._pages.page(scope["method"], scope["raw_path"], exchange.decision_id)
            answer = page or await self._authenticated(exchange)
        except Refusal as refused:
            if isinstance(refused, AuditUnavailable):
                self._log.error(refused.code, decision_id=exchange.decision_id, cause=refused.cause)
            await self._refusals.record(
                refused, decision_id=exchange.decision_id, remote=exchange.remote, principal=exchange.principal
            )
            answer = problems.refusal(refused, exchange.decision_id)
        except Exception as exc:  # noqa: BLE001 - the last handler: no error of our own code reaches the server
            self._log.error("internal_error", decision_id=exchange.decision_id, error=type(exc).__name__)
            answer = problems.broken(exchange.decision_id)
        if isinstance(answer, Settled):
            await self._deliver(exchange, answer, send)
        else:
            await _write(exchange, answer, send)

    async def _authenticated(self, exchange: _Exchange) -> Answer | Settled:
        exchange.check_body()
        _check_length(exchange)
        credentials = exchange.header(b"authorization")
        if len(credentials) > 1:
            raise MalformedRequest("two_credentials", "Send one Authorization header.")
        authenticate = exchange.live.authenticator.authenticate
        principal = authenticate(credentials[0] if credentials else None, self._clock.now_ms())
        exchange.principal = principal
        with ExitStack() as held:
            try:
                held.enter_context(
                    self._current.admission.place(principal, self._clock.monotonic_s(), cost=exchange.cost())
                )
            except (Throttled, Overloaded) as limited:
                return await self._joined(exchange, principal, limited)
            path = _route(exchange.scope["method"], exchange.scope["raw_path"])
            if path == WHOAMI_PATH:
                members = self._pipeline.whoami(exchange.live.policies, principal)
                return problems.status_page(200, members, exchange.decision_id)
            if path == EXPLAIN_PATH:
                return await self._explained(exchange, principal)
            return await self._cancelled(exchange, principal, await self._request(exchange))

    async def _joined(self, exchange: _Exchange, principal: Principal, limited: Refusal) -> Answer | Settled:
        """Above a limit only the repeat of a cancel in flight gets through: its cancel has been sent already."""
        try:
            path = _route(exchange.scope["method"], exchange.scope["raw_path"])
            request = await self._request(exchange)
        except Refusal:
            raise limited from None
        if path != CANCEL_PATH or not self._pipeline.would_join(principal, request):
            raise limited
        return await self._cancelled(exchange, principal, request)

    async def _request(self, exchange: _Exchange) -> CancelRequest:
        reason = parse_reason(exchange.header(b"gateway-reason"))
        request = parse_cancel(exchange.scope["query_string"], await _body(exchange))
        return self._checked(exchange, replace(request, reason=reason))

    def _checked(self, exchange: _Exchange, request: CancelRequest) -> CancelRequest:
        """The request, if it may be recorded: not too many run IDs, and no secret in it."""
        selection, most = request.selection, exchange.live.limits.max_run_ids
        if isinstance(selection, ByRunIds) and len(selection.run_ids) > most:
            raise TooLarge("run_ids", f"At most {most} run IDs in one request.")
        values = [value for _, value in selection.pairs()]
        if any(self._is_secret(value) for value in (*values, request.reason or "")):
            raise MalformedRequest("secret_in_request", "The request holds a secret where a value should be.")
        return request

    async def _cancelled(self, exchange: _Exchange, principal: Principal, request: CancelRequest) -> Answer | Settled:
        arrival = Arrival(exchange.decision_id, exchange.remote, exchange.gone)
        result = await self._pipeline.run(exchange.live.policies, principal, request, arrival=arrival)
        return problems.denial(result, exchange.decision_id) if isinstance(result, Denial) else result

    async def _explained(self, exchange: _Exchange, principal: Principal) -> Answer:
        if exchange.scope["query_string"]:
            raise MalformedRequest("query", "The request in question stands in the body, not in the query.")
        request = self._checked(exchange, question_in(await _body(exchange)))
        arrival = Arrival(exchange.decision_id, exchange.remote, exchange.gone)
        members = await self._pipeline.explain(exchange.live.policies, principal, request, arrival=arrival)
        return problems.status_page(200, members, exchange.decision_id)

    async def _deliver(self, exchange: _Exchange, settled: Settled, send: Send) -> None:
        gone = True
        self._tell_operators(settled)
        try:
            gone = await exchange.gone()
            await _write(exchange, problems.outcome(settled.plan, settled.outcome, exchange.decision_id), send)
        finally:
            self._pipeline.answered(settled, caller_gone=gone)

    def _tell_operators(self, settled: Settled) -> None:
        """One line for every call that did not do what it was sent for; what callers did is in the audit log."""
        outcome, decision_id = settled.outcome, settled.plan.decision_id
        if not isinstance(outcome, Cancelled):
            cause = getattr(outcome, "cause", None)
            status = outcome.upstream_status
            self._log.error(f"upstream_{outcome.name}", decision_id=decision_id, cause=cause, upstream_status=status)
        elif (over := outcome.cancelled - sum(order.count for order in settled.plan.orders)) > 0:
            self._log.error("over_cancelled", decision_id=decision_id, cancelled=outcome.cancelled, over_cancelled=over)


def _check_length(exchange: _Exchange) -> None:
    for length in exchange.header(b"content-length"):
        if not length.isdigit() or len(length) > 18 or int(length) > exchange.live.limits.max_body_bytes:
            raise _too_long(exchange)


def _too_long(exchange: _Exchange) -> TooLarge:
    return TooLarge("body", f"A body is at most {exchange.live.limits.max_body_bytes} bytes.")


async def _body(exchange: _Exchange) -> Body:
    if not exchange.has_body():
        exchange.body_read = True
        return Body(content_encodings=exchange.header(b"content-encoding"))
    try:
        async with asyncio.timeout(exchange.live.limits.receive_timeout_s):
            content = await _received(exchange)
    except TimeoutError:
        raise ReceiveTimeout("body", "The body did not arrive in time; nothing was sent.") from None
    exchange.body_read = True
    return Body(content, exchange.header(b"content-type"), exchange.header(b"content-encoding"))


async def _received(exchange: _Exchange) -> bytes:
    content = bytearray()
    while True:
        message = await exchange.receive()
        exchange.check_body()
        # A caller that stops in the middle gives a disconnect, never the end of the body.
        if message["type"] != "http.request":
            raise MalformedRequest("incomplete", "The body ended before its announced length.")
        content += message.get("body", b"")
        if len(content) > exchange.live.limits.max_body_bytes:
            raise _too_long(exchange)
        if not message.get("more_body", False):
            return bytes(content)


def _route(method: str, path: bytes) -> bytes:
    allowed = PATHS.get(path)
    if allowed is None and path.startswith((b"/v2/", b"/v1/")):
        raise NotFound("qstash_path", f"{_ONLY} runtimes that host workflows keep their own client and token.")
    if allowed is None:
        raise NotFound("path", f"{_ONLY} this path is not one of it, byte for byte.")
    if method != allowed:
        raise MethodNotAllowed(allowed, f"{_ONLY} for reading or starting runs, use a client with its own token.")
    return path


async def _write(exchange: _Exchange, answer: Answer, send: Send) -> None:
    # What is left of a body that was not read keeps the connection from carrying another request.
    unread = exchange.has_body() and not exchange.body_read
    await problems.write(answer, send, more=[(b"connection", b"close")] if unread else None)
