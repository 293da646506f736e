"""Where `/metrics` is, what it costs, and that nothing else depends on it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.metrics.scraping import recorded, scrape, series, shown
from tests.serving.doors import ask, to_port
from tests.support.gateway import RunningGateway, Setup
from tests.support.stuck_disk import StuckDisk
from tests.support.waiting import until

HEALTH = 'health: {listen: "127.0.0.1:0"}\n'
OWN = 'metrics: {listen: "127.0.0.1:0"}\n'


def metrics_port(gateway: RunningGateway) -> int:
    """The port that the gateway says."""
    lines = [json.loads(line) for line in gateway.stderr().splitlines() if line.startswith("{")]
    [address] = [line["metrics"] for line in lines if line.get("event") == "serving"]
    return int(address.rpartition(":")[2])


def test_a_listener_of_its_own_has_only_this_page(simulator: SimulatorServer, tmp_path: Path) -> None:
    """The other pages are not there, it is nowhere else, and it is only read."""
    with RunningGateway(Setup(simulator.url, tmp_path / "gateway", more=HEALTH + OWN)) as gateway:
        port = metrics_port(gateway)
        assert scrape(port)[series("audit_ready")] == 1
        statuses = [ask(to_port(port), *asked).status for asked in (("GET", "/readyz"), ("POST", "/metrics"))]
        assert statuses == [404, 405]
        assert ask(to_port(gateway.health_port), "GET", "/metrics").status == 404
        assert ask(to_port(gateway.port), "GET", "/metrics").status == 401
        assert gateway.request("GET", "/metrics").status == 404


def test_without_the_key_nothing_of_it_is_loaded(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Neither the library nor the room."""
    environment = {"PYTHONPROFILEIMPORTTIME": "1", "COVERAGE_PROCESS_CONFIG": ""}
    for more, loaded in ((HEALTH, False), (HEALTH + "metrics: {on: health}\n", True)):
        directory = tmp_path / str(loaded)
        with RunningGateway(Setup(simulator.url, directory, more=more, environment=environment)) as gateway:
            assert ask(to_port(gateway.health_port), "GET", "/metrics").status == (200 if loaded else 404)
            names = [line.rpartition("|")[2].strip() for line in gateway.stderr().splitlines()]
        assert any(name.startswith(("prometheus_client", "gateway.metrics")) for name in names) is loaded


def test_a_scrape_is_answered_while_the_log_hangs(simulator: SimulatorServer, tmp_path: Path) -> None:
    """And says so: the log takes no intent then."""
    disk = StuckDisk(tmp_path / "disk")
    setup = Setup(
        simulator.url,
        tmp_path / "gateway",
        audit="{directory: audit, durability: fsync}",
        more=f"{HEALTH}metrics: {{on: health}}\n",
        environment=disk.environment,
    )
    with RunningGateway(setup) as gateway:
        with disk.stuck():
            assert gateway.cancel("label=nightly").status == 403
            until(lambda: scrape(gateway.health_port)[series("audit_ready")] == 0)
        until(lambda: scrape(gateway.health_port)[series("audit_ready")] == 1)
        assert gateway.cancel("label=nightly").status == 403
        # Also the record that was written late.
        until(lambda: shown(scrape(gateway.health_port)) == recorded(gateway.audit_directory) != {})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_it_is_read_like_the_other_pages(simulator: SimulatorServer, tmp_path: Path, method: str) -> None:
    """GET has a body and HEAD has none."""
    with RunningGateway(
        Setup(simulator.url, tmp_path / "gateway", more=f"{HEALTH}metrics: {{on: health}}\n")
    ) as gateway:
        answer = ask(to_port(gateway.health_port), method, "/metrics")
        assert (answer.status, bool(answer.body)) == (200, method == "GET")
