"""The largest request there is: 2,000 runs on 200 pages, in bounded time and memory."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

from gateway.simulator.exchange import Answer, Call, Kind, answer_of
from gateway.simulator.runs import Run
from tests.execution.resolve.account import INVOICE, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, tree

RUNS, PAGES, ORDERS = 2_000, 200, 20
LATENCY_MS = 20
MOST_TIMES_LISTING = 2.5
"""Looking again asks for ten times as many answers, eight of them side by side."""

MORE_MB = 40


def test_two_thousand_runs_are_cancelled_in_bounded_calls_time_and_memory(build: Build) -> None:
    """200 pages, twenty orders, one further look at each run of all but the first: and nothing else is asked.

    Looking again takes at most 2.5 times as long as listing did, in the same run. It is planned and then applied,
    because a busy machine lists for longer than a request may wait.
    """
    house = build(latency_ms=LATENCY_MS)
    house.begin(runs_of(INVOICE, RUNS))
    before_mb = _memory_mb(house)
    plan = house.plan(tree(count=RUNS)).json()["plan"]
    while house.see(plan).json()["state"] == "looking":
        time.sleep(0.05)
    answer = house.apply(plan)
    assert (answer.status, answer.json()) == (200, {"cancelled": RUNS})
    assert len(house.orders) == ORDERS
    assert house.account.arrived(Kind.LOGS) <= PAGES + RUNS
    assert _memory_mb(house) - before_mb < MORE_MB
    times = house.account.times
    listing_s, looking_s = times[PAGES - 1] - times[0], times[-1] - times[PAGES]
    assert looking_s < MOST_TIMES_LISTING * listing_s
    assert len(set(house.cancelled)) == len(house.cancelled) == RUNS
    house.check_record()


def test_more_than_the_bounds_is_refused_and_read_no_further(house: House) -> None:
    """2,001 runs on 201 pages: the request is to be narrowed, and the reading ends at the bound."""
    house.begin(runs_of(INVOICE, RUNS + 1))
    answer = house.cancel(tree(count=1))
    assert (answer.status, answer.json()["code"]) == (413, "too_large")
    assert "narrow" in str(answer.json()["error"])
    assert (house.sent, house.account.arrived(Kind.LOGS)) == ([], PAGES)


def test_a_log_without_an_end_is_read_no_further_than_the_bound(house: House) -> None:
    """Pages of the same ten runs, each with another cursor."""
    runs = runs_of(INVOICE, 10)
    house.begin(runs)
    house.account.lie = _endless(runs)
    answer = house.cancel(tree())
    assert (answer.status, house.sent, house.account.arrived(Kind.LOGS)) == (413, [], PAGES)


def _endless(runs: list[Run]) -> Callable[[Call, Answer], Answer]:
    cursors = itertools.count()
    entries = [run.wire() for run in runs]
    return lambda call, answer: answer_of(200, {"cursor": f"c{next(cursors)}", "runs": entries})


def _memory_mb(house: House) -> float:
    """The most that the process has held so far."""
    status = Path(f"/proc/{house.gateway.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024
