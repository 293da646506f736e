"""The servers of the process: uvicorn on our listeners, and how it ends. A second listener may carry health pages."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from gateway.config import TlsFiles
from gateway.protocol import EdgeProtocol, ProtocolSettings

CLOSING_S = 3
"""What is left of the grace period for recording and answering, once calls in flight are given up."""


@dataclass(frozen=True, slots=True)
class Listener:
    """An application on a bound socket."""

    app: ASGIApp
    socket: socket.socket
    settings: ProtocolSettings
    tls: TlsFiles | None = None


class _Server(uvicorn.Server):
    """uvicorn without its signal handling, which would end the process before the log is closed."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_all(listeners: list[Listener], *, grace_s: int, stop: Callable[[float], Awaitable[None]]) -> None:
    """Serves until SIGTERM or SIGINT. `stop` is then called with the seconds that calls in flight have left.

    The first signal lets them finish within the grace period; a second gives them up at once, on the record.
    """
    servers = [_Server(_uvicorn_config(listener, grace_s)) for listener in listeners]
    loop = asyncio.get_running_loop()
    stops: set[asyncio.Future[None]] = set()

    def end() -> None:
        again = servers[0].should_exit
        stops.add(asyncio.ensure_future(stop(0 if again else max(0, grace_s - CLOSING_S))))
        servers[0].should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    # The pages of health answer for as long as calls in flight do.
    others = [asyncio.create_task(server.serve([one.socket])) for server, one in zip(servers[1:], listeners[1:], strict=True)]
    await servers[0].serve([listeners[0].socket])
    for server in servers[1:]:
        server.should_exit = True
    await asyncio.gather(*others, *stops)


def _uvicorn_config(listener: Listener, grace_s: int) -> uvicorn.Config:
    tls = listener.tls
    return uvicorn.Config(
        listener.app,
        loop="none",
        http=functools.partial(EdgeProtocol, settings=listener.settings),  # type: ignore[arg-type]
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=grace_s,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
