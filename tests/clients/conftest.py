"""A gateway in front of the small account, and official clients pointed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.clients.account import RUNS
from tests.clients.official import OfficialClient, require_clients
from tests.support.gateway import POLICIES, REAL_TOKEN, RunningGateway, Setup
from tests.support.waiting import until

Client = Callable[..., OfficialClient]
Serve = Callable[..., tuple[SimulatorServer, RunningGateway]]


class HeldSimulator(Simulator):
    """Carries a call out only once `answers_when` holds, so that a test says what comes first without a clock."""

    def __init__(self, runs: Iterable[Run], *, contract: Contract, answers_when: Callable[[], bool]) -> None:
        super().__init__(runs, contract=contract)
        self._answers_when = answers_when

    def answer(self, call: Call, now_ms: int, *, at_most: int | None = None) -> Answer:
        until(self._answers_when)
        return super().answer(call, now_ms, at_most=at_most)


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts a simulated upstream and a gateway in front of it; by default the small account and shipped policies."""
    with ExitStack() as stack:

        def serve(
            *,
            policies: Mapping[str, str] | Path = POLICIES,
            runs: tuple[Run, ...] = RUNS,
            contract: Contract = Contract.V2025,
            answers_when: Callable[[], bool] = lambda: True,
        ) -> tuple[SimulatorServer, RunningGateway]:
            account = HeldSimulator(runs, contract=contract, answers_when=answers_when)
            upstream = stack.enter_context(SimulatorServer(account, token=REAL_TOKEN))
            setup = Setup(upstream.url, tmp_path / "gateway", policies=policies, contract=contract)
            return upstream, stack.enter_context(RunningGateway(setup))

        yield serve


@pytest.fixture
def client() -> Client:
    """Makes an official client for a team of a gateway; needs Node."""
    require_clients()

    def client(
        gateway: RunningGateway, version: str = "latest", *, team: str = "billing", base_url: str | None = None
    ) -> OfficialClient:
        return OfficialClient(version, base_url or gateway.url, gateway.key(team))

    return client
