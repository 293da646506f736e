"""A gateway with a read-only token, as operators run it: it shows a team its runs, and nobody either token."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind, Token
from gateway.simulator.server import SimulatorServer
from gateway.upstream.runs.cursors import MOST_READING
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup, new_key
from tests.support.waiting import until
from tests.upstream.runs.reading import INVOICE, run

READING = "CANARY" + secrets.token_hex(24)
SEARCH = "https://search.example.com/api/reindex"
PLAIN = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}}
"""
RESOLVING = PLAIN.replace("}}", "}, resolve: true, runs: {max: 9}}")
LATEST_S = 20


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    account = [run(1), run(2, url=SEARCH), run(3)]
    with SimulatorServer(Simulator(account), token=REAL_TOKEN, read_token=READING) as server:
        yield server


def setup(upstream: SimulatorServer, directory: Path, *, policy: str = RESOLVING, reads: bool = True) -> Setup:
    """A gateway's files; with `reads` it has a read-only token."""
    directory.mkdir()
    (directory / "read-token").write_text(READING)
    more = ", read_token: {file: read-token}" if reads else ""
    return Setup(upstream.url, directory, policies={"billing.yaml": policy}, teams=("billing",), upstream=more)


def test_a_team_sees_its_runs_through_the_gateway(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Under both paths, with its own key; the other team's run on the same page is not there."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        for target in ("/v2/workflows/logs?count=5", "/v2/workflows/events?groupBy=workflowRunId"):
            answer = gateway.request("GET", target)
            assert answer.status == 200
            page = answer.json()
            assert isinstance(page["runs"], list)
            assert [entry["workflowRunId"] for entry in page["runs"]] == ["wfr_00003", "wfr_00001"]
    assert {reading.call.token for reading in upstream.simulator.readings} == {Token.READ_ONLY}
    assert upstream.ledger == ()


class ManyKeys(Setup):
    """A team that has as many keys as there are pages to read at once, and another team."""

    def write(self) -> Path:
        """Writes the files, and the keys of the team into them."""
        path = super().write()
        self.keys |= {f"billing{number}": new_key(f"billing{number}-key") for number in range(MOST_READING)}
        more = "".join(
            f'    - {{id: {team}-key, team: billing, sha256: "{hashlib.sha256(key.encode()).hexdigest()}"}}\n'
            for team, key in self.keys.items()
            if team not in self.teams
        )
        path.write_text(path.read_text().replace("  keys:\n", f"  keys:\n{more}"))
        return path


def test_the_keys_of_one_team_leave_pages_to_read_to_another(upstream: SimulatorServer, tmp_path: Path) -> None:
    """While upstream is slow, two of its four keys read; the others are told that it is the limit of the team."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "read-token").write_text(READING)
    policies = {"billing.yaml": RESOLVING.replace("[billing]", '["*"]')}
    teams, more = ("billing", "search"), ", read_token: {file: read-token}"
    setup = ManyKeys(upstream.url, tmp_path / "gateway", policies=policies, teams=teams, upstream=more)
    with RunningGateway(setup) as gateway, ThreadPoolExecutor(MOST_READING) as callers:
        upstream.simulator.script(Fault(on=Kind.LOGS, times=2, acts=True, delay_before_ms=3000))
        asked = [
            callers.submit(gateway.request, "GET", "/v2/workflows/logs", team=f"billing{number}")
            for number in range(MOST_READING)
        ]
        until(lambda: len(gateway.records("throttled")) == MOST_READING // 2)
        assert gateway.request("GET", "/v2/workflows/logs", team="search").status == 200
        answers = [future.result() for future in asked]
        assert sorted(answer.status for answer in answers) == [200, 200, 429, 429]
        assert {record["cause"] for record in gateway.records("throttled")} == {"team_lookups"}


def test_neither_token_is_shown_whatever_upstream_says(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Not in an answer, the record or a log line; a caller who sends one is refused as anybody is."""
    echoes = [
        Fault(on=Kind.LOGS, status=status, body=f'{{"error": "{READING} {REAL_TOKEN}"}}', headers={"X-Echo": READING})
        for status in (401, 403, 500)
    ]
    with RunningGateway(setup(upstream, tmp_path / "gateway", policy=PLAIN)) as gateway:
        upstream.simulator.script(*echoes)
        answers = [gateway.request("GET", "/v2/workflows/logs") for _ in echoes]
        assert [answer.status for answer in answers] == [502, 502, 502]
        headers = {"Authorization": f"Bearer {READING}"}
        answers.append(gateway.request("GET", "/v2/workflows/logs", team=None, headers=headers))
        assert answers[-1].status == 401
        answers.append(gateway.cancel(f"label={READING}"))
        assert answers[-1].status in (400, 403)
        upstream.simulator.script(Fault(status=403, body=f'{{"error": "not with {READING} or {REAL_TOKEN}"}}'))
        answers.append(gateway.cancel(f"workflowUrl={INVOICE}&workflowUrlExactMatch=true"))
        assert answers[-1].status == 502
    said = gateway.said() + b"".join(answer.body + repr(answer.headers).encode() for answer in answers)
    for token in (READING, REAL_TOKEN):
        assert token.encode() not in said
    assert INVOICE.encode() not in answers[0].body


def test_a_reload_brings_no_rule_that_nothing_can_be_looked_up_for(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Without the token the last good policies stay, and the record says at which rule."""
    with RunningGateway(setup(upstream, tmp_path / "gateway", policy=PLAIN, reads=False)) as gateway:
        (tmp_path / "gateway" / "policies" / "billing.yaml").write_text(RESOLVING)
        deadline = time.monotonic() + LATEST_S
        while not gateway.records("reload") and time.monotonic() < deadline:
            time.sleep(0.05)
        [record] = gateway.records("reload")
    assert record["outcome"] == "refused"
    assert "billing.yaml:5:5" in str(record["problems"])
    assert "upstream.read_token" in str(record["problems"])
