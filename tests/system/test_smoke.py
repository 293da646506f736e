"""The whole path once, through a real process."""

from __future__ import annotations

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway

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
