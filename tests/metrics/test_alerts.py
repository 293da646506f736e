"""The examples for Prometheus and Grafana, under a real Prometheus that scrapes real gateways."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread

import pytest

from gateway.cli.main import main
from gateway.metrics.families import FAMILIES, PREFIX
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.metrics.prometheus import RULES, Prometheus
from tests.serving.doors import certified
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.programs import needed
from tests.support.project import ROOT
from tests.support.stuck_disk import StuckDisk
from tests.support.waiting import until
from tests.system.test_full_disk import OWN, fill

UNIT_TESTS = Path(__file__).with_name("rules_test.yaml")
DASHBOARD = ROOT / "docs" / "examples" / "grafana.json"
METRICS = 'health: {listen: "127.0.0.1:0"}\nmetrics: {on: health}\n'
FSYNC = "{directory: audit, durability: fsync}"
BUDGETED = """
version: 1
name: own
teams: [billing]
allow:
  - {id: one, workflowRunIds: {any: true}, owner: unchecked, budget: {runs: 1, per: 24h}}
"""
QUIET_S, PATIENCE_S, RETRIED_S = 3.0, 25.0, 0.7

EXPECTED = {
    "healthy": set(),
    "full": {"AuditUnavailable", "RecordsLeftOut"},
    "open": {"AuditUnavailable", "OpenIntents"},
    "over": {"OverCancelled"},
    "frozen": {"Frozen"},
    "spent": {"BudgetUsedUp"},
    "unknown": {"OutcomeUnknown"},
    "reload": {"ReloadRefused"},
    "token": {"TokenRefused"},
    "ends": {"KeyExpires", "CertificateExpires"},
    "away": {"UpstreamAway"},
    "gone": {"Down"},
}
"""What fires for each gateway, by what happens to it."""


def names_in(text: str) -> set[str]:
    """The metrics that a text of queries names."""
    words = {word.removeprefix(PREFIX) for word in text.replace("{", " ").replace("[", " ").replace("(", " ").split()}
    known = {one.name for one in FAMILIES}
    known |= {
        f"{one.name}{end}" for one in FAMILIES if one.kind == "histogram" for end in ("_bucket", "_sum", "_count")
    }
    return words & known


@pytest.mark.parametrize("arguments", [("check", "rules", str(RULES)), ("test", "rules", str(UNIT_TESTS))])
def test_the_rules_are_what_they_say(arguments: tuple[str, ...]) -> None:
    """Promtool reads them, and each fires after its time and not before."""
    done = subprocess.run([needed("promtool", "prometheus"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@dataclass
class Expiring(Setup):
    """A configuration whose keys end in a few days."""

    def write(self) -> Path:
        """Writes it."""
        path = super().write()
        last = (datetime.now(UTC) + timedelta(days=5)).date()
        path.write_text(re.sub('(sha256: "[0-9a-f]+")', rf"\1, expires: {last}", path.read_text()))
        return path


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of 256 KiB."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        yield path
    finally:
        subprocess.run(["umount", str(path)], check=True)


class House:
    """A gateway for each case, and what makes it happen."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self._stack = stack
        self._upstream = self._simulator()
        self.stuck = StuckDisk(directory / "stuck")
        self.small = stack.enter_context(small_disk(directory / "small"))
        certificate, key = certified(directory)
        self.away = self._simulator()
        self.gateways = {
            name: self._gateway(name)
            for name in ("healthy", "over", "unknown", "reload", "token", "gone", "frozen", "spent")
        }
        self.gateways["away"] = self._gateway("away", url=self.away.url)
        self.gateways["full"] = self._gateway("full", audit=f'{{directory: "{self.small}/audit", durability: fsync}}')
        self.gateways["open"] = self._gateway("open", audit=FSYNC, environment=self.stuck.environment)
        more = f"{METRICS}tls: {{certificate: {certificate}, key: {key}}}\n"
        self.gateways["ends"] = self._started(Expiring(self._upstream.url, directory / "ends", more=more))

    def _simulator(self) -> SimulatorServer:
        runs = make_runs(200, NOW_MS, seed=0)
        server = SimulatorServer(Simulator(runs, contract=Contract.V2025), token=REAL_TOKEN)
        return self._stack.enter_context(server)

    def _gateway(
        self, name: str, *, url: str | None = None, audit: str = "", environment: dict[str, str] | None = None
    ) -> RunningGateway:
        setup = Setup(url or self._upstream.url, self.directory / name, more=METRICS, environment=environment or {})
        setup.audit = audit or setup.audit
        if name == "reload":
            setup.policies = {"own.yaml": "version: 1\nname: own\nteams: [billing]\ndeny:\n  - {id: all}\n"}
        if name == "spent":
            setup.policies, setup.more = {"own.yaml": BUDGETED}, f'{METRICS}state: {{url: "sqlite:state.db"}}\n'
        return self._started(setup)

    def _started(self, setup: Setup) -> RunningGateway:
        return self._stack.enter_context(RunningGateway(setup))

    def order(self, name: str, *faults: Fault) -> int:
        """One cancel, which meets the faults; its status."""
        self._upstream.simulator.script(*faults)
        return self.gateways[name].cancel(f"{OWN}&count=10").status

    def go_wrong(self) -> None:
        """Makes every case happen."""
        gateways = self.gateways
        assert self.order("healthy") == 200
        assert self.order("over", Fault(status=200, body='{"cancelled": 50}')) == 200
        assert self.order("unknown", Fault(status=500, body="{}")) == 504
        assert self.order("token", Fault(status=401, body="{}")) == 502
        [run, *_] = self._upstream.simulator.runs
        assert gateways["spent"].cancel(f"workflowRunIds={run.run_id}").status == 200
        beside = f"sqlite:{gateways['frozen'].audit_directory}/state.db"
        assert main(["freeze", "--reason", "the alert", "--state", beside]) == 0
        (gateways["reload"].setup.directory / "policies" / "own.yaml").write_text("nonsense")
        gateways["reload"].process.send_signal(signal.SIGHUP)
        self.away.stop()
        assert gateways["away"].cancel(OWN).status == 502
        gateways["gone"].kill()
        fill(self.small)
        until(self._is_full)
        assert gateways["full"].cancel("label=nightly").status == 403

    def _is_full(self) -> bool:
        """Whether there is no room even for the record that says that there was none."""
        full = self.gateways["full"]
        refused = full.cancel(OWN).status == 503
        time.sleep(RETRIED_S)
        return refused and full.request("GET", "/readyz", team=None).status == 503

    @contextmanager
    def hanging(self) -> Iterator[None]:
        """The disk hangs after an intent, until the end of the `with`."""
        ended: list[int] = []
        slow = Fault(status=200, body='{"cancelled": 0}', delay_before_ms=1000)
        asking = Thread(target=lambda: ended.append(self.order("open", slow)))
        asking.start()
        until(lambda: self.gateways["open"].records("intent"))
        with self.stuck.stuck():
            asking.join()
            assert ended == [200]
            yield


@pytest.mark.alone
def test_each_alert_fires_for_what_it_is_about_and_for_nothing_else(tmp_path: Path) -> None:
    """Of eleven gateways only the one whose key ends is named at first; then each is, by its fault."""
    static = {("ends", name) for name in EXPECTED["ends"]}
    wanted = {(instance, name) for instance, names in EXPECTED.items() for name in names}
    with ExitStack() as stack:
        needed("prometheus", "prometheus")
        house = House(tmp_path, stack)
        ports = {name: one.health_port for name, one in house.gateways.items()}
        prometheus = stack.enter_context(Prometheus(tmp_path / "prometheus", ports))
        until(lambda: len([1 for _, value in prometheus.values("up") if value]) == len(ports))
        check_fires(prometheus, static)
        time.sleep(QUIET_S)
        assert prometheus.firing() == static
        house.go_wrong()
        with house.hanging():
            check_fires(prometheus, wanted)
        until(lambda: ("open", "OpenIntents") not in prometheus.firing())
        check_dashboard(prometheus)


def check_fires(prometheus: Prometheus, wanted: set[tuple[str, str]]) -> None:
    """Waits until exactly these alerts fire; says which are missing or too many where they never do."""
    end_s = time.monotonic() + PATIENCE_S
    while (found := prometheus.firing()) != wanted and time.monotonic() < end_s:
        time.sleep(0.2)
    assert found == wanted


def check_dashboard(prometheus: Prometheus) -> None:
    """Every query of it is one that Prometheus reads, and names metrics that there are."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", "30s").replace("$instance", ".*")
            assert prometheus.get("query", query=query)["resultType"] == "vector"
            assert names_in(query), query
