"""Proxies before a server: what a test wants to happen between two moments happens there, however slow the machine."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

Seen = Callable[[bytes], object]
CANCEL = b"DELETE "
READING = b"GET "
METHODS = (CANCEL, READING, b"POST ")
RESET = struct.pack("ii", 1, 0)


class Proxy:
    """Passes connections on to `port` on 127.0.0.1; use as a context manager."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._acceptor = threading.Thread(target=self._accept, name="proxy", daemon=True)
        self._serving: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The base URL for the client."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many there have been."""
        return len(self._serving)

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

    def serve(self, connection: socket.socket, number: int) -> None:
        """Serves a connection, the `number`th from 1, to its end."""
        raise NotImplementedError

    @contextlib.contextmanager
    def onward(self, connection: socket.socket, seen: Seen = bool) -> Iterator[socket.socket]:
        """The server's side of a connection, while what the client says is passed on to it."""
        with connection, socket.create_connection(("127.0.0.1", self._port)) as server:
            for end in (connection, server):  # otherwise each small piece waits for the other side's 40 ms
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            outward = threading.Thread(target=pump, args=(connection, server, seen), daemon=True)
            outward.start()
            yield server
            outward.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the listener was shut down
            thread = threading.Thread(target=self.serve, args=(connection, self.connections + 1), daemon=True)
            self._serving.append(thread)
            thread.start()


class HeldAnswers(Proxy):
    """Passes everything on, but while `held` no answer to a cancel, or to a reading: it is done, and in flight."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._free = threading.Event()
        self._free.set()
        self._held, self._passing = CANCEL, 0

    @contextlib.contextmanager
    def held(self, method: bytes = CANCEL, *, after: int = 0) -> Iterator[None]:
        """Keeps answers back until the end of the `with`, but for the first `after` of them."""
        self._held, self._passing = method, after
        self._free.clear()
        try:
            yield
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Keeps nothing back any more."""
        self._free.set()

    def serve(self, connection: socket.socket, number: int) -> None:
        """Passes the answers on."""
        asks = b""

        def asked(chunk: bytes) -> None:
            nonlocal asks
            asks = next(filter(chunk.startswith, METHODS), asks)

        def answered(_: bytes) -> None:
            nonlocal asks
            if asks == self._held and self._passing > 0:
                self._passing -= 1
            elif asks == self._held:
                self._free.wait()
            asks = b""

        with self.onward(connection, asked) as server:
            pump(server, connection, answered)


def pump(source: socket.socket, sink: socket.socket, seen: Seen = bool) -> None:
    """Passes bytes on, each piece once `seen` returns, and the end; where one connection is reset, both are."""
    try:
        while chunk := _received(source, seen):
            sink.sendall(chunk)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
                end.shutdown(socket.SHUT_RD)


def _received(source: socket.socket, seen: Seen) -> bytes:
    """The next piece, or none at the end; a reset is seen as an end is. Raises: OSError: it was reset."""
    try:
        chunk = source.recv(65_536)
    except OSError:
        seen(b"")
        raise
    seen(chunk)
    return chunk
