"""Budgets that are put back from the record are those that the store had, whatever had happened; also in a backup."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.cli.state.rebuild import taken_in
from gateway.core.outcome import Accepted, Cancelled, NotSent, Progress, Refused, Unknown
from gateway.core.plan import Budget
from gateway.fleet.taken import recover
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from gateway.store.upkeep.copying import copy
from gateway.store.upkeep.rebuilding import restore
from tests.fleet.histories import Backup, Event, History, Restart, Step, left
from tests.support.state.fixtures import HERE, sqlite_settings

DAY_MS = 86_400_000
OUTCOMES = st.one_of(
    st.none(),
    st.builds(lambda cancelled: Cancelled(200, cancelled), st.integers(0, 8)),
    st.sampled_from(
        [
            Refused(401, "no"),
            Refused(429, "slow"),
            NotSent("dns"),
            Accepted(202, "a1"),
            Unknown("timeout"),
            Unknown("recovered"),
            Unknown("partial_audit", 504, Progress(3, (), ("wfr_x",))),
        ]
    ),
)
STEPS = st.builds(
    Step,
    st.integers(0, 1),
    st.integers(0, 2),
    st.integers(1, 6),
    OUTCOMES,
    told=st.booleans(),
    key=st.none() | st.sampled_from("ab"),
    settled=st.none() | st.integers(0, 6),
)
RESTARTS = st.builds(Restart, st.integers(0, 1), st.none() | st.integers(0, 6))
EVENTS = st.lists(st.one_of(STEPS, STEPS, STEPS, RESTARTS, st.just(Backup())), max_size=14)
BUDGETS = st.builds(Budget, st.just(DAY_MS), st.just(40), st.just(12), st.sampled_from(["rule", "team", "key"]))


PARTLY = Step(0, 0, 6, Unknown("partial_audit", 504, Progress(3, (), ("wfr_x",))))


@example(events=[PARTLY, Restart(0, settled=2)], budget=Budget(DAY_MS, 40, 12, "rule"))
@settings(max_examples=60)  # each lives through several gateways and stores
@given(events=EVENTS, budget=BUDGETS)
def test_a_rebuilt_store_and_a_restored_one_have_the_budgets_of_the_one_that_was_lost(
    events: Sequence[Event], budget: Budget
) -> None:
    """Every kind of outcome, of either gateway, told to the store or not before a death, and settled then or later.

    A backup has decisions under way that have ended since; rebuilt, and after the next start of the gateways, it has
    the same budgets. A copy has the same rows.
    """
    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(_compared(Path(directory), events, budget))


async def _compared(directory: Path, events: Sequence[Event], budget: Budget) -> None:
    lost = sqlite_settings(directory)
    assert lost.file is not None
    store = await open_store(lost, create=True)
    history = History(directory, store, lost.file, budget)
    try:
        await history.live(events)
        had = await left(store, budget)
    finally:
        await store.aclose()
    for name in ("rebuilt.db", *(backup.name for backup in history.backups)):
        one = StateSettings(directory / name, None, HERE)
        await restore(one, taken_in(history.records))
        assert await _started_with(one, history, budget) == had, name
        assert await restore(one, taken_in(history.records)) == 0, name
    await _copied(StateSettings(directory / "rebuilt.db", None, HERE), StateSettings(directory / "copy.db", None, HERE))


async def _started_with(kept: StateSettings, history: History, budget: Budget) -> list[tuple[int | None, int | None]]:
    """What is left where the gateways have started with this store."""
    store = await open_store(kept, create=False)
    try:
        for record in history.records:
            await recover(store, record, "none of these")
        return await left(store, budget)
    finally:
        await store.aclose()


async def _copied(source: StateSettings, target: StateSettings) -> None:
    await (await open_store(target, create=True)).aclose()
    await copy(source, target)
    assert _rows(source) == _rows(target) != []


def _rows(kept: StateSettings) -> list[tuple[object, ...]]:
    assert kept.file is not None
    found: list[tuple[object, ...]] = []
    with closing(sqlite3.connect(kept.file)) as link:
        for table in ("admissions", "scopes", "numbers", "gateway_revision"):
            found += sorted((table, *row) for row in link.execute(f"SELECT * FROM {table}"))  # noqa: S608 - a fixed name
    return found
