"""Requests that the server ends with its grace period while the disk hangs: each gets an answer of ours, a true one.

They are given to the gateway just before the end, so that it falls into the middle of their way. On a slow machine they
may be through, or too late; what is asserted holds then as well.
"""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.edge.wire import answers, receive
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.stuck_disk import StuckDisk
from tests.support.waiting import until

GRACE_S = 6
BEFORE_THE_END_S = GRACE_S - 0.8
READ_TOKEN = "READ" + "r" * 40
POLICY = """version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowUrl: {any: true}, count: {cap: 100}, logs: full}
"""
BODY = b'{"workflowUrl":"https://billing.example.com/api/"}'
CANARY = b"CANARYNAME_of_a_caller"


class Ending:
    """A gateway with a hanging disk that has been told to end, and what callers do meanwhile."""

    def __init__(self, gateway: RunningGateway, upstream: SimulatorServer, disk: StuckDisk) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self.disk = disk
        self._told_s = 0.0

    def head(self, length: int) -> bytes:
        """The head of a cancel in the body dialect."""
        head = f"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {self.gateway.key()}\r\n"
        return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()

    def connect(self) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.gateway.port), 30)

    def tell(self) -> None:
        """SIGTERM, once everything that was sent before has been read."""
        self.gateway.request("GET", "/healthz", team=None)
        self._told_s = time.monotonic()
        self.gateway.process.send_signal(signal.SIGTERM)

    def wait(self, until_s: float) -> None:
        """Waits until so many seconds after the signal."""
        time.sleep(max(0.0, self._told_s + until_s - time.monotonic()))

    def ended(self) -> list[str]:
        """The lines of the operators' log after the end, all of them JSON; nothing of callers is in them."""
        assert self.gateway.process.wait(30) == 0
        said = self.gateway.stderr()
        assert all(isinstance(json.loads(line), dict) for line in said.splitlines())
        assert CANARY.decode() not in said
        return said.splitlines()


def assert_ours(answer: Answer) -> None:
    """The answer has a decision id, in its head and in its body."""
    assert answer.headers["gateway-decision"]
    if answer.status != 200:
        assert answer.json()["decision_id"] == answer.headers["gateway-decision"]


@pytest.fixture
def ending(tmp_path: Path) -> Iterator[Ending]:
    """A gateway whose disk can hang, with a thread that waits for it (under `os` the loop does, ADR 0017)."""
    disk = StuckDisk(tmp_path / "disk")
    simulator = Simulator(make_runs(200, NOW_MS, seed=0), contract=Contract.V2025)
    with SimulatorServer(simulator, token=REAL_TOKEN, read_token=READ_TOKEN) as upstream:
        setup = Setup(upstream.url, tmp_path / "gateway", policies={"billing.yaml": POLICY}, teams=("billing",))
        setup.audit = "{directory: audit, durability: fsync}"
        setup.limits = "{receive_timeout_s: 30, per_principal: {in_flight: 64, requests_per_minute: 0}}"
        setup.upstream = ", total_timeout_s: 2, connect_timeout_s: 1, read_token: {file: reading}"
        setup.more = f"shutdown_grace_s: {GRACE_S}\n"
        setup.environment = disk.environment
        setup.directory.mkdir()
        (setup.directory / "reading").write_text(READ_TOKEN + "\n")
        (setup.directory / "reading").chmod(0o600)
        with RunningGateway(setup) as gateway:
            yield Ending(gateway, upstream, disk)


def test_a_refusal_whose_record_waits_for_the_disk_is_answered_all_the_same(ending: Ending) -> None:
    """Four callers with malformed bodies: their own 400 each, and no text of theirs in the operators' log."""
    bodies = [b'{"%s":1}' % CANARY, b'{"workflowUrl":"%s"}' % CANARY, b"[]", b'{"a":1,"a":1}']
    with ExitStack() as undo:
        callers = [undo.enter_context(ending.connect()) for _ in bodies]
        for caller, body in zip(callers, bodies, strict=True):
            caller.sendall(ending.head(len(body)) + body[:1])
        ending.tell()
        ending.wait(BEFORE_THE_END_S)
        with ending.disk.stuck():
            for caller, body in zip(callers, bodies, strict=True):
                caller.sendall(body[1:])
            for caller in callers:
                for answer in receive(caller):
                    assert answer.status in (400, 503)
                    assert_ours(answer)
    ending.ended()


def test_a_repeat_that_joined_is_not_told_that_nothing_was_sent(ending: Ending) -> None:
    """The original's caller has gone, its cancel is done; the repeat waits for its own note when the end comes."""
    with ending.connect() as repeat:
        repeat.sendall(ending.head(len(BODY)) + BODY[:1])
        with ending.connect() as original:
            ending.upstream.simulator.script(Fault(on=Kind.CANCEL, acts=True, delay_after_ms=1000))
            original.sendall(ending.head(len(BODY)) + BODY)
            until(lambda: ending.upstream.ledger)
        ending.tell()
        ending.wait(2)
        with ending.disk.stuck():
            ending.wait(BEFORE_THE_END_S)
            repeat.sendall(BODY[1:])
            [answer] = receive(repeat)
        assert answer.status in (200, 504)
        assert_ours(answer)
    assert len(ending.upstream.ledger) == 1
    ending.ended()


def test_a_cancel_whose_answer_waits_behind_an_unread_one_is_answered_truly_or_not_at_all(ending: Ending) -> None:
    """It was carried out. The caller reads when the grace is over: it gets the number, never another text."""
    run = make_runs(1, NOW_MS, seed=0)[0].wire() | {"steps": [{"x": "y" * 3_000_000}]}
    page = json.dumps({"cursor": "", "runs": [run]})
    ending.upstream.simulator.script(Fault(on=Kind.LOGS, status=200, body=page))
    head = f"Host: a\r\nAuthorization: Bearer {ending.gateway.key()}\r\n\r\n"
    query = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2F"
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.settimeout(30)
        caller.connect(("127.0.0.1", ending.gateway.port))
        calls = (f"GET /v2/workflows/logs HTTP/1.1\r\n{head}", f"DELETE /v2/workflows/runs?{query} HTTP/1.1\r\n{head}")
        caller.sendall("".join(calls).encode())
        until(lambda: ending.gateway.records("outcome"))
        ending.tell()
        ending.wait(GRACE_S - 0.5)
        with ending.disk.stuck():
            ending.wait(GRACE_S + 0.3)
            data = b""
            while piece := caller.recv(1 << 20):
                data += piece
    logs, *rest = answers(data)
    assert (logs.status, len(logs.body) > 3_000_000) == (200, True)
    [call] = [entry for entry in ending.upstream.ledger if entry.kind is Kind.CANCEL]
    assert [answer.json() for answer in rest] in ([], [{"cancelled": len(call.run_ids)}])
    ending.ended()
