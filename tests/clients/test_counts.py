"""How many runs a client's call may cost: the default call is capped, and the documented loop comes to its end."""

from __future__ import annotations

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.runs import Run, make_runs
from tests.clients.account import INVOICE
from tests.clients.conftest import Client, Serve

pytestmark = pytest.mark.node

CAP = 50
MANY = make_runs(300, 1_795_000_000_000, seed=0)
CALL = {"filter": {"workflowUrl": INVOICE}}


def own(runs: tuple[Run, ...]) -> set[str]:
    """The running runs of the one workflow that the shipped policy opens."""
    return {run.run_id for run in runs if run.running and run.url == INVOICE}


def test_the_clients_default_call_is_let_through_and_capped(serve: Serve, client: Client) -> None:
    """The shipped policy lowers the default `count` of 100 to its own 50, and the client sees the true number."""
    simulator, gateway = serve(runs=MANY)
    seen = client(gateway).cancel(CALL)
    hit = set(simulator.simulator.cancelled)
    assert (seen.cancelled, len(hit)) == (CAP, CAP)
    assert hit < own(MANY)
    assert [record["narrowed"] for record in gateway.records("intent")] == [{"count": [100, CAP]}]


def test_the_documented_loop_ends_when_nothing_is_left(serve: Serve, client: Client) -> None:
    """Each turn is one send of its own, no turn is joined to the one before, and only the named workflow is emptied."""
    simulator, gateway = serve(runs=MANY)
    numbers, seen = client(gateway).loop(CALL)
    expected = [CAP] * (len(own(MANY)) // CAP) + [len(own(MANY)) % CAP, 0]
    assert len(expected) > 3
    assert (numbers, seen.ended, seen.error) == (expected, True, None)
    assert [len(entry.run_ids) for entry in simulator.ledger] == expected
    assert set(simulator.simulator.cancelled) == own(MANY)
    assert gateway.records("joined") == []


def test_the_loop_ends_also_where_upstream_ignores_count(serve: Serve, client: Client) -> None:
    """Under 2026-09 the first send may cancel more than its count: the client sees it, and the record raises it."""
    simulator, gateway = serve(runs=MANY, contract=Contract.V2026_09)
    numbers, seen = client(gateway).loop(CALL)
    assert (numbers, seen.ended) == ([len(own(MANY)), 0], True)
    assert set(simulator.simulator.cancelled) == own(MANY)
    assert [record["over_cancelled"] for record in gateway.records("outcome")] == [len(own(MANY)) - CAP, 0]


def test_the_loop_ends_at_the_first_refusal(serve: Serve, client: Client) -> None:
    """A refusal is an error to the loop, never an answer that makes it go on."""
    simulator, gateway = serve(runs=MANY)
    numbers, seen = client(gateway).loop({"all": True, "count": 10})
    assert (numbers, seen.attempts) == ([], 1)
    assert seen.problem["code"] == "policy_denied"
    assert simulator.ledger == ()
