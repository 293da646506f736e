"""How a gateway ends when it is told to: what is in flight is closed on record, and idle callers do not matter."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import Answer, RunningGateway, Setup, read_answer
from tests.support.waiting import findings, until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
CALLERS = 20
NEVER_S = 3000
RECEIVE_S = 60
"""The deadline of a body."""

Start = Callable[[int], RunningGateway]


@pytest.fixture
def start(simulator: SimulatorServer, tmp_path: Path) -> Iterator[Start]:
    """Starts a gateway with a grace period in seconds, and a deadline for upstream that is as good as none."""
    with ExitStack() as undo:

        def begin(grace_s: int) -> RunningGateway:
            setup = Setup(simulator.url, tmp_path / "gateway", audit="{directory: audit, durability: fsync}")
            setup.upstream = f", total_timeout_s: {NEVER_S}"
            setup.more = f"shutdown_grace_s: {grace_s}\n"
            setup.limits = (
                f"{{receive_timeout_s: {RECEIVE_S}, per_principal: {{in_flight: 64, requests_per_minute: 0}}}}"
            )
            gateway = undo.enter_context(RunningGateway(setup))
            assert gateway.request("GET", "/readyz", team=None).status == 200
            return gateway

        yield begin


class Callers:
    """Cancels that differ in their count, each on a thread of its own."""

    def __init__(self, gateway: RunningGateway, number: int = CALLERS) -> None:
        self.answers: dict[int, Answer] = {}
        self._gateway = gateway
        self._threads = [threading.Thread(target=self._call, args=(count,)) for count in range(1, number + 1)]
        for thread in self._threads:
            thread.start()

    def _call(self, count: int) -> None:
        self.answers[count] = self._gateway.cancel(f"{OWN}&count={count}")

    def until_sent(self, simulator: SimulatorServer) -> None:
        """Returns when upstream has them all."""
        until(lambda: len(simulator.ledger) == len(self._threads))

    def done(self) -> dict[int, Answer]:
        """Their answers, by count."""
        for thread in self._threads:
            thread.join()
        return self.answers


def ended(gateway: RunningGateway, number: int = signal.SIGTERM) -> int:
    """The exit code after a signal; far sooner than upstream's deadline would allow."""
    gateway.process.send_signal(number)
    return gateway.process.wait(20)


def assert_closed_once(gateway: RunningGateway, outcome: str, number: int = CALLERS) -> None:
    """Every intent has one outcome of this kind, the last record is the stop, and the chain is intact."""
    intents = [record["decision_id"] for record in gateway.records("intent")]
    outcomes = gateway.records("outcome")
    assert len(intents) == number
    assert sorted(str(record["decision_id"]) for record in outcomes) == sorted(map(str, intents))
    assert {record["outcome"] for record in outcomes} == {outcome}
    last = gateway.records()[-1]
    assert (last["event"], last["open"]) == ("stop", 0)
    assert findings(gateway.audit_directory) == {"INTACT"}


def test_calls_in_flight_finish_with_their_true_outcome(simulator: SimulatorServer, start: Start) -> None:
    """SIGTERM with 20 calls at upstream: each caller gets the ledger's number, and so does the record."""
    gateway = start(35)
    simulator.simulator.script(Fault(acts=True, delay_after_ms=1500, times=CALLERS))
    callers = Callers(gateway)
    callers.until_sent(simulator)
    assert ended(gateway) == 0
    cancelled = {int(re.findall(r"count=(\d+)", call.call.query)[0]): len(call.run_ids) for call in simulator.ledger}
    answers = callers.done()
    assert {answer.status for answer in answers.values()} == {200}
    assert {count: answer.json()["cancelled"] for count, answer in answers.items()} == cancelled
    assert len(cancelled) == CALLERS
    assert_closed_once(gateway, "cancelled")


def test_what_does_not_finish_within_the_grace_period_is_closed_unknown(
    simulator: SimulatorServer, start: Start
) -> None:
    """Upstream hangs: 504 to each caller and `unknown` on the record before the process ends, with exit code 0."""
    gateway = start(4)
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG, times=CALLERS))
    callers = Callers(gateway)
    callers.until_sent(simulator)
    assert ended(gateway) == 0
    assert {(answer.status, answer.json()["code"]) for answer in callers.done().values()} == {(504, "outcome_unknown")}
    assert_closed_once(gateway, "unknown")


@pytest.mark.parametrize("signals", [(signal.SIGTERM, signal.SIGTERM), (signal.SIGINT, signal.SIGINT)])
def test_a_second_signal_gives_up_at_once_and_loses_no_intent(
    signals: tuple[int, int], simulator: SimulatorServer, start: Start
) -> None:
    """With an hour of grace and a hanging upstream: the first signal waits, the second ends it, all on record."""
    gateway = start(3600)
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG, times=CALLERS))
    callers = Callers(gateway)
    callers.until_sent(simulator)
    gateway.process.send_signal(signals[0])
    until(lambda: refused(gateway))
    assert gateway.process.poll() is None
    assert ended(gateway, signals[1]) == 0
    assert {answer.status for answer in callers.done().values()} == {504}
    assert_closed_once(gateway, "unknown")


def refused(gateway: RunningGateway) -> bool:
    """Whether new connections are refused."""
    try:
        socket.create_connection(("127.0.0.1", gateway.port), 5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_two_signals_at_once_are_two_signals(simulator: SimulatorServer, start: Start) -> None:
    """SIGTERM and SIGINT back to back, as an impatient supervisor sends them: the same end, nothing open."""
    gateway = start(3600)
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG, times=CALLERS))
    callers = Callers(gateway)
    callers.until_sent(simulator)
    gateway.process.send_signal(signal.SIGTERM)
    assert ended(gateway, signal.SIGINT) == 0
    callers.done()
    assert_closed_once(gateway, "unknown")


def test_no_new_intent_after_the_first_signal(simulator: SimulatorServer, start: Start) -> None:
    """A request whose body ends after the signal gets 503 shutting_down, and nothing is sent for it."""
    gateway = start(3600)
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG))
    callers = Callers(gateway, 1)
    callers.until_sent(simulator)
    body = b'{"workflowRunIds":["wfr_billing_1"]}'
    head = f"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as connection:
        connection.sendall(head.encode() + body[:10])
        gateway.request("GET", "/healthz", team=None)  # what was sent before it has been read
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: refused(gateway))
        connection.sendall(body[10:])
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer
    assert ended(gateway) == 0
    callers.done()
    assert len(simulator.ledger) == 1
    assert_closed_once(gateway, "unknown", 1)


def test_a_second_signal_waits_for_no_body(simulator: SimulatorServer, start: Start) -> None:
    """With an hour of grace: the first signal lets it come, the second answers 503, and a cancel in flight is 504."""
    gateway = start(3600)
    simulator.simulator.script(Fault(acts=True, ending=Ending.HANG))
    callers = Callers(gateway, 1)
    callers.until_sent(simulator)
    head = f"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {gateway.key()}\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), 20) as connection:
        connection.sendall(f"{head}Content-Type: application/json\r\nContent-Length: 40\r\n\r\n{{".encode())
        gateway.request("GET", "/healthz", team=None)  # what was sent before it has been read
        gateway.process.send_signal(signal.SIGTERM)
        until(lambda: refused(gateway))
        began_s = time.monotonic()
        assert ended(gateway) == 0
        took_s = time.monotonic() - began_s
        answer = read_answer(connection)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"shutting_down"' in answer
    assert took_s < RECEIVE_S
    assert {reply.status for reply in callers.done().values()} == {504}
    assert_closed_once(gateway, "unknown", 1)


def test_idle_callers_do_not_delay_the_end(start: Start) -> None:
    """Connections kept alive, never used, or with half a head on them are closed at once, with an hour of grace."""
    gateway = start(3600)
    with ExitStack() as undo:
        for said in (b"", b"DELETE /v2/workflows/runs HTTP/1.1\r\nHost:", b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"):
            for _ in range(10):
                connection = undo.enter_context(socket.create_connection(("127.0.0.1", gateway.port), 20))
                connection.sendall(said)
                if said.endswith(b"\r\n\r\n"):
                    assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert ended(gateway) == 0
    assert [record["event"] for record in gateway.records()] == ["start", "stop"]


def test_a_signal_during_the_start_leaves_a_record_that_the_next_start_takes_up(
    simulator: SimulatorServer, tmp_path: Path
) -> None:
    """Over the whole of a start, moment by moment: the process ends, by the signal or with 0, and nothing is torn."""
    setup = Setup(simulator.url, tmp_path / "gateway", audit="{directory: audit, durability: fsync}")
    config = setup.write()
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
    began_s = time.monotonic()
    with RunningGateway(setup) as measured:
        assert measured.request("GET", "/readyz", team=None).status == 200
        start_s = time.monotonic() - began_s
    moments = 12
    codes = []
    for number in range(moments):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ) as process:
            time.sleep(start_s * 1.1 * number / moments)
            process.send_signal(signal.SIGTERM)
            codes.append(process.wait(20))
    assert set(codes) <= {0, -signal.SIGTERM}
    with RunningGateway(setup) as gateway:
        assert gateway.cancel(OWN).status == 200
    assert findings(gateway.audit_directory) == {"INTACT"}
