"""The counters of a real process equal its records, whatever is asked of it, and after it was killed."""

from __future__ import annotations

import http.client
import itertools
import secrets
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import quote

import pytest

from gateway.metrics.sources import call_of
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.server import SimulatorServer
from tests.metrics.scraping import chains, recorded, scrape, series, shown
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway, Setup
from tests.support.waiting import until
from tests.upstream.runs.reading import INVOICE, run

REPORT = "https://billing.example.com/api/report"
POLICY = f"""\
version: 1
name: billing
teams: [billing, search]
allow:
  - {{id: own, workflowUrl: {{exact: ["{INVOICE}"]}}, label: {{any: true}}, count: {{max: 100}}}}
  - {{id: seen, workflowUrl: {{exact: ["{REPORT}"]}}, resolve: true, runs: {{max: 500}}}}
require:
  - {{id: few, count: {{max: 50}}, mode: shadow}}
"""
OWN = f"workflowUrl={quote(INVOICE, safe='')}&workflowUrlExactMatch=true"
SEEN = f"workflowUrl={quote(REPORT, safe='')}&workflowUrlExactMatch=true"
REQUESTS = 10_000
CALLERS = 8
LABELS = "".join(f"&label={number:0100}" for number in range(20))
"""So many that the records of all requests do not fit into one chain."""


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    account = [run(number, url=REPORT if number % 2 else INVOICE) for number in range(400)]
    with SimulatorServer(Simulator(account), token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        yield server


@pytest.fixture
def gateway(upstream: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    setup = Setup(
        upstream.url,
        tmp_path / "gateway",
        policies={"billing.yaml": POLICY},
        teams=("billing", "search", "newcomers"),
        upstream=", read_token: {file: read-token}",
        more='health: {listen: "127.0.0.1:0"}\nmetrics: {on: health}\n',
        limits="{per_principal: {in_flight: 64, requests_per_minute: 200000}}",
    )
    with RunningGateway(setup) as running:
        yield running


def targets() -> list[tuple[str, str, str | None]]:
    """One of each kind: the method, the target, and the team."""
    label = secrets.token_hex(4)
    return [
        ("DELETE", f"/v2/workflows/runs?{OWN}&label={label}{LABELS}", "billing"),
        ("DELETE", f"/v2/workflows/runs?{OWN}&label={label}&count=20", "search"),
        ("DELETE", f"/v2/workflows/runs?{OWN}&count=500", "billing"),
        ("DELETE", f"/v2/workflows/runs?label={label}", "billing"),
        ("DELETE", "/v2/workflows/runs", "search"),
        ("DELETE", f"/v2/workflows/runs?{OWN}", "newcomers"),
        ("DELETE", f"/v2/workflows/runs?labels={label}", "billing"),
        ("DELETE", f"/v2/workflows/runs?{OWN}", None),
        ("GET", f"/{label}", "billing"),
        ("GET", "/v2/workflows/runs", "search"),
        ("GET", "/gateway/v1/whoami", "billing"),
    ]


def ask_many(gateway: RunningGateway, number: int) -> None:
    """So many requests of every kind, over a kept connection."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    kinds = itertools.cycle(targets())
    for method, target, team in itertools.islice(kinds, number):
        headers = {} if team is None else {"Authorization": f"Bearer {gateway.key(team)}"}
        connection.request(method, target, headers=headers)
        connection.getresponse().read()
    connection.close()


def check(gateway: RunningGateway, before: set[str]) -> None:
    """The counters equal the records; what was recorded without a wait may still be on its way."""
    until(lambda: shown(scrape(gateway.health_port)) == recorded(gateway.audit_directory, before))


def test_after_ten_thousand_mixed_requests_every_counter_equals_the_records(
    gateway: RunningGateway, upstream: SimulatorServer
) -> None:
    """Also where orders end in every way, the chain goes over into the next one, and reloads are refused."""
    upstream.simulator.script(
        Fault(status=200, body='{"cancelled": 500}'),
        Fault(status=429, body="{}"),
        Fault(status=403, body="{}"),
        Fault(status=500, body="{}"),
        Fault(ending=Ending.RESET),
    )
    with ThreadPoolExecutor(CALLERS) as pool:
        asked = [pool.submit(ask_many, gateway, REQUESTS // CALLERS) for _ in range(CALLERS)]
        statuses = {gateway.cancel(f"{SEEN}&count={count}").status for count in (1, 20, 50)}
        [one.result() for one in asked]
    policy = gateway.setup.directory / "policies" / "billing.yaml"
    for text, result in ((f"{POLICY}\n# again\n", "applied"), ("nonsense", "refused")):
        policy.write_text(text)
        gateway.process.send_signal(signal.SIGHUP)
        until(partial(_reloaded, gateway, result))
        assert scrape(gateway.health_port)[series("policy_degraded")] == (result == "refused")
    check(gateway, set())
    found = scrape(gateway.health_port)
    assert statuses == {200}
    assert len(chains(gateway.audit_directory)) > 1
    assert found[series("over_cancelled_runs_total")] > 0
    outcomes = {
        dict(labels)["outcome"] for (name, labels), value in found.items() if name == "outcomes_total" and value
    }
    assert outcomes >= {"cancelled", "refused", "unknown"}
    assert found[series("in_flight")] == found[series("audit_open_intents")] == 0


def _reloaded(gateway: RunningGateway, result: str) -> bool:
    return scrape(gateway.health_port)[series("policy_reloads_total", result=result)] > 0


def test_after_a_kill_the_next_process_counts_its_own_records(gateway: RunningGateway) -> None:
    """What recovery adds to the chains of the dead is not counted, since its decisions were not."""
    ask_many(gateway, 50)
    before = chains(gateway.audit_directory)
    gateway.kill()
    gateway.stop()
    gateway.start()
    ask_many(gateway, 50)
    check(gateway, before)
    assert scrape(gateway.health_port)[series("outcomes_total", action="cancel_runs", outcome="cancelled")] > 0


def test_nothing_that_callers_write_adds_a_series(gateway: RunningGateway) -> None:
    """Paths, labels, keys and queries, however many: after one of each kind only times of other answers are new."""
    ask_many(gateway, len(targets()))
    before, words = set(scrape(gateway.health_port)), [secrets.token_hex(8) for _ in range(30)]
    for word in words:
        ask_many(gateway, len(targets()))
        gateway.request("GET", f"/gateway/v1/{word}")
        gateway.request("GET", f"/gateway/v1/plans/{word}")
        gateway.cancel(f"{word}={word}")
        gateway.cancel(f"{OWN}&label={word}&flowControlKey={word}")
        gateway.request(team=None, headers={"Authorization": f"Bearer qgk_{word}_{word}", "Gateway-Reason": word})
    after = scrape(gateway.health_port)
    assert [key for key in after if any(word in value for word in words for _, value in key[1])] == []
    assert {key for key in after if "_seconds_" not in key[0]} <= before
    assert len(after) < 2 * len(before)


@pytest.mark.parametrize(
    ("method", "target", "call"),
    [
        ("DELETE", b"/v2/workflows/runs?workflowRunIds=wfr_1", "cancel"),
        ("POST", b"/v2/workflows/dlq/restart?dlqIds=d1", "restart_dlq"),
        ("DELETE", b"/v2/messages?messageIds=m1", "cancel_messages"),
        ("POST", b"/v2/queues/mail/pause", "pause"),
        ("GET", b"/v2/workflows/logs?count=100", "logs"),
        ("GET", b"/v2/workflows/bulkActions/act_1", "bulk_action"),
        ("GET", b"/v2/dlq?source=workflow", "dlq"),
        ("GET", b"/v2/messages/m1", "message"),
        ("GET", b"/v2/schedules", "other"),
    ],
)
def test_each_call_to_qstash_is_timed_under_its_name(method: str, target: bytes, call: str) -> None:
    """The action that an order is for, or what is read: a slow restart is not told of a slow cancel."""
    assert call_of(method, target) == call
