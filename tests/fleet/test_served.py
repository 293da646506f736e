"""A real gateway with shared state, from outside: frozen through it, beside it, and after a restart."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.cli.main import main
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault
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
IDS = """\
version: 1
name: billing
teams: [billing, search]
allow:
  - {id: ids, workflowRunIds: {max: 9, prefix: [wfr_]}, owner: unchecked}
"""
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
STATE = 'state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n'
FREEZES = "/gateway/v1/freezes"
PATIENT_S = 6
"""The 2 s of a call to the store, on a busy machine."""
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


def post(gateway: RunningGateway, **members: object) -> Answer:
    """Freezes through the gateway, as an operator."""
    return gateway.request("POST", FREEZES, team="platform", body=json.dumps(members).encode(), headers=JSON)


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
        shown = gateway.request("GET", FREEZES).json()["freezes"]
        assert isinstance(shown, list)
        assert [one["id"] for one in shown] == [freeze["id"]]
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


def test_the_way_back_from_a_freeze_can_be_pasted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever led into the store leads out of it: at three in the morning nobody remembers an option."""
    (tmp_path / "chain.jsonl").touch()
    (tmp_path / "a password").write_text("a-password")
    ways = ["--state", f"sqlite:{tmp_path}/state.db", "--password-file", f"{tmp_path}/a password"]
    assert main(["freeze", "--reason", "x", *ways]) == 0
    [line] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("To end it: qstash-gateway ")]
    assert main(shlex.split(line.removeprefix("To end it: qstash-gateway "))) == 0


@pytest.mark.parametrize("fault", ["nobody listens", "no gateway answers"])
def test_a_freeze_that_failed_names_the_other_way(
    fault: str, upstream: SimulatorServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also behind a proxy whose gateways are gone, where an answer comes and nobody knows what was done."""
    monkeypatch.setenv("QSTASH_GATEWAY_URL", "http://127.0.0.1:9" if fault == "nobody listens" else upstream.url)
    monkeypatch.setenv("QSTASH_GATEWAY_KEY", "qgk_ops_x")
    assert main(["freeze", "--reason", "x"]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.endswith("Whoever has the gateway's machine can use --state.")
    assert said.startswith("Nothing was done" if fault == "nobody listens" else "It may have been done")


def test_with_the_store_away_it_stays_frozen_and_a_new_freeze_holds(upstream: SimulatorServer, tmp_path: Path) -> None:
    """503 within 2 s for the freeze, which is in force here all the same; what is not frozen goes on."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        assert post(gateway, reason="x", rule="billing/other").status == 422
        assert post(gateway, reason="first").status == 201
        [first] = freezes(gateway)
        assert gateway.request("DELETE", f"{FREEZES}/{first['id']}", team="platform").status == 200
        with closing(sqlite3.connect(gateway.audit_directory / "state.db", isolation_level=None)) as link:
            link.execute("BEGIN EXCLUSIVE")
            assert cancel(gateway, "a").status == 200
            began_s = time.monotonic()
            unsure = post(gateway, team="billing", reason="second")
            assert time.monotonic() - began_s < PATIENT_S
            assert (unsure.status, unsure.json()["code"]) == (503, "state_unavailable")
            assert (cancel(gateway, "b").status, cancel(gateway, "b", team="search").status) == (403, 200)
            assert cancel(gateway, "c").json()["freeze"] == unsure.json()["id"]
            link.execute("ROLLBACK")
        until(lambda: [one["id"] for one in kept(gateway)] == [unsure.json()["id"]])
        gateway.stop()
        gateway.start()
        assert (cancel(gateway, "d").status, cancel(gateway, "d", team="search").status) == (403, 200)


def test_a_reload_undoes_no_freeze(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Neither one that was set before it, nor one that is set while the files are read."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        assert post(gateway, team="billing", reason="before").status == 201
        policy = gateway.setup.directory / "policies" / "billing.yaml"
        for number in range(3):
            policy.write_text(f"{POLICY}# {number}\n")
            gateway.process.send_signal(signal.SIGHUP)
            assert post(gateway, team="search", reason="meanwhile").status == 201
        until(lambda: len(gateway.records("reload")) >= 3)
        assert (cancel(gateway, "a").status, cancel(gateway, "a", team="search").status) == (403, 403)
        assert len(freezes(gateway)) == 4


def test_operators_see_what_all_teams_did_and_others_only_their_own(upstream: SimulatorServer, tmp_path: Path) -> None:
    """And an operator may cancel no more than policy says."""
    with RunningGateway(setup(upstream, tmp_path / "gateway")) as gateway:
        made = {team: cancel(gateway, "a", team=team).headers["gateway-decision"] for team in ("billing", "search")}
        for decision in made.values():
            path = f"/gateway/v1/decisions/{decision}"
            assert gateway.request("GET", path, team="platform").json()["decision_id"] == decision
        assert gateway.request("GET", f"/gateway/v1/decisions/{made['search']}").status == 404

        def listed(team: str) -> set[object]:
            answer = gateway.request("GET", "/gateway/v1/decisions", team=team).json()["decisions"]
            assert isinstance(answer, list)
            return {one["decision_id"] for one in answer}

        until(lambda: listed("platform") == set(made.values()))
        assert listed("billing") == {made["billing"]}
        assert cancel(gateway, "b", team="platform").status == 403


def test_an_order_that_cancels_more_than_was_sent_freezes_its_rule(upstream: SimulatorServer, tmp_path: Path) -> None:
    """For the team, by the gateway itself; an operator thaws it."""
    gateway_setup = setup(upstream, tmp_path / "gateway")
    gateway_setup.policies = {"billing.yaml": IDS}
    with RunningGateway(gateway_setup) as gateway:
        upstream.simulator.script(Fault(status=200, body='{"cancelled": 5}'))
        assert gateway.cancel("workflowRunIds=wfr_1").headers["gateway-over-cancelled"] == "4"
        refused = gateway.cancel("workflowRunIds=wfr_2")
        assert (refused.status, refused.json()["by"]) == (403, "gateway")
        assert gateway.cancel("workflowRunIds=wfr_2", team="search").status != 403
        until(lambda: len(kept(gateway)) == 1)
        [record] = gateway.records("freeze")
        assert (record["by"], record["team"], record["rule"]) == ("gateway", "billing", "billing/ids")
        assert gateway.request("DELETE", f"{FREEZES}/{record['freeze_id']}", team="platform").status == 200


def freezes(gateway: RunningGateway) -> list[dict[str, object]]:
    """The freezes in force, as an operator sees them."""
    found = gateway.request("GET", FREEZES, team="platform").json()["freezes"]
    assert isinstance(found, list)
    return found


def kept(gateway: RunningGateway) -> list[dict[str, object]]:
    """The freezes in the store that nobody has thawed."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db")) as link:
        return [{"id": name} for (name,) in link.execute("SELECT freeze_id FROM freezes WHERE thawed_ms IS NULL")]
