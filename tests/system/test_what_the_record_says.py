"""What a permit rests on, on record."""

from __future__ import annotations

from pathlib import Path

from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway, Setup

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"


def test_an_unchecked_owner_and_an_advisory_count_are_on_record(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Run IDs carry no owner, and under 2026-09 a count bounds nothing: the record says where either was relied on."""
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", contract="2026-09")) as gateway:
        gateway.cancel("workflowRunIds=wfr_billing_1")
        gateway.cancel(OWN)
        (start,) = gateway.records("start")
        by_id, by_url = gateway.records("intent")
    assert (start["contract"], start["count_is_advisory"]) == ("2026-09", True)
    assert (by_id.get("owner"), by_url.get("owner")) == ("unchecked", None)
