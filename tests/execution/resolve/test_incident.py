"""A runaway workflow: every run of it is cancelled, a hundred at a time, and nobody else's."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import replace

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.exchange import Kind
from gateway.simulator.runs import Run
from tests.execution.resolve.account import INVOICE, REMINDER, SEARCH, ids, now_ms, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, exactly, tree
from tests.support.gateway import Answer
from tests.support.waiting import until

RUNAWAY, OTHERS = 2_128, 3_472
MOST_A_HUNDRED = 10 + 100 + 40
"""The readings of a hundred runs: their pages, each by its ID, and what reading side by side may cost."""


def runaway() -> tuple[list[Run], list[Run]]:
    """5,600 running runs of the last hours, of which 2,128 are of one workflow: those, and the others."""
    ours, others = runs_of(INVOICE, RUNAWAY, name="ours"), runs_of(REMINDER, OTHERS, name="other")
    source = random.Random(5)  # noqa: S311 - the same seed makes the same runs
    for runs in (ours, others):
        runs[:] = [replace(run, created_ms=now_ms() - 60_000 - source.randrange(6 * 3_600_000)) for run in runs]
    return ours, others


def applied(house: House, plan: object, *, team: str) -> Answer:
    """Applies a plan when it is ready."""
    until(lambda: house.see(plan, team=team).json()["state"] != "looking")
    return house.apply(plan, team=team)


def looped(house: House, query: str, *, team: str = "oncall") -> tuple[list[int], Answer]:
    """The documented loop: until a cancel says that it cancelled nothing. Returns the numbers, and the last answer."""
    numbers: list[int] = []
    while True:
        answer = house.cancel(query, team=team)
        if answer.status == 409 and "plan" in answer.json():
            # The look-up took longer than a request may wait, as on a busy machine.
            answer = applied(house, answer.json()["plan"], team=team)
        if answer.status != 200:
            return numbers, answer
        cancelled = answer.json()["cancelled"]
        assert isinstance(cancelled, int)
        numbers.append(cancelled)
        if not cancelled:
            return numbers, answer


def planned(house: House, query: str, *, team: str) -> Answer:
    """Plans a cancel and applies it: a busy machine lists for longer than a request may wait."""
    plan = house.plan(query, team=team).json()["plan"]
    until(lambda: house.see(plan, team=team).json()["state"] != "looking")
    return house.apply(plan, team=team)


@pytest.mark.parametrize(
    ("contract", "latency_ms", "burst"), [("2026-09", 20, 0), ("2025", 40, 0), ("2026-09", 20, 500)]
)
def test_a_runaway_is_cancelled_to_the_last_run_and_nothing_else(
    build: Build, contract: str, latency_ms: int, burst: int
) -> None:
    """Although the index lags, with a burst limit, and while the team next door cancels its own by a prefix."""
    house = build(latency_ms=latency_ms, contract=contract)
    ours, others = runaway()
    next_door = runs_of(SEARCH, 30, name="search")
    house.begin([*ours, *others, *next_door], log=LogManner(lag_ms=3_000, burst=burst))
    time.sleep(3.1)  # until the index shows them
    beside: list[Answer] = []
    neighbour = threading.Thread(target=lambda: beside.append(planned(house, tree(url=SEARCH), team="search")))
    neighbour.start()
    numbers, last = looped(house, exactly(INVOICE))
    neighbour.join()
    assert (last.status, last.json()) == (200, {"cancelled": 0})
    assert [one.json() for one in beside] == [{"cancelled": 30}]
    assert (sum(numbers), max(numbers)) == (RUNAWAY, 100)
    assert sorted(house.cancelled) == sorted(ids([*ours, *next_door]))
    assert house.account.arrived(Kind.LOGS) < (len(numbers) + 1) * MOST_A_HUNDRED + 600
    house.check_record()


def test_by_a_prefix_it_is_read_as_far_as_it_has_to_be(build: Build) -> None:
    """QStash has no prefix in its list of runs, so others' runs are listed as well, and left alone."""
    house = build(latency_ms=2)
    ours, others = runaway()
    house.begin([*ours[:300], *others[:1_000]])
    numbers, last = looped(house, tree(url=INVOICE))
    assert (last.status, numbers) == (200, [100, 100, 100, 0])
    assert sorted(house.cancelled) == sorted(ids(ours[:300]))
    house.check_record()


def test_runs_that_end_start_anew_and_appear_meanwhile_are_left_or_taken_as_they_are(build: Build) -> None:
    """One has ended, one was started again under its ID just before its order, one is new; each is hit at most once."""
    house = build(latency_ms=2)
    ours, _ = runaway()
    ours = sorted(ours[:250], key=lambda run: -run.created_ms)
    house.begin(ours)
    ended, again, new = ours[130].run_id, ours[140].run_id, Run("wfr_new", INVOICE, now_ms() - 1_000)

    def moves() -> None:
        house.account.end(ended)
        house.account.restart(again)
        house.account.add_runs([new])

    house.account.when(Kind.CANCEL, 1, moves)
    numbers, last = looped(house, exactly(INVOICE))
    assert last.status == 200
    assert len(set(house.cancelled)) == len(house.cancelled) == sum(numbers)
    assert set(house.cancelled) == {*ids(ours), new.run_id} - {ended}
    house.check_record()
