"""A TCP proxy between client and gateway that cuts connections while the answer is still on its way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

WAIT_S = 20


class BreakingProxy:
    """Forwards to `port` on 127.0.0.1; use as a context manager.

    The first connection is cut, on both sides, once `cut_when` holds; then every new one is closed before it is
    forwarded, until `heal_when` holds. Later connections pass.
    """

    def __init__(self, port: int, *, cut_when: Callable[[], bool], heal_when: Callable[[], bool]) -> None:
        self._port = port
        self._cut_when = cut_when
        self._heal_when = heal_when
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._acceptor = threading.Thread(target=self._accept, name="breaking-proxy", daemon=True)
        self._serving: list[threading.Thread] = []
        self.connections = 0
        self.cut = 0

    @property
    def url(self) -> str:
        """The base URL for the client."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self._listener.close()
        for thread in self._serving:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.connections > 1 and not self._heal_when():
                self.cut += 1
                connection.close()
                continue
            serve = self._cut if self.connections == 1 else self._pass
            thread = threading.Thread(target=serve, args=(connection,), daemon=True)
            self._serving.append(thread)
            thread.start()

    def _cut(self, connection: socket.socket) -> None:
        with self._forwarded(connection) as onward:
            wait_until(self._cut_when)
            for end in (connection, onward):
                with contextlib.suppress(OSError):  # the gateway may have closed its side on seeing the other one end
                    end.shutdown(socket.SHUT_RDWR)
            self.cut += 1

    def _pass(self, connection: socket.socket) -> None:
        with self._forwarded(connection) as onward:
            _pump(onward, connection)

    @contextlib.contextmanager
    def _forwarded(self, connection: socket.socket) -> Iterator[socket.socket]:
        """The gateway's side of a connection, while what the client says is passed on to it."""
        with connection, socket.create_connection(("127.0.0.1", self._port)) as onward:
            outward = threading.Thread(target=_pump, args=(connection, onward), daemon=True)
            outward.start()
            yield onward
            outward.join()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65_536):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)


def wait_until(holds: Callable[[], bool]) -> None:
    """Waits until something holds; fails if it never does."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.01)
