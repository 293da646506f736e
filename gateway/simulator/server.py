"""The simulator as a server: uvicorn on a thread of its own, whose connections scripted faults can cut."""

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
    """A protocol that accepts queries of any length, and exposes the transport so that faults can cut answers short."""

    def on_message_begin(self) -> None:
        """Put the transport into the state of the request's scope."""
        super().on_message_begin()
        self.scope["state"]["transport"] = self.transport

    def on_headers_complete(self) -> None:
        """Add the query to the scope; the parser of the URL does not see it."""
        # httptools cannot parse a target of more than 65,535 bytes, and 2,000 run IDs take more.
        self.url, _, query = self.url.partition(b"?")
        super().on_headers_complete()
        self.scope["query_string"] = query


def wall_clock_ms() -> int:
    """Return the time of the machine in Unix milliseconds."""
    return time.time_ns() // 1_000_000


class SimulatorServer:
    """A server of `simulator` on 127.0.0.1. Port 0 takes a free port; tokens that are not given are made.

    `clock` returns Unix milliseconds. Tests whose runs and actions have fixed dates pass a clock of those dates.

    The constructor binds the port. Raises: OSError if it is taken.
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
        """Start answering. Connections made since the constructor are answered too."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Cut every connection, close the port and wait for the thread. Safe to call twice."""
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
