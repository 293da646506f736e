"""A gateway that keeps something of every request: memory, a descriptor, a task. Started by the test of the soak."""

from __future__ import annotations

import asyncio
import sys

from starlette.types import Receive, Scope, Send

from benchmarks.soak.observed import serve
from gateway.edge.app import Edge

KEPT: list[object] = []


async def leaking(self: Edge, scope: Scope, receive: Receive, send: Send) -> None:
    KEPT.append(bytearray(10_000))
    KEPT.append(open("/dev/null"))  # noqa: ASYNC230, PTH123, SIM115 - it is meant to stay open
    KEPT.append(asyncio.create_task(asyncio.sleep(3600)))
    await answered(self, scope, receive, send)


answered = Edge.__call__

if __name__ == "__main__":
    Edge.__call__ = leaking  # type: ignore[method-assign, assignment]
    sys.exit(serve())
