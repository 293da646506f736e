"""The two pages that need no key, `/healthz` and `/readyz`, on the callers' listener or on one of their own."""

from __future__ import annotations

from typing import Protocol

import uuid_utils
from starlette.types import Receive, Scope, Send

from gateway.core.errors import MethodNotAllowed, NotFound, Refusal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.head import HEALTH_PATHS
from gateway.process import Net, report


class Readiness(Protocol):
    """The port that says whether the gateway can take intents, and what operators may see of its state."""

    def report(self) -> tuple[bool, dict[str, object]]:
        """Return whether the gateway is ready, and the members of the page: no secret, no rule text."""


class HealthPages:
    """The two pages."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    def page(self, method: str, path: bytes, decision_id: str) -> Answer | None:
        """Return the answer, or None for another path. Raises: MethodNotAllowed."""
        if path not in HEALTH_PATHS:
            return None
        if method not in ("GET", "HEAD"):
            raise MethodNotAllowed("GET, HEAD", "This page is only read: use GET or HEAD.")
        if path == b"/healthz":
            return answers.status_page(200, {"status": "ok"}, decision_id)
        ready, members = self._readiness.report()
        return answers.status_page(200 if ready else 503, members, decision_id)


class HealthApp:
    """An ASGI application with only the two pages, for probes that cannot reach the callers' listener."""

    def __init__(self, pages: HealthPages) -> None:
        self._pages = pages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing is recorded, because these pages change nothing."""
        decision_id, answer = str(uuid_utils.uuid7()), None
        with Net() as net:
            try:
                answer = self._pages.page(scope["method"], scope["raw_path"], decision_id)
                if answer is None:
                    raise NotFound("path", "This listener has /healthz and /readyz, nothing else.")
            except Refusal as refused:
                answer = answers.refusal(refused, decision_id)
        if net.fault is not None:
            report(net.fault, "a page failed")
        answer = answer or answers.broken(decision_id)
        # A probe sends one request at a time, and an unread body would be read as the next request.
        await answers.write(answer, send, more=[(b"connection", b"close")])


class Unrecorded:
    """The discarding log for refusals on the health listener, which takes no credential and changes nothing."""

    def record_soon(self, refusal: Refusal, *, decision_id: str, remote: str | None) -> None:
        """Discard the refusal, so that a stranger on this listener cannot fill the record."""
