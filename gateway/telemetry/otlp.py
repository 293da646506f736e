"""The exporter: spans wait in a bounded queue, and one thread sends them to a collector (OTLP over HTTP).

Only this module knows OpenTelemetry. It makes that library's spans on its thread, so that a request pays for no more
than the plain value. What does not fit, or is not taken, is dropped and counted; nothing waits for it.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import deque
from typing import Any

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from gateway.log import hearing_no_signal
from gateway.process import Net
from gateway.telemetry.steps import TracedStep

MOST_STEPS = 4096
"""The most spans that wait; a cancel has about six."""
MOST_AT_ONCE = 32
"""The most spans of one batch."""
REST = 3
"""For how long the thread rests after a batch, as a multiple of the processor time that it took: a quarter of one."""
SWITCH_S = 0.0002
"""For how long a thread that wants the interpreter waits before it is given it, in seconds, while spans are sent.

Python's own 5 ms would let a cancel wait for a whole batch.
"""
PAUSE_S = 0.5
"""How long spans wait for others before they are sent, in seconds."""
TIMEOUT_S = 5.0
"""How long the collector may take for one batch, attempts included, in seconds."""
MOST_ANSWER_BYTES = 64 * 1024
"""The longest answer of the collector that is read; nothing of it is used but its end."""

_KINDS = {"cancel": SpanKind.SERVER, "upstream": SpanKind.CLIENT}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_UNSET, _FAILED = Status(StatusCode.UNSET), Status(StatusCode.ERROR)


class TraceQueue:
    """The spans that wait, and the thread that sends them to the collector at `url` (`scheme://host[:port]`)."""

    def __init__(self, url: str, *, version: str, most: int = MOST_STEPS, timeout_s: float = TIMEOUT_S) -> None:
        self._most = most
        self._waiting: deque[TracedStep] = deque()
        self._too_many = 0
        self._not_taken = 0
        self._failing = False
        self._timeout_s = timeout_s
        self._sending_since_s: float | None = None
        self._closing = threading.Event()
        self._batches = _Batches(url, version, timeout_s)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def begin(self) -> None:
        """Start the thread. Without one, spans are dropped and counted: cancels are worth more than their traces."""
        with Net(), hearing_no_signal():
            self._thread.start()
            sys.setswitchinterval(SWITCH_S)
            return
        self._failing, self._most = True, 0

    @property
    def dropped(self) -> int:
        """How many spans were dropped since the start."""
        return self._too_many + self._not_taken

    def put(self, span: TracedStep) -> None:
        """Take a span to be sent. Never waits, never raises."""
        if len(self._waiting) >= self._most:
            self._too_many += 1
            return
        self._waiting.append(span)

    def notices(self) -> list[str]:
        """Return a sentence while the collector does not take spans."""
        since_s = self._sending_since_s
        late = since_s is not None and time.monotonic() - since_s > self._timeout_s
        if not self._failing and not late:
            return []
        lost = f"{self.dropped} spans were dropped since the start; this goes when it takes some"
        return [f"the collector of traces (telemetry.otlp) does not take them: {lost}"]

    def close(self, wait_s: float) -> None:
        """Send what waits, for at most `wait_s` seconds."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _run(self) -> None:
        ends = False
        while not ends:
            ends = self._closing.wait(PAUSE_S)
            while self._waiting:
                began_s = time.thread_time()
                self._send([self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))])
                self._closing.wait(REST * (time.thread_time() - began_s))
        self._batches.close()

    def _send(self, spans: list[TracedStep]) -> None:
        taken = False
        self._sending_since_s = time.monotonic()
        with Net():
            taken = self._batches.send(spans)
        self._failing, self._sending_since_s = not taken, None
        if not taken:
            self._not_taken += len(spans)


class _Session(requests.Session):
    """Requests whose answers are bounded: in length, in time, and to those that say that the spans were taken."""

    def send(self, request: requests.PreparedRequest, **more: Any) -> requests.Response:  # noqa: ANN401 - as the library passes them
        """Send one request, and read its answer to the end. Raises: RequestException: it was not taken."""
        ends_s = time.monotonic() + more["timeout"]
        response = super().send(request, **{**more, "stream": True})
        try:
            _read(response, ends_s)
        except BaseException:
            response.close()
            raise
        return response


def _read(response: requests.Response, ends_s: float) -> None:
    """Read an answer, so that its connection can be used again. Raises: RequestException: it cannot be taken as one."""
    if 300 <= response.status_code < 400:
        # The library counts these as success.
        raise requests.TooManyRedirects("the collector is elsewhere")
    left = MOST_ANSWER_BYTES
    while piece := response.raw.read1(left, decode_content=False):
        left -= len(piece)
        if left == 0 or time.monotonic() > ends_s:
            raise requests.RequestException("the answer does not end")


class _Batches:
    """The library's side: its spans are made of ours, and sent."""

    def __init__(self, url: str, version: str, timeout_s: float) -> None:
        # It tells of each failed attempt in lines of its own; the notice says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        session = _Session()
        session.trust_env = False
        self._exporter = OTLPSpanExporter(f"{url}/v1/traces", timeout=timeout_s, session=session)
        self._resource = Resource({"service.name": "qstash-gateway", "service.version": version})
        self._scope = InstrumentationScope("gateway", version)

    def send(self, spans: list[TracedStep]) -> bool:
        """Send spans; return whether the collector took them."""
        return self._exporter.export([self._made(span) for span in spans]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # it has no annotations

    def _made(self, span: TracedStep) -> ReadableSpan:
        # Made as it is to be sent: a tracer would take twice as long, to find out what is known here.
        parent_id = span.parent_id
        return ReadableSpan(
            name=span.name,
            context=SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=_SAMPLED),
            parent=None if parent_id is None else SpanContext(span.trace_id, parent_id, span.remote, _SAMPLED),
            resource=self._resource,
            attributes=span.attributes,
            kind=_KINDS.get(span.name, SpanKind.INTERNAL),
            status=_FAILED if span.failed else _UNSET,
            start_time=span.started_ns,
            end_time=span.ended_ns,
            instrumentation_scope=self._scope,
        )
