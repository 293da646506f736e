"""Two real gateways with one store: plans, cursors and decisions, asked of whichever of the two."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup, new_key
from tests.support.state.fixtures import POSTGRESQL, SQLITE, postgresql_settings
from tests.support.waiting import until

INVOICE = "https://billing.example.com/api/invoice"
POLICY = f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: own, workflowUrl: {{exact: ["{INVOICE}"]}}, resolve: true, runs: {{max: 500}}}}
"""
ALL = urlencode({"workflowUrl": INVOICE, "workflowUrlExactMatch": "true", "count": 100})
REQUEST = {"request": f"DELETE /v2/workflows/runs?{ALL}"}
JSON = {"Content-Type": "application/json"}

Two = tuple[RunningGateway, RunningGateway]


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    """An account with 25 runs."""
    since_ms = int(time.time() * 1000) - 600_000
    account = Simulator([Run(f"wfr_{at:03}", INVOICE, since_ms + at) for at in range(25)])
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        yield server


@pytest.fixture(params=[SQLITE, POSTGRESQL])
async def state(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The section of the configuration for a store of either kind."""
    if request.param == SQLITE:
        return f'state: {{url: "sqlite:{tmp_path}/state.db"}}\n'
    settings = await postgresql_settings(request.getfixturevalue("postgres"))
    return f'state: {{url: "{settings.url}", password: {{file: "{settings.password}"}}}}\n'


@pytest.fixture
def two(upstream: SimulatorServer, state: str, tmp_path: Path) -> Iterator[Two]:
    """Gateways that share the store and know the same keys."""
    keys = {"billing": new_key("billing-key")}
    with ExitStack() as stack:
        started = [
            stack.enter_context(
                RunningGateway(
                    Setup(
                        upstream.url,
                        tmp_path / name,
                        policies={"billing.yaml": POLICY},
                        teams=("billing",),
                        upstream=", read_token: {file: read-token}",
                        more=state,
                        keys=dict(keys),
                    )
                )
            )
            for name in ("a", "b")
        ]
        yield started[0], started[1]


def plan(gateway: RunningGateway) -> str:
    """Makes a plan of all runs, and returns its ID."""
    answer = gateway.request("POST", "/gateway/v1/plans", body=json.dumps(REQUEST).encode(), headers=JSON)
    assert answer.status == 201, answer.body
    return str(answer.json()["plan"])


def shown(gateway: RunningGateway, name: str) -> dict[str, object]:
    """A plan as a gateway shows it, but for the time that runs."""
    answer = gateway.request("GET", f"/gateway/v1/plans/{name}")
    assert answer.status == 200, answer.body
    return {member: value for member, value in answer.json().items() if member != "expires_in_s"}


def apply(gateway: RunningGateway, name: str) -> Answer:
    """Applies a plan."""
    return gateway.request("POST", f"/gateway/v1/plans/{name}/apply")


def test_a_plan_of_one_gateway_is_shown_applied_and_refused_by_the_other(two: Two) -> None:
    """Both show the same; it is applied once, and both know then what came of it."""
    a, b = two
    name = plan(a)
    assert shown(a, name) == shown(b, name)
    done = apply(b, name)
    assert (done.status, done.json()) == (200, {"cancelled": 25})
    until(lambda: shown(a, name)["state"] == "applied")
    assert [apply(one, name).json()["code"] for one in two] == ["plan_applied", "plan_applied"]
    assert shown(a, name)["cancelled"] == 25
    [intent] = b.records("intent")
    assert (intent["plan"], a.records("intent")) == (name, [])
    for one in two:
        listed = one.request("GET", "/gateway/v1/plans").json()["plans"]
        assert isinstance(listed, list)
        assert [(found["plan"], found["state"]) for found in listed] == [(name, "applied")]


def test_a_plan_of_one_gateway_is_stopped_by_the_other(two: Two, upstream: SimulatorServer) -> None:
    """Then neither applies it."""
    a, b = two
    name = plan(a)
    assert b.request("DELETE", f"/gateway/v1/plans/{name}").json()["state"] == "stopped"
    assert [apply(one, name).json()["code"] for one in two] == ["plan_stopped", "plan_stopped"]
    assert [shown(one, name)["state"] for one in two] == ["stopped", "stopped"]


def test_a_listing_goes_on_at_the_other_gateway(two: Two) -> None:
    """Every run is shown once, whoever is asked for the next page."""
    seen: list[str] = []
    cursor = ""
    for turn in range(6):
        path = "/v2/workflows/logs?count=7" + (f"&cursor={cursor}" if cursor else "")
        answer = two[turn % 2].request("GET", path)
        assert answer.status == 200, answer.body
        page = json.loads(answer.body)
        seen += [run["workflowRunId"] for run in page["runs"]]
        cursor = page["cursor"]
        if not cursor:
            break
    assert sorted(seen) == [f"wfr_{at:03}" for at in range(25)]


@pytest.mark.parametrize("state", [POSTGRESQL], indirect=True)
def test_a_decision_of_one_gateway_is_known_to_the_other(two: Two) -> None:
    """Once it is closed; of one that nobody made it is said when to ask again."""
    a, b = two
    done = apply(a, plan(a))
    path = f"/gateway/v1/decisions/{done.headers['gateway-decision']}"
    until(lambda: b.request("GET", path).status == 200)
    assert b.request("GET", path).json() == a.request("GET", path).json()
    assert b.request("GET", "/gateway/v1/decisions").json() == a.request("GET", "/gateway/v1/decisions").json()
    nobodys = b.request("GET", "/gateway/v1/decisions/019a0000-0000-7000-8000-000000000001")
    assert (nobodys.status, nobodys.headers["retry-after"]) == (404, "2")
