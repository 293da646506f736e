"""Budgets that are put back from the record are those that the store had, whatever became of what was taken."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.core.plan import Budget
from gateway.files.nodes import Place
from gateway.simulator.exchange import Fault
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from gateway.state.admissions import Left, Reservation
from gateway.state.settings import StateSettings
from gateway.store.opened import open_store
from tests.execution.resolve.account import INVOICE, now_ms
from tests.fleet.test_budgets_served import LIMITS, cancel, named
from tests.support.gateway import RunningGateway, Setup
from tests.support.waiting import until

BUDGET = Budget(86_400_000, runs=50, requests=30, shared="team")
POLICY = """
version: 1
name: own
teams: [billing, search]
allow:
  - id: ids
    workflowRunIds: {any: true}
    owner: unchecked
    budget: {runs: 50, requests: 30, per: 24h, shared: team}
"""
LIMIT = {"Retry-After": "1", "Burst-RateLimit-Limit": "5", "Burst-RateLimit-Remaining": "0"}
ENDS = (
    Fault(status=403, body='{"error": "no"}'),
    Fault(status=429, body="{}", headers=LIMIT),
    Fault(status=500, body="not JSON"),
    Fault(acts=True, status=200, body='{"cancelled": 1}'),
)


def left(file: Path) -> list[tuple[int | None, int | None]]:
    """What is left of the budget of each team: runs, and requests."""

    async def asked() -> list[Left]:
        store = await open_store(StateSettings(file, None, Place("x", 1, 1)), create=False)
        try:
            scopes = [f"own/ids team:{team}" for team in ("billing", "search")]
            return [*await store.left([Reservation("own/ids", scope, 0, BUDGET) for scope in scopes])]
        finally:
            await store.aclose()

    return [(one.runs, one.requests) for one in asyncio.run(asked())]


def lived(setup: Setup, simulator: SimulatorServer) -> None:
    """Lets everything become of cancels that can: carried out, in part, refused, for its pace too, unknown, killed."""
    simulator.simulator.add_runs([Run(f"wfr_{number}", INVOICE, now_ms() - 60_000) for number in range(9)])
    with RunningGateway(setup) as gateway:
        cancel(gateway, named("wfr_0", "wfr_1", "wfr_2"))
        cancel(gateway, named("wfr_3", "wfr_none"), team="search", key="k")
        for number, end in enumerate(ENDS):
            simulator.simulator.script(end)
            cancel(gateway, named(f"wfr_gone_{number}", f"wfr_{4 + number}"))
        simulator.simulator.script(Fault(acts=True, delay_after_ms=60_000))
        arrived = len(simulator.ledger)
        with ThreadPoolExecutor(1) as callers:
            asked = callers.submit(lambda: cancel(gateway, named("wfr_8"), team="search"))
            until(lambda: len(simulator.ledger) > arrived)
            gateway.kill()
            assert asked.exception() is not None
    with RunningGateway(setup) as gateway:
        # The recovery of what the killed one had taken is done once this one has it closed.
        until(lambda: gateway.records("outcome")[-1].get("cause") == "recovered")


@pytest.mark.parametrize("times", [1, 2])
def test_what_the_record_says_is_what_the_store_had(
    simulator: SimulatorServer, tmp_path: Path, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over both budgets of both teams, in runs and in requests; doing it again changes nothing."""
    state = 'state: {url: "sqlite:state.db"}\n'
    setup = Setup(simulator.url, tmp_path / "gateway", policies={"own.yaml": POLICY}, limits=LIMITS, more=state)
    lived(setup, simulator)
    directory, config = setup.directory / "audit", setup.directory / "config.yaml"
    had = left(directory / "state.db")
    assert had != [(50, 30), (50, 30)]
    config.write_text(config.read_text().replace("sqlite:state.db", "sqlite:other.db"))
    for _ in range(times):
        assert main(["state", "rebuild", "--config", str(config), str(directory)]) == 0
    assert left(directory / "other.db") == had
    assert "decisions on record took of a budget" in capsys.readouterr().out
    assert main(["state", "rebuild", "--config", str(config), str(tmp_path / "nowhere")]) == 3
