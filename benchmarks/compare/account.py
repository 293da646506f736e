"""An account for look-ups: lists its runs in pages, cancels them by their IDs, and needs the same time for each call.

The simulator of the project sorts all runs for each page, and would be what is measured.
"""

from __future__ import annotations

import asyncio
import bisect
import socket
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self, cast
from urllib.parse import parse_qsl

import httptools
import orjson
import uvloop

from benchmarks.growth.resolving import RUNAWAY, WORKFLOW
from benchmarks.harness.machine import Cores

PAGE = 10
_SPAN_MS, _AGE_MS = 3_600_000, 60_000

Members = dict[str, object]


@dataclass(frozen=True, slots=True)
class Manner:
    """How it answers: runs that it has, seconds for each call, readings that it answers in a second (0: any).

    Beside the runs of the workflow there are those of `others`, spread evenly. With `at_a_time` the workflow is one of
    which a request cancels so many runs at most, and requests follow each other until none is left.
    """

    runs: int
    latency_s: float = 0.02
    burst: int = 0
    others: int = 0
    at_a_time: int = 0

    @property
    def workflow(self) -> str:
        """The URL of the workflow whose runs are cancelled."""
        return RUNAWAY if self.at_a_time else WORKFLOW


_OTHER = "https://app9.example.com/api/other"


def _spread(now_ms: int, number: int, name: str) -> list[tuple[int, str]]:
    """So many runs over an hour, by creation time and ID."""
    return [(now_ms - _SPAN_MS + round(n * _SPAN_MS / number), f"wfr_{name}_{n:012d}") for n in range(number)]


class Account:
    """Started by `started`, with its event loop on a thread of its own; counts the calls."""

    def __init__(self, manner: Manner) -> None:
        self.manner = manner
        self.calls: Counter[str] = Counter()
        self.port = 0
        now_ms = time.time_ns() // 1_000_000 - _AGE_MS
        self._order = sorted([*_spread(now_ms, manner.runs, "bench"), *_spread(now_ms, manner.others, "other")])
        self._running = {run_id for _, run_id in self._order}
        self._window_s, self._left = 0.0, 0
        self.open: set[asyncio.Transport] = set()

    def started(self, directory: Path, cores: Cores) -> Self:
        """Answers from now on."""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="account", daemon=True)
        self._thread.start()
        serving = self._loop.create_server(lambda: _Caller(self, self._loop), sock=self._listener)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result(10)
        return self

    @property
    def running(self) -> int:
        """How many runs have not been cancelled; those of others are to be left, and count if they are not."""
        others = sum(run_id.startswith("wfr_other") for run_id in self._running)
        return len(self._running) - others + (self.manner.others - others)

    def stop(self) -> int:
        """Ends it; how many cancels reached it."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self._listener.close()
        return self.calls["orders"]

    async def _end(self) -> None:
        """Closes what is open: a loop that is closed before its connections may wait for them for ever."""
        self._server.close()
        for transport in list(self.open):
            transport.abort()
        await asyncio.sleep(0.05)  # the loop tells each of them that it is lost

    def answer(self, method: bytes, query: list[tuple[str, str]]) -> tuple[int, Members, str]:
        """Carries out one call: status, body, and header lines."""
        if method != b"GET":
            asked = {value for name, value in query if name == "workflowRunIds"}
            self.calls["orders"] += 1
            hit = asked & self._running
            self._running -= hit
            return 200, {"cancelled": len(hit)}, ""
        answered, headers = self._take()
        if not answered:
            self.calls["refused"] += 1
            return 429, {"error": "Exceeded burst rate limit."}, headers
        self.calls["readings"] += 1
        return 200, self._page(dict(query)), headers

    def _take(self) -> tuple[bool, str]:
        if not self.manner.burst:
            return True, ""
        now_s = time.time()
        if now_s >= self._window_s:
            self._window_s, self._left = now_s + 1, self.manner.burst
        answered = self._left > 0
        self._left = max(0, self._left - 1)
        told = {"Limit": self.manner.burst, "Remaining": self._left, "Reset": int(self._window_s * 1000)}
        return answered, "".join(f"Burst-RateLimit-{name}: {value}\r\n" for name, value in told.items())

    def _page(self, query: dict[str, str]) -> Members:
        """The next ten runs, newest first, before the cursor and between two dates."""
        if (one := query.get("workflowRunId")) is not None:
            return {"cursor": "", "runs": [self._entry(*at) for at in self._order if at[1] == one]}
        end = bisect.bisect_right(self._order, (int(query.get("toDate") or 1 << 60), "~"))
        if cursor := query.get("cursor"):
            created, _, run_id = cursor.partition("-")
            end = min(end, bisect.bisect_left(self._order, (int(created), run_id)))
        since_ms = int(query.get("fromDate") or 0)
        wanted = [at for at in reversed(self._order[:end]) if at[0] >= since_ms and self._listed(at[1], query)]
        page = wanted[:PAGE]
        more = f"{page[-1][0]}-{page[-1][1]}" if len(wanted) > PAGE else ""
        return {"cursor": more, "runs": [self._entry(*at) for at in page]}

    def _listed(self, run_id: str, query: dict[str, str]) -> bool:
        state = query.get("state")
        return query.get("workflowUrl") in {None, self._workflow(run_id)} and state in {None, self._state(run_id)}

    def _workflow(self, run_id: str) -> str:
        return _OTHER if run_id.startswith("wfr_other") else self.manner.workflow

    def _state(self, run_id: str) -> str:
        return "RUN_STARTED" if run_id in self._running else "RUN_CANCELED"

    def _entry(self, created_ms: int, run_id: str) -> Members:
        return {
            "workflowRunId": run_id,
            "workflowUrl": self._workflow(run_id),
            "workflowState": self._state(run_id),
            "workflowRunCreatedAt": created_ms,
            "labels": [],
            "steps": [],
        }


class _Caller(asyncio.Protocol):
    """One connection; each call is answered after the latency."""

    def __init__(self, account: Account, loop: asyncio.AbstractEventLoop) -> None:
        self._account, self._loop = account, loop
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport, which is one of streams, though uvloop's says so to no isinstance()."""
        self._transport = cast(asyncio.Transport, transport)
        self._account.open.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets the connection."""
        self._account.open.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        """Parses what has arrived."""
        self._parser.feed_data(data)

    def on_url(self, part: bytes) -> None:
        """Adds a part of the target."""
        self._target += part

    def on_message_complete(self) -> None:
        """Answers later."""
        method, target = self._parser.get_method(), self._target
        self._target = b""
        self._loop.call_later(self._account.manner.latency_s, self._answer, method, target)

    def _answer(self, method: bytes, target: bytes) -> None:
        if self._transport.is_closing():
            return
        query = parse_qsl(target.partition(b"?")[2].decode("ascii"))
        status, members, headers = self._account.answer(method, query)
        body = orjson.dumps(members)
        head = f"HTTP/1.1 {status} -\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode("ascii") + body)
