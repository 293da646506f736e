"""Answers that their callers do not take are bounded in bytes, on real sockets, and whoever leaves most loses them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.core.forms.correlation import NOT_GIVEN
from gateway.edge.connections import TEAM, Connections, ProtocolSettings
from gateway.edge.health import Unrecorded
from gateway.edge.protocol import EdgeProtocol

BODY = b"x" * 400_000
MOST = 3 * len(BODY)
KERNEL = 100_000
"""More than the kernel takes of an answer off the process's hands, with the buffers below."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with a large body to the team that the path names."""
    scope["state"][TEAM] = scope["path"].removeprefix("/")
    headers = [(b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


@asynccontextmanager
async def serving() -> AsyncIterator[int]:
    """A listener with the edge's protocol; its port."""
    config = Config(app, lifespan="off", log_config=None, access_log=False, ws="none", http=EdgeProtocol)
    config.load()
    connections = Connections(100, most_untaken_bytes=MOST)
    settings = ProtocolSettings(4096, 4096, 60, Unrecorded(), connections, 75, lambda _: NOT_GIVEN)
    state = ServerState()

    def connection() -> EdgeProtocol:
        return EdgeProtocol(settings=settings, config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def asked(port: int, team: str) -> socket.socket:
    """A caller that has asked and does not read, with next to no room for the answer."""
    caller = socket.socket()
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    caller.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(caller, ("127.0.0.1", port))
    await loop.sock_sendall(caller, f"GET /{team} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await asyncio.sleep(0.05)
    return caller


async def taken(caller: socket.socket) -> bool:
    """Whether the caller, reading now, gets its whole answer."""
    data = b""
    with caller:
        while not data.endswith(BODY):
            try:
                piece = await asyncio.get_running_loop().sock_recv(caller, 65536)
            except ConnectionError:
                return False
            if not piece:
                return False
            data += piece
    return True


async def test_a_team_that_takes_nothing_loses_its_own_answers() -> None:
    """The answers that wait stay below the bound; that of another team's slow caller is among them."""
    async with serving() as port, asyncio.timeout(30):
        slow = await asked(port, "search")
        greedy = [await asked(port, "billing") for _ in range(12)]
        assert await taken(slow)
        whole = [await taken(caller) for caller in greedy]
        assert 1 <= sum(whole) <= MOST // (len(BODY) - KERNEL)
