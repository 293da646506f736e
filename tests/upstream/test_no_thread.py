"""The system gives the process no thread: what was not sent is called so, with a cause, and nothing stops for good."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from pyreqwest.exceptions import RequestPanicError

from gateway.files.watch import WatchedFile, fingerprint, watch
from gateway.log import Console, make_log
from gateway.upstream.client import Exchange, Failed, UpstreamLimits
from gateway.upstream.pool import MAX_URL_BYTES, NO_THREAD, PooledTransport, _fail
from gateway.upstream.token import UpstreamToken
from tests.callers.virtual_time import run

LIMITS = UpstreamLimits(1, 2)


class Barren(ThreadPoolExecutor):
    """Has no thread for the first `times` calls; makes the others at once."""

    def __init__(self, times: int) -> None:
        super().__init__(1)
        self.left = times

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("can't start new thread")
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def panic(text: str) -> RequestPanicError:
    """As the library raises it; its stubs have the causes of its other errors."""
    return RequestPanicError("Request panicked", {"causes": [text]})  # type: ignore[list-item]


async def test_a_long_target_that_needs_a_thread_is_not_sent() -> None:
    """What such a target goes over is made on a thread; without one no byte left, and the cause says why."""
    asyncio.get_running_loop().set_default_executor(Barren(1))
    transport = PooledTransport(max_connections=1, connect_timeout_s=1)
    exchange = Exchange("http://127.0.0.1:9", limits=LIMITS, transport=transport)
    target = b"/" + b"a" * MAX_URL_BYTES
    failed = await exchange.send("DELETE", target, UpstreamToken("t" * 40), max_answer_bytes=10)
    assert failed == Failed(sent=False, cause="no_thread")
    await exchange.aclose()


async def test_a_name_that_needs_a_thread_is_not_sent() -> None:
    """The library panics where it resolves a name, before there is a connection."""

    class Panicking(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            _fail(panic(f"{NO_THREAD}: os error 11"))

    exchange = Exchange("http://localhost:9", limits=LIMITS, transport=Panicking())
    failed = await exchange.send("DELETE", b"/", UpstreamToken("t" * 40), max_answer_bytes=10)
    assert failed == Failed(sent=False, cause="no_thread")


def test_every_other_panic_of_the_library_may_have_sent_bytes() -> None:
    """Only the one text is known to come before a connection."""
    with pytest.raises(httpx.ReadError):
        _fail(panic("index out of bounds"))


def test_a_watched_file_is_read_again_once_there_is_a_thread(tmp_path: Path) -> None:
    """A token, key or policy that was taken away may not be in force for ever because of one missing thread."""
    path, read = tmp_path / "token", list[str]()
    path.write_text("old")
    file = WatchedFile(path, lambda: read.append(path.read_text()), seen=fingerprint(path))
    path.write_text("newer")

    async def story() -> None:
        asyncio.get_running_loop().set_default_executor(Barren(3))
        watching = asyncio.create_task(watch(lambda: [file], make_log(Console(-1))))
        await asyncio.sleep(10)
        watching.cancel()

    run(story())
    assert read == ["newer"]
