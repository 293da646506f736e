"""The edge: a Starlette application with a table of routes, a door that every request passes first, and the cancel.

The order of refusal is that of docs/requests.md. A caller without a key may not learn which paths exist, so the door
comes before the router. The router compares decoded paths; the door refuses every path that has another
spelling than its decoded form, so routing on the decoded path is routing byte for byte.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Self

import uuid_utils
from starlette.applications import Starlette
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send

from gateway.audit.refusals import RefusalLog
from gateway.core.errors import (
    AuditUnavailable,
    LookupFailed,
    NotFound,
    Overloaded,
    Refusal,
    ShuttingDown,
    Throttled,
)
from gateway.core.forms.shown import DECISIONS, PLANS
from gateway.core.parse import Body, parse_cancel, parse_reason
from gateway.core.ports import Clock, OperatorsLog
from gateway.core.request import CancelRequest
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.connections import TEAM
from gateway.edge.head import HEALTH_PATHS, RUNS, action_of, is_plain, no_such_method, no_such_path
from gateway.edge.health import HealthPages
from gateway.edge.inbound import INBOUND, Inbound, Intake, caller_of, inbound_of
from gateway.edge.pages.budgets import Action, with_budget
from gateway.edge.pages.calls import Pages, plan_id
from gateway.edge.reply import ReleasingSend, Teller, if_broken, write
from gateway.execution.in_flight import Done, WaitEnded
from gateway.execution.pipeline import STOPPING, Pipeline
from gateway.process import LastNet, fault_of

NO_ID = "00000000-0000-0000-0000-000000000000"
"""The decision id used in an answer if none could be made. No record has it."""


class Cancels:
    """The calls that send something upstream: a bulk cancel, and the application of a plan."""

    def __init__(self, intake: Intake, pipeline: Pipeline, teller: Teller) -> None:
        self._intake = intake
        self._pipeline = pipeline
        self._teller = teller

    async def cancel(self, inbound: Inbound) -> Answer | Done:
        """Handle `DELETE /v2/workflows/runs`: read the request, and have it judged and sent. Raises: Refusal."""
        request = await self.request(inbound)
        call = self._intake.once(inbound, self._intake.call(inbound, request))
        return answers.told(await self._pipeline.run(call), inbound.decision_id)

    async def request(self, inbound: Inbound) -> CancelRequest:
        """Read the body, under limits, and return the cancel request. Raises: Refusal."""
        if not inbound.has_body():
            return self._parsed(inbound, inbound.no_body())
        body = await inbound.body()
        # Keys may have changed while the body arrived.
        self._intake.authenticate_again(inbound)
        return self._parsed(inbound, body)

    def _parsed(self, inbound: Inbound, body: Body) -> CancelRequest:
        """Return the cancel in query and body; from here on nobody looks at the caller's bytes.

        Raises: MalformedRequest, TooLarge: it is unreadable, names too many runs, or holds a secret.
        """
        reason = parse_reason(inbound.header(b"gateway-reason"))
        request = parse_cancel(inbound.scope["query_string"], body)
        # The request is refused for a secret in it before any of it is recorded.
        return self._intake.checked(inbound, request if reason is None else replace(request, reason=reason))

    async def apply(self, inbound: Inbound) -> Answer | Done:
        """Handle `POST /gateway/v1/plans/{plan}/apply`: cancel the runs of a plan, once. Raises: Refusal."""
        name = plan_id(inbound)
        await self._intake.no_content(inbound)
        draft = await self._pipeline.plans.find(caller_of(inbound), name)
        call = self._intake.once(inbound, self._intake.call(inbound, draft.call.request), applies=name)
        return answers.told(await self._pipeline.apply(call, draft), inbound.decision_id)

    async def joined(self, inbound: Inbound) -> Answer | Done | None:
        """Wait for an identical cancel in flight, for a caller above its limits; return None if there is none to join.

        Reads only what has already arrived: a request without a place does not wait for its body.

        Raises: Refusal: that cancel was refused, or too many requests wait for it.
        """
        caller, current, clock = caller_of(inbound), self._intake.current, self._intake.clock
        if not self._pipeline.any_to_join(caller):
            return None
        request = await self._repeated(inbound)
        if request is None:
            return None
        with current.admission.join(caller, clock.monotonic_s()):
            result = await self._pipeline.join(self._intake.once(inbound, self._intake.call(inbound, request)))
        return None if result is None else answers.told(result, inbound.decision_id)

    async def _repeated(self, inbound: Inbound) -> CancelRequest | None:
        """Return the cancel that has arrived; None if it is another call, incomplete or refused."""
        if (inbound.scope["method"], inbound.scope["raw_path"]) != ("DELETE", RUNS.encode()):
            return None
        try:
            body = await inbound.arrived()
            return None if body is None else self._parsed(inbound, body)
        except Refusal:
            return None
        finally:
            admission, now_s = self._intake.current.admission, self._intake.clock.monotonic_s()
            admission.charge(caller_of(inbound), now_s, read_bytes=inbound.read_bytes + inbound.framing_bytes)

    async def deliver(self, inbound: Inbound, done: Done, reply: Send) -> None:
        """Write the outcome of a cancel, say that it was answered, and tell operators.

        An answer that stays in our own memory, because the caller does not read, counts as answered to nobody.

        Raises: WaitEnded: it could not be written before the task was cancelled. Nothing else.
        """
        inbound.cancel_begun, written, ended = True, False, False
        faults: list[BaseException] = []
        try:
            gone = await inbound.gone()
            await write(inbound, self._shown(done, inbound.decision_id), reply)
            written = inbound.was_taken() and not gone
        except asyncio.CancelledError:
            ended = True
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            faults.append(fault_of(exc))
        try:
            self._pipeline.answered(done, caller_gone=not written)
            self._teller.outcome(done)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            faults.append(fault_of(exc))
        for fault in faults:
            self._teller.fault(fault, inbound.decision_id)
        if ended:
            raise WaitEnded from None

    def _shown(self, done: Done, decision_id: str) -> Answer:
        try:
            return answers.outcome(done.result, decision_id)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            self._teller.fault(fault_of(exc), decision_id)
            return answers.not_shown(decision_id)


class CallRoute(Route):
    """A route for exactly one method; Starlette's own route would add HEAD to GET."""

    def __init__(self, method: str, path: str, action: Action, cancels: Cancels) -> None:
        self._endpoint = Endpoint(action, cancels, path)
        super().__init__(path, self._endpoint, methods=[method])
        self.methods, self.method, self._allowed = {method}, method, method
        self._found: Scope = {"endpoint": self.endpoint, "path_params": {}}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the route is for this path and method; without a parameter the path itself is compared."""
        if self.param_convertors:
            return super().matches(scope)
        if scope["path"] != self.path:
            return Match.NONE, {}
        return Match.FULL if scope["method"] == self.method else Match.PARTIAL, self._found

    def handle(self, scope: Scope, receive: Receive, send: Send) -> Coroutine[None, None, None]:
        """Return the endpoint's call of the request. Raises: MethodNotAllowed: the path takes another method."""
        if scope["method"] != self.method:
            raise no_such_method(scope["path"], self._allowed)
        return self._endpoint(scope, receive, send)

    def stand_beside(self, routes: Sequence[CallRoute]) -> Self:
        """Name the methods of all routes with this path when a request has another; return the same route."""
        self._allowed = ", ".join(one.method for one in routes if one.path == self.path)
        return self


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An ASGI application that runs one action and writes its answer. Raises: Refusal, before it writes anything."""

    action: Action
    cancels: Cancels
    route: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that the door let in."""
        inbound = inbound_of(scope)
        inbound.route = self.route
        answer = await with_budget(self.action, inbound)
        if isinstance(answer, Done):
            await self.cancels.deliver(inbound, answer, send)
        else:
            await write(inbound, answer, send)


class Door:
    """ASGI middleware before the router: every refusal ends here, is recorded, and is answered."""

    def __init__(self, app: ASGIApp, *, edge: Edge) -> None:
        self._app = app
        self._edge = edge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request. Raises nothing: the server would answer by itself, without a decision id."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        edge, decision_id, inbound, reply, refused, answer = self._edge, NO_ID, None, None, None, None
        faults: list[BaseException] = []
        try:
            decision_id, live = str(uuid_utils.uuid7()), edge.current.live
            inbound = Inbound(scope, receive, decision_id, live.proxies.remote(scope), live)
            inbound.state[INBOUND] = inbound
            if inbound.has_ids:
                edge.intake.correlate(inbound)
            reply = ReleasingSend(inbound, send)
            try:
                answer = await self._let_in(inbound, reply)
            except Refusal as refusal:
                refused = refusal
                try:
                    await edge.record(refusal, inbound)
                finally:
                    # The request may end while its record is being written; it is answered all the same.
                    answer = answers.refusal(refusal, decision_id, now_ms=edge.wall.now_ms())
        except asyncio.CancelledError:
            pass  # it is answered all the same
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            faults.append(fault_of(exc))
        if reply is None or not (reply.begun or reply.given_up):
            with LastNet() as late:
                await write(inbound, answer or if_broken(inbound, decision_id), reply or send)
            faults += [] if late.fault is None else [late.fault]
        # Operators are told only after the caller has its answer.
        if isinstance(refused, AuditUnavailable):
            edge.teller.tell(refused.code, decision_id=decision_id, cause=refused.cause)
        elif isinstance(refused, LookupFailed):
            edge.teller.tell(refused.code, decision_id=decision_id, **refused.particulars())
        for fault in faults:
            edge.teller.fault(fault, decision_id)
        return None

    async def _let_in(self, inbound: Inbound, reply: ReleasingSend) -> Answer | None:
        """Return an answer that is still to be written, or None if it has been written. Raises: Refusal.

        The server cancels the tasks of requests when its grace period is over; such a request still gets an answer.
        """
        try:
            scope = inbound.scope
            limited = None if scope["raw_path"] in HEALTH_PATHS else self._admitted(inbound)
            if limited is not None:
                await self._joined(inbound, limited, reply)
            else:
                await self._app(scope, inbound.receive, reply)
        except WaitEnded:
            return answers.not_awaited(inbound.decision_id)
        except asyncio.CancelledError:
            if reply.begun or reply.given_up:
                return None
            # Only a request that no cancel was begun or joined for gets here (`WaitEnded`, `Cancels.deliver`).
            raise ShuttingDown("stopping", STOPPING) from None
        finally:
            inbound.leave()
        return None

    def _admitted(self, inbound: Inbound) -> Refusal | None:
        """Authenticate the caller and take a place for the request; return the limit that it is above, if it is.

        Raises: Refusal: the request is not let in.
        """
        inbound.check_body()
        inbound.check_length()
        edge, authenticate = self._edge, inbound.live.authenticator.authenticate
        inbound.principal = principal = authenticate(inbound.credential(), edge.clock.now_ms())
        inbound.state[TEAM] = principal.team
        try:
            inbound.place = edge.current.admission.place(principal, edge.clock.monotonic_s(), cost=inbound.cost())
        except (Throttled, Overloaded) as limited:
            return limited
        if not is_plain(inbound.scope["raw_path"]):
            raise edge.no_such_path(inbound.scope)
        return None

    async def _joined(self, inbound: Inbound, limited: Refusal, reply: ReleasingSend) -> None:
        """Let a request above a limit join an identical cancel in flight, since that sends nothing; else refuse it."""
        result = await self._edge.cancels.joined(inbound)
        if result is None:
            raise limited
        if isinstance(result, Done):
            return await self._edge.cancels.deliver(inbound, result, reply)
        return await write(inbound, result, reply)


def routes(cancels: Cancels, pages: Pages, health: HealthPages) -> list[Route]:
    """Return a route for every path of the gateway, the most used first."""

    async def preview(inbound: Inbound) -> Answer:
        """Answer what a cancel would do: it is read like one."""
        return await pages.preview(inbound, await cancels.request(inbound))

    async def health_page(inbound: Inbound) -> Answer:
        """Answer `/healthz` and `/readyz`; the page itself checks the method."""
        answer = health.page(inbound.scope["method"], inbound.scope["raw_path"], inbound.decision_id)
        assert answer is not None
        return answer

    calls = [
        CallRoute("DELETE", RUNS, cancels.cancel, cancels),
        CallRoute("DELETE", "/preview" + RUNS, preview, cancels),
        CallRoute("GET", "/v2/workflows/logs", pages.logs, cancels),
        CallRoute("GET", "/v2/workflows/events", pages.logs, cancels),
        CallRoute("GET", DECISIONS, pages.decisions.listed, cancels),
        CallRoute("GET", DECISIONS + "/{decision}", pages.decisions.one, cancels),
        CallRoute("GET", "/gateway/v1/whoami", pages.whoami, cancels),
        CallRoute("GET", "/gateway/v1/openapi.json", pages.openapi, cancels),
        CallRoute("POST", "/gateway/v1/explain", pages.explain, cancels),
        CallRoute("GET", PLANS, pages.plans, cancels),
        CallRoute("POST", PLANS, pages.plan, cancels),
        CallRoute("GET", PLANS + "/{plan}", pages.planned, cancels),
        CallRoute("DELETE", PLANS + "/{plan}", pages.stop, cancels),
        CallRoute("POST", PLANS + "/{plan}/apply", cancels.apply, cancels),
    ]
    calls += [CallRoute(method, path, action, cancels) for method, path, action in pages.with_state()]
    return [
        *(call.stand_beside(calls) for call in calls),
        *(Route(path, Endpoint(health_page, cancels, path)) for path in map(bytes.decode, sorted(HEALTH_PATHS))),
    ]


class Edge(Starlette):
    """The application: its routes, and the parts that the door uses.

    Requests are judged by the intake's clock; `wall` gives the times that callers compare with their own clocks.
    """

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        pages: Pages,
        health: HealthPages,
        refusals: RefusalLog,
        wall: Clock,
        log: OperatorsLog,
        lifespan: Lifespan[Edge] | None = None,
    ) -> None:
        self.refusals, self.wall, self.teller = refusals, wall, Teller(log)
        self.intake, self.current, self.clock = pages.intake, pages.intake.current, pages.intake.clock
        self.cancels = Cancels(pages.intake, pipeline, self.teller)
        super().__init__(
            routes=routes(self.cancels, pages, health),
            lifespan=lifespan,
        )
        self.router.redirect_slashes = False
        self.router.default = self._not_found

    def build_middleware_stack(self) -> ASGIApp:
        """Put only the door before the router: it answers every error, so Starlette's own answers have no place."""
        # `Router.__call__` would only pass on to this: the router has no middleware of its own.
        return Door(self.router.app, edge=self)

    async def record(self, refusal: Refusal, inbound: Inbound) -> None:
        """Record the refusal of a request; never raise."""
        await self.refusals.record(
            refusal,
            decision_id=inbound.decision_id,
            remote=inbound.remote,
            principal=inbound.principal,
            action=action_of(inbound.scope["method"], inbound.scope["raw_path"]),
            correlation=inbound.correlation,
        )

    async def _not_found(self, scope: Scope, _receive: Receive, _send: Send) -> None:
        raise self.no_such_path(scope)

    def no_such_path(self, scope: Scope) -> NotFound:
        """Return the refusal of a request whose path the gateway does not have."""

        def is_known(path: str) -> bool:
            """Return whether some route has this path, for any method."""
            asked = {"type": "http", "method": "", "path": path}
            return any(route.matches(asked)[0] is not Match.NONE for route in self.routes)

        return no_such_path(scope["method"], scope["raw_path"], is_known=is_known)
