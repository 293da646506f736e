"""The exporter: spans wait in a bounded queue, and one thread sends them to a collector (OTLP over HTTP).

Only this module knows the messages of OpenTelemetry. The loop encodes the spans of a cancel once it is answered; the
thread joins what is encoded and posts it. A thread that computed would take the interpreter from a request at each of
its system calls, which costs more than the work. What does not fit, or is not taken, is dropped and counted; nothing
waits for it.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache
from typing import NamedTuple

import urllib3
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status, TracesData

from gateway.log import hearing_no_signal
from gateway.process import Net
from gateway.telemetry.steps import TracedStep

MOST_STEPS = 4096
"""The most spans that wait; a cancel has about five."""
SWITCH_S = 0.0002
"""For how long a thread that wants the interpreter waits before it is given it, in seconds, while spans are sent.

Python's own 5 ms would let a cancel wait for what the thread does.
"""
PAUSE_S = 1.0
"""How long spans wait for others before they are sent, in seconds: what a batch costs, it costs once in that time."""
AGAIN_S = 0.5
"""How long the thread waits before it sends a batch again, in seconds."""
TIMEOUT_S = 5.0
"""How long the collector may take for one batch, attempts included, in seconds."""
MOST_ANSWER_BYTES = 64 * 1024
"""The longest answer of the collector that is read; nothing of it is used but its end."""
LATER = frozenset({429, 502, 503, 504})
"""The answers after which a batch is sent again, as the protocol has it."""

_KINDS = {"cancel": Span.SPAN_KIND_SERVER, "upstream": Span.SPAN_KIND_CLIENT}
_FAILED = Status(code=Status.STATUS_CODE_ERROR)
_LOCAL = SpanFlags.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK
_REMOTE = SpanFlags.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK


class _Encoded(NamedTuple):
    """So many spans, as bytes of `TracesData`: several of them in a row are one, that has the spans of all."""

    spans: int
    data: bytes


class TraceQueue:
    """The spans that wait, and the thread that sends them to the collector at `url` (`scheme://host[:port]`)."""

    def __init__(self, url: str, *, version: str, most: int = MOST_STEPS, timeout_s: float = TIMEOUT_S) -> None:
        self._most = most
        self._resource = Resource(
            attributes=[_said("service.name", "qstash-gateway"), _said("service.version", version)]
        )
        self._scope = InstrumentationScope(name="gateway", version=version)
        self._lock = threading.Lock()
        self._waiting: deque[_Encoded] = deque()
        self._spans = 0
        self._too_many = 0
        self._not_taken = 0
        self._failing = False
        self._timeout_s = timeout_s
        self._sending_since_s: float | None = None
        self._closing = threading.Event()
        self._collector = _Collector(url, timeout_s)
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

    def put(self, spans: Sequence[TracedStep]) -> None:
        """Take spans to be sent. Never waits."""
        if self._spans + len(spans) > self._most:
            self._too_many += len(spans)
            return
        encoded = self._encoded(spans)
        with self._lock:
            self._waiting.append(encoded)
            self._spans += encoded.spans

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

    def _encoded(self, spans: Sequence[TracedStep]) -> _Encoded:
        scope_spans = ScopeSpans(scope=self._scope, spans=[_span(span) for span in spans])
        data = TracesData(resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scope_spans])])
        return _Encoded(len(spans), data.SerializeToString())

    def _run(self) -> None:
        ends = False
        while not ends:
            ends = self._closing.wait(PAUSE_S)
            with self._lock:
                batch, self._waiting = self._waiting, deque()
                spans, self._spans = self._spans, 0
            if spans:
                self._send(_Encoded(spans, b"".join(one.data for one in batch)))
        self._collector.close()

    def _send(self, batch: _Encoded) -> None:
        taken = False
        self._sending_since_s = time.monotonic()
        with Net():
            taken = self._collector.take(batch.data)
        self._failing, self._sending_since_s = not taken, None
        if not taken:
            self._not_taken += batch.spans


def _span(step: TracedStep) -> Span:
    parent_id = step.parent_id
    return Span(
        trace_id=step.trace_id.to_bytes(16),
        span_id=step.span_id.to_bytes(8),
        parent_span_id=b"" if parent_id is None else parent_id.to_bytes(8),
        flags=_LOCAL | _REMOTE if step.remote else _LOCAL,
        name=step.name,
        kind=_KINDS.get(step.name, Span.SPAN_KIND_INTERNAL),
        start_time_unix_nano=step.started_ns,
        end_time_unix_nano=step.ended_ns,
        attributes=[_said(key, value) for key, value in step.attributes.items()],
        status=_FAILED if step.failed else None,
    )


@lru_cache(maxsize=256)  # of a cancel's attributes, most stand on each of its spans, or on each cancel
def _said(key: str, value: str | int) -> KeyValue:
    return KeyValue(
        key=key, value=AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    )


class _Collector:
    """The collector at `url`, and its connection. A batch has `timeout_s` seconds, attempts included."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = f"{url}/v1/traces"
        self._timeout_s = timeout_s
        self._pool = urllib3.PoolManager(1, headers={"Content-Type": "application/x-protobuf"}, retries=False)

    def take(self, body: bytes) -> bool:
        """Send spans, again where it says that it takes them later; return whether it took them.

        Raises: HTTPError: it did not answer, or without an end.
        """
        ends_s = time.monotonic() + self._timeout_s
        while (status := self._posted(body, ends_s)) in LATER and time.monotonic() + AGAIN_S < ends_s:
            time.sleep(AGAIN_S)
        return 200 <= status < 300

    def close(self) -> None:
        """Close the connection."""
        self._pool.clear()

    def _posted(self, body: bytes, ends_s: float) -> int:
        timeout = urllib3.Timeout(total=max(ends_s - time.monotonic(), 0.001))
        answer = self._pool.request("POST", self._url, body=body, timeout=timeout, preload_content=False)
        left = MOST_ANSWER_BYTES
        with closing(answer):
            while piece := answer.read1(left, decode_content=False):
                left -= len(piece)
                if left == 0 or time.monotonic() > ends_s:
                    raise urllib3.exceptions.HTTPError("the answer does not end")
            answer.release_conn()
        return answer.status
