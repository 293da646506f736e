"""A real gateway and a real receiver: nothing is lost over a death, nothing secret is written, no cancel waits."""

from __future__ import annotations

import base64
import json
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault
from gateway.simulator.server import SimulatorServer
from tests.execution.resolve.account import INVOICE, MovingAccount, ids, runs_of
from tests.fleet.test_approvals_served import POLICY as ASKING
from tests.fleet.test_approvals_served import RUNS, Desk
from tests.fleet.test_served import IDS, JSON, POLICY, STATE, cancel, post
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.receiving import Receiving, verified
from tests.support.waiting import until

SECRET = b"whsec_" + base64.b64encode(secrets.token_bytes(32))
PATH = f"/services/T{secrets.token_hex(8)}/{secrets.token_urlsafe(24)}"


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    with SimulatorServer(Simulator([]), token=REAL_TOKEN) as server:
        yield server


def setup(upstream: SimulatorServer, directory: Path, url: str, *, policy: str = POLICY, more: str = "") -> Setup:
    """A gateway that tells one receiver of everything; the URL is in a file."""
    directory.mkdir(exist_ok=True)
    for name, content in (("secret", SECRET), ("url", url.encode())):
        (directory / name).write_bytes(content + b"\n")
        (directory / name).chmod(0o600)
    entry = "{url: {file: url}, secret: {file: secret}, networks: [127.0.0.0/8]}"
    return Setup(
        upstream.url,
        directory,
        policies={"billing.yaml": policy},
        teams=("billing", "search", "platform"),
        more=f"{STATE}notify:\n  - {entry}\n{more}",
    )


def waiting(gateway: RunningGateway) -> list[str]:
    """The IDs of what the store has still to deliver."""
    with closing(sqlite3.connect(gateway.audit_directory / "state.db")) as store:
        return [name for (name,) in store.execute("SELECT notice_id FROM notices WHERE NOT delivered")]


def test_a_receiver_that_comes_later_gets_what_a_killed_process_had_to_say(
    upstream: SimulatorServer, tmp_path: Path
) -> None:
    """Nothing is lost between the write and the delivery, and each comes once."""
    with Receiving() as gone:
        port = gone.port
    house = setup(upstream, tmp_path / "gateway", f"http://127.0.0.1:{port}{PATH}")
    gateway = RunningGateway(house)
    gateway.start()
    made = [str(post(gateway, reason=f"reason {number}").json()["id"]) for number in range(3)]
    until(lambda: sorted(waiting(gateway)) == sorted(f"freeze_{one}" for one in made))
    gateway.kill()
    with Receiving(port=port) as receiving, RunningGateway(house):
        until(lambda: len(receiving.taken) == 3)
        assert {one.id for one in receiving.taken} == {f"freeze_{one}" for one in made}
        assert all(verified(one, SECRET, now_s=time.time()) for one in receiving.taken)
        until(lambda: waiting(gateway) == [])
        assert len(receiving.taken) == 3


def test_a_process_that_is_killed_while_it_delivers_repeats_the_notice_under_its_id(
    upstream: SimulatorServer, tmp_path: Path
) -> None:
    """Once, when its lease has ended; a receiver knows it by the ID."""
    with Receiving() as receiving:
        receiving.hangs = True
        house = setup(upstream, tmp_path / "gateway", receiving.url(PATH))
        gateway = RunningGateway(house)
        gateway.start()
        name = f"freeze_{post(gateway, reason='x').json()['id']}"
        until(lambda: receiving.seen)
        gateway.kill()
        receiving.hangs = False
        with RunningGateway(house) as again:
            until(lambda: receiving.taken)
            until(lambda: waiting(again) == [])
        assert [one.id for one in receiving.seen] == [name, name]
        assert [one.id for one in receiving.taken] == [name]


def test_no_cancel_waits_for_a_receiver_that_never_answers(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Nor does a freeze, or the end of the process."""
    with Receiving() as receiving:
        receiving.hangs = True
        with RunningGateway(setup(upstream, tmp_path / "gateway", receiving.url(PATH))) as gateway:
            assert post(gateway, reason="x", team="search").status == 201
            until(lambda: receiving.seen)
            assert [cancel(gateway, f"l{number}").status for number in range(20)] == [200] * 20
            assert len(receiving.seen) == 1
            assert gateway.stop() == 0


def test_what_a_gateway_does_by_itself_and_a_refused_reload_are_told(upstream: SimulatorServer, tmp_path: Path) -> None:
    """More runs than were sent, the freeze that follows from it, and files that cannot be read."""
    upstream.simulator.script(Fault(status=200, body='{"cancelled": 5}'))
    with Receiving() as receiving:
        house = setup(upstream, tmp_path / "gateway", receiving.url(PATH), policy=IDS)
        with RunningGateway(house) as gateway:
            answer = gateway.cancel("workflowRunIds=wfr_1&workflowRunIds=wfr_2")
            assert answer.headers["gateway-over-cancelled"] == "3", answer.body
            until(lambda: len(receiving.taken) == 2)
            (house.directory / "policies" / "billing.yaml").write_text("version: 1\n")
            until(lambda: len(receiving.taken) == 3)
            events = {one.json()["type"].rpartition(".")[2]: one.json() for one in receiving.taken}
            assert set(events) == {"over_cancelled", "freeze", "reload_refused"}
            assert events["over_cancelled"]["subject"] == answer.headers["gateway-decision"]
            assert events["over_cancelled"]["data"] | {"decision_id": ""} == {
                "decision_id": "", "team": "billing", "action": "cancel_runs", "rule": "billing/ids",
                "over_cancelled": 3,
            }  # fmt: skip
            assert events["freeze"]["data"]["by"] == "gateway"
            assert "the last good one stays" in events["reload_refused"]["data"]["why"]


def test_people_are_told_whom_a_cancel_waits_for_and_what_came_of_it(tmp_path: Path) -> None:
    """In order, with the number of runs, and with no ID of one."""
    account = MovingAccount()
    with Receiving() as receiving, SimulatorServer(account, token=REAL_TOKEN) as server:
        house = setup(server, tmp_path / "gateway", receiving.url(PATH), policy=ASKING.replace("WITHIN", "30m"))
        (house.directory / "read-token").write_text(server.read_token)
        house.upstream, house.contract = ", read_token: {file: read-token}", "2026-09"
        with RunningGateway(house) as gateway:
            account.begin(runs_of(INVOICE, RUNS))
            desk = Desk(gateway, account)
            refused = desk.waiting()
            assert desk.says(refused).status == 201
            until(lambda: len(receiving.taken) == 2)
            steps = [one.json()["data"] for one in receiving.taken]
            assert [step["state"] for step in steps] == ["awaiting_approval", "approved"]
            assert ([step["plan"] for step in steps], steps[0]["runs"]) == ([refused["plan"]] * 2, RUNS)
            assert steps[1]["given"] == ["platform/platform-key"]
            assert not any(name.encode() in one.body for one in receiving.taken for name in ids(runs_of(INVOICE, RUNS)))


def test_neither_the_secret_nor_the_url_is_written_anywhere(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Not to a stream, the record or the store, and not on any page; whatever the receiver answers."""
    with Receiving() as receiving:
        receiving.status = 500
        house = setup(upstream, tmp_path / "gateway", receiving.url(PATH))
        with RunningGateway(house) as gateway:
            for text in (SECRET.decode(), PATH, SECRET.decode().removeprefix("whsec_"), f"see {receiving.url(PATH)}"):
                answer = gateway.request(
                    "POST", "/gateway/v1/freezes", team="platform", headers=JSON,
                    body=json.dumps({"reason": text, "team": "search"}).encode(),
                )  # fmt: skip
                assert answer.status == 201
            until(lambda: len({one.id for one in receiving.seen}) == 4)
            page = gateway.request("GET", "/readyz", team=None)
            assert f"the receiver http://127.0.0.1:{receiving.port} has taken no notice" in page.body.decode()
            assert "status_500" in gateway.stderr()
            bodies = b"".join(one.body for one in receiving.seen)
            streams = b"".join((house.directory / name).read_bytes() for name in ("stderr", "stdout"))
            for found in (bodies, streams, page.body):
                for secret in (SECRET.removeprefix(b"whsec_"), PATH.rpartition("/")[2].encode()):
                    assert secret not in found
            assert bodies.count(b"not shown: it may hold a secret") == len(receiving.seen)


def test_without_the_key_nothing_of_it_is_loaded(upstream: SimulatorServer, tmp_path: Path) -> None:
    """Also with state; Python itself says what it loads."""
    house = Setup(
        upstream.url, tmp_path / "gateway", policies={"billing.yaml": POLICY}, teams=("billing", "search", "platform"),
        more=STATE, environment={"PYTHONPROFILEIMPORTTIME": "1", "COVERAGE_PROCESS_CONFIG": ""},
    )  # fmt: skip
    with RunningGateway(house) as gateway:
        assert post(gateway, reason="x").status == 201
        lines = gateway.stderr().splitlines()
    loaded = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}
    assert "gateway.fleet.made" in loaded
    room = {name for name in loaded if name.startswith("gateway.notices.")}
    assert room == {"gateway.notices.settings", "gateway.notices.address"}
    assert "gateway.fleet.noticed" not in loaded
