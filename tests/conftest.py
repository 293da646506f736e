"""Fixtures for tests of the whole gateway, and how long generated cases are looked for.

HYPOTHESIS_PROFILE names one of three: `ci` is the same run each time, `quick` the same with fewer cases, `deep` looks
longer and elsewhere.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.laws.table import pytest_sessionfinish, pytest_terminal_summary, pytest_testnodedown, table
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

# pytest takes hooks and fixtures from here; the process that prints imports no other conftest where workers collect.
__all__ = ["gateway", "pytest_sessionfinish", "pytest_terminal_summary", "pytest_testnodedown", "simulator", "table"]

_SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large)
for _name, _cases in {"quick": 25, "ci": 150}.items():
    settings.register_profile(_name, max_examples=_cases, deadline=None, derandomize=True, suppress_health_check=_SLOW)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=_SLOW)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_collection_finish() -> None:
    """What was collected stays to the end, so the cycle collector need not walk thousands of tests again and again."""
    gc.collect()
    gc.freeze()


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
