"""A receiver of notices on loopback: a real HTTP server that takes, refuses, redirects, hangs or never ends."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


@dataclass(frozen=True)
class Received:
    """One request; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        """The ID that a receiver knows repeats by."""
        return self.headers["webhook-id"]

    def json(self) -> dict[str, Any]:
        """The body's members."""
        members = json.loads(self.body)
        assert isinstance(members, dict)
        return members


class Receiving:
    """The server; use as a context manager. `taken` is what it answered with 2xx, `seen` whatever arrived.

    `status` is what it answers, with `headers`. While it `hangs` it answers nothing, and where it is `endless` its
    answers never end. With TLS it has the certificate of `tls`.
    """

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.status = 204
        self.headers: dict[str, str] = {}
        self.hangs = False
        self.endless = False
        self.seen: list[Received] = []
        self.taken: list[Received] = []
        self.sent_bytes = 0
        self._released = threading.Event()
        receiving = self

        class Handler(BaseHTTPRequestHandler):
            """Hands requests over."""

            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiving._posted(self)

            def do_GET(self) -> None:
                receiving._posted(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in the base class
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    def url(self, path: str = "/hook") -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}{path}"

    def _posted(self, handler: BaseHTTPRequestHandler) -> None:
        length = int(handler.headers.get("content-length") or 0)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        received = Received(handler.path, headers, handler.rfile.read(length))
        self.seen.append(received)
        if self.hangs:
            self._released.wait()
            return
        if 200 <= self.status < 300:
            self.taken.append(received)
        handler.send_response(self.status)
        for name, value in self.headers.items():
            handler.send_header(name, value)
        if self.endless:
            handler.end_headers()
            self._pour(handler)
        else:
            if self.status != 204:
                handler.send_header("Content-Length", "0")
            handler.end_headers()

    def _pour(self, handler: BaseHTTPRequestHandler) -> None:
        try:
            while not self._released.is_set():
                self.sent_bytes += handler.wfile.write(b"x" * 65_536)
        except OSError:
            handler.close_connection = True


def verified(received: Received, secret: bytes, *, now_s: float, tolerance_s: float = 300) -> bool:
    """Whether a receiver believes it, by what Standard Webhooks says, written here anew."""
    if abs(now_s - int(received.headers["webhook-timestamp"])) > tolerance_s:
        return False
    key = base64.b64decode(secret[len(b"whsec_") :]) if secret.startswith(b"whsec_") else secret
    content = f"{received.id}.{received.headers['webhook-timestamp']}.".encode() + received.body
    expected = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    offered = [one.partition(",") for one in received.headers["webhook-signature"].split(" ")]
    return any(version == "v1" and hmac.compare_digest(value, expected) for version, _, value in offered)
