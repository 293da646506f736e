"""How long a caller's connection is kept, that it is said, and that no request is lost at its end."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.config import Config
from uvicorn.server import ServerState

from gateway.core.errors import Refusal
from gateway.core.forms.correlation import NOT_GIVEN, Correlation
from gateway.edge.connections import Connections, ProtocolSettings
from gateway.edge.protocol import KEEP_ALIVE_MARGIN_S, EdgeProtocol
from tests.edge.conftest import LIMITS
from tests.edge.wire import JSON, PATH, RUN_IDS, Edge, receive, started

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize(
    ("team", "status"), [("billing", 200), ("search", 403), (None, 401)], ids=["cancelled", "denied", "refused"]
)
def test_an_answer_says_how_long_its_connection_is_kept(edge: Edge, team: str | None, status: int) -> None:
    """75 s where nothing is configured; clients then end theirs first, or ask in time."""
    [first, second] = edge.send(edge.request(team=team) * 2, want=2)
    for answer in (first, second):
        assert (answer.status, answer.headers["keep-alive"]) == (status, "timeout=75")
        assert answer.headers["connection"] == "keep-alive"


def test_an_answer_that_ends_its_connection_promises_nothing(edge: Edge) -> None:
    """Where the caller closes, speaks HTTP/1.0 or sent a body that nobody reads, only the end is said."""
    ending = [
        edge.request("Connection: close"),
        edge.request(line=f"DELETE {PATH}?label=x HTTP/1.0"),
        edge.request(JSON, "Content-Length: 37", line=f"POST {PATH} HTTP/1.1", body=RUN_IDS),
        edge.request("Upgrade: websocket"),
    ]
    for data in ending:
        [answer] = edge.send(data)
        assert answer.headers["connection"] == "close"
        assert "keep-alive" not in answer.headers


def test_a_request_that_arrived_while_nobody_read_is_answered(tmp_path: Path) -> None:
    """A gateway that was held up past the idle time looks for bytes before it closes."""
    with started(tmp_path / "gateway", LIMITS, more="keep_alive_s: 3\n") as edge, edge.connect() as connection:
        connection.sendall(edge.request())
        [answer] = receive(connection, want=1)
        assert answer.headers["keep-alive"] == "timeout=3"
        edge.gateway.process.send_signal(signal.SIGSTOP)
        try:
            time.sleep(3 + 2 * KEEP_ALIVE_MARGIN_S)
            connection.sendall(edge.request())
        finally:
            edge.gateway.process.send_signal(signal.SIGCONT)
        assert [answer.status for answer in receive(connection, want=1)] == [200]


class Timer:
    """A timer of a loop whose time stands still."""

    def __init__(self, delay_s: float, callback: Callable[..., None]) -> None:
        self.delay_s = delay_s
        self.callback = callback
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class StillLoop:
    """The running loop, but its timers fire only when a test says so."""

    def __init__(self) -> None:
        self.timers: list[Timer] = []
        self.now_s = 0.0
        self._loop = asyncio.get_running_loop()

    def call_later(self, delay_s: float, callback: Callable[..., None]) -> Timer:
        self.timers.append(Timer(delay_s, callback))
        return self.timers[-1]

    def time(self) -> float:
        return self.now_s

    def create_task(self, coroutine: Any, **more: Any) -> asyncio.Task[None]:
        return self._loop.create_task(coroutine, **more)

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def fire(self) -> None:
        """Lets every timer that waits fire, once, when the last of them is due."""
        waiting, self.timers = self.waiting, []
        self.now_s += max((timer.delay_s for timer in waiting), default=0)
        for timer in waiting:
            timer.callback()


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.written = b""

    def get_extra_info(self, name: str, default: object = None) -> object:
        return Silent() if name == "socket" else default

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """Nothing is read here."""

    def resume_reading(self) -> None:
        """Nothing is read here."""


class Silent:
    """A socket of this machine."""

    family = 0

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1

    def getpeername(self) -> tuple[str, int]:
        return "127.0.0.1", 2

    def setsockopt(self, *option: object) -> None:
        """Takes any option."""


class Unrecorded:
    def record_soon(self, refusal: Refusal, *, decision_id: str, remote: str | None, correlation: Correlation) -> None:
        """Leaves no trace."""


async def empty(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body", "body": b""})


async def answered(loop: StillLoop) -> tuple[EdgeProtocol, Wire]:
    """A connection that has had one answer, and is idle."""
    connections = Connections(8)
    settings = ProtocolSettings(
        max_target_bytes=1000,
        max_header_bytes=1000,
        receive_timeout_s=10,
        keep_alive_s=75,
        refusals=Unrecorded(),
        connections=connections,
        ids_of=lambda _: NOT_GIVEN,
    )
    config = Config(empty, ws="none", lifespan="off", log_config=None, access_log=False)
    protocol = EdgeProtocol(settings=settings, config=config, server_state=ServerState(), app_state={}, _loop=loop)
    wire = Wire()
    protocol.connection_made(wire)
    protocol.data_received(REQUEST)
    await asyncio.sleep(0)
    assert wire.written.startswith(b"HTTP/1.1 200 OK\r\n")
    return protocol, wire


async def test_an_idle_connection_is_kept_a_little_longer_than_it_was_said() -> None:
    """One timer waits, for the seconds of the header and a margin for the way; then one last look, then the end."""
    loop = StillLoop()
    _, wire = await answered(loop)
    assert b"keep-alive: timeout=75\r\n" in wire.written
    assert [timer.delay_s for timer in loop.waiting] == [75 + KEEP_ALIVE_MARGIN_S]
    loop.fire()
    assert not wire.closed
    loop.fire()
    assert wire.closed


@pytest.mark.parametrize("looks", [0, 1])
async def test_a_request_that_has_begun_ends_the_waiting(looks: int) -> None:
    """From its first byte on only the deadline of a head counts, also where the last look finds it."""
    loop = StillLoop()
    protocol, wire = await answered(loop)
    for _ in range(looks):
        loop.fire()
    protocol.data_received(REQUEST[:1])
    of_head, idle = ([timer for timer in loop.waiting if (timer.delay_s > 10) == late] for late in (False, True))
    assert [timer.delay_s for timer in of_head] == [10]
    loop.now_s += 1000
    for timer in idle:
        timer.callback()
    assert loop.waiting == [*idle, *of_head]
    protocol.data_received(REQUEST[1:])
    await asyncio.sleep(0)
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 2
    assert not wire.closed


async def test_a_request_begins_the_waiting_anew() -> None:
    """A connection is kept for the stated time after its last answer, though its timer was set after the first."""
    loop = StillLoop()
    protocol, wire = await answered(loop)
    loop.now_s += 30
    protocol.data_received(REQUEST)
    await asyncio.sleep(0)
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 2
    [first] = loop.waiting
    loop.now_s, loop.timers = first.delay_s, []
    first.callback()
    assert [timer.delay_s for timer in loop.waiting] == [30]
    loop.fire()
    assert not wire.closed
    loop.fire()
    assert wire.closed


async def test_half_a_head_behind_an_answer_is_not_cut_off() -> None:
    """Where it came before the answer was written, its own deadline ends it, with an answer."""
    loop = StillLoop()
    protocol, wire = await answered(loop)
    protocol.data_received(REQUEST + REQUEST[:5])
    await asyncio.sleep(0)
    idle = [timer for timer in loop.waiting if timer.delay_s > 10]
    for timer in idle:
        timer.callback()
    assert not wire.closed
    protocol.data_received(REQUEST[5:])
    await asyncio.sleep(0)
    assert wire.written.count(b"HTTP/1.1 200 OK\r\n") == 3
