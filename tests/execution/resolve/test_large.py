"""Thousands of runs: in bounded calls and memory; and more than may be looked up at once."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.core.run import LookUpBounds
from gateway.simulator.exchange import Answer, Call, Kind, answer_of
from gateway.simulator.runs import Run
from gateway.upstream.runs.listing import AT_ONCE, MAX_SPARE_PAGES
from tests.execution.resolve.account import HOUR_MS, INVOICE, now_ms, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, exactly, tree

RUNS, ORDERS = 2_000, 20
MOST_READINGS = 500
LATENCY_MS = 20
MORE_MB = 40


@pytest.mark.parametrize("query", [tree(count=RUNS), exactly(INVOICE, count=RUNS)], ids=["prefix", "one URL"])
def test_two_thousand_runs_are_cancelled_in_bounded_calls_and_memory(build: Build, query: str) -> None:
    """200 pages, twenty orders, eleven pages for the second look at each of all but the first; a few to find the end.

    It is planned and then applied, because a busy machine lists for longer than a request may wait.
    """
    house = build(latency_ms=LATENCY_MS)
    house.begin(runs_of(INVOICE, RUNS))
    before_mb = _memory_mb(house)
    plan = house.plan(query).json()["plan"]
    while house.see(plan).json()["state"] == "looking":
        time.sleep(0.05)
    answer = house.apply(plan)
    assert (answer.status, answer.json()) == (200, {"cancelled": RUNS})
    assert len(house.orders) == ORDERS
    assert house.account.arrived(Kind.LOGS) <= MOST_READINGS
    assert _memory_mb(house) - before_mb < MORE_MB
    assert len(set(house.cancelled)) == len(house.cancelled) == RUNS
    house.check_record()


def test_more_than_the_bounds_is_refused_and_read_no_further(house: House) -> None:
    """10,001 runs, a hundred a page: the request is to be narrowed, and the reading ends at the bound."""
    house.begin([])
    house.account.lie = _pages_of_a_hundred()
    answer = house.cancel(tree(count=1))
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert "narrow" in str(answer.json()["error"])
    assert house.sent == []
    assert house.account.arrived(Kind.LOGS) <= LookUpBounds().runs // 100 + AT_ONCE


def test_a_log_without_an_end_is_read_no_further_than_the_bound(house: House) -> None:
    """Pages of the same ten runs, each with another cursor."""
    runs = runs_of(INVOICE, 10)
    house.begin(runs)
    house.account.lie = _endless(runs)
    answer = house.cancel(tree())
    assert (answer.status, house.sent) == (413, [])
    assert house.account.arrived(Kind.LOGS) <= MAX_SPARE_PAGES + AT_ONCE


def _endless(runs: list[Run]) -> Callable[[Call, Answer], Answer]:
    cursors = itertools.count()
    entries = [run.wire() for run in runs]
    return lambda call, answer: answer_of(200, {"cursor": f"c{next(cursors)}", "runs": entries})


def _pages_of_a_hundred() -> Callable[[Call, Answer], Answer]:
    """A log that has ever more runs."""
    pages, first_ms = itertools.count(), now_ms() - HOUR_MS

    def page(call: Call, answer: Answer) -> Answer:
        number = next(pages)
        runs = [Run(f"wfr_{number:03}_{at:02}", INVOICE, first_ms - number * 100 - at).wire() for at in range(100)]
        return answer_of(200, {"cursor": f"c{number}", "runs": runs})

    return page


def _memory_mb(house: House) -> float:
    """The most that the process has held so far."""
    status = Path(f"/proc/{house.gateway.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
