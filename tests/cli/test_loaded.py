"""What a serving process loads: nothing that it does not need, and all that it needs before it answers.

Python itself tells, on standard error: one line for each module, in the order in which they are loaded.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.upstream.runs.reading import INVOICE, run

READING = "CANARY" + secrets.token_hex(24)
REPORT = "https://billing.example.com/api/report"
POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}, label: {any: true}, count: {max: 100}}
  - {id: seen, workflowUrl: {exact: ["https://billing.example.com/api/report"]}, resolve: true, runs: {max: 20}}
"""
OWN = f"workflowUrl={quote(INVOICE, safe='')}&workflowUrlExactMatch=true"
SEEN = f"workflowUrl={quote(REPORT, safe='')}&workflowUrlExactMatch=true"
ASKED = json.dumps({"request": f"DELETE /v2/workflows/runs?{SEEN}"}).encode()

UNNEEDED = (
    # What reads tokens, where there is no issuer.
    "jwt", "cryptography", "gateway.callers.tokens", "gateway.callers.key_sources",
    # The client that long targets go through, before the first of them.
    "httpcore", "anyio._backends", "h11",
    # Command lines and supervisors; what draws on terminals has a test of its own.
    "click", "multiprocessing",
    # The other commands.
    "gateway.cli.audit", "gateway.cli.cancel", "gateway.cli.keys", "gateway.cli.policies", "gateway.cli.probe",
    "gateway.cli.trial", "gateway.simulator", "gateway.authoring.lint", "gateway.authoring.history",
    "gateway.audit.evidence.decisions", "gateway.audit.evidence.retire", "gateway.audit.evidence.verify",
    # What sends traces, where nobody asks for them.
    "opentelemetry", "urllib3", "google",
    "gateway.telemetry.otlp", "gateway.telemetry.parts", "gateway.telemetry.steps", "gateway.telemetry.traced",
    # Shared state, where there is none.
    "sqlalchemy", "aiosqlite", "asyncpg", "alembic", "gateway.store.opened", "gateway.store.engine",
    "gateway.fleet.made", "gateway.fleet.following", "gateway.fleet.recorded", "gateway.fleet.switch",
    "gateway.execution.gates.freezes", "gateway.execution.gates.state_gate", "gateway.edge.pages.freezes",
    "gateway.cli.freezes",
    "gateway.execution.gates.approving", "gateway.edge.pages.approvals", "gateway.fleet.ends",
    "gateway.store.people.approvals", "gateway.cli.approvals",
    # Notices, where nobody is to be told; of their room the configuration knows the shape of the section.
    "gateway.notices.delivery", "gateway.notices.events", "gateway.notices.formats", "gateway.notices.outbox",
    "gateway.notices.post", "gateway.notices.receivers", "gateway.notices.signature", "gateway.fleet.noticed",
    # The description of the calls, before somebody asks for it.
    "gateway.edge.described",
    "xml",
)  # fmt: skip
JSON = {"Content-Type": "application/json"}
MANY = 1000

Ask = Callable[[RunningGateway], Answer]


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    account = [run(number, url=REPORT if number % 4 == 0 else INVOICE) for number in range(80)]
    with SimulatorServer(Simulator(account), token=REAL_TOKEN, read_token=READING) as server:
        yield server


@pytest.fixture
def gateway(upstream: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    directory = tmp_path / "gateway"
    directory.mkdir()
    (directory / "read-token").write_text(READING)
    setup = Setup(
        upstream.url,
        directory,
        policies={"billing.yaml": POLICY},
        teams=("billing",),
        upstream=", read_token: {file: read-token}",
        # What measures coverage loads modules of its own, and does not where there is no configuration for it.
        environment={"PYTHONPROFILEIMPORTTIME": "1", "COVERAGE_PROCESS_CONFIG": ""},
    )
    with RunningGateway(setup) as running:
        assert running.request("GET", "/readyz", team=None).status == 200
        yield running


def loaded(gateway: RunningGateway) -> list[str]:
    """Every module so far."""
    lines = gateway.stderr().splitlines()
    return [line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")]


def test_serve_loads_nothing_that_it_does_not_need(gateway: RunningGateway) -> None:
    """Less to start, less to hold, and less code in the process that has the token."""
    names = loaded(gateway)
    assert "gateway.app" in names
    assert [name for name in names if name.startswith(tuple(f"{each}." for each in UNNEEDED)) or name in UNNEEDED] == []


def allowed(gateway: RunningGateway) -> Answer:
    return gateway.cancel(f"{OWN}&label={secrets.token_hex(4)}")


def by_body(gateway: RunningGateway) -> Answer:
    body = json.dumps({"workflowUrl": INVOICE}).encode()
    return gateway.request(body=body, headers=JSON)


def resolved(gateway: RunningGateway) -> Answer:
    return gateway.cancel(f"{SEEN}&count=1")


def applied(gateway: RunningGateway) -> Answer:
    planned = gateway.request("POST", "/gateway/v1/plans", body=ASKED, headers=JSON)
    assert planned.status == 201, planned.body
    plan = planned.json()["plan"]
    assert gateway.request("GET", f"/gateway/v1/plans/{plan}").status == 200
    return gateway.request("POST", f"/gateway/v1/plans/{plan}/apply")


def without_key(gateway: RunningGateway) -> Answer:
    return gateway.request(target=f"/v2/workflows/runs?{OWN}", team=None)


def with_a_token(gateway: RunningGateway) -> Answer:
    return gateway.request(team=None, headers={"Authorization": "Bearer eyJhbGciOiJub25lIn0.e30."})


ASKS: Sequence[tuple[int, Ask]] = (
    (200, allowed),
    (401, without_key),
    (403, lambda gateway: gateway.cancel("label=x")),
    (400, lambda gateway: gateway.cancel("label=a&labels=b")),
    (401, with_a_token),
    (403, by_body),
    (200, resolved),
    (200, applied),
    (409, lambda gateway: gateway.request(target=f"/preview/v2/workflows/runs?{SEEN}")),
    (200, lambda gateway: gateway.request("GET", "/v2/workflows/logs")),
    (200, lambda gateway: gateway.request("GET", "/gateway/v1/whoami")),
    (200, lambda gateway: gateway.request("POST", "/gateway/v1/explain", body=ASKED, headers=JSON)),
    (404, lambda gateway: gateway.request("DELETE", "/v2/topics/t")),
    (405, lambda gateway: gateway.request("GET")),
    (414, lambda gateway: gateway.cancel(f"label={'x' * 140_000}")),
    (200, lambda gateway: gateway.request("GET", "/healthz", team=None)),
)
"""Every kind of answer to a request that is whole; those before the sixth cost nothing and are asked many times."""
CHEAP = 5


def test_what_requests_need_is_loaded_before_the_first_of_them(
    gateway: RunningGateway, upstream: SimulatorServer
) -> None:
    """Without a free descriptor nothing can be loaded: no answer depends on it, least of all behind an intent."""
    before = loaded(gateway)
    for status, ask in ASKS:
        answer = ask(gateway)
        assert answer.status == status, answer.body
    assert gateway.raw(b"\x00\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    upstream.simulator.script(
        Fault(status=403, body='{"error": "no"}'),
        Fault(status=429, body="{}", headers={"Retry-After": "3"}),
        Fault(status=500, body="not JSON"),
        Fault(ending=Ending.RESET),
        Fault(on=Kind.LOGS, status=500, body="{}"),
    )
    broken = [allowed(gateway).status for _ in range(4)]
    assert (broken, resolved(gateway).status) == ([502, 429, 504, 504], 502)
    for number in range(MANY):
        ASKS[number % CHEAP][1](gateway)
    upstream.stop()
    assert (allowed(gateway).status, resolved(gateway).status) == (502, 502)
    assert loaded(gateway)[len(before) :] == []


def test_the_description_of_the_calls_is_loaded_when_it_is_asked_for(gateway: RunningGateway) -> None:
    """By the first who asks, with nothing else."""
    before = loaded(gateway)
    first, second = (gateway.request("GET", "/gateway/v1/openapi.json") for _ in range(2))
    assert (first.status, first.body) == (200, second.body)
    found = loaded(gateway)[len(before) :]
    assert found
    assert [name for name in found if not name.startswith("gateway.edge.described")] == []
    assert len(set(found)) == len(found)
