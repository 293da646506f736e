"""The simulator as a server: faults on real connections, control, and the command."""

from __future__ import annotations

import argparse
import http.client
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from gateway.cli.trial import simulate
from gateway.simulator.app import app
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault, fault_of, rate_limited
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer

CANCEL = "/v2/workflows/runs"
PROGRAM = """
import argparse, sys
from gateway.cli.trial import simulate
parser = argparse.ArgumentParser()
simulate.register(parser.add_subparsers())
arguments = parser.parse_args()
sys.exit(arguments.run(arguments))
"""


@pytest.fixture
def server(account: tuple[Run, ...]) -> Iterator[SimulatorServer]:
    with SimulatorServer(Simulator(account)) as server:
        yield server


@pytest.fixture
def client(server: SimulatorServer) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {server.token}"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=10) as client:
        yield client


def exchange(server: SimulatorServer, query: str = "label=batch", header: str = "") -> bytes:
    """All bytes that come back until the connection ends."""
    request = f"DELETE {CANCEL}?{query} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.token}\r\n{header}\r\n"
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request.encode())
        while piece := connection.recv(65536):
            received += piece
    return received


# ---------------------------------------------------------------- faults


def test_a_fault_strikes_so_many_times(server: SimulatorServer, client: httpx.Client) -> None:
    """Afterwards the answers are true again; a refused call cancelled nothing and is in the ledger."""
    server.simulator.script(rate_limited(times=2))
    answers = [client.delete(CANCEL, params={"label": "batch"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Burst-RateLimit-Remaining"] == "0"
    assert [(entry.status, len(entry.run_ids)) for entry in server.ledger] == [(None, 0), (None, 0), (200, 2)]


def test_faults_strike_in_order_and_by_kind(server: SimulatorServer, client: httpx.Client) -> None:
    """A fault waits for a call of its kind and lets the others pass."""
    server.simulator.script(Fault(on="logs", status=500), Fault(status=412), Fault(on="any", status=503))
    answers = [client.delete(CANCEL), client.delete(CANCEL), client.get("/v2/workflows/logs")]
    assert [answer.status_code for answer in answers] == [412, 503, 500]
    assert client.get("/v2/workflows/logs").status_code == 200


def test_an_error_may_have_cancelled_some_runs(server: SimulatorServer, client: httpx.Client) -> None:
    """The answer is 500, and one run is gone all the same."""
    server.simulator.script(Fault(acts=True, acts_on_at_most=1, status=500, body='{"error":"internal"}'))
    assert client.delete(CANCEL, params={"label": "batch"}).status_code == 500
    assert server.simulator.cancelled == ("wfr_invoice_2",)


@pytest.mark.parametrize(("acts", "lost"), [(False, 0), (True, 2)])
def test_a_dropped_connection_says_nothing_about_the_effect(server: SimulatorServer, acts: bool, lost: int) -> None:
    """The caller sees the same end of the connection before and after the cancel."""
    server.simulator.script(Fault(acts=acts, ending=Ending.CLOSE))
    assert exchange(server) == b""
    assert len(server.simulator.cancelled) == lost


def test_a_reset_is_a_reset(server: SimulatorServer) -> None:
    """The caller gets RST, not an orderly end."""
    server.simulator.script(Fault(acts=True, ending=Ending.RESET))
    with pytest.raises(ConnectionResetError):
        exchange(server)
    assert len(server.simulator.cancelled) == 2


def test_an_answer_can_be_cut_at_every_byte(account: tuple[Run, ...]) -> None:
    """What arrives is the beginning of one answer, as long as asked for."""
    whole = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\n\r\n{"cancelled":2'
    body = '{"cancelled":2'
    with SimulatorServer(Simulator(account)) as server:
        for size in range(len(whole) + 1):
            server.simulator.script(Fault(status=200, body=body, cut_at_byte=size, ending=Ending.CLOSE))
            assert exchange(server) == whole[:size]


def test_an_answer_need_not_be_http(server: SimulatorServer) -> None:
    """Status 0 sends the bytes of the body alone, whatever they are."""
    server.simulator.script(Fault(status=0, body="SSH-2.0\udcff\r\n"))
    assert exchange(server) == b"SSH-2.0\xff\r\n"


def test_a_call_may_never_be_answered(server: SimulatorServer) -> None:
    """The caller waits until it gives up; the effect is there already, and stopping does not wait for it."""
    server.simulator.script(Fault(acts=True, ending=Ending.HANG))
    waiting = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    waiting.request("DELETE", f"{CANCEL}?label=batch", headers={"Authorization": f"Bearer {server.token}"})
    while not server.ledger:
        time.sleep(0.01)
    assert len(server.simulator.cancelled) == 2
    server.stop()
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        waiting.getresponse()
    waiting.close()


@pytest.mark.parametrize(
    "wire",
    [
        {},
        {"status": "500"},
        {"status": 500, "times": 0},
        {"status": 500, "on": "everything"},
        {"ending": "explode"},
        {"status": True},
        {"code": 500},
    ],
)
def test_a_fault_without_sense_is_refused(wire: dict[str, Any]) -> None:
    """A misspelt fault would strike nothing and let a test pass."""
    with pytest.raises(ValueError, match=r".+"):
        fault_of(wire)


# ---------------------------------------------------------------- tokens and control


@pytest.mark.parametrize(
    ("headers", "query", "status", "token"),
    [
        ({"Authorization": "Bearer {full}"}, "", 200, "full"),
        ({"Authorization": "bearer {full}"}, "", 200, "full"),
        ({}, "qstash_token={full}", 200, "full"),
        ({"Authorization": "Bearer {read}"}, "", 403, "read-only"),
        ({"Authorization": "Bearer {full}x"}, "", 401, "wrong"),
        ({}, "", 401, "none"),
    ],
)
def test_the_token_is_read_from_either_place(
    server: SimulatorServer, headers: dict[str, str], query: str, status: int, token: str
) -> None:
    """A bearer header or `qstash_token` in the query; the ledger keeps the kind, never the header."""
    tokens = {"full": server.token, "read": server.read_token}
    filled = {name: value.format(**tokens) for name, value in headers.items()}
    answer = httpx.delete(f"{server.url}{CANCEL}?{query.format(**tokens)}", headers=filled, trust_env=False)
    assert answer.status_code == status
    (entry,) = server.ledger
    assert entry.call.token == token
    assert "authorization" not in dict(entry.call.headers)


def test_two_thousand_run_ids_fit_into_one_target() -> None:
    """A target of 82 kB, as the newest client sends it, arrives whole."""
    runs = [Run(f"wfr_{number:021d}", "https://a.example/x", 1) for number in range(2_000)]
    with SimulatorServer(Simulator(runs)) as server:
        answer = exchange(server, "&".join(f"workflowRunIds={run.run_id}" for run in runs), "Connection: close\r\n")
    assert answer.endswith(b'{"cancelled": 2000}')


def test_control_shows_and_changes_the_account(server: SimulatorServer, client: httpx.Client) -> None:
    """The ledger, the runs, more runs and faults, all without a token."""
    control = httpx.Client(base_url=f"{server.url}/_simulator", trust_env=False)
    with control:
        run = {"workflowRunId": "wfr_more", "workflowUrl": "https://a.example/x", "workflowRunCreatedAt": 1}
        assert control.post("/runs", json={"runs": [run]}).status_code == 200
        assert control.post("/runs", json={"make": 5, "seed": 1}).status_code == 200
        assert control.post("/faults", json={"faults": [{"status": 412, "times": 1}]}).status_code == 200
        assert client.delete(CANCEL).status_code == 412
        assert client.delete(CANCEL, params={"workflowRunIds": "wfr_more"}).json() == {"cancelled": 1}
        ledger = control.get("/ledger").json()["ledger"]
        states = {run["workflowRunId"]: run["workflowState"] for run in control.get("/runs").json()["runs"]}
    assert [(entry["status"], entry["cancelled"]) for entry in ledger] == [(None, []), (200, ["wfr_more"])]
    assert (len(states), states["wfr_more"]) == (13, "RUN_CANCELED")


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"faults": [1]}', '{"faults": [{}]}', '{"runs": [{"a": 1}]}'])
@pytest.mark.parametrize("path", ["faults", "runs"])
def test_control_refuses_what_it_cannot_read(server: SimulatorServer, path: str, body: str) -> None:
    """With a sentence, and without changing anything."""
    answer = httpx.post(f"{server.url}/_simulator/{path}", content=body, trust_env=False)
    assert answer.status_code == 400
    assert answer.json()["error"]


@pytest.mark.parametrize(("peer", "status"), [("127.0.0.1", 200), ("::1", 200), ("192.0.2.1", 403)])
async def test_control_is_for_loopback_only(simulator: Simulator, peer: str, status: int) -> None:
    """Who comes from elsewhere may not script the account."""
    transport = httpx.ASGITransport(app(simulator, "full", "read", clock=lambda: 0), client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://simulator.example") as client:
        assert (await client.get("/_simulator/ledger")).status_code == status


# ---------------------------------------------------------------- the command


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_serves_until_it_is_told_to_stop(number: signal.Signals) -> None:
    """It prints where it listens and with which tokens, and either signal ends it with 0."""
    command = [sys.executable, "-c", PROGRAM, "simulate", "--port", "0", "--runs", "30", "--contract", "2025"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        printed = "".join(process.stdout.readline() for _ in range(4))
        url = re.search(r"http://127\.0\.0\.1:[0-9]+", printed)
        token = re.search(r"^Token: (\S{43})$", printed, re.MULTILINE)
        assert url is not None
        assert token is not None
        headers = {"Authorization": f"Bearer {token[1]}"}
        assert httpx.delete(f"{url[0]}{CANCEL}", headers=headers, trust_env=False).json() == {"cancelled": 29}
        process.send_signal(number)
        rest, errors = process.communicate(timeout=10)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_taken_port_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """The command ends with 1 and a sentence."""
    parser = argparse.ArgumentParser()
    simulate.register(parser.add_subparsers())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = parser.parse_args(["simulate", "--port", str(taken.getsockname()[1])])
        assert arguments.run(arguments) == 1
    assert capsys.readouterr().err.startswith("Cannot listen on port ")


def test_without_the_simulator_the_command_says_so() -> None:
    """Where the package is left out, as in the image, the command ends with 2 and a sentence."""
    hidden = "import sys; sys.modules['gateway.simulator'] = None\n" + PROGRAM
    ended = subprocess.run(
        [sys.executable, "-c", hidden, "simulate"], capture_output=True, text=True, timeout=30, check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"{simulate.ABSENT}\n")


def test_a_fault_after_which_the_port_is_closed(account: tuple[Run, ...]) -> None:
    """A stopped simulator refuses connections, and stopping twice does no harm."""
    server = SimulatorServer(Simulator(account)).start()
    server.stop()
    server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=10)
