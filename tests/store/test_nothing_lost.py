"""No exception of a call is lost: not of one that is left alone, nor of a connection that nobody waits for any more."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.core.errors import StateUnavailable
from gateway.store.deadline import Deadline
from gateway.store.engine import connector
from gateway.store.opened import open_store
from tests.store.test_trouble import asked
from tests.support.state.fixtures import postgresql_settings
from tests.support.state.postgres import Postgres

TICKS = 60
"""More turns of the loop than opening a connection has before it waits for the server."""


class Lost:
    """What asyncio reports because nobody read it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self.told.append(f"{context.get('message')}: {context.get('exception')!r}")

    async def all(self) -> list[str]:
        """All of it, once what is over has been freed."""
        for _ in range(3):
            await asyncio.sleep(0.05)
            gc.collect()
        return self.told


@pytest.fixture
async def lost() -> Lost:
    """Listens to the loop of this test."""
    found = Lost()
    asyncio.get_running_loop().set_exception_handler(found)
    return found


@pytest.fixture
def killed(postgres: Postgres) -> Iterator[Postgres]:
    """The server, which this test may kill."""
    yield postgres
    if postgres.running:
        postgres.wake()


def kill(server: Postgres) -> None:
    """Kills the server and all its processes, in the middle of whatever they do."""
    process = server._process
    assert process is not None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in (process.pid, *map(int, children)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.stop()


@pytest.mark.parametrize("hung", [False, True], ids=["awake", "hung"])
async def test_who_stops_waiting_for_a_connection_leaves_nothing_unread(
    postgres: Postgres, lost: Lost, *, hung: bool
) -> None:
    """After each turn of the loop; a connection that comes too late is closed."""
    connect = connector(await postgresql_settings(postgres))
    if hung:
        postgres.hang()
    for ticks in range(TICKS):
        task = asyncio.ensure_future(connect())
        for _ in range(ticks):
            await asyncio.sleep(0)
        task.cancel()
        with suppress(asyncio.CancelledError):
            (await task).terminate()
    await asyncio.sleep(1.6)
    postgres.wake()
    assert await lost.all() == []


@pytest.mark.alone
async def test_a_server_that_is_killed_while_calls_are_left_over_leaves_nothing_unread(
    killed: Postgres, lost: Lost
) -> None:
    """Calls that ran out of time, calls under way, and the connection that listens."""
    store = await open_store(await postgresql_settings(killed), create=False)
    await store.changed(5)
    killed.hang()

    async def call(number: int) -> None:
        with suppress(StateUnavailable):
            await store.admit(asked(str(number)))

    await asyncio.gather(*(call(number) for number in range(12)))
    under_way = [asyncio.create_task(call(number)) for number in range(12, 24)]
    given_up = [asyncio.create_task(call(number)) for number in range(24, 30)]
    await asyncio.sleep(0.2)
    for task in given_up:
        task.cancel()
    kill(killed)
    await asyncio.gather(*under_way, *given_up, return_exceptions=True)
    await store.aclose()
    assert await lost.all() == []


async def test_a_call_that_fails_as_its_waiter_leaves_is_read(lost: Lost) -> None:
    """Both in one turn of the loop: nobody takes the exception."""
    deadline, fails = Deadline(), asyncio.Event()

    async def work() -> None:
        await fails.wait()
        raise OSError("gone")

    waiting = asyncio.create_task(deadline.within(work(), lambda: False))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    fails.set()
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError, OSError):
        await waiting
    del waiting
    assert await lost.all() == []
