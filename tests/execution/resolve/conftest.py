"""One gateway, whose teams have one rule each, in front of an account that every test begins anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.server import SimulatorServer
from tests.execution.resolve.account import MovingAccount
from tests.execution.resolve.house import House, Teams
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.proxies import HeldAnswers

Build = Callable[..., House]


@pytest.fixture(scope="session")
def _shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    account = MovingAccount()
    with SimulatorServer(account, token=REAL_TOKEN) as server, HeldAnswers(server.port) as answers:
        directory = tmp_path_factory.mktemp("resolve") / "gateway"
        with RunningGateway(_setup(server, answers, directory)) as gateway:
            yield House(account, server, answers, gateway)


@pytest.fixture
def house(_shared: House) -> Iterator[House]:
    """The shared gateway and an empty account; afterwards the laws of the record are checked on what the test did."""
    _shared.begin([])
    yield _shared
    _shared.check_record()


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds a house of its own, for a test that breaks or changes it, or leaves runs to be read back."""
    with ExitStack() as stack:

        def build(
            *, latency_ms: int = 0, policies: dict[str, str] | None = None, contract: str = "2026-09", **more: str
        ) -> House:
            account = MovingAccount(Contract(contract))
            server = SimulatorServer(account, token=REAL_TOKEN, latency_ms=latency_ms)
            stack.enter_context(server)
            answers = stack.enter_context(HeldAnswers(server.port))
            setup = _setup(server, answers, tmp_path / "gateway", policies=policies, contract=contract, **more)
            return House(account, server, answers, stack.enter_context(RunningGateway(setup)))

        yield build


def _setup(
    server: SimulatorServer,
    answers: HeldAnswers,
    directory: Path,
    *,
    policies: dict[str, str] | None = None,
    contract: str = "2026-09",
    **more: str,
) -> Setup:
    directory.mkdir(parents=True)
    read_token = directory / "read-token"
    read_token.write_text(server.read_token + "\n")
    read_token.chmod(0o600)
    return Setup(
        answers.url,
        directory,
        policies=policies or Teams.POLICIES,
        teams=Teams.NAMES,
        contract=contract,
        upstream=", read_token: {file: read-token}",
        **more,  # type: ignore[arg-type]
    )
