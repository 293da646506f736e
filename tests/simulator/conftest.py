"""A small account whose runs are told apart by what would hit them, and a way to send a recorded request to it."""

from __future__ import annotations

import http.client
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call
from gateway.simulator.runs import SUCCESS, Run
from gateway.simulator.server import SimulatorServer

NOW_MS = 1_790_000_000_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Sent:
    """What came back, and which runs the simulator says it cancelled."""

    status: int
    body: str
    cancelled: frozenset[str]


def small_account() -> tuple[Run, ...]:
    """Six running runs, the oldest first and a minute apart, and one that has ended."""
    billing = "https://billing.example.com/api"
    runs = (
        Run("wfr_invoice_1", f"{billing}/invoice", 0, labels=("nightly",), flow_control_key="billing"),
        Run("wfr_invoice_2", f"{billing}/invoice", 0, labels=("batch",), caller_ip="203.0.113.9"),
        Run("wfr_invoice_v2", f"{billing}/invoice-v2", 0),
        Run("wfr_reminder", f"{billing}/reminder", 0, labels=("nightly", "batch")),
        Run("wfr_reindex", "https://search.example.com/api/reindex", 0),
        Run("wfr_evil", "https://billing.example.com.evil.example/x", 0),
        Run("wfr_done", f"{billing}/invoice", 0).ended(SUCCESS, NOW_MS),
    )
    created = (NOW_MS - (len(runs) - place) * MINUTE_MS for place in range(len(runs)))
    return tuple(
        Run(run.run_id, run.url, at, run.caller_ip, run.labels, run.flow_control_key, run.state, run.ended_ms)
        for run, at in zip(runs, created, strict=True)
    )


@pytest.fixture
def account() -> tuple[Run, ...]:
    return small_account()


@pytest.fixture
def everything(account: tuple[Run, ...]) -> frozenset[str]:
    return frozenset(run.run_id for run in account if run.running)


@pytest.fixture(params=list(Contract))
def contract(request: pytest.FixtureRequest) -> Contract:
    return Contract(request.param)


@pytest.fixture
def simulator(account: tuple[Run, ...], contract: Contract) -> Simulator:
    return Simulator(account, contract=contract)


@pytest.fixture
def send(simulator: Simulator) -> Callable[..., Sent]:
    """Sends one request with the full token over a real connection, byte for byte as given."""

    def send(method: str, target: str, body: str = "") -> Sent:
        with SimulatorServer(simulator) as server:
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
            headers = {"Authorization": f"Bearer {server.token}", "Content-Type": "application/json"}
            before = len(simulator.cancelled)
            connection.request(method, target, body or None, headers)
            response = connection.getresponse()
            text = response.read().decode()
            connection.close()
        return Sent(response.status, text, frozenset(simulator.cancelled[before:]))

    return send


@pytest.fixture
def cancel(account: tuple[Run, ...]) -> Callable[..., frozenset[str]]:
    """Which runs a fresh account loses to one query and body, without a connection."""

    def cancel(contract: Contract, query: str = "", body: str = "") -> frozenset[str]:
        simulator = Simulator(account, contract=contract)
        simulator.answer(Call("DELETE", "/v2/workflows/runs", query, body.encode()), NOW_MS)
        return frozenset(simulator.cancelled)

    return cancel


@pytest.fixture
def read(simulator: Simulator) -> Callable[[str], Answer]:
    """Reads one page of the workflow log."""

    def read(query: str) -> Answer:
        return simulator.answer(Call("GET", "/v2/workflows/logs", query), NOW_MS)

    return read


@pytest.fixture
def now_ms() -> int:
    return NOW_MS
