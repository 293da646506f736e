"""`python -m tests.metrics.recorded`: records a minute of a busy gateway, for the picture in docs/operations.md.

A real Prometheus is asked what the dashboard of the examples asks, so the picture shows what the dashboard would.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import tempfile
import threading
import time
from pathlib import Path

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault
from gateway.simulator.server import SimulatorServer
from tests.metrics.prometheus import Prometheus
from tests.metrics.test_alerts import DASHBOARD, METRICS, Expiring
from tests.metrics.test_counters import OWN, POLICY, REPORT, SEEN, ask_many
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway
from tests.support.project import ROOT
from tests.upstream.runs.reading import INVOICE, run

RECORD = ROOT / "docs" / "pictures" / "metrics.json"
LASTS_S, STEP_S, WINDOW_S = 60, 2, 8
FAILS_S = 25, 35


def load(gateway: RunningGateway, upstream: SimulatorServer, ended: threading.Event) -> None:
    """Asks for everything, again and again; for a while QStash fails."""
    began_s = time.monotonic()
    for number in itertools.count():
        if ended.is_set():
            return
        gateway.cancel(f"{OWN}&count={1 + number % 4}", team=("billing", "search")[number % 2])
        if number % 4 == 0:
            ask_many(gateway, 11)
        if FAILS_S[0] < time.monotonic() - began_s < FAILS_S[1]:
            upstream.simulator.script(Fault(status=500, body="{}", delay_before_ms=50), Fault(status=429, body="{}"))
        time.sleep(0.02)


def look_up(gateway: RunningGateway, ended: threading.Event) -> None:
    """Has runs looked up and cancelled, again and again."""
    while not ended.wait(1):
        gateway.cancel(f"{SEEN}&count=1", team="search")


def recorded(directory: Path) -> list[dict[str, object]]:
    """The panels, each with its series: a name, and a value for each step, null where there is none."""
    account = [run(number, url=INVOICE if number % 20 else REPORT) for number in range(8000)]
    with SimulatorServer(
        Simulator(account, contract=Contract.V2025), token=REAL_TOKEN, read_token=READ_TOKEN, latency_ms=5
    ) as upstream:
        setup = Expiring(
            upstream.url,
            directory / "gateway",
            policies={"billing.yaml": POLICY},
            teams=("billing", "search", "newcomers"),
            upstream=", read_token: {file: read-token}",
            more=METRICS,
            audit="{directory: audit, durability: fsync}",
        )
        with RunningGateway(setup) as gateway, Prometheus(directory / "prometheus", {"a": gateway.health_port}) as one:
            ended = threading.Event()
            asking = [
                threading.Thread(target=load, args=(gateway, upstream, ended)),
                threading.Thread(target=look_up, args=(gateway, ended)),
            ]
            for thread in asking:
                thread.start()
            time.sleep(LASTS_S)
            ended.set()
            for thread in asking:
                thread.join()
            return panels(one, time.time())


def panels(prometheus: Prometheus, until_s: float) -> list[dict[str, object]]:
    """What each panel of the dashboard shows of the last minute."""
    found: list[dict[str, object]] = []
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        shown: list[dict[str, object]] = []
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", f"{WINDOW_S}s").replace("$instance", ".*")
            start = str(until_s - LASTS_S)
            data = prometheus.get("query_range", query=query, start=start, end=str(until_s), step=str(STEP_S))
            for one in data["result"]:
                name = target["legendFormat"]
                for label, value in one["metric"].items():
                    name = name.replace("{{" + label + "}}", value)
                at = {round((float(when) - until_s + LASTS_S) / STEP_S): float(value) for when, value in one["values"]}
                values = [_number(at.get(step)) for step in range(LASTS_S // STEP_S + 1)]
                shown.append({"name": name, "values": values})
        found.append({"title": panel["title"], "unit": panel["fieldConfig"]["defaults"]["unit"], "series": shown})
    return found


def _number(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(f"{value:.4g}")


def main() -> int:
    """Writes the record, and returns 0."""
    with tempfile.TemporaryDirectory() as directory:
        lines = ",\n".join(json.dumps(panel) for panel in recorded(Path(directory)))
    RECORD.write_text(f"[\n{lines}\n]\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
