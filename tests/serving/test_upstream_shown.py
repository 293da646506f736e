"""What `/readyz` says of QStash: what the calls that were made anyway have found. The gateway stays ready."""

from __future__ import annotations

import re
from pathlib import Path

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.edge.wire import TARGET
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{6}Z")
RUNS = make_runs(20, NOW_MS, seed=0)


def page(gateway: RunningGateway) -> dict:
    """The members of the page, which is always 200 here."""
    answer = gateway.request("GET", "/readyz", team=None)
    assert (answer.status, answer.json()["state"]) == (200, "ready")
    return answer.json()


def test_it_shows_the_last_success_and_failure_and_asks_nothing_itself(tmp_path: Path) -> None:
    """Before any call it knows nothing; a success stays on the page when QStash goes away."""
    with SimulatorServer(Simulator(RUNS, contract=Contract.V2025), token=REAL_TOKEN) as upstream:
        gateway = RunningGateway(Setup(upstream.url, tmp_path / "gateway"))
        gateway.start()
        assert page(gateway)["upstream"] == {"last_success": None, "last_failure": None, "cause": None}
        assert upstream.ledger == ()
        assert gateway.request(target=TARGET).status == 200
        first = page(gateway)["upstream"]
        assert TIME.fullmatch(str(first.pop("last_success")))
        assert first == {"last_failure": None, "cause": None}
    try:
        assert gateway.request(target=TARGET).status in (502, 504)
        shown = page(gateway)
        assert TIME.fullmatch(shown["upstream"]["last_success"])
        assert shown["upstream"]["last_failure"] > shown["upstream"]["last_success"]
        assert shown["upstream"]["cause"]
        assert [notice for notice in shown["notices"] if "QStash" in notice]
    finally:
        gateway.stop()


def test_a_refused_token_is_a_notice_of_a_ready_gateway(tmp_path: Path) -> None:
    """QStash answered, so it is there; what it refuses stands among the notices."""
    other = SimulatorServer(Simulator(RUNS, contract=Contract.V2025), token="another")
    with other as upstream, RunningGateway(Setup(upstream.url, tmp_path / "gateway")) as gateway:
        assert gateway.request(target=TARGET).status == 502
        shown = page(gateway)
    assert (shown["upstream"]["last_failure"], shown["upstream"]["cause"]) == (None, None)
    assert [notice for notice in shown["notices"] if "QStash refused" in notice]
