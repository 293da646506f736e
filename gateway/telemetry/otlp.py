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
from collections.abc import Sequence
from contextlib import closing
from functools import lru_cache

import urllib3
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, SpanFlags, Status, TracesData

from gateway.log import hearing_no_signal
from gateway.process import Net, fault_of, machine_context, place, word
from gateway.telemetry.steps import TracedStep

MOST_STEPS = 4096
"""The most spans that wait, and the most of a batch; a cancel has about five, of some 270 bytes each.

So they take 4 MB at most: a batch is there twice, in pieces and joined, while others wait.
"""
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


class TraceQueue:
    """The spans that wait, and the thread that sends them to the collector at `url` (`scheme://host[:port]`)."""

    def __init__(self, url: str, *, version: str, most: int = MOST_STEPS, timeout_s: float = TIMEOUT_S) -> None:
        self._most = most
        service = {"service.name": "qstash-gateway", "service.version": version}
        self._resource = Resource(attributes=[_said(key, value) for key, value in service.items()])
        self._scope = InstrumentationScope(name="gateway", version=version)
        self._lock = threading.Lock()
        # Several messages in a row are one message that has the spans of all.
        self._waiting: list[bytes] = []
        self._spans = 0
        self._too_many = 0
        self._full = False
        self._not_encoded = 0
        self._not_taken = 0
        self._fault = ""
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
        return self._too_many + self._not_encoded + self._not_taken

    def put(self, steps: Sequence[TracedStep]) -> None:
        """Take spans to be sent. Neither waits nor raises: what does not fit or cannot be encoded is dropped."""
        if self._spans + len(steps) > self._most:
            self._too_many += len(steps)
            return
        try:
            self._add(len(steps), self._encoded(steps))
        except BaseException as caught:  # noqa: BLE001 - as in a Net
            self._put_singly(steps, fault_of(caught))

    def notices(self) -> list[str]:
        """Return a sentence while spans are lost, and one since a span could not be encoded."""
        notices: list[str] = []
        since_s, lost = self._sending_since_s, f"{self.dropped} spans were dropped since the start"
        if self._failing or (since_s is not None and time.monotonic() - since_s > self._timeout_s):
            taken = f"{lost}; this goes when it takes some"
            notices.append(f"the collector of traces (telemetry.otlp) does not take them: {taken}")
        elif self._full:
            notices.append(f"there are more spans than are sent in a second: {lost}; this goes when all fit")
        if self._not_encoded:
            lost = f"{self._not_encoded} spans were dropped since the start; report it"
            notices.append(f"a fault of the gateway keeps spans from being encoded ({self._fault}): {lost}")
        return notices

    def close(self, wait_s: float) -> None:
        """Send what waits, for at most `wait_s` seconds."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(wait_s)

    def _put_singly(self, steps: Sequence[TracedStep], fault: BaseException) -> None:
        if len(steps) > 1:
            for step in steps:
                self.put([step])
        else:
            self._not_encoded += 1
            self._fault = f"{word(fault)} at {place(fault)}"

    def _encoded(self, steps: Sequence[TracedStep]) -> bytes:
        scope_spans = ScopeSpans(scope=self._scope, spans=[_span(step) for step in steps])
        data = TracesData(resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scope_spans])])
        encoded: bytes = data.SerializeToString()
        return encoded

    def _add(self, spans: int, encoded: bytes) -> None:
        with self._lock:
            self._waiting.append(encoded)
            self._spans += spans

    def _run(self) -> None:
        ends = False
        while not ends:
            before = self._too_many
            ends = self._closing.wait(PAUSE_S)
            self._full = self._too_many > before
            with self._lock:
                waiting, self._waiting = self._waiting, []
                spans, self._spans = self._spans, 0
            if spans:
                self._send(spans, waiting)
        self._collector.close()

    def _send(self, spans: int, waiting: Sequence[bytes]) -> None:
        taken = False
        self._sending_since_s = time.monotonic()
        with Net():
            taken = self._collector.take(b"".join(waiting))
        self._failing, self._sending_since_s = not taken, None
        if not taken:
            self._not_taken += spans


def _span(step: TracedStep) -> Span:
    return Span(
        trace_id=step.trace_id.to_bytes(16),
        span_id=step.span_id.to_bytes(8),
        parent_span_id=b"" if step.parent_id is None else step.parent_id.to_bytes(8),
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
    said = AnyValue(string_value=value) if isinstance(value, str) else AnyValue(int_value=value)
    return KeyValue(key=key, value=said)


class _Collector:
    """The collector at `url`, and its connection. A batch has `timeout_s` seconds, attempts included."""

    def __init__(self, url: str, timeout_s: float) -> None:
        self._url = f"{url}/v1/traces"
        self._timeout_s = timeout_s
        self._pool = urllib3.PoolManager(
            1,
            headers={"Content-Type": "application/x-protobuf", "User-Agent": "qstash-gateway"},
            retries=False,  # neither again nor elsewhere: `take` says when a batch is sent again
            ssl_context=machine_context() if url.startswith("https:") else None,
        )

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
        answer = self._pool.request(
            "POST", self._url, body=body, timeout=timeout, redirect=False, preload_content=False
        )
        left = MOST_ANSWER_BYTES
        with closing(answer):
            while piece := answer.read1(left, decode_content=False):
                left -= len(piece)
                if left == 0 or time.monotonic() > ends_s:
                    raise urllib3.exceptions.HTTPError("the answer does not end")
        return answer.status
