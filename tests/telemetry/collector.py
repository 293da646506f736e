"""A collector of traces: it takes OTLP over HTTP, and keeps what it was sent."""

from __future__ import annotations

import http.server
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedIOBase
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.waiting import until


@dataclass(frozen=True, slots=True)
class Received:
    """A span as the collector has it; ids in hexadecimal digits, `parent` empty if there is none."""

    name: str
    trace: str
    span: str
    parent: str
    kind: int
    status: int
    started_ns: int
    ended_ns: int
    attributes: dict[str, str | int]


class Collector:
    """A server on loopback that answers with `status`, or not until it is let go; use as a context manager.

    Each answer names another place and a late time (`Location`, `Retry-After`), which the gateway is to pass over. With
    `trickle` the answer has no end: after this beginning it says a piece of it again and again.
    """

    def __init__(
        self,
        *,
        status: int = 200,
        held: bool = False,
        trickle: tuple[bytes, bytes] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.status = status
        self.trickle = trickle
        self.over = threading.Event()
        self.free = threading.Event()
        if not held:
            self.free.set()
        self.spans: list[Received] = []
        self.bodies: list[bytes] = []
        self.resources: list[dict[str, str | int]] = []
        self.paths: set[str] = set()
        self.callers: set[tuple[str, int]] = set()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector.callers.add(self.client_address)
                collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                if collector.trickle is not None:
                    collector.trickles(self.wfile, *collector.trickle)
                    self.close_connection = True
                    return
                self.send_response(collector.status)
                self.send_header("Location", "/elsewhere")
                self.send_header("Retry-After", "3600")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                """Say nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.free.set()
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def trickles(self, answer: BufferedIOBase, beginning: bytes, piece: bytes) -> None:
        """Answer without end, until the other side leaves."""
        with suppress(OSError):
            answer.write(beginning)
            while not self.over.wait(0.01):
                answer.write(piece)

    def take(self, path: str, body: bytes) -> None:
        """Keep the spans of one request, if it is to be answered with success."""
        self.free.wait()
        self.paths.add(path)
        self.bodies.append(body)
        if self.status != 200:
            return
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(_attributes(group.resource.attributes))
            self.spans += [_received(span) for scope in group.scope_spans for span in scope.spans]

    def trace(self, trace_id: str) -> list[Received]:
        """The spans of one trace, in the order in which they began, once its `cancel` is here."""
        until(lambda: any(one.name == "cancel" and one.trace == trace_id for one in self.spans))
        return sorted((one for one in self.spans if one.trace == trace_id), key=lambda one: one.started_ns)


def _received(span: Any) -> Received:
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.kind,
        span.status.code,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        _attributes(span.attributes),
    )


def _attributes(pairs: Any) -> dict[str, str | int]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in pairs}
