"""A start whose audit log takes long to open: health answers first, nothing is sent, and signals are heard."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.reliability.crash import strace
from tests.support.gateway import Answer, Setup
from tests.support.waiting import findings, until

OWN = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
# The first sync is that of the text of the policies, the second that of the start.
SLOW = "fdatasync:delay_enter=6000000:when=2"
"""The first of each thread: so that of the start record."""
BROKEN = "fdatasync:error=EIO"


class Starting:
    """A gateway that is still opening its log, on a port known before."""

    def __init__(self, setup: Setup, process: subprocess.Popen[bytes], port: int) -> None:
        self.setup = setup
        self.process = process
        self._port = port

    def request(self, method: str, target: str) -> Answer:
        """One request; nobody there yet: status 0."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request(method, target, headers={"Authorization": f"Bearer {self.setup.keys['billing']}"})
            response = connection.getresponse()
            return Answer(response.status, dict(response.getheaders()), response.read())
        except ConnectionRefusedError:
            return Answer(0, {}, b"")
        finally:
            connection.close()

    def connects(self) -> bool:
        """Whether the port is there."""
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True

    @property
    def said(self) -> str:
        """Its standard error so far."""
        return (self.setup.directory / "said").read_text()


def free_port() -> int:
    """A free port that no connection is given for its own end: who asks for such a one may meet only himself."""
    for port in itertools.chain(range(20_000 + os.getpid() % 10_000, 32_000), range(20_000, 32_000)):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no port is free")


@contextlib.contextmanager
def starting(simulator: SimulatorServer, directory: Path, fault: str) -> Iterator[Starting]:
    """Starts a gateway under strace, with a fault in its first writes."""
    strace.required()
    port = free_port()
    setup = Setup(simulator.url, directory, audit="{directory: audit, durability: fsync}", listen=f"127.0.0.1:{port}")
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(setup.write())]
    tracer = ["strace", "-D", "-f", "-qq", "-o", str(directory / "trace"), "-e", "trace=fdatasync"]
    with (directory / "said").open("wb") as said:
        process = subprocess.Popen([*tracer, f"--inject={fault}", *command], stderr=said, start_new_session=True)
        try:
            yield Starting(setup, process, port)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            process.wait(30)


def test_health_answers_while_the_log_is_opened(simulator: SimulatorServer, tmp_path: Path) -> None:
    """`/healthz` is 200, `/readyz` 503 with how far it is; a cancel is 503 and never sent, until it is ready."""
    with starting(simulator, tmp_path, SLOW) as gateway:
        until(lambda: gateway.request("GET", "/healthz").status == 200)
        page = gateway.request("GET", "/readyz")
        assert page.status == 503
        assert str(page.json()["reason"]).startswith("recovering: 0 of 0 chains")
        assert "serving" not in gateway.said
        refused = gateway.request("DELETE", f"{OWN}&count=1")
        assert (refused.status, refused.json()["code"]) == (503, "audit_unavailable")
        assert len(simulator.ledger) == 0
        until(lambda: gateway.request("GET", "/readyz").status == 200)
        until(lambda: "serving" in gateway.said)
    events = [json.loads(line)["event"] for line in gateway.said.splitlines() if line.startswith("{")]
    assert [event for event in events if event in ("recovering", "serving", "stopped")] == [
        "recovering",
        "serving",
        "stopped",
    ]
    assert gateway.process.returncode == 0
    assert findings(tmp_path / "audit") == {"INTACT"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_heard_while_the_log_is_opened(simulator: SimulatorServer, tmp_path: Path, number: int) -> None:
    """A disk that does not come back does not keep the process: it ends with 0, and without a record of its end."""
    with starting(simulator, tmp_path, SLOW) as gateway:
        until(lambda: gateway.request("GET", "/healthz").status == 200)
        gateway.process.send_signal(number)
        # The tracer gives the thread that it delays back only when that is over; the process waits for nothing.
        assert gateway.process.wait(20) == 0
        assert "Traceback" not in gateway.said
    (path,) = (tmp_path / "audit").glob("*.jsonl")
    assert [json.loads(line)["event"] for line in path.read_bytes().splitlines()] == ["start"]


def test_a_log_that_cannot_be_opened_ends_the_process(simulator: SimulatorServer, tmp_path: Path) -> None:
    """Exit code 1 and one line, as it was when everything waited for the log."""
    with starting(simulator, tmp_path, BROKEN) as gateway:
        assert gateway.process.wait(20) == 1
    assert "cannot be used: [Errno 5]" in gateway.said
    assert "Traceback" not in gateway.said
    assert "serving" not in gateway.said


def test_a_signal_that_comes_as_soon_as_there_is_a_port_ends_it_in_good_order(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    """From the first moment that anybody can connect: exit code 0, and a chain with its start and stop."""
    for turn in range(3):
        directory = tmp_path / str(turn)
        directory.mkdir()
        with starting(simulator, directory, "fdatasync:delay_enter=1:when=1") as gateway:
            until(gateway.connects)
            gateway.process.send_signal(signal.SIGTERM)
            assert gateway.process.wait(20) == 0, gateway.said
        assert findings(directory / "audit") == {"INTACT"}
