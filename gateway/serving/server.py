"""The servers of the process: uvicorn on our listeners, and how they stop. Some may serve only the health pages."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import Server
from uvloop.loop import SSLProtocol  # type: ignore[attr-defined] # it is not in the library's stubs

from gateway.config import CLOSING_S
from gateway.edge.connections import ProtocolSettings
from gateway.edge.protocol import EdgeProtocol
from gateway.serving.sockets import BACKLOG

App = ASGIApp
"""What answers the requests of a listener."""

STOPS = (signal.SIGTERM, signal.SIGINT)
ANSWERING_S = 0.2
"""The seconds after a second signal in which outcomes are answered, before whoever still waits is told of the end."""

DATE_S = 1.0
"""The seconds after which the date in answers is made anew."""
_EACH_SECOND = 0
"""The tick of uvicorn's at which it makes the date anew: every tenth of its ticks, which come every 0.1 s."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An application on a bound socket. Each connection keeps the settings in force when it began.

    A listener that is `for_probes` answers until all others have ended.
    """

    app: App
    socket: socket.socket
    settings: Callable[[], ProtocolSettings]
    tls: ssl.SSLContext | None = None
    for_probes: bool = False


class StopSignals:
    """The counter of SIGTERM and SIGINT, from its creation on: a signal during the rest of the start is not lost."""

    def __init__(self) -> None:
        self.count = 0
        self._heard: Callable[[], None] | None = None
        loop = asyncio.get_running_loop()
        for number in STOPS:
            loop.add_signal_handler(number, self._hear)
        # A signal that came before these handlers existed was held back until now.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)

    def tell(self, heard: Callable[[], None]) -> None:
        """Call `heard` for every signal, earlier ones included."""
        self._heard = heard
        for _ in range(self.count):
            heard()

    def end(self) -> None:
        """End the process as a signal would."""
        self._hear()

    @staticmethod
    def hold_back() -> None:
        """Hold signals back for the first `StopSignals`, so that a process that can be reached stops in good order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)

    def _hear(self) -> None:
        self.count += 1
        if self._heard is not None:
            self._heard()


class Handshake(SSLProtocol):  # type: ignore[misc] # as above
    """A TLS handshake, counted as a connection from its first moment, so that it can be closed like any other.

    `create_server(ssl=…)` would make the same object, but tell nobody of a connection before its handshake ends.
    """

    team: str | None = None

    def __init__(self, edge: EdgeProtocol, tls: ssl.SSLContext, settings: ProtocolSettings) -> None:
        super().__init__(
            asyncio.get_running_loop(),
            edge,
            tls,
            None,
            server_side=True,
            ssl_handshake_timeout=settings.receive_timeout_s,
            ssl_shutdown_timeout=settings.receive_timeout_s,
        )
        self._connections = settings.connections
        self._below: asyncio.Transport | None = None
        self._edge = edge
        edge.handshake = self

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin the handshake, and count it as a connection."""
        self._below = self._edge.below = transport
        super().connection_made(transport)
        self._connections.opened(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop counting it, unless the connection after the handshake has taken over its place."""
        self._connections.closed(self)
        super().connection_lost(exc)

    def evict(self) -> None:
        """Close the connection at once."""
        if self._below is not None:
            self._below.abort()

    def untaken_bytes(self) -> int:
        """Return 0: nothing is answered before the end of a handshake."""
        return 0


class _Server(Server):
    """A uvicorn server without its signal handling, which would end the process before the log is closed."""

    def __init__(self, listener: Listener, grace_s: int) -> None:
        super().__init__(_uvicorn_config(listener, grace_s))
        self.listener = listener
        self._ending = asyncio.Event()

    def stop(self) -> None:
        """Let `serve` come to its end."""
        self.should_exit = True
        self._ending.set()

    async def main_loop(self) -> None:
        """Renew the date of the answers each second until `stop`; uvicorn itself would wake up ten times a second."""
        while not await self.on_tick(_EACH_SECOND):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), DATE_S)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signals alone."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start like uvicorn on one given socket, but with TLS handshakes that have a deadline and are counted."""
        await self.lifespan.startup()
        settings, tls = self.listener.settings, self.listener.tls

        def connection() -> asyncio.BaseProtocol:
            """Return the protocol of one new connection, under the limits now in force."""
            now = settings()
            edge = EdgeProtocol(settings=now, config=self.config, server_state=self.server_state, app_state={})
            return edge if tls is None else cast(asyncio.BaseProtocol, Handshake(edge, tls, now))

        loop = asyncio.get_running_loop()
        server = await loop.create_server(connection, sock=self.listener.socket, backlog=BACKLOG)
        self.servers = [server]
        self.started = True


async def serve_until_stopped(
    listeners: Sequence[Listener], signals: StopSignals, *, grace_s: int, stop: Callable[[float], Awaitable[None]]
) -> None:
    """Serve until a signal; then call `stop` with the seconds that calls in flight have left.

    The first signal lets them finish within the grace period; a second gives them up at once, and that is recorded; it
    also ends requests whose body is still on its way. The listeners for probes answer as long as those for callers do.
    """
    servers = [_Server(listener, grace_s) for listener in listeners if not listener.for_probes]
    probed = [_Server(listener, grace_s) for listener in listeners if listener.for_probes]
    stops: list[asyncio.Future[None]] = []

    async def give_up() -> None:
        """Leave no time for calls in flight, nor for requests that have not arrived."""
        await stop(0)
        await asyncio.sleep(ANSWERING_S)
        for server in servers:
            for task in tuple(server.server_state.tasks):
                task.cancel()

    def end() -> None:
        """Begin to stop; a second signal gives up."""
        ending = give_up() if servers[0].should_exit else stop(max(0, grace_s - CLOSING_S))
        stops.append(asyncio.ensure_future(ending))
        _stop(servers)

    signals.tell(end)
    running, beside = _run(servers), _run(probed)
    await asyncio.gather(*running)
    _stop(probed)
    await asyncio.gather(*beside, *stops)


def _run(servers: Sequence[_Server]) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(server.serve([server.listener.socket])) for server in servers]


def _stop(servers: Sequence[_Server]) -> None:
    for server in servers:
        server.stop()


def _uvicorn_config(listener: Listener, grace_s: int) -> Config:
    return Config(
        listener.app,
        loop="none",
        http=EdgeProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
    )
