"""The time of each request, around the whole application: from the call of the server to the end of the answer."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.edge.inbound import INBOUND, Inbound


@dataclass(frozen=True, slots=True)
class Timed:
    """An ASGI application whose requests are timed. `answered` takes route, status and seconds, and never raises."""

    app: ASGIApp
    answered: Callable[[str, int, float], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Have a request answered, and take its time, whatever its end."""
        began_s = time.monotonic()
        try:
            await self.app(scope, receive, send)
        finally:
            inbound: Inbound | None = scope.get("state", {}).get(INBOUND)
            if inbound is not None:
                self.answered(inbound.route, inbound.status, time.monotonic() - began_s)
