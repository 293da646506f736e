"""Upstream says how many readings it answers in a while; the gateway keeps to that, and none is refused."""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack

import pytest

from gateway.core.request import Everything
from gateway.simulator.account import LogManner
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from gateway.upstream.client import Reply
from gateway.upstream.runs.pages import Gate
from tests.upstream.runs.reading import NOW_MS, READING, WRITING, Time, opened, runs


def said(left: int, *, limit: int = 100, reset_ms: int = 1_000, status: int = 200) -> Reply:
    """An answer that says what is left of the burst."""
    reset = NOW_MS + reset_ms
    headers = {"limit": limit, "remaining": left, "reset": reset}
    return Reply(status, {f"burst-ratelimit-{name}": str(value) for name, value in headers.items()}, b"")


async def asked(gate: Gate, reply: Reply) -> None:
    """One reading with its answer."""
    passed = await gate.passed()
    with gate.reading():
        await asyncio.sleep(0)
    gate.heed(reply, passed)


async def test_what_is_under_way_counts_before_upstream_has_counted_it() -> None:
    """Three are left and three are on their way: the fourth waits for the end of the burst."""
    clock = Time()
    gate = Gate(clock, clock.sleep)
    await asked(gate, said(3))
    with ExitStack() as under_way:
        for _ in range(3):
            await gate.passed()
            under_way.enter_context(gate.reading())
        assert clock.waits == []
        await gate.passed()
    assert clock.waits == [1.0]


async def test_answers_that_overtake_each_other_never_add_to_what_is_left() -> None:
    """The least that was said of a burst holds; the next burst has its own number."""
    clock = Time()
    gate = Gate(clock, clock.sleep)
    for left in (2, 1, 2):
        await asked(gate, said(left))
    with gate.reading():
        await gate.passed()
    assert clock.waits == [1.0]
    await asked(gate, said(50, reset_ms=2_500))
    with gate.reading():
        await gate.passed()
    assert clock.waits == [1.0]


async def test_a_burst_ends_when_upstream_says_and_not_when_it_was_thought_to_begin() -> None:
    """The first read of a burst reached upstream late, so the burst ends later than guessed."""
    clock = Time()
    gate = Gate(clock, clock.sleep)
    await asked(gate, said(1, limit=2))
    clock.steady_s += 1
    clock.wall_ms += 1_000
    await asked(gate, said(1, limit=2, reset_ms=2_300))
    with gate.reading():
        await gate.passed()
    assert sum(clock.waits) == pytest.approx(1.3)


async def test_after_the_end_of_a_burst_as_many_are_sent_as_the_limit_says() -> None:
    """Until the first answer says more."""
    clock = Time()
    gate = Gate(clock, clock.sleep)
    await asked(gate, said(1, limit=4))
    clock.steady_s += 1
    with ExitStack() as under_way:
        for _ in range(4):
            await gate.passed()
            under_way.enter_context(gate.reading())
    assert clock.waits == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"burst-ratelimit-limit": "0", "burst-ratelimit-remaining": "5"},
        {"burst-ratelimit-limit": "x"},
    ],
)
async def test_an_upstream_that_says_nothing_is_not_waited_for(headers: dict[str, str]) -> None:
    """No limit is made up."""
    clock = Time()
    gate = Gate(clock, clock.sleep)
    for _ in range(50):
        await asked(gate, Reply(200, headers, b""))
    assert clock.waits == []


class WallTime(Time):
    """The real clock, by which the simulated upstream counts its bursts too."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("limit", [3, 12])
async def test_a_long_list_under_a_burst_limit_is_read_without_a_refusal(limit: int) -> None:
    """Every reading is answered, and the list is whole."""
    simulator, clock = Simulator(runs(150), log=LogManner(burst=limit, burst_ms=1_000)), WallTime()
    server = SimulatorServer(simulator, token=WRITING, read_token=READING, clock=clock.now_ms, latency_ms=5)
    with server:
        async with opened(server.url, time=clock) as log:
            assert len((await log.running(Everything())).runs) == 150
    assert {entry.status for entry in simulator.readings} == {200}
