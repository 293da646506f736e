"""An upstream in a thread that answers every request with the same bytes, with or without TLS."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType
from typing import Self

WAIT_S = 20


class CannedServer:
    """Answers with `content`; keeps what it read, as text in the clear (`requests`) and off the wire (`raw`)."""

    def __init__(self, content: bytes, *, tls: ssl.SSLContext | None = None) -> None:
        self._content = content
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._serve, name="canned upstream", daemon=True)
        self.connections = 0
        self.requests: list[bytes] = []
        self.port: int = self._listener.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(WAIT_S)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # the listener was shut down
            self.connections += 1
            with connection, contextlib.suppress(OSError):  # the other side may leave at any time
                connection.settimeout(WAIT_S)
                self._answer(self._tls.wrap_socket(connection, server_side=True) if self._tls else connection)

    def _answer(self, connection: socket.socket) -> None:
        request = b""
        with connection:
            while b"\r\n\r\n" not in request:
                chunk = connection.recv(65536)
                if not chunk:
                    return
                request += chunk
            self.requests.append(request)
            connection.sendall(self._content)
