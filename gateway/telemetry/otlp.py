"""The exporter: spans wait in a bounded queue, and one thread sends them to a collector (OTLP over HTTP).

Only this module knows OpenTelemetry. It makes that library's spans on its thread, so that a request pays for no more
than the plain value. What does not fit, or is not taken, is dropped and counted; nothing waits for it.
"""

from __future__ import annotations

import logging
import threading
from collections import deque

import requests
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from gateway.log import hearing_no_signal
from gateway.process import Net
from gateway.telemetry.steps import TracedStep

MOST_STEPS = 4096
"""The most spans that wait; a cancel has about six."""
MOST_AT_ONCE = 512
PAUSE_S = 0.5
"""How long spans wait for others before they are sent, in seconds."""
TIMEOUT_S = 5.0
"""How long the collector may take for one batch, attempts included, in seconds."""

_KINDS = {"cancel": SpanKind.SERVER, "upstream": SpanKind.CLIENT}


class TraceQueue:
    """The spans that wait, and the thread that sends them to the collector at `url` (`scheme://host[:port]`)."""

    def __init__(self, url: str, *, version: str, most: int = MOST_STEPS, timeout_s: float = TIMEOUT_S) -> None:
        self._most = most
        self._waiting: deque[TracedStep] = deque()
        self._too_many = 0
        self._not_taken = 0
        self._failing = False
        self._closing = threading.Event()
        self._batches = _Batches(url, version, timeout_s)
        self._thread = threading.Thread(target=self._run, name="traces", daemon=True)

    def begin(self) -> None:
        """Start the thread. Without one, spans are dropped and counted: cancels are worth more than their traces."""
        with Net(), hearing_no_signal():
            self._thread.start()
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
        if not self._failing:
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
                self._send([self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_AT_ONCE))])
        self._batches.close()

    def _send(self, spans: list[TracedStep]) -> None:
        taken = False
        with Net():
            taken = self._batches.send(spans)
        self._failing = not taken
        if not taken:
            self._not_taken += len(spans)


class _Batches:
    """The library's side: its spans are made of ours, and sent."""

    def __init__(self, url: str, version: str, timeout_s: float) -> None:
        # It tells of each failed attempt in lines of its own; the notice says it once.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL + 1)
        session = requests.Session()
        session.trust_env = False
        session.max_redirects = 0
        self._exporter = OTLPSpanExporter(f"{url}/v1/traces", timeout=timeout_s, session=session)
        self._ids, self._ended = _GivenIds(), _Ended()
        resource = Resource({"service.name": "qstash-gateway", "service.version": version})
        provider = TracerProvider(sampler=ALWAYS_ON, resource=resource, id_generator=self._ids, shutdown_on_exit=False)
        provider.add_span_processor(self._ended)
        self._tracer = provider.get_tracer("gateway", version)

    def send(self, spans: list[TracedStep]) -> bool:
        """Send spans; return whether the collector took them."""
        for span in spans:
            self._make(span)
        made, self._ended.spans = self._ended.spans, []
        return self._exporter.export(made) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Close the connection."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call] # it has no annotations

    def _make(self, span: TracedStep) -> None:
        self._ids.trace_id, self._ids.span_id = span.trace_id, span.span_id
        above = Context()
        if span.parent_id is not None:
            parent = SpanContext(span.trace_id, span.parent_id, span.remote, TraceFlags(TraceFlags.SAMPLED))
            above = set_span_in_context(NonRecordingSpan(parent), above)
        made = self._tracer.start_span(
            span.name,
            above,
            kind=_KINDS.get(span.name, SpanKind.INTERNAL),
            attributes=span.attributes,
            start_time=span.started_ns,
        )
        if span.failed:
            made.set_status(StatusCode.ERROR)
        made.end(span.ended_ns)


class _GivenIds(IdGenerator):
    """The ids of the span that is made next; they were given out when it began."""

    trace_id = 1
    span_id = 1

    def generate_trace_id(self) -> int:
        """Return the trace of the next span."""
        return self.trace_id

    def generate_span_id(self) -> int:
        """Return the id of the next span."""
        return self.span_id


class _Ended(SpanProcessor):
    """The spans that were made and not sent yet."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keep a span."""
        self.spans.append(span)
