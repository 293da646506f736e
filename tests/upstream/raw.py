"""An upstream made of raw sockets: it does to each connection what a script says, and keeps every byte it read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import uvloop

from gateway.core.outcome import Outcome
from gateway.core.plan import Order, Receipt
from gateway.core.request import ByFilter, ByIds
from gateway.upstream.cancel import Upstream
from gateway.upstream.client import UpstreamLimits
from gateway.upstream.pool import PooledTransport
from gateway.upstream.token import TokenHolder, UpstreamToken

T = TypeVar("T")

TOKEN = "CANARY-0f1e2d3c4b5a69788796a5b4c3d2e1f0"
RECEIPT = Receipt("01900000-0000-7000-8000-000000000000", 1)
ORDER = Order(ByFilter(("https://billing.example.com/api/invoice",), exact=True), 10)
HANGS_S = 60
LIMITS = UpstreamLimits(connect_timeout_s=HANGS_S, total_timeout_s=HANGS_S)
"""None that decides anything: what takes longer has failed."""
SHORT = UpstreamLimits(connect_timeout_s=0.3, total_timeout_s=0.6)
PLACES = 4
ENDED_S = 10


def holder() -> TokenHolder:
    """The token, in use since the start."""
    return TokenHolder(UpstreamToken(TOKEN), 0)


def ids(number: int, *, length: int = 25) -> Order:
    """An order for `number` run IDs of `length` characters."""
    return Order(ByIds(tuple(f"wfr_{index:0{length - 4}d}" for index in range(number))), number)


def answer(body: bytes, *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    """One whole HTTP/1.1 answer with its length."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


DONE = answer(b'{"cancelled":3}')


class ClientLeft(Exception):
    """The gateway's side of the connection has ended, so the script ends too."""


class Peer:
    """One connection as upstream sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._read = 0
        self.received = bytearray()

    async def read(self, size: int) -> None:
        """Reads `size` bytes and not one more."""
        wanted = len(self.received) + size
        while len(self.received) < wanted:
            await self._more(wanted - len(self.received))

    async def request(self) -> bytes:
        """Reads to the end of the next request's head; orders have no body."""
        while (end := self.received.find(b"\r\n\r\n", self._read)) < 0:
            await self._more(65536)
        head = bytes(self.received[self._read : end + 4])
        self._read = end + 4
        return head

    async def send(self, content: bytes) -> None:
        """Writes all of it."""
        try:
            await self._loop.sock_sendall(self._connection, content)
        except OSError as exc:
            raise ClientLeft from exc

    async def left(self) -> None:
        """Says nothing until the gateway closes the connection."""
        while True:
            await self._more(65536)

    def close(self) -> None:
        """FIN; the kernel makes it RST where bytes were left unread."""
        self._connection.close()

    def reset(self) -> None:
        """RST."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def shut(self) -> None:
        """FIN in one direction; what the gateway sends can still be read."""
        self._connection.shutdown(socket.SHUT_WR)

    async def _more(self, size: int) -> None:
        try:
            content = await self._loop.sock_recv(self._connection, size)
        except OSError as exc:
            raise ClientLeft from exc
        if not content:
            raise ClientLeft
        self.received += content


Script = Callable[[Peer], Awaitable[None]]


class RawServer:
    """Connection n does what script n says, every later one what the last script says."""

    def __init__(self, *scripts: Script, receive_buffer_bytes: int | None = None) -> None:
        self._scripts = scripts
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        if receive_buffer_bytes is not None:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        self._listener.setblocking(False)
        self._serving: list[asyncio.Task[None]] = []
        self.peers: list[Peer] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def tls_url(self) -> str:
        """The same port, spoken to with TLS."""
        return self.url.replace("http://", "https://")

    @property
    def received(self) -> tuple[bytes, ...]:
        """What was read, by connection."""
        return tuple(bytes(peer.received) for peer in self.peers)

    @property
    def requests(self) -> int:
        """How many requests were begun, over all connections."""
        return sum(content.count(b"DELETE /") for content in self.received)

    async def __aenter__(self) -> Self:
        self._accepting = asyncio.create_task(self._accept())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._accepting.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._accepting
        with contextlib.suppress(BlockingIOError):  # a repeat may wait in the backlog
            while True:
                self._serve(self._listener.accept()[0])
        self._listener.close()
        if self._serving:
            _, unfinished = await asyncio.wait(self._serving, timeout=ENDED_S)
            assert not unfinished, "a connection stayed open"
            for task in self._serving:
                task.result()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._serve((await loop.sock_accept(self._listener))[0])

    def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        peer = Peer(connection)
        script = self._scripts[min(len(self.peers), len(self._scripts) - 1)]
        self.peers.append(peer)
        self._serving.append(asyncio.create_task(_perform(script, peer)))


async def _perform(script: Script, peer: Peer) -> None:
    try:
        await script(peer)
    except ClientLeft:
        pass
    finally:
        peer.close()


@contextlib.asynccontextmanager
async def _open(url: str, limits: UpstreamLimits, max_connections: int) -> Any:
    transport = PooledTransport(max_connections=max_connections, connect_timeout_s=limits.connect_timeout_s)
    upstream = Upstream(url, holder(), limits=limits, transport=transport)
    try:
        yield upstream
    finally:
        await upstream.aclose()


def connected(
    url: str, *, limits: UpstreamLimits = LIMITS, max_connections: int = PLACES
) -> contextlib.AbstractAsyncContextManager[Upstream]:
    """The port as `serve` makes it."""
    opened: contextlib.AbstractAsyncContextManager[Upstream] = _open(url, limits, max_connections)
    return opened


def run(scenario: Coroutine[Any, Any, T]) -> T:
    """Runs a scenario on the loop that `serve` runs on; one that hangs fails."""

    async def bounded() -> T:
        async with asyncio.timeout(HANGS_S):
            return await scenario

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(bounded())


@dataclass(frozen=True, slots=True)
class Played:
    """What came of the orders, and what upstream read, by connection."""

    outcomes: tuple[Outcome, ...]
    received: tuple[bytes, ...]
    requests: int


def play(
    *scripts: Script,
    orders: Sequence[Order] = (ORDER,),
    limits: UpstreamLimits = LIMITS,
    max_connections: int = PLACES,
) -> Played:
    """Sends the orders one after the other to a server with these scripts."""

    async def scenario() -> Played:
        async with (
            RawServer(*scripts) as server,
            connected(server.url, limits=limits, max_connections=max_connections) as upstream,
        ):
            outcomes = [await upstream.send(order, RECEIPT) for order in orders]
        return Played(tuple(outcomes), server.received, server.requests)

    return run(scenario())


def answers(*contents: bytes) -> Script:
    """Reads one request for each content and answers it."""

    async def script(peer: Peer) -> None:
        for content in contents:
            await peer.request()
            await peer.send(content)
        await peer.left()

    return script
