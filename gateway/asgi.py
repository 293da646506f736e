"""The edge: ASGI messages to arguments, results to bytes. Order of refusal: size, 401, 404 and 405, 400, policy.

It is one plain ASGI application, because what must be compared is the raw path, byte for byte, and because a caller
without a key may not learn which paths exist.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Protocol

import uuid_utils
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from gateway import problems
from gateway.authn import Authenticator
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
from gateway.framing import BROKEN_BODY
from gateway.health import HealthPages
from gateway.limits import Admission
from gateway.outcome import Cancelled
from gateway.pipeline import Arrival, Clock, Pipeline, Settled
from gateway.problems import Answer
from gateway.proxies import TrustedProxies
from gateway.read import Body, parse_cancel
from gateway.refusals import RefusalLog

CANCEL_PATH = b"/v2/workflows/runs"
COST_BYTES = 8192
WHOAMI_PATH = b"/gateway/v1/whoami"
PATHS = {CANCEL_PATH: "DELETE", WHOAMI_PATH: "GET"}
"""Every path that takes a key, byte for byte, and its one method."""

_ONLY = "This gateway only passes bulk cancels, DELETE /v2/workflows/runs;"


class OperatorsLog(Protocol):
    """Where operators read of news and faults."""

    def info(self, event: str, **members: object) -> None:
        """Writes one line of news."""

    def error(self, event: str, **members: object) -> None:
        """Writes one line for the operators."""


@dataclass(frozen=True, slots=True)
class EdgeLimits:
    """What one request may be: bytes of body, number of run IDs, seconds for the body to arrive."""

    max_body_bytes: int
    max_run_ids: int
    receive_timeout_s: float


@dataclass(slots=True)
class _Exchange:
    """One request on its way through the edge; `principal` once it is known."""

    scope: Scope
    receive: Receive
    decision_id: str
    remote: str | None
    principal: Principal | None = None
    body_read: bool = False

    def header(self, name: bytes) -> tuple[bytes, ...]:
        return tuple(value for key, value in self.scope["headers"] if key == name)

    def has_body(self) -> bool:
        return bool(self.header(b"transfer-encoding")) or self.header(b"content-length") not in ((), (b"0",))

    def check_body(self) -> None:
        broken: Refusal | None = self.scope.get("state", {}).get(BROKEN_BODY)
        if broken is not None:
            raise broken

    def cost(self) -> int:
        """How many requests this one counts for: a large one takes as much of the record as many small ones."""
        lengths = [int(length) for length in self.header(b"content-length") if length.isdigit()]
        return 1 + (len(self.scope["query_string"]) + sum(lengths)) // COST_BYTES

    async def gone(self) -> bool:
        try:
            return await Request(self.scope, self.receive).is_disconnected()
        except Exception:  # noqa: BLE001 - who cannot be asked counts as gone; the outcome is still written to them
            return True


class Edge:
    """The ASGI application."""

    def __init__(  # noqa: PLR0913 - every part is given, none is looked up
        self,
        *,
        authenticator: Authenticator,
        admission: Admission,
        pipeline: Pipeline,
        refusals: RefusalLog,
        pages: HealthPages,
        proxies: TrustedProxies,
        clock: Clock,
        limits: EdgeLimits,
        is_secret: Callable[[str], bool],
        log: OperatorsLog,
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._pipeline = pipeline
        self._refusals = refusals
        self._pages = pages
        self._proxies = proxies
        self._clock = clock
        self._limits = limits
        self._is_secret = is_secret
        self._log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one HTTP request; nothing raises out of here."""
        exchange = _Exchange(scope, receive, str(uuid_utils.uuid7()), self._proxies.remote(scope))
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
        self._check_length(exchange)
        credentials = exchange.header(b"authorization")
        if len(credentials) > 1:
            raise MalformedRequest("two_credentials", "Send one Authorization header.")
        principal = self._authenticator.authenticate(credentials[0] if credentials else None, self._clock.now_ms())
        exchange.principal = principal
        with ExitStack() as held:
            try:
                held.enter_context(self._admission.place(principal, self._clock.monotonic_s(), cost=exchange.cost()))
            except (Throttled, Overloaded) as limited:
                return await self._joined(exchange, principal, limited)
            path = _route(exchange.scope["method"], exchange.scope["raw_path"])
            if path == WHOAMI_PATH:
                members = self._pipeline.whoami(principal)
                return problems.status_page(200, members, exchange.decision_id)
            return await self._cancelled(exchange, principal, await self._request(exchange))

    async def _joined(self, exchange: _Exchange, principal: Principal, limited: Refusal) -> Answer | Settled:
        """Above a limit only the repeat of a cancel in flight gets through: its cancel has been sent already."""
        try:
            _route(exchange.scope["method"], exchange.scope["raw_path"])
            request = await self._request(exchange)
        except Refusal:
            raise limited from None
        if not self._pipeline.would_join(principal, request):
            raise limited
        return await self._cancelled(exchange, principal, request)

    async def _request(self, exchange: _Exchange) -> CancelRequest:
        request = parse_cancel(exchange.scope["query_string"], await self._body(exchange))
        self._check_ids(request)
        if any(self._is_secret(value) for _, value in request.selection.pairs()):
            raise MalformedRequest("secret_in_request", "The request holds a secret where a value should be.")
        return request

    async def _cancelled(self, exchange: _Exchange, principal: Principal, request: CancelRequest) -> Answer | Settled:
        arrival = Arrival(exchange.decision_id, exchange.remote, exchange.gone)
        result = await self._pipeline.run(principal, request, arrival)
        return problems.denial(result, exchange.decision_id) if isinstance(result, Denial) else result

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

    def _check_length(self, exchange: _Exchange) -> None:
        for length in exchange.header(b"content-length"):
            if not length.isdigit() or len(length) > 18 or int(length) > self._limits.max_body_bytes:
                raise self._too_long()

    def _check_ids(self, request: CancelRequest) -> None:
        selection = request.selection
        if isinstance(selection, ByRunIds) and len(selection.run_ids) > self._limits.max_run_ids:
            raise TooLarge("run_ids", f"At most {self._limits.max_run_ids} run IDs in one request.")

    def _too_long(self) -> TooLarge:
        return TooLarge("body", f"A body is at most {self._limits.max_body_bytes} bytes.")

    async def _body(self, exchange: _Exchange) -> Body:
        if not exchange.has_body():
            exchange.body_read = True
            return Body(content_encodings=exchange.header(b"content-encoding"))
        try:
            async with asyncio.timeout(self._limits.receive_timeout_s):
                content = await self._received(exchange)
        except TimeoutError:
            raise ReceiveTimeout("body", "The body did not arrive in time; nothing was sent.") from None
        exchange.body_read = True
        return Body(content, exchange.header(b"content-type"), exchange.header(b"content-encoding"))

    async def _received(self, exchange: _Exchange) -> bytes:
        content = bytearray()
        while True:
            message = await exchange.receive()
            exchange.check_body()
            # A caller that stops in the middle gives a disconnect, never the end of the body.
            if message["type"] != "http.request":
                raise MalformedRequest("incomplete", "The body ended before its announced length.")
            content += message.get("body", b"")
            if len(content) > self._limits.max_body_bytes:
                raise self._too_long()
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
