"""What a process ordered before it was killed is not ordered again by the next one."""

from __future__ import annotations

import http.client
import threading
from contextlib import suppress

from gateway.simulator.account import LogManner
from gateway.simulator.exchange import Kind
from tests.execution.resolve.account import INVOICE
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import exactly
from tests.execution.resolve.test_incident import looped, runaway


def test_after_a_kill_what_was_ordered_is_not_ordered_again(build: Build) -> None:
    """Although the index still shows it as running; also an order that was on its way when the process was killed."""
    house = build()
    ours, _ = runaway()
    house.begin(ours[:250], log=LogManner(lag_ms=50_000))
    assert house.cancel(exactly(INVOICE), team="oncall").json() == {"cancelled": 100}
    killed = threading.Event()

    def kill() -> None:
        house.gateway.kill()
        killed.set()

    house.account.when(Kind.CANCEL, 2, kill)
    with suppress(OSError, http.client.HTTPException):
        house.cancel(exactly(INVOICE), team="oncall")
    assert killed.wait(10)
    house.gateway.start()
    numbers, last = looped(house, exactly(INVOICE))
    # Nobody knows yet what came of the order that was on its way, so it is not said that nothing is left.
    assert (last.status, last.json()["code"], numbers) == (409, "nothing_cancelled", [50])
    assert len(house.orders) == 3
    assert len({run_id for order in house.orders for run_id in order}) == 250
