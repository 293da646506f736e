"""The stream of closed decisions for a page that is open: the gateway's own, for as long as the session goes on."""

from __future__ import annotations

import asyncio

from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from gateway.console.reading import Visit
from gateway.core.forms.shown import EVENTS

CHECK_S = 0.5
"""How often it is asked whether the session goes on, in seconds."""


class Live:
    """A response that passes on the stream. It ends within a second when the session does."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer `GET /events`."""
        visit = self._visit
        stream = asyncio.create_task(visit.calls.stream(EVENTS, receive, send))
        try:
            while not (await asyncio.wait({stream}, timeout=CHECK_S))[0]:
                if not visit.sessions.goes_on(visit.session):
                    break
            else:
                stream.result()
        finally:
            stream.cancel()


async def events(visit: Visit) -> Live:
    """Answer `GET /events`. A HEAD, which Starlette takes for a GET, would wait for a stream that it is not shown.

    Raises: HTTPException: it is another method.
    """
    if visit.request.method != "GET":
        raise HTTPException(405)
    return Live(visit)
