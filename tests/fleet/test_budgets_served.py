"""Budgets and Idempotency-Keys over real gateways with a store: sockets, chains, a file, and deaths."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.simulator.exchange import Fault
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.waiting import findings, until

POLICY = """
version: 1
name: own
teams: [billing, search]
allow:
  - id: ids
    workflowRunIds: {any: true}
    owner: unchecked
    budget: {runs: 10, per: 24h, shared: team}
"""
STATE = 'state: {url: "sqlite:state.db"}\n'
LIMITS = "{per_principal: {in_flight: 128, requests_per_minute: 0}}"


def named(*run_ids: str) -> str:
    """A request for these runs."""
    return urlencode([("workflowRunIds", run_id) for run_id in run_ids])


@pytest.fixture
def setup(simulator: SimulatorServer, tmp_path: Path) -> Setup:
    """A gateway with a budget of ten runs a day for each team."""
    return Setup(simulator.url, tmp_path / "gateway", policies={"own.yaml": POLICY}, limits=LIMITS, more=STATE)


@pytest.fixture
def gateway(setup: Setup) -> Iterator[RunningGateway]:
    """The gateway, running."""
    with RunningGateway(setup) as running:
        yield running


def cancel(gateway: RunningGateway, query: str, *, key: str | None = None, team: str = "billing") -> Answer:
    """A cancel, perhaps with an Idempotency-Key."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return gateway.request(target=f"/v2/workflows/runs?{query}", team=team, headers=headers)


def records(gateway: RunningGateway, event: str) -> list[dict[str, object]]:
    """The records of one event, of all chains."""
    lines = [
        line for path in sorted(gateway.audit_directory.glob("*.jsonl")) for line in path.read_bytes().splitlines()
    ]
    return [members for members in map(json.loads, lines) if members["event"] == event]


def test_a_budget_outlives_the_process_and_each_team_has_its_own(setup: Setup, simulator: SimulatorServer) -> None:
    """What was not cancelled is there again, the rest is not, and every answer says what is left."""
    with RunningGateway(setup) as gateway:
        first = cancel(gateway, named(*(f"wfr_none_{n}" for n in range(4))))
        assert first.headers["gateway-budget"].startswith("left=")
        left = int(first.headers["gateway-budget"].partition(";")[0].removeprefix("left="))
        assert left == 10 - int(str(first.json()["cancelled"]))
    with RunningGateway(setup) as gateway:
        until(lambda: cancel(gateway, named("wfr_x")).status == 200)
        sent = len(simulator.ledger)
        refused = cancel(gateway, named(*(f"wfr_y_{n}" for n in range(11))))
        assert (refused.status, refused.json()["code"]) == (403, "budget_exhausted")
        assert refused.headers["gateway-budget"].startswith(f"left={refused.json()['left']};reset=")
        assert len(simulator.ledger) == sent
        assert records(gateway, "denied")[-1]["cause"] == "budget_exhausted"
        assert cancel(gateway, named("wfr_z"), team="search").status == 200
    assert findings(setup.directory / "audit") == {"INTACT"}


def test_one_key_from_a_hundred_callers_is_one_call_and_a_hundred_true_answers(
    gateway: RunningGateway, simulator: SimulatorServer
) -> None:
    """At once, and for as long as they repeat it; another request with the key is refused."""
    simulator.simulator.script(Fault(acts=True, delay_after_ms=1500))
    with ThreadPoolExecutor(100) as callers:
        told = list(callers.map(lambda _: cancel(gateway, named("wfr_a", "wfr_b"), key="k"), range(100)))
    late = cancel(gateway, named("wfr_a", "wfr_b"), key="k")
    assert len(simulator.ledger) == 1
    assert {(one.status, one.body) for one in (*told, late)} == {(told[0].status, told[0].body)}
    assert (late.status, late.headers["gateway-replayed"]) == (200, "true")
    assert len({one.headers["gateway-decision"] for one in (*told, late)}) == 101
    assert len(records(gateway, "joined")) == 100
    other = cancel(gateway, named("wfr_a"), key="k")
    assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
    assert cancel(gateway, named("wfr_a"), key="k\x80").status == 400


def test_a_kill_while_it_is_sent_is_an_unknown_outcome_and_never_sent_again(
    setup: Setup, simulator: SimulatorServer
) -> None:
    """The next process closes it by the record; the repeat is told which decision to look at."""
    simulator.simulator.script(Fault(acts=True, delay_after_ms=5000))
    with RunningGateway(setup) as gateway, ThreadPoolExecutor(1) as callers:
        asked = callers.submit(lambda: cancel(gateway, named("wfr_a"), key="k"))
        until(lambda: simulator.ledger)
        gateway.kill()
        assert asked.exception() is not None
        gateway.start()
        (intent,) = records(gateway, "intent")
        again = cancel(gateway, named("wfr_a"), key="k")
        assert (again.status, again.json()["code"]) == (409, "outcome_unknown")
        assert again.json()["decision"] == intent["decision_id"]
        assert (len(simulator.ledger), intent["reserved"]) == (
            1,
            {"rule": "own/ids", "scope": "own/ids team:billing", "runs": 1},
        )


def test_what_was_reserved_without_an_intent_is_given_back_beside_an_outcome_that_is_followed(
    setup: Setup, simulator: SimulatorServer
) -> None:
    """The same process left both: following the one keeps its chain locked, and the other is no less over."""
    simulator.simulator.script(Fault(acts=True, delay_after_ms=5000))
    with RunningGateway(setup) as gateway, ThreadPoolExecutor(1) as callers:
        asked = callers.submit(lambda: cancel(gateway, named("wfr_a")))
        until(lambda: simulator.ledger)
        gateway.kill()
        assert asked.exception() is not None
        (intent,) = records(gateway, "intent")
        died = "01890000-0000-7000-8000-000000000000"
        with closing(sqlite3.connect(gateway.audit_directory / "state.db")) as link, link:
            link.execute(
                "INSERT INTO admissions"
                " (decision_id, instance, at_ms, expires_ms, closed, withdrawn, scope, rule, runs,"
                " requests) SELECT ?, instance, at_ms, expires_ms, 0, 0, scope, rule, 9, 1 FROM admissions",
                (died,),
            )
        gateway.start()

        def taken() -> list[tuple[str, int]]:
            """What each decision holds of the budget."""
            with closing(sqlite3.connect(gateway.audit_directory / "state.db")) as link:
                return link.execute("SELECT decision_id, runs FROM admissions WHERE runs > 0").fetchall()

        until(lambda: taken() == [(intent["decision_id"], 1)])


def test_without_state_a_key_is_refused_and_a_budget_is_a_load_error(setup: Setup) -> None:
    """The first would promise what nobody keeps, the second would count nothing."""
    setup.more = ""
    with pytest.raises(AssertionError, match="has a budget"):
        RunningGateway(setup).start()
    setup.policies = {"own.yaml": POLICY.replace("    budget: {runs: 10, per: 24h, shared: team}\n", "")}
    with RunningGateway(setup) as gateway:
        refused = cancel(gateway, named("wfr_a"), key="k")
        assert (refused.status, refused.json()["code"]) == (400, "malformed_request")
        assert cancel(gateway, named("wfr_a")).status == 200
