"""One budget under eight processes: never more than it holds, nearly all of it, and one kind of failure."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from gateway.state.admissions import Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.store.test_trouble import BUDGET
from tests.support.project import ROOT
from tests.support.state.fixtures import insist, sqlite_settings

PROCESSES, EACH, AT_ONCE = 8, 1_000, 4
RUNS, LIMIT = 3, 3_000
LONGEST_S = 6.0
"""The 1.5 s of a call, and what a machine adds that has other things to do. Without a deadline a hung call takes 18."""

TAKER = """
import asyncio, json, sys, time
from pathlib import Path
from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.files.nodes import Place
from gateway.state.admissions import Admission, Admitted, Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.store.test_many import AT_ONCE, LIMIT, RUNS

async def main():
    name, *store = sys.argv[1:]
    file, url, password = (one or None for one in store)
    settings = StateSettings(file and Path(file), url, Place("g", 1, 1), password and Path(password), 4)
    store = await open_store(settings, create=False)
    print("open", flush=True)
    sys.stdin.readline()
    waiting = iter(range(EACH))
    told = {"admitted": 0, "exhausted": 0, "unavailable": 0, "longest_s": 0.0}

    async def take():
        for number in waiting:
            taken = Reservation("billing/own", "billing/own", RUNS, Budget(3_600_000, runs=LIMIT))
            begun = time.monotonic()
            try:
                verdict = await store.admit(Admission(f"{name}-{number}", name, taken))
                told["admitted" if isinstance(verdict, Admitted) else "exhausted"] += 1
            except StateUnavailable:
                told["unavailable"] += 1
            told["longest_s"] = max(told["longest_s"], time.monotonic() - begun)

    await asyncio.gather(*(take() for _ in range(AT_ONCE)))
    await store.aclose()
    print(json.dumps(told))

asyncio.run(main())
"""


def begun(settings: StateSettings, *, each: int = EACH) -> list[subprocess.Popen[bytes]]:
    """Processes that take of the budget, each so often."""
    arguments = [str(one or "") for one in (settings.file, settings.url, settings.password)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER.replace("range(EACH)", f"range({each})"), f"gateway-{number}", *arguments],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        for number in range(PROCESSES)
    ]  # fmt: skip
    # All have it open before the first takes anything: the law is not about opening.
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
    return processes


def takers(settings: StateSettings) -> list[dict[str, float]]:
    """What became of the requests of each process."""
    return [json.loads(process.communicate(timeout=300)[0]) for process in begun(settings)]


@pytest.mark.alone
async def test_eight_processes_take_a_budget_and_no_more(settings: StateSettings) -> None:
    """A thousand requests of each: what is reserved never exceeds the budget, and no call outlasts its deadline."""
    await (await open_store(settings, create=True)).aclose()
    told = takers(settings)
    store = await open_store(settings, create=False)
    whole = Reservation("billing/own", "billing/own", 0, BUDGET)
    [left] = await insist(store.left, [whole])
    reserved = (BUDGET.runs or 0) - (left.runs or 0)
    await store.aclose()
    assert 0.9 * LIMIT < reserved <= LIMIT
    # A call that ran out of time may have happened.
    admitted = sum(one["admitted"] for one in told) * RUNS
    assert admitted <= reserved <= admitted + sum(one["unavailable"] for one in told) * RUNS
    assert sum(sum(one[word] for one in told) for word in ("admitted", "exhausted", "unavailable")) == PROCESSES * EACH
    assert max(one["longest_s"] for one in told) < LONGEST_S


@pytest.mark.alone
async def test_a_file_that_thirty_two_takers_hold_is_opened_all_the_same(tmp_path: Path) -> None:
    """Its revision is read, which waits for no writer; so a gateway that starts under load starts."""
    settings = sqlite_settings(tmp_path)
    await (await open_store(settings, create=True)).aclose()
    with ExitStack() as stack:
        for process in begun(settings, each=10**9):
            stack.callback(process.communicate)
            stack.callback(process.kill)
        for _ in range(20):
            await (await asyncio.wait_for(open_store(settings, create=True), LONGEST_S)).aclose()


async def test_a_file_that_another_process_writes_for_long_is_opened(tmp_path: Path) -> None:
    """Once it has tables; a new one is waited for until its maker is done, and found with them."""
    settings = sqlite_settings(tmp_path)
    assert settings.file is not None
    with closing(sqlite3.connect(settings.file, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("BEGIN IMMEDIATE")
        made = asyncio.create_task(open_store(settings, create=True))
        await asyncio.sleep(0.2)
        assert not made.done()
        other.execute("ROLLBACK")
        await (await made).aclose()
        other.execute("BEGIN IMMEDIATE")
        await (await open_store(settings, create=True)).aclose()
        other.execute("ROLLBACK")
