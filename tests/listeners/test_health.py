"""The second listener: two pages, no key, no record, and an answer while the gateway ends."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.cli.running import command
from tests.conftest import NOW_MS
from tests.listeners.doors import CANCEL, ask, to_port, to_unix
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup

HEALTH = 'health: {listen: "127.0.0.1:0"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "g.sock"


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path, path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", listen=f"unix:{path}", more=HEALTH)) as running:
        yield running


@pytest.fixture
def slow(tmp_path: Path, path: Path) -> Iterator[RunningGateway]:
    """A gateway whose upstream takes two seconds."""
    upstream = Simulator(make_runs(20, NOW_MS, seed=0), contract=Contract.V2025)
    setup = Setup("", tmp_path / "gateway", listen=f"unix:{path}", more=HEALTH)
    with SimulatorServer(upstream, token=REAL_TOKEN, latency_ms=2000) as server:
        setup.upstream_url = server.url
        with RunningGateway(setup) as running:
            yield running


def test_it_has_the_two_pages_and_nothing_else(gateway: RunningGateway) -> None:
    """Not even a good key makes anything of it; both pages stay on the listener of callers."""
    statuses = {
        (method, target): ask(to_port(gateway.health_port), method, target, gateway.key()).status
        for method in ("GET", "POST", "DELETE")
        for target in ("/healthz", "/readyz", "/", "/gateway/v1/whoami", CANCEL, "/readyz/", "/Healthz")
    }
    pages = {("GET", "/healthz"): 200, ("GET", "/readyz"): 200}
    methods = {(method, page): 405 for method in ("POST", "DELETE") for page in ("/healthz", "/readyz")}
    assert {asked: status for asked, status in statuses.items() if status != 404} == pages | methods
    for page in ("/healthz", "/readyz"):
        assert ask(to_unix(Path(gateway.setup.listen.removeprefix("unix:"))), "GET", page).status == 200


@pytest.mark.parametrize(
    "sent",
    [
        b"nonsense\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx",
    ],
)
def test_nothing_is_recorded(gateway: RunningGateway, sent: bytes) -> None:
    """What reaches it can do nothing, so it cannot fill the record either."""
    with to_port(gateway.health_port) as connection:
        connection.sendall(sent)
        assert connection.recv(4096).startswith(b"HTTP/1.1 4")
    assert ask(to_port(gateway.health_port), "GET", "/metrics").status == 404
    assert gateway.stop() == 0
    assert [record["event"] for record in gateway.records()] == ["start", "stop"]


def test_probe_asks_there(gateway: RunningGateway) -> None:
    """The health check of the image and the kubelet see the same page."""
    config = gateway.setup.directory / "config.yaml"
    config.write_text(config.read_text().replace("127.0.0.1:0", f"127.0.0.1:{gateway.health_port}"))
    done = command("probe", "--config", str(config))
    assert (done.returncode, done.stderr) == (0, "")


def test_while_calls_are_in_flight_at_the_end_it_says_not_ready(slow: RunningGateway, path: Path) -> None:
    """After SIGTERM the call finishes, and whoever routes to the gateway is told to stop."""
    gateway, answers = slow, []
    call = threading.Thread(target=lambda: answers.append(ask(to_unix(path), "DELETE", CANCEL, gateway.key())))
    call.start()
    while not gateway.records("intent"):
        assert call.is_alive()
    gateway.process.terminate()
    pages = []
    while call.is_alive():
        pages.append(ask(to_port(gateway.health_port), "GET", "/readyz"))
    call.join()
    assert [answer.status for answer in answers] == [200]
    assert pages[-1].status == 503
    assert pages[-1].json()["reason"] == "shutting_down"
    assert gateway.stop() == 0
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", gateway.health_port)):
        pass
