"""A store that is slow, gone or killed: every call ends, says so in one way, and the next one works when it can."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.state.admissions import Admission, Admitted, Reservation
from gateway.state.settings import StateSettings
from gateway.store.deadline import Deadline
from gateway.store.engine import connector
from gateway.store.opened import SqlStore, open_store
from tests.support.project import ROOT
from tests.support.state.fixtures import insist, postgresql_settings, sqlite_settings
from tests.support.state.postgres import Postgres
from tests.support.waiting import eventually

MOST = 1_000_000
BUDGET = Budget(3_600_000, runs=MOST)
LONGEST_S = 2.0


def asked(decision: str) -> Admission:
    return Admission(decision, "one", Reservation("billing/own", "billing/own", 1, BUDGET))


@pytest.fixture
async def shared(postgres: Postgres) -> AsyncIterator[SqlStore]:
    """A store on a real server."""
    store = await open_store(await postgresql_settings(postgres), create=False)
    yield store
    await store.aclose()


async def refused_in_time(store: SqlStore, decision: str) -> str:
    begun = time.monotonic()
    with pytest.raises(StateUnavailable) as caught:
        await store.admit(asked(decision))
    assert time.monotonic() - begun < LONGEST_S
    return caught.value.cause


@pytest.mark.alone
async def test_a_hung_server_costs_no_call_two_seconds_and_is_used_again_when_it_wakes(
    shared: SqlStore, postgres: Postgres
) -> None:
    """However many calls meet it; connections that were cut off are not used again."""
    await insist(shared.admit, asked("before"))
    postgres.hang()
    causes = await asyncio.gather(*(refused_in_time(shared, f"hung-{number}") for number in range(12)))
    assert set(causes) == {"timeout"}
    assert await refused_in_time(shared, "still") == "timeout"
    postgres.wake()
    assert isinstance(await shared.admit(asked("after")), Admitted)


@pytest.mark.alone
async def test_a_server_that_is_down_is_said_at_once_and_one_that_comes_back_is_used(
    shared: SqlStore, postgres: Postgres
) -> None:
    """What was committed before is still there; the wait for changes ends all the same, and listens again later."""
    await insist(shared.admit, asked("before"))
    await shared.changed(5)
    postgres.stop()
    assert [await refused_in_time(shared, f"down-{number}") for number in range(3)] == ["unreachable"] * 3
    await asyncio.wait_for(shared.changed(0.1), 2)
    postgres.start()
    assert isinstance(await insist(shared.admit, asked("before")), Admitted)
    [left] = await insist(shared.left, [asked("x").reservation])
    assert left.runs == MOST - 1


@pytest.mark.alone
async def test_whoever_queues_for_one_budget_leaves_connections_to_others(postgres: Postgres) -> None:
    """However many do, and whoever holds it: freezes are read meanwhile, and other budgets are taken of."""
    settings = await postgresql_settings(postgres)
    store, holder = await open_store(settings, create=False), await connector(settings)()
    await insist(store.admit, asked("before"))
    await holder.execute("BEGIN")
    await holder.execute("SELECT * FROM scopes FOR UPDATE")
    queue = [asyncio.create_task(refused_in_time(store, f"queues-{number}")) for number in range(12)]
    await eventually(lambda: waits_for_a_row(postgres))
    other = Reservation("search/own", "search/own", 1, BUDGET)
    assert isinstance(await store.admit(Admission("other", "one", other)), Admitted)
    await store.beat("one", 0)
    assert not any(one.done() for one in queue)
    assert {await one for one in queue} == {"timeout"}
    holder.terminate()
    await store.aclose()


async def waits_for_a_row(postgres: Postgres) -> bool:
    return postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'").strip() != "0"


@pytest.mark.alone
async def test_a_lost_listen_is_made_again(shared: SqlStore, postgres: Postgres) -> None:
    """Nobody says that it was lost: the connection is asked, and another takes its place."""
    await shared.changed(5)
    await insist(shared.beat, "one", 0)
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE 'LISTEN%' OR query = 'SELECT 1'"
    postgres.sql(ended)
    # The new one tells that something may have been missed.
    begun = time.monotonic()
    await shared.changed(30)
    assert time.monotonic() - begun < 20


async def test_calls_that_do_not_end_are_left_alone_up_to_a_bound() -> None:
    """Beyond it the next call is refused at once, and begins when some of them have ended."""
    deadline = Deadline(seconds=0.05, most_abandoned=3)
    awake = asyncio.Event()

    async def stuck() -> None:
        while not awake.is_set():
            try:
                await awake.wait()
            except asyncio.CancelledError:
                continue

    for _ in range(3):
        with pytest.raises(StateUnavailable):
            await deadline.within(stuck(), lambda: False)
    begun = time.monotonic()
    with pytest.raises(StateUnavailable):
        await deadline.within(stuck(), lambda: False)
    assert time.monotonic() - begun < 0.05
    awake.set()
    await deadline.ended()
    await deadline.within(asyncio.sleep(0), lambda: False)


async def test_a_file_that_another_process_keeps_locked_is_a_store_that_cannot_be_asked(tmp_path: Path) -> None:
    """For as long as it is, and no longer; what is only read goes on."""
    import sqlite3

    settings = sqlite_settings(tmp_path)
    store = await open_store(settings, create=True)
    assert settings.file is not None
    other = sqlite3.connect(settings.file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateUnavailable) as caught:
        await store.admit(asked("a"))
    assert caught.value.cause == "timeout"
    assert await insist(store.decision, "d") is None
    other.execute("ROLLBACK")
    other.close()
    assert isinstance(await insist(store.admit, asked("a")), Admitted)
    await store.aclose()


KILLED = """
import asyncio, sys
from pathlib import Path
from gateway.core.errors import StateUnavailable
from gateway.files.nodes import Place
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.store.test_trouble import asked

async def main():
    file, url, password = (one or None for one in sys.argv[1:])
    settings = StateSettings(file and Path(file), url, Place("g", 1, 1), password and Path(password))
    store = await open_store(settings, create=False)
    print("open", flush=True)
    for number in range(1_000_000):
        try:
            await store.admit(asked(str(number)))
            print(number, flush=True)
        except StateUnavailable:
            continue

asyncio.run(main())
"""


def told_until_killed(settings: StateSettings, round_: int) -> int:
    """How many admissions a process was told of before it was killed in one of them."""
    arguments = [str(one or "") for one in (settings.file, settings.url, settings.password)]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED.replace("asked(str(number))", f'asked(f"{round_}-{{number}}")'), *arguments],
        cwd=ROOT, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(20)]
    os.kill(process.pid, signal.SIGKILL)
    told = len([*lines, *process.stdout.read().splitlines()]) - 1
    process.stdout.close()
    process.wait()
    return told


async def test_a_process_that_is_killed_in_an_admission_leaves_it_whole(settings: StateSettings) -> None:
    """What it was told is taken, at most one more, and nothing stays locked for those who go on."""
    store = await open_store(settings, create=True)
    told = 0
    for round_ in range(3):
        told += told_until_killed(settings, round_)
    assert isinstance(await insist(store.admit, asked("after")), Admitted)
    [left] = await insist(store.left, [asked("x").reservation])
    assert told + 1 <= MOST - left.runs <= told + 1 + 3
    await store.aclose()
