"""The table of routes: every path of the gateway, the method that it takes, and the call that answers it."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from gateway.core.forms.shown import COUNTS, DECISIONS, EVENTS, PLANS, POLICIES
from gateway.edge.answers import Answer
from gateway.edge.head import HEALTH_PATHS, PREVIEW, no_such_method
from gateway.edge.health import HealthPages
from gateway.edge.inbound import Inbound, inbound_of
from gateway.edge.pages.budgets import Action, with_budget
from gateway.edge.pages.calls import Pages
from gateway.edge.pages.overview.events import Stream
from gateway.edge.reply import write
from gateway.edge.routing.cancels import Cancels
from gateway.execution.in_flight import Done
from gateway.operations.operation import CallForm
from gateway.operations.table import OPERATIONS, asked_by


class CallRoute(Route):
    """A route for exactly one method; Starlette's own route would add HEAD to GET."""

    def __init__(self, method: str, path: str, action: Action, cancels: Cancels) -> None:
        self._endpoint = Endpoint(partial(with_budget, action) if cancels.keeps_state else action, cancels, path)
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
        """Return the endpoint's call of the request. Raises: MethodNotAllowed, NotFound: the path takes another."""
        if scope["method"] != self.method:
            raise no_such_method(scope["method"], scope["path"], self._allowed)
        return self._endpoint(scope, receive, send)

    def stand_beside(self, routes: Sequence[CallRoute]) -> Self:
        """Name the methods of all routes with this path when a request has another; return the same route."""
        self._allowed = ", ".join(one.method for one in routes if one.path == self.path)
        return self


class NamingRoute(CallRoute):
    """The route of a call that names something in its path, and of its preview, below `before`.

    Other methods, and a path without an ID that can be named, are no path of ours: what QStash has there is another
    call. Nor is such a path proposed to a caller who wrote it otherwise, because another run may have the ID proposed.
    """

    def __init__(self, before: str, form: CallForm, action: Action, cancels: Cancels) -> None:
        super().__init__(form.method, f"{before}{form.path}", action, cancels)
        self._before, self._form = before, form

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Return whether the request is such a call."""
        path: str = scope["path"]
        if scope["method"] != self.method or not path.startswith(self._before):
            return Match.NONE, {}
        found = asked_by(self.method, path.removeprefix(self._before))
        return (Match.FULL, self._found) if found is not None and found[1] is self._form else (Match.NONE, {})


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
        answer = await self.action(inbound)
        if isinstance(answer, Done):
            await self.cancels.deliver(inbound, answer, send)
        elif isinstance(answer, Stream):
            await answer.write(inbound, send)
        else:
            await write(inbound, answer, send)


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
        *_asking(cancels, preview),
        CallRoute("GET", "/v2/workflows/logs", pages.logs, cancels),
        CallRoute("GET", "/v2/workflows/events", pages.logs, cancels),
        CallRoute("GET", "/v2/dlq", pages.failed_runs, cancels),
        *_own(cancels, pages),
    ]
    return [
        *(call.stand_beside(calls) for call in calls),
        *(Route(path, Endpoint(health_page, cancels, path)) for path in map(bytes.decode, sorted(HEALTH_PATHS))),
    ]


def _asking(cancels: Cancels, preview: Action) -> Iterator[CallRoute]:
    """Yield the routes of every call that asks for an action, and of its preview."""
    forms = [form for operation in OPERATIONS.values() for form in operation.forms]
    for form in sorted(forms, key=lambda form: form.field is not None):
        for before, action in (("", cancels.cancel), (PREVIEW, preview)):
            if form.field is None:
                yield CallRoute(form.method, before + form.path, action, cancels)
            else:
                yield NamingRoute(before, form, action, cancels)


def _own(cancels: Cancels, pages: Pages) -> Iterator[CallRoute]:
    """Yield a route for every call of the gateway's own."""
    own: list[tuple[str, str, Action]] = [
        ("GET", DECISIONS, pages.decisions.listed),
        ("GET", DECISIONS + "/{decision}", pages.decisions.one),
        ("GET", DECISIONS + "/{decision}/record", pages.decisions.record),
        ("GET", COUNTS, pages.counts.counts),
        ("GET", EVENTS, pages.events.events),
        ("GET", POLICIES, pages.policies.policies),
        ("GET", "/gateway/v1/whoami", pages.whoami),
        ("GET", "/gateway/v1/openapi.json", pages.openapi),
        ("POST", "/gateway/v1/explain", pages.explain),
        ("GET", PLANS, pages.plans),
        ("POST", PLANS, pages.plan),
        ("GET", PLANS + "/{plan}", pages.planned),
        ("DELETE", PLANS + "/{plan}", pages.stop),
        ("POST", PLANS + "/{plan}/apply", cancels.apply),
    ]
    own += pages.with_state()
    for method, path, action in own:
        yield CallRoute(method, path, action, cancels)
