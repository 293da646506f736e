"""The pages that need no key: `/healthz` and `/readyz` on the callers' listener or one of their own; `/metrics`."""

from __future__ import annotations

from typing import Protocol

import uuid_utils
from starlette.types import Receive, Scope, Send

from gateway.core.errors import MethodNotAllowed, NotFound, Refusal
from gateway.core.forms.correlation import Correlation
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.head import HEALTH_PATHS
from gateway.process import Net, report

METRICS = "/metrics"


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
        check_read(method)
        if path == b"/healthz":
            return answers.status_page(200, {"status": "ok"}, decision_id)
        ready, members = self._readiness.report()
        return answers.status_page(200 if ready else 503, members, decision_id)


class Scraped(Protocol):
    """The port to what `/metrics` shows."""

    @property
    def content_type(self) -> str:
        """The media type of the text."""

    async def text(self) -> bytes:
        """Return the page."""


class HealthApp:
    """An ASGI application with only these pages, for probes that cannot reach the callers' listener.

    It has the two pages, or `/metrics`, or both.
    """

    def __init__(self, pages: HealthPages | None, scraped: Scraped | None = None) -> None:
        self._pages = pages
        self._scraped = scraped
        names = [path.decode() for path in HEALTH_PATHS] if pages is not None else []
        self._has = " and ".join(
            ([", ".join(names), METRICS] if names else [METRICS]) if scraped is not None else names
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Nothing is recorded, because these pages change nothing."""
        decision_id, answer = str(uuid_utils.uuid7()), None
        with Net() as net:
            try:
                answer = await self._page(scope["method"], scope["raw_path"], decision_id)
            except Refusal as refused:
                answer = answers.refusal(refused, decision_id)
        if net.fault is not None:
            report(net.fault, "a page failed")
        answer = answer or answers.broken(decision_id)
        # A probe sends one request at a time, and an unread body would be read as the next request.
        await answers.write(answer, send, more=[(b"connection", b"close")])

    async def _page(self, method: str, path: bytes, decision_id: str) -> Answer:
        """Return the answer. Raises: MethodNotAllowed, NotFound."""
        if self._scraped is not None and path == METRICS.encode():
            check_read(method)
            return answers.text_page(self._scraped.content_type, await self._scraped.text(), decision_id)
        answer = self._pages.page(method, path, decision_id) if self._pages is not None else None
        if answer is None:
            raise NotFound("path", f"This listener has {self._has}, nothing else.")
        return answer


def check_read(method: str) -> None:
    """Raise MethodNotAllowed unless the method only reads."""
    if method not in ("GET", "HEAD"):
        raise MethodNotAllowed("GET, HEAD", "This page is only read: use GET or HEAD.")


class Unrecorded:
    """The discarding log for refusals on the health listener, which takes no credential and changes nothing."""

    def record_soon(self, refusal: Refusal, *, decision_id: str, remote: str | None, correlation: Correlation) -> None:
        """Discard the refusal, so that a stranger on this listener cannot fill the record."""
