"""One request on its way through the parts: the value that each of them takes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.harness.configuration import RUNS_POLICY, policy_text
from benchmarks.harness.requests import EXACT
from gateway.core.outcome import Cancelled, Closing
from gateway.core.parse import Body
from gateway.core.plan import Order, Permit, Plan
from gateway.core.request import ActionRequest, Principal
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.rules import Policies

NOW_MS = 1_795_000_000_000
QUERY = f"{EXACT}&label=nightly".encode("ascii")
HUNDRED_IDS = "&".join(f"workflowRunIds=wfr_{number:021d}" for number in range(100)).encode("ascii")
PRINCIPAL = Principal("bench", "bench")
DECISION_ID = "01936f2a-0000-7000-8000-000000000001"
OUTCOME = Cancelled(200, 3)
CLOSING = Closing(OUTCOME, over_cancelled=0, duration_ms=4, caller_gone=False)


def policies(rules: int) -> Policies:
    """Policies with so many `allow` rules for URLs, and one for run IDs."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "bench.yaml").write_text(policy_text(rules))
        (Path(name) / "runs.yaml").write_text(RUNS_POLICY)
        return load_policies(Path(name))


def request() -> ActionRequest:
    """The request as it was read."""
    return parse_cancel(QUERY, Body())


def permit() -> Permit:
    """What policy makes of it."""
    permitted = decide(policies(10), PRINCIPAL, request(), NOW_MS)
    assert isinstance(permitted, Permit)
    return permitted


def plan() -> Plan:
    """What is about to be sent."""
    asked, permitted = request(), permit()
    order = Order(permitted.effective.selection, permitted.effective.count)  # type: ignore[arg-type]
    return Plan(DECISION_ID, PRINCIPAL, asked, permitted, (order,), "0" * 64, "127.0.0.1")
