"""A simulator that listens: uvicorn in a thread of its own, with its connections within reach of scripted faults."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import Server

from gateway.simulator.app import app
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry


class _OpenProtocol(HttpToolsProtocol):
    """Passes the transport on, so that a fault can cut an answer short, and queries of any length."""

    def on_message_begin(self) -> None:
        """Puts the transport beside the request's scope."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport

    def on_headers_complete(self) -> None:
        """Completes the scope with the query, which was kept from the parser."""
        # httptools takes no target apart that is longer than 65,535 bytes; 2,000 run IDs are.
        self.url, _, query = self.url.partition(b"?")
        super().on_headers_complete()
        self.scope["query_string"] = query


def wall_clock_ms() -> int:
    """Returns the time of the machine, Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SimulatorServer:
    """Serves `simulator` on 127.0.0.1; `port` 0 takes a free one; tokens not given are made.

    `clock` gives Unix milliseconds. Tests whose runs and actions have fixed dates give the clock of those dates.

    The port is bound by the constructor. Raises: OSError if it is taken.
    """

    def __init__(
        self,
        simulator: Simulator,
        *,
        token: str | None = None,
        read_token: str | None = None,
        port: int = 0,
        latency_ms: int = 0,
        clock: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.simulator = simulator
        self.token = token or secrets.token_urlsafe(32)
        self.read_token = read_token or secrets.token_urlsafe(32)
        self._socket = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._socket.getsockname()[1]
        self._server = Server(
            Config(
                app(simulator, self.token, self.read_token, clock=clock, latency_ms=latency_ms),
                http=_OpenProtocol,
                loop="uvloop",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, name="simulator", daemon=True)

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ledger(self) -> tuple[Entry, ...]:
        """Every call so far that was not a reading."""
        return self.simulator.ledger

    def start(self) -> Self:
        """Starts answering; connections made since the constructor are answered too."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cuts every connection, closes the port and waits for the thread; safe to call twice."""
        self._server.should_exit = True
        for connection in list(self._server.server_state.connections):
            with contextlib.suppress(RuntimeError):  # the loop has closed, and the connection with it
                connection.loop.call_soon_threadsafe(connection.transport.abort)
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])
