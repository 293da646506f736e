"""An answer is written whole or not at all: its head waits for its body, and both have the length that is stated."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from starlette.types import Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.edge.answers import Answer, write
from gateway.edge.reply import Cycle


class Wire:
    """A transport that keeps what is written."""

    def __init__(self, *, takes: bool = True, fails: bool = False) -> None:
        self.written: list[bytes] = []
        self.closed = False
        self._takes = takes
        self._fails = fails

    def write(self, data: bytes) -> None:
        self.written.append(data)
        self.closed = self._fails

    def untaken_bytes(self) -> int:
        """None of it, or all."""
        return 0 if self._takes else len(b"".join(self.written))

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


def answered(
    wire: Wire, body: bytes, *, stated: int, at_once: bool = False, method: str = "GET", keep_alive: bool = True
) -> bool:
    """One request whose application states a length and writes this body: in two messages, or at once if it can.

    Returns whether the answer has left the process.
    """

    async def run() -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        flow = SimpleNamespace(write_paused=False, resume_reading=lambda: None)
        protocol = SimpleNamespace(
            scope={"type": "http", "method": method, "http_version": "1.1", "state": {}},
            transport=wire,
            flow=flow,
            logger=None,
            access_logger=None,
            access_log=False,
            server_state=SimpleNamespace(default_headers=[]),
            on_response_complete=lambda: None,
        )
        of_uvicorn = cast(HttpToolsProtocol, protocol)
        cycle = Cycle(of_uvicorn, keep_alive=keep_alive, keep_alive_s=75, untaken_bytes=wire.untaken_bytes)

        async def app(_scope: object, _receive: object, send: Send) -> None:
            answer = Answer(200, [(b"content-type", b"text/plain"), (b"content-length", b"%d" % stated)], body)
            if at_once and cycle.take(answer):
                assert not cycle.take(answer)
            else:
                await write(answer, send)

        await cycle.run_asgi(app)
        return cycle.was_taken()

    return asyncio.run(run())


def test_an_answer_of_the_stated_length_is_one_write() -> None:
    """Head and body leave together, and the connection stays open."""
    wire = Wire()
    answered(wire, b"ok", stated=2)
    assert [written.partition(b"\r\n\r\n")[2] for written in wire.written] == [b"ok"]
    assert not wire.closed


@pytest.mark.parametrize("stated", [1, 3])
def test_an_answer_of_another_length_than_stated_is_not_written(stated: int) -> None:
    """Its rest would be read as the answer to the next request, perhaps of another caller."""
    wire = Wire()
    answered(wire, b"ok", stated=stated)
    assert (wire.written, wire.closed) == ([], True)


@pytest.mark.parametrize("stated", [1, 2, 3])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_answer_in_one_step_is_that_of_its_two_messages(stated: int, method: str, *, keep_alive: bool) -> None:
    """To the byte, whether the connection stays open or not, and whether the answer is valid or not."""
    in_two, at_once = Wire(), Wire()
    answered(in_two, b"ok", stated=stated, method=method, keep_alive=keep_alive)
    answered(at_once, b"ok", stated=stated, at_once=True, method=method, keep_alive=keep_alive)
    assert (b"".join(at_once.written), at_once.closed) == (b"".join(in_two.written), in_two.closed)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("keep_alive", [True, False])
def test_an_answer_that_stays_in_the_process_was_written_to_nobody(*, at_once: bool, keep_alive: bool) -> None:
    """Its caller may be told the number of a cancel only once the kernel has it; else the repeat has to join."""
    assert answered(Wire(), b"ok", stated=2, at_once=at_once, keep_alive=keep_alive)
    assert not answered(Wire(takes=False), b"ok", stated=2, at_once=at_once, keep_alive=keep_alive)


@pytest.mark.parametrize("at_once", [True, False])
def test_an_answer_whose_write_fails_was_written_to_nobody(*, at_once: bool) -> None:
    """A transport that cannot write closes itself, and keeps nothing."""
    assert not answered(Wire(fails=True), b"ok", stated=2, at_once=at_once)


def test_an_answer_of_another_length_was_written_to_nobody() -> None:
    """Nothing was written at all."""
    assert not answered(Wire(), b"ok", stated=3)
