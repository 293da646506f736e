"""A run counts only if its record verifies and says of each request at upstream what came of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.harness.proof import prove
from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import RunningGateway

CANCELS = 3


@pytest.fixture
def audit(gateway: RunningGateway) -> Path:
    """The record of a gateway that has sent three cancels, refused one request, and ended."""
    statuses = [gateway.cancel(f"workflowRunIds=wfr_billing_{number}").status for number in range(CANCELS)]
    assert statuses == [200] * CANCELS
    assert gateway.request(team=None).status == 401
    assert gateway.stop() == 0
    return gateway.audit_directory


def lines(audit: Path) -> tuple[Path, list[bytes]]:
    (path,) = audit.glob("*.jsonl")
    return path, path.read_bytes().splitlines(keepends=True)


def test_a_run_counts_where_record_and_upstream_agree(audit: Path) -> None:
    """As many intents as outcomes as requests at upstream, and a chain that verifies."""
    assert prove(audit, upstream=CANCELS).holds


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_run_with_one_request_more_or_less_at_upstream_does_not_count(audit: Path, difference: int) -> None:
    """Sent twice, or answered without being sent."""
    assert not prove(audit, upstream=CANCELS + difference).holds


def test_a_run_whose_record_was_changed_does_not_count(audit: Path) -> None:
    """One byte of one line."""
    path, text = lines(audit)
    path.write_bytes(b"".join([text[0].replace(b'"start"', b'"stARt"'), *text[1:]]))
    proof = prove(audit, upstream=CANCELS)
    assert (proof.verified, proof.holds) == (1, False)


def test_a_run_that_left_an_intent_open_does_not_count(audit: Path) -> None:
    """Its last outcome, and what came after it, are missing."""
    path, text = lines(audit)
    last = max(number for number, line in enumerate(text) if b'"event":"outcome"' in line)
    path.write_bytes(b"".join(text[:last]))
    proof = prove(audit, upstream=CANCELS)
    assert (proof.verified, proof.holds) == (3, False)


def test_a_run_with_an_unknown_outcome_does_not_count(gateway: RunningGateway, simulator: SimulatorServer) -> None:
    """The numbers agree, but nobody knows what one of them did."""
    simulator.simulator.script(Fault(acts=True, ending=Ending.RESET))
    assert gateway.cancel("workflowRunIds=wfr_billing_x").status == 504
    assert gateway.stop() == 0
    proof = prove(gateway.audit_directory, upstream=1)
    assert (proof.verified, proof.intents, proof.outcomes, proof.upstream) == (0, 1, 1, 1)
    assert not proof.holds
