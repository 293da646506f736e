"""A timer that a dead process left in the middle goes on as its record says; what that does not say is not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.audit.segment import ChainLock, OsDisk
from gateway.fleet.timed.due import LATER_MS, SOON_MS
from gateway.fleet.timed.recovered import recover
from gateway.state.timed.timers import Stage, Timer
from tests.fleet.endings import HOUR_MS
from tests.fleet.test_taken import ALIVE, DEAD, OWN, chain, decision, intent, outcome
from tests.support.state.timers import MemoryTimers

PREPARED = Timer(decision(1), "queue", "qn", "team", "ann", None, HOUR_MS, DEAD)


async def taken(instance: str = DEAD) -> MemoryTimers:
    """A store with a timer that was taken, to be resumed under decision 2."""
    store = MemoryTimers(rows={decision(1): Timer(*_values(PREPARED), stage=Stage.WAITING, due_ms=0)})
    assert await store.take_timer(decision(1), decision(2), instance)
    return store


def _values(timer: Timer) -> tuple[str, str, str, str, str, None, int, str]:
    return timer.decision_id, timer.field, timer.name, timer.team, timer.subject, None, timer.lasts_ms, timer.instance


def left(store: MemoryTimers) -> tuple[Stage, int | None, str | None] | None:
    """What the store holds: how far, after how long it is due, why it is stuck."""
    for row in store.rows.values():
        return row.stage, None if row.due_ms is None else row.due_ms - store.clock.now_ms(), row.why
    return None


UNKNOWN = {"outcome": "unknown", "cause": "recovered"}
THROTTLED = {"outcome": "refused", "upstream_status": 429}
FORBIDDEN = {"outcome": "refused", "upstream_status": 403}
NOT_SENT = {"outcome": "not_sent", "cause": "dns"}


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ({}, (Stage.WAITING, HOUR_MS, None)),
        (UNKNOWN, (Stage.STUCK, None, "pause_unknown")),
        (NOT_SENT, None),
        (FORBIDDEN, None),
    ],
    ids=["done", "unknown", "not sent", "refused"],
)
async def test_a_pause_is_settled_by_its_outcome(
    tmp_path: Path, members: dict[str, object], found: tuple[Stage, int | None, str | None] | None
) -> None:
    """From now on it waits for as long as it was to last."""
    store = MemoryTimers(rows={decision(1): PREPARED})
    chain(tmp_path, DEAD, intent(1), outcome(1, **members))
    await recover(store, tmp_path, OWN)
    assert left(store) == found


async def test_a_pause_without_an_intent_was_not_sent(tmp_path: Path) -> None:
    """The process died between the store and its record."""
    store = MemoryTimers(rows={decision(1): PREPARED})
    chain(tmp_path, DEAD)
    await recover(store, tmp_path, OWN)
    assert store.rows == {}


@pytest.mark.parametrize(
    ("records", "found"),
    [
        ([], (Stage.WAITING, SOON_MS, None)),
        ([intent(2), outcome(2, **NOT_SENT)], (Stage.WAITING, SOON_MS, None)),
        ([intent(2), outcome(2, **THROTTLED)], (Stage.WAITING, LATER_MS, None)),
        ([intent(2), outcome(2)], None),
    ],
    ids=["no intent", "not sent", "throttled", "done"],
)
async def test_a_resume_is_settled_by_its_outcome(
    tmp_path: Path, records: list[tuple[str, dict[str, object]]], found: tuple[Stage, int | None, str | None] | None
) -> None:
    """What was certainly not done is due again."""
    store = await taken()
    chain(tmp_path, DEAD, *records)
    await recover(store, tmp_path, OWN)
    assert left(store) == found


@pytest.mark.parametrize(("members", "why"), [(UNKNOWN, "unknown"), (FORBIDDEN, "refused")])
async def test_a_resume_that_may_have_been_done_or_never_will_is_stuck(
    tmp_path: Path, members: dict[str, object], why: str
) -> None:
    """It is not repeated."""
    store = await taken()
    chain(tmp_path, DEAD, intent(2), outcome(2, **members))
    await recover(store, tmp_path, OWN)
    assert [(row.stage, row.why) for row in store.rows.values()] == [(Stage.STUCK, why)]


@pytest.mark.parametrize("number", [1, 2])
async def test_what_has_no_outcome_yet_stays(tmp_path: Path, number: int) -> None:
    """The recovery of the log gives it one."""
    store = MemoryTimers(rows={decision(1): PREPARED}) if number == 1 else await taken()
    before = dict(store.rows)
    chain(tmp_path, DEAD, intent(number))
    await recover(store, tmp_path, OWN)
    assert store.rows == before


@pytest.mark.parametrize("instance", [ALIVE, OWN, "elsewhere"])
async def test_what_belongs_to_others_is_left_alone(tmp_path: Path, instance: str) -> None:
    """A process that lives, this one, and one of another directory."""
    store = await taken(instance)
    before = dict(store.rows)
    lock = ChainLock.take(OsDisk(), tmp_path, ALIVE, first=chain(tmp_path, ALIVE))
    chain(tmp_path, OWN)
    assert lock is not None
    try:
        await recover(store, tmp_path, OWN)
    finally:
        lock.release()
    assert store.rows == before
