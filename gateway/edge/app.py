"""The edge: a Starlette application with a table of routes, and a door that every request passes first.

The order of refusal is that of docs/requests.md. A caller without a key may not learn which paths exist, so the door
comes before the router. The router compares decoded paths; the door refuses every path that has another
spelling than its decoded form, so routing on the decoded path is routing byte for byte.
"""

from __future__ import annotations

import asyncio

import uuid_utils
from starlette.applications import Starlette
from starlette.routing import Match
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
from gateway.core.ports import Clock, OperatorsLog
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.connections import TEAM
from gateway.edge.head import HEALTH_PATHS, action_of, is_plain, no_such_path
from gateway.edge.health import HealthPages
from gateway.edge.inbound import INBOUND, Inbound
from gateway.edge.pages.calls import Pages
from gateway.edge.reply import ReleasingSend, Teller, if_broken, write
from gateway.edge.routing.cancels import Cancels
from gateway.edge.routing.table import routes
from gateway.execution.in_flight import Done, WaitEnded
from gateway.execution.pipeline import STOPPING, Pipeline
from gateway.operations.words import words_of
from gateway.process import LastNet, fault_of

NO_ID = "00000000-0000-0000-0000-000000000000"
"""The decision id used in an answer if none could be made. No record has it."""


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
            return answers.not_awaited(inbound.decision_id, words_of(inbound.action))
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
        edge = self._edge
        inbound.principal = principal = inbound.authenticate(inbound.live, edge.clock.now_ms())
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


class Edge(Starlette):
    """The application: its routes, and the parts that the door uses.

    Requests are judged by the intake's clock; `wall` gives the times that callers compare with their own clocks.
    `of_state` are the paths of the calls that there are only with shared state.
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
        self.of_state = frozenset(path for _, path, _ in pages.with_state())
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
            action=inbound.action or action_of(inbound.scope["method"], inbound.scope["raw_path"]),
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
