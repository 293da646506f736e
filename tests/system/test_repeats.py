"""Repeats of a cancel in flight, at the limits of their principal."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


@pytest.mark.parametrize(
    "limits",
    [
        "{per_principal: {in_flight: 1, requests_per_minute: 0}}",
        "{per_principal: {in_flight: 16, requests_per_minute: 1}}",
        "{max_in_flight: 1, per_principal: {in_flight: 16, requests_per_minute: 0}}",
    ],
    ids=["in flight", "per minute", "all places"],
)
def test_above_a_limit_the_repeat_of_a_cancel_in_flight_joins_and_nothing_else_passes(
    simulator: SimulatorServer, tmp_path: Path, limits: str
) -> None:
    """The repeat gets the true number of the one call; another request of the same key is refused."""
    with (
        HeldAnswers(simulator.port) as upstream,
        RunningGateway(Setup(upstream.url, tmp_path / "gateway", limits=limits)) as gateway,
        ThreadPoolExecutor(2) as callers,
    ):
        with upstream.held():
            first = callers.submit(gateway.cancel, OWN)
            until(lambda: simulator.ledger)
            other = gateway.cancel(f"{OWN}&count=7")
            repeat = callers.submit(gateway.cancel, OWN)
            until(lambda: gateway.records("joined") or repeat.done())
        assert (first.result().json(), repeat.result().json()) == ({"cancelled": 50}, {"cancelled": 50})
        assert other.status in (429, 503)
        assert len(simulator.ledger) == 1


def test_a_secret_in_a_value_is_refused_and_not_recorded(gateway: RunningGateway) -> None:
    """The real token as a label would be sent upstream as a label, and stand in the record."""
    answer = gateway.cancel(f"label={gateway.setup.token}")
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert gateway.setup.token.encode() not in gateway.said()
