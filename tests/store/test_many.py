"""One budget under eight processes: never more than it holds, nearly all of it, and one kind of failure."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gateway.state.admissions import Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.store.test_trouble import BUDGET
from tests.support.project import ROOT
from tests.support.state.fixtures import insist

PROCESSES, EACH, AT_ONCE = 8, 1_000, 4
RUNS, LIMIT = 3, 3_000
LONGEST_S = 2.0

TAKER = """
import asyncio, json, sys, time
from pathlib import Path
from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.files.nodes import Place
from gateway.state.admissions import Admission, Admitted, Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.store.test_many import AT_ONCE, EACH, LIMIT, RUNS

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


def takers(settings: StateSettings) -> list[dict[str, float]]:
    """What became of the requests of each process."""
    arguments = [str(one or "") for one in (settings.file, settings.url, settings.password)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TAKER, f"gateway-{number}", *arguments],
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
    return [json.loads(process.communicate(timeout=300)[0]) for process in processes]


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
