"""The stream of decisions as they are closed (server-sent events): a bounded number of streams, behind the record.

One task reads the newest lines, on a thread, for all streams together, and only while there are any. A cancel never
waits for it: what a stream does not take in time is left out, and the stream is told so.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
from starlette.types import Send

from gateway.audit.decisions.finding import Closings
from gateway.core.errors import Overloaded, Refusal, Throttled
from gateway.core.request import Principal
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.edge.pages.decisions import DecisionPages, team_seen
from gateway.process import Net, report
from gateway.upstream.shares import Desk

MOST_STREAMS, OF_ONE = 64, 8
"""The most streams in all, and those of one principal."""

EVERY_S = 0.25
"""How often the newest lines are looked at, in seconds."""

CHECK_S = 0.5
"""How often a stream that is silent looks whether its caller is still there and accepted, in seconds."""

BEAT_S = 15.0
"""How often a silent stream is written to, so that nothing in between ends it, in seconds."""

MOST_WAITING = 256
"""The most events that wait for one stream; above it the oldest are left out."""

_HEAD = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store"), (b"x-accel-buffering", b"no")]


@dataclass(slots=True, eq=False)
class Stream:
    """One stream, from the call that opens it until its caller goes away or is accepted no more."""

    events: EventPages
    principal: Principal
    team: str | None
    waiting: deque[bytes] = field(default_factory=lambda: deque(maxlen=MOST_WAITING))
    some: asyncio.Event = field(default_factory=asyncio.Event)
    left_out: bool = False

    def put(self, event: bytes) -> None:
        """Have the stream send an event, in place of the oldest if too many wait."""
        self.left_out = self.left_out or len(self.waiting) == MOST_WAITING
        self.waiting.append(event)
        self.some.set()

    async def write(self, inbound: Inbound, send: Send) -> None:
        """Write the answer, event by event, until it ends. From its first byte on, what is closed is sent."""
        try:
            await self.events.following.wait()
            head = [*_HEAD, (b"gateway-decision", inbound.decision_id.encode()), (b"gateway-source", b"gateway")]
            if inbound.correlation.request_id is not None:
                head.append((b"x-request-id", inbound.correlation.request_id.encode()))
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": b": open\n\n", "more_body": True})
            await self._write(inbound, send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            self.events.end(self)

    async def _write(self, inbound: Inbound, send: Send) -> None:
        silent_s = 0.0
        while not await inbound.gone() and self.events.may_go_on(inbound):
            parts = [b"event: missed\ndata: {}\n\n"] if self.left_out else []
            parts += self.waiting
            self.left_out = False
            self.waiting.clear()
            self.some.clear()
            silent_s = 0.0 if parts else silent_s + CHECK_S
            if silent_s >= BEAT_S:
                parts, silent_s = [b": beat\n\n"], 0.0
            if parts:
                await send({"type": "http.response.body", "body": b"".join(parts), "more_body": True})
                continue
            try:
                async with asyncio.timeout(CHECK_S):
                    await self.some.wait()
            except TimeoutError:
                continue


class EventPages:
    """The call that opens streams, and the task that fills them. `ending` says that the process stops.

    `following` is set while the task follows the record.
    """

    def __init__(self, intake: Intake, pages: DecisionPages, ending: Callable[[], bool]) -> None:
        self._intake = intake
        self._pages = pages
        self._ending = ending
        self._desk = Desk("events", 1)
        self._streams: set[Stream] = set()
        self._task: asyncio.Task[None] | None = None
        self.following = asyncio.Event()

    async def events(self, inbound: Inbound) -> Stream:
        """Handle `GET /gateway/v1/events`. Raises: Throttled, Overloaded: there are as many streams as there may be."""
        no_query(inbound)
        caller = caller_of(inbound)
        if Counter(one.principal for one in self._streams)[caller] >= OF_ONE:
            sentence = f"{OF_ONE} event streams of yours are open, the most that may be. Close one."
            raise Throttled("event_streams", sentence, limit=OF_ONE, retry_after_s=5)
        if len(self._streams) >= MOST_STREAMS:
            raise Overloaded("event_streams", "As many event streams are open as there may be. Try again later.")
        stream = Stream(self, caller, team_seen(inbound))
        self._streams.add(stream)
        if self._task is None:
            self._task = asyncio.create_task(self._fill())
        return stream

    def end(self, stream: Stream) -> None:
        """Forget a stream."""
        self._streams.discard(stream)

    def may_go_on(self, inbound: Inbound) -> bool:
        """Return whether the caller of a stream is still accepted, as the same principal with the same sight."""
        live = self._intake.current.live
        try:
            caller = inbound.authenticate(live, self._intake.clock.now_ms())
        except Refusal:
            return False
        same = caller == inbound.principal and live.is_operator(caller) == inbound.live.is_operator(caller)
        return same and not self._ending()

    async def _fill(self) -> None:
        """Send what is closed to the streams that may see it, for as long as there are any."""
        closings, latest = Closings(self._pages.decisions), self._pages.decisions.latest
        written = latest.written_bytes  # asked first: what is written while the task skips is looked at after it
        with Net() as net:
            await self._desk.done("events", lambda: closings.skip)
        self.following.set()
        while self._streams:
            if net.fault is not None:
                report(net.fault, "closed decisions were not sent to event streams")
            with Net() as net:
                if written != (written := latest.written_bytes):
                    for one in await self._desk.done("events", lambda: closings.since):
                        data = orjson.dumps(one.members())
                        event = b"event: decision\nid: %b\ndata: %b\n\n" % (one.decision_id.encode(), data)
                        for stream in self._streams:
                            if stream.team in (None, one.team):
                                stream.put(event)
            await asyncio.sleep(EVERY_S)
        self.following.clear()
        self._task = None

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()
