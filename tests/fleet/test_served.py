"""A real gateway with shared state, from outside: frozen through it, beside it, and after a restart."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.waiting import until

POLICY = """\
version: 1
name: billing
teams: [billing, search]
allow:
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}, label: {any: true}, count: {max: 100}}
"""
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
STATE = 'state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n'
FREEZES = "/gateway/v1/freezes"
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    with SimulatorServer(Simulator([]), token=REAL_TOKEN) as server:
        yield server


def setup(upstream: SimulatorServer, directory: Path, more: str = STATE) -> Setup:
    """A gateway with two teams and operators."""
    teams = ("billing", "search", "platform")
    return Setup(upstream.url, directory, policies={"billing.yaml": POLICY}, teams=teams, more=more)


def cancel(gateway: RunningGateway, label: str, *, team: str = "billing") -> Answer:
    """One cancel; each is another request."""
    return gateway.cancel(f"{OWN}&label={label}", team=team)


def post(gateway: RunningGateway, team: str = "platform", **members: object) -> Answer:
    """Freezes through the gateway."""
    return gateway.request("POST", FREEZES, team=team, body=json.dumps(members).encode(), headers=JSON)


def test_an_operator_freezes_and_thaws_through_the_gateway(upstream: SimulatorServer, tmp_path: Path) -> None:
    """From the answer on nothing is sent, also after a restart; and it goes on once it is thawed."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        assert cancel(gateway, "a").status == 200
        made = post(gateway, reason="QStash is ill")
        assert made.status == 201, made.body
        freeze = made.json()
        assert (freeze["by"], freeze["team"], freeze["rule"]) == ("platform/platform-key", None, None)
        assert (len(freeze["in_force"]), freeze["silent"]) == (1, [])  # type: ignore[arg-type]
        sent = len(upstream.simulator.ledger)
        refused = cancel(gateway, "b")
        assert (refused.status, refused.json()["code"]) == (403, "frozen")
        assert refused.json()["freeze"] == freeze["id"]
        gateway.stop()
        gateway.start()
        assert cancel(gateway, "c").status == 403
        assert len(upstream.simulator.ledger) == sent
        [shown] = gateway.request("GET", FREEZES).json()["freezes"]  # type: ignore[misc]
        assert shown["id"] == freeze["id"]
        ended = gateway.request("DELETE", f"{FREEZES}/{freeze['id']}", team="platform")
        assert (ended.status, ended.json()["thawed_by"]) == (200, "platform/platform-key")
        assert cancel(gateway, "d").status == 200
        assert [record["freeze_id"] for record in gateway.records("freeze")] == [freeze["id"]]
        assert [record["freeze_id"] for record in gateway.records("thaw")] == [freeze["id"]]
        assert [record["cause"] for record in gateway.records("denied")] == ["frozen", "frozen"]


def test_a_freeze_beside_a_gateway_without_state_is_joined_within_seconds(
    upstream: SimulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gateway has no state, no operators and no restart: the file appears beside its record, and it stops."""
    with RunningGateway(setup(upstream, tmp_path / "gateway", more="")) as gateway:
        assert cancel(gateway, "a").status == 200
        assert gateway.request("GET", FREEZES).status == 404
        where = f"sqlite:{gateway.audit_directory}/state.db"
        assert main(["freeze", "--team", "billing", "--reason", "at night", "--state", where]) == 0
        printed = capsys.readouterr().out
        until(lambda: gateway.records("freeze"))
        [record] = gateway.records("freeze")
        assert (record["by"], record["team"], record["reason"]) == (f"cli:{os.getuid()}", "billing", "at night")
        assert f"thaw {record['freeze_id']}" in printed
        assert (cancel(gateway, "b").status, cancel(gateway, "b", team="search").status) == (403, 200)
        gateway.stop()
        gateway.start()
        assert (cancel(gateway, "c").status, cancel(gateway, "c", team="search").status) == (403, 200)
        assert main(["thaw", str(record["freeze_id"]), "--state", where]) == 0
        until(lambda: gateway.records("thaw"))
        assert cancel(gateway, "d").status == 200
        assert len(gateway.records("freeze")) == len(gateway.records("thaw")) == 1


def test_a_file_that_is_no_state_lets_nothing_be_sent(upstream: SimulatorServer, tmp_path: Path) -> None:
    """It may hold a freeze. Once it is moved away it goes on, and operators can read why."""
    with RunningGateway(setup(upstream, tmp_path / "gateway", more='health: {listen: "127.0.0.1:0"}\n')) as gateway:
        assert cancel(gateway, "a").status == 200
        file = gateway.audit_directory / "state.db"
        file.write_text("nothing that SQLite knows")
        until(lambda: cancel(gateway, "b").status == 503)
        assert cancel(gateway, "c").json()["code"] == "state_unavailable"
        assert "state.db" in str(gateway.request("GET", "/readyz", team=None).json()["notices"])
        file.unlink()
        until(lambda: cancel(gateway, "d").status == 200)


def test_the_commands_freeze_and_thaw_through_the_gateway(
    upstream: SimulatorServer, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an operator's key; with another they say who may."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        monkeypatch.setenv("QSTASH_GATEWAY_URL", gateway.url)
        monkeypatch.setenv("QSTASH_GATEWAY_KEY", gateway.key("billing"))
        assert main(["freeze", "--reason", "x"]) == 1
        assert "operators" in capsys.readouterr().err
        monkeypatch.setenv("QSTASH_GATEWAY_KEY", gateway.key("platform"))
        assert main(["freeze", "--rule", "billing/own", "--until", "2h", "--reason", "x"]) == 0
        [frozen] = gateway.records("freeze")
        assert f"In force in: {frozen['instance']}." in capsys.readouterr().out
        assert (frozen["rule"], frozen["until"] is None) == ("billing/own", False)
        assert cancel(gateway, "a").status == 403
        assert main(["freeze", "--rule", "billing/owm", "--reason", "x"]) == 1
        assert main(["thaw", str(frozen["freeze_id"])]) == 0
        assert main(["thaw", str(frozen["freeze_id"])]) == 1
        assert cancel(gateway, "b").status == 200
