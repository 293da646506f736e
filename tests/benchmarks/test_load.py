"""What is sent in measurements: requests that all differ, are read as they are meant, and arrive by plan."""

from __future__ import annotations

import itertools
import math
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from benchmarks.harness import steady
from benchmarks.harness.configuration import RUNS_POLICY, policy_text
from benchmarks.harness.load import Opened, at_share, open_loop
from benchmarks.harness.machine import CannotMeasure
from benchmarks.harness.requests import Request, cancel, cancel_runs, refusals, to_stub
from benchmarks.harness.steady import STALL_S, Pulse, steadily
from gateway.core.parse import Body
from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Principal
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies

pytestmark = pytest.mark.alone  # requests have to arrive by plan

ROOT = Path(__file__).parents[2]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
SLOW_S = 0.4


@pytest.fixture
def unsteady(monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement is made once, however busy the machine is: what is tested is not how long it took."""
    monkeypatch.setattr(steady, "STALL_S", math.inf)


def read(request: Request, number: int) -> ActionRequest:
    target = request.numbered(number).split(b" ")[1]
    return parse_cancel(target.partition(b"?")[2], Body())


def test_no_two_measured_requests_are_alike() -> None:
    """Identical requests in flight may be answered together, which would be no measurement."""
    requests = [cancel(), cancel(), cancel_runs(1), cancel_runs(1000)]
    made = [read(request, number) for request in requests for number in range(20)]
    assert len(set(made)) == len(made)


@pytest.mark.parametrize("run_ids", [1, 10, 100, 1000])
def test_a_request_has_the_run_ids_that_it_is_named_after(run_ids: int) -> None:
    """As the gateway reads it."""
    selection = read(cancel_runs(run_ids), 7).selection
    assert isinstance(selection, ByIds)
    assert len(selection.ids) == run_ids


@pytest.mark.parametrize("rules", [1, 10])
def test_the_measured_policies_permit_and_refuse_as_announced(rules: int, tmp_path: Path) -> None:
    """The allowed request by the last rule; over the cap and inexact ones not."""
    (tmp_path / "bench.yaml").write_text(policy_text(rules))
    (tmp_path / "runs.yaml").write_text(RUNS_POLICY)
    policies, principal = load_policies(tmp_path), Principal("bench", "bench")
    allowed = read(cancel(), 1)
    assert isinstance(allowed.selection, ByFilter)
    assert isinstance(decide(policies, principal, allowed, 1_795_000_000_000), Permit)
    assert isinstance(decide(policies, principal, read(cancel_runs(1000), 1), 1_795_000_000_000), Permit)
    for request in refusals().values():
        if request.status == 403:
            assert isinstance(decide(policies, principal, read(request, 1), 1_795_000_000_000), Denial)


def test_upstream_alone_is_asked_with_the_token_and_not_the_key() -> None:
    """The same request as it leaves a gateway."""
    assert b"bench_token_" in to_stub(cancel()).numbered(1)
    assert b"qgk_bench" not in to_stub(cancel()).numbered(1)


def test_requests_arrive_by_plan_over_all_connections() -> None:
    """Evenly, in turn, and none is left out."""
    load = Opened(cancel(), per_s=400, connections=8, seconds=0.5)
    due_s = sorted(itertools.chain.from_iterable(load.due_s(number) for number in range(8)))
    assert due_s == pytest.approx([number / 400 for number in range(200)])


class Stalling:
    """A server that answers each request at once, but the third of a connection only after a while.

    It takes one connection after the other: a measurement during which the machine stood still is made again.
    """

    def __init__(self, answer: bytes = ANSWER) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._answer = answer
        self._asleep = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return  # closed
            with connection:
                self._answer_all(connection)

    def _answer_all(self, connection: socket.socket) -> None:
        for turn in itertools.count():
            if not connection.recv(65_536):
                return
            if turn == 2:
                self._asleep.wait(SLOW_S)
            connection.sendall(self._answer)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.mark.usefixtures("unsteady")
def test_a_measurement_that_is_made_again_is_answered_again() -> None:
    """Otherwise the second try would tell of a server that does not answer, and not of the gateway."""
    server = Stalling()
    try:
        for _ in range(2):
            assert len(open_loop(server.port, Opened(cancel(), per_s=100, connections=1, seconds=0.1))) == 10
    finally:
        server.close()


@pytest.mark.usefixtures("unsteady")
def test_a_slow_answer_counts_against_all_that_had_to_wait_behind_it() -> None:
    """One stall among requests every 10 ms: a closed loop would see one slow answer, this sees many."""
    server = Stalling()
    try:
        took_us = open_loop(server.port, Opened(cancel(), per_s=100, connections=1, seconds=0.4))
    finally:
        server.close()
    assert len(took_us) == 40
    assert sum(took > SLOW_S / 4 * 1e6 for took in took_us) > 10


@pytest.mark.usefixtures("unsteady")
def test_a_measurement_with_a_wrong_answer_is_none() -> None:
    """Whoever answers 503 quickly is not fast."""
    server = Stalling(ANSWER.replace(b"200 OK", b"503 No"))
    try:
        with pytest.raises(CannotMeasure, match="503"):
            open_loop(server.port, Opened(cancel(), per_s=100, connections=1, seconds=0.1))
    finally:
        server.close()


class Beats:
    """Pulses that are late by given seconds, one measurement after the other."""

    def __init__(self, *late_s: float) -> None:
        self._late_s = iter(late_s)

    def __call__(self) -> Pulse:
        pulse = Pulse()
        pulse.longest_s = next(self._late_s)
        return pulse


def test_a_measurement_in_which_the_machine_stood_still_is_repeated() -> None:
    """Neither its value nor its error is taken."""
    outcomes: list[int | CannotMeasure] = [1, CannotMeasure("cut"), 3]

    def measure() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, CannotMeasure):
            raise outcome
        return outcome

    assert steadily(measure, pulse=Beats(2 * STALL_S, 2 * STALL_S, 0)) == 3


def test_a_machine_that_always_stands_still_gives_no_measurement() -> None:
    """After three tries it is said."""
    with pytest.raises(CannotMeasure, match="stood still"):
        steadily(lambda: 1, pulse=Beats(*[2 * STALL_S] * 3))


def test_an_error_on_a_steady_machine_is_the_gateways() -> None:
    """It is not tried again until it goes well."""
    tries = []

    def measure() -> int:
        tries.append(1)
        raise CannotMeasure("cut")

    with pytest.raises(CannotMeasure, match="cut"):
        steadily(measure, pulse=Beats(0))
    assert len(tries) == 1


def test_a_share_is_a_value_that_was_measured() -> None:
    """The nearest rank, the last one at the end."""
    values = [float(number) for number in range(100)]
    assert [at_share(values, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0, 50, 99, 99]


@pytest.mark.parametrize("module", ["benchmarks.compare", "benchmarks.growth"])
def test_what_is_missing_is_said_in_a_sentence(module: str, tmp_path: Path) -> None:
    """Without the load generator nothing is measured; all that is missing is named at once."""
    environment = {**os.environ, "PATH": str(tmp_path), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", module], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "wrk is not here: on Debian, apt-get install wrk." in done.stderr
    assert "Traceback" not in done.stderr
    if module == "benchmarks.compare":
        assert "envoy, caddy, mitmproxy" in done.stderr
