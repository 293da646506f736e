"""How many admissions a second one budget takes at the store's port, and how many bytes each leaves there."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.compare.report import table
from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.files.nodes import Place
from gateway.state.admissions import Admission, Admitted, Closed, Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import SqlStore, open_store
from gateway.store.upkeep.migrate import migrate
from tests.support.state.postgres import Postgres

ROWS = (0, 10_000)
AT_ONCE = 8
_HERE = Place("benchmark", 1, 1)
_BUDGET = Budget(86_400_000, runs=100_000_000)
_SCOPE = "bench/own"


def report(directory: Path, postgres: Postgres, *, seconds: float) -> str:
    """The table, for each database with a budget that has few and many requests in its window."""
    rows = []
    for name, settings, size in (_sqlite(directory), _postgresql(postgres)):
        asyncio.run(migrate(settings))
        before = size()
        taken, measured = asyncio.run(_measured(settings, seconds=seconds))
        a_row = f"{(size() - before) / taken:.0f}"
        rows += [[name, f"{held:,}", f"{alone_ms:.2f}", f"{per_s:.0f}", a_row] for held, alone_ms, per_s in measured]
    head = ["", "in the window", "one alone, ms", f"a second, {AT_ONCE} at once", "bytes of an admission"]
    return table(head, rows)


def _sqlite(directory: Path) -> tuple[str, StateSettings, Callable[[], int]]:
    file = directory / "taking.db"
    return "SQLite", StateSettings(file, None, _HERE), lambda: file.stat().st_size


def _postgresql(postgres: Postgres) -> tuple[str, StateSettings, Callable[[], int]]:
    url = postgres.new_database()
    asked = "SELECT pg_total_relation_size('admissions')"
    return (
        "PostgreSQL",
        StateSettings(None, url, _HERE, postgres.password_file),
        lambda: int(postgres.sql(asked, url.rpartition("/")[2])),
    )


async def _measured(settings: StateSettings, *, seconds: float) -> tuple[int, list[tuple[int, float, float]]]:
    """How many were taken in all; with so many in the window, milliseconds of one alone, and how many a second."""
    store = await open_store(settings, create=False)
    numbers, found = itertools.count(1), []
    held = 0
    try:
        for wanted in ROWS:
            while held < wanted:
                took = await asyncio.gather(*(_take(store, next(numbers)) for _ in range(AT_ONCE)))
                held += sum(one is not None for one in took)
            alone_ms = [ms for _ in range(200) if (ms := await _take(store, next(numbers))) is not None]
            begun_s, before = time.perf_counter(), held
            ends_s = begun_s + seconds
            counts = await asyncio.gather(*(_take_until(store, numbers, ends_s) for _ in range(AT_ONCE)))
            found.append((before, statistics.median(alone_ms), sum(counts) / (time.perf_counter() - begun_s)))
            held += len(alone_ms) + sum(counts)
    finally:
        await store.aclose()
    return held, found


async def _take_until(store: SqlStore, numbers: Iterator[int], ends_s: float) -> int:
    count = 0
    while time.perf_counter() < ends_s:
        count += await _take(store, next(numbers)) is not None
    return count


async def _take(store: SqlStore, number: int) -> float | None:
    """Milliseconds of one admission, None where it ran out of time; closed afterwards, as behind an answer."""
    decision = str(uuid.UUID(int=number))
    begun_s = time.perf_counter()
    try:
        verdict = await store.admit(Admission(decision, "bench", Reservation(_SCOPE, _SCOPE, 1, _BUDGET)))
        took_ms = (time.perf_counter() - begun_s) * 1000
        assert isinstance(verdict, Admitted)
        await store.close(decision, Closed(1))
    except StateUnavailable:
        return None
    return took_ms
