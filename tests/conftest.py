"""Fixtures for tests of the whole gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

NOW_MS = 1_795_000_000_000


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    """A simulated upstream with 200 runs under the 2025 contract, holding the real token."""
    runs = make_runs(200, NOW_MS, seed=0)
    with SimulatorServer(Simulator(runs, contract=Contract.V2025), token=REAL_TOKEN) as server:
        yield server


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway with the shipped policies in front of that upstream."""
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway")) as running:
        yield running
