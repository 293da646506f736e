"""The whole path once, through a real process."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

CAPPED = 50
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


def test_a_permitted_cancel_hits_only_the_runs_of_its_url_and_is_on_record(
    gateway: RunningGateway, simulator: SimulatorServer
) -> None:
    """An exact-URL cancel is capped, sent once, and leaves an intent and its outcome."""
    answer = gateway.cancel(OWN)
    hit = {run.url for run in simulator.simulator.runs if run.run_id in simulator.simulator.cancelled}
    assert (answer.status, answer.json()) == (200, {"cancelled": 50})
    assert answer.headers["gateway-narrowed"] == "count=50"
    assert hit == {"https://billing.example.com/api/invoice"}
    assert [record["event"] for record in gateway.records()] == ["start", "intent", "outcome"]


@pytest.mark.parametrize("contract", list(Contract))
def test_a_caller_is_told_of_runs_cancelled_above_its_count(tmp_path: Path, contract: Contract) -> None:
    """Where upstream ignores `count` the answer's header says by how much, as the record does; else there is none."""
    runs = make_runs(400, NOW_MS, seed=0)
    with SimulatorServer(Simulator(runs, contract=contract), token=REAL_TOKEN) as upstream:
        setup = Setup(upstream.url, tmp_path / "gateway", contract=contract.value)
        with RunningGateway(setup) as gateway:
            answer = gateway.cancel(OWN)
            [outcome] = gateway.records("outcome")
    over = len(upstream.simulator.cancelled) - CAPPED
    assert answer.json() == {"cancelled": CAPPED + over}
    assert (over > 0) is (contract is Contract.V2026_09)
    assert answer.headers.get("gateway-over-cancelled") == (str(over) if over else None)
    assert outcome["over_cancelled"] == over
