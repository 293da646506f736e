"""Decided, enforced and carried out: three fields of the record, through a whole gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

NOW_MS = 1_790_000_000_000
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
POLICY = """\
version: 1
name: own
teams: [billing]
allow:
  - {id: invoices, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}}
  - {id: labels, mode: shadow, label: {any_of: [nightly]}}
deny:
  - {id: no-batch, mode: shadow, label: {any_of: [batch]}, selects: [filter]}
"""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a shadow allow and a shadow deny, in front of a simulated upstream."""
    place: Path = tmp_path_factory.mktemp("shadow")
    with SimulatorServer(Simulator(make_runs(50, NOW_MS, seed=0)), token=REAL_TOKEN) as upstream:
        setup = Setup(upstream.url, place / "gateway", policies={"own.yaml": POLICY}, teams=("billing",))
        with RunningGateway(setup) as running:
            yield running


def test_what_a_shadow_deny_would_refuse_is_carried_out(gateway: RunningGateway) -> None:
    """Decided deny, enforced permit, carried out: the caller notices nothing."""
    answer = gateway.cancel(OWN)
    decision_id = answer.headers["gateway-decision"]
    intent, outcome = [each for each in gateway.records() if each.get("decision_id") == decision_id]
    assert answer.status == 200
    assert (intent["decision"], intent["enforced"], intent["shadow"]) == ("deny", "permit", "own/no-batch")
    assert (intent["rule"], outcome["carried_out"]) == ("own/invoices", True)


def test_what_a_shadow_allow_would_admit_is_refused(gateway: RunningGateway) -> None:
    """Decided permit, enforced deny, nothing carried out."""
    answer = gateway.cancel("label=nightly")
    [record] = [each for each in gateway.records() if each.get("decision_id") == answer.headers["gateway-decision"]]
    assert (answer.status, record["event"]) == (403, "denied")
    assert (record["decision"], record["enforced"], record["shadow"]) == ("permit", "deny", "own/labels")
