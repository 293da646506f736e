"""Bytes to and from a started gateway: requests as an attacker writes them, answers as they stand on the wire."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

PATH = "/v2/workflows/runs"
URL = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
TARGET = f"{PATH}?{URL}&count=7"
RUN_IDS = b'{"workflowRunIds":["wfr_billing_a1"]}'
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


@dataclass(frozen=True, slots=True)
class Edge:
    """A gateway and what is behind it."""

    gateway: RunningGateway
    simulator: SimulatorServer
    answers: HeldAnswers | None = None

    @property
    def reached(self) -> tuple[Entry, ...]:
        """Every call that has reached the upstream."""
        return self.simulator.ledger

    def request(
        self,
        *headers: str,
        line: str = f"DELETE {TARGET} HTTP/1.1",
        body: bytes = b"",
        host: str | None = "gateway.example",
        team: str | None = "billing",
    ) -> bytes:
        """One request; a header given here stands behind Host and Authorization."""
        lines = [line]
        lines += [f"Host: {host}"] if host is not None else []
        lines += [f"Authorization: Bearer {self.gateway.key(team)}"] if team is not None else []
        return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1") + body

    def posted(self, body: bytes, *headers: str) -> bytes:
        """A cancel in the body dialect, with its length."""
        return self.request(JSON, f"Content-Length: {len(body)}", *headers, line=f"DELETE {PATH} HTTP/1.1", body=body)

    def chunked(self, body: bytes, *headers: str) -> bytes:
        """A cancel in the body dialect; `body` stands as it is, chunk sizes included."""
        return self.request(JSON, CHUNKED, *headers, line=f"DELETE {PATH} HTTP/1.1", body=body)

    def connect(self, *, timeout_s: float = 10) -> socket.socket:
        """A connection."""
        return socket.create_connection(("127.0.0.1", self.gateway.port), timeout_s)

    def send(self, *pieces: bytes, pause_s: float = 0, want: int | None = None) -> list[Answer]:
        """The answers to some bytes: the first `want`, or all until the gateway closes."""
        with self.connect() as connection:
            for index, piece in enumerate(pieces):
                if index and pause_s:
                    time.sleep(pause_s)
                if not _sent(connection, piece):
                    break
            return receive(connection, want=want)

    def records(self) -> list[dict[str, object]]:
        """The audit records so far."""
        return self.gateway.records()

    @contextlib.contextmanager
    def in_flight(self) -> Iterator[None]:
        """Inside, every cancel that goes upstream takes effect and stays in flight."""
        assert self.answers is not None
        with self.answers.held():
            yield

    def until_read(self) -> None:
        """Returns when the gateway has read all that was sent before."""
        assert self.gateway.request("GET", "/healthz", team=None).status == 200

    def resident_kb(self) -> int:
        """The memory that the gateway's process occupies, in kB."""
        status = Path(f"/proc/{self.gateway.process.pid}/status").read_text()
        match = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert match is not None
        return int(match[1])

    def canary_s(self) -> float:
        """How long a permitted cancel takes on a new connection, in seconds: the best of three."""
        return min(self._canary_s() for _ in range(3))

    def _canary_s(self) -> float:
        started_s = time.monotonic()
        [answer] = self.send(self.request(), want=1)
        assert answer.status == 200
        return time.monotonic() - started_s

    def record(self, decision_id: str) -> dict[str, object]:
        """The one record of a decision; refusals before ASGI are written without waiting."""

        def found() -> list[dict[str, object]]:
            return [record for record in self.records() if record.get("decision_id") == decision_id]

        until(found)
        [record] = found()
        return record


@contextlib.contextmanager
def started(directory: Path, limits: str, *, more: str = "", before: Sequence[str] = ()) -> Iterator[Edge]:
    """A simulated upstream and a gateway in front of it, with some limits; at its end it must have had no accident."""
    runs = make_runs(200, NOW_MS, seed=0)
    account = Simulator(runs, contract=Contract.V2025)
    with SimulatorServer(account, token=REAL_TOKEN) as upstream, HeldAnswers(upstream.port) as answers:
        setup = Setup(answers.url, directory, limits=limits, more=more)
        with RunningGateway(setup, before=before) as gateway:
            yield Edge(gateway, upstream, answers)
            assert gateway.process.poll() is None, "the gateway died"
            assert "internal_error" not in gateway.stderr()
            assert "Traceback" not in gateway.stderr()


def _sent(connection: socket.socket, piece: bytes) -> bool:
    try:
        connection.sendall(piece)
    except ConnectionError:
        return False
    return True


def receive(connection: socket.socket, *, want: int | None = None) -> list[Answer]:
    """Whole answers: the first `want`, or all until the end of the connection."""
    data = b""
    while want is None or len(answers(data)) < want:
        try:
            piece = connection.recv(65536)
        except ConnectionError:
            break
        if not piece:
            break
        data += piece
    return answers(data)


def answers(data: bytes) -> list[Answer]:
    """Every whole answer in `data`, in order, by Content-Length alone."""
    found: list[Answer] = []
    while True:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            return found
        status_line, *lines = head.decode("latin-1").split("\r\n")
        pairs = [line.partition(": ") for line in lines]
        headers = {name.lower(): value for name, _, value in pairs}
        assert len(headers) == len(lines), "a header stands twice in an answer"
        length = int(headers["content-length"])
        if len(rest) < length:
            return found
        found.append(Answer(int(status_line.split(" ")[1]), headers, rest[:length]))
        data = rest[length:]


def check_problem(edge: Edge, answer: Answer, status: int, code: str) -> None:
    """The answer is a whole problem of ours, and has one `refused` record that says the same."""
    members = json.loads(answer.body)
    assert (answer.status, members["status"], members["code"]) == (status, status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["gateway-source"] == "gateway"
    assert answer.headers["gateway-decision"] == members["decision_id"]
    assert {"type", "title", "error"} <= members.keys()
    record = edge.record(members["decision_id"])
    assert (record["event"], record["status"], record["code"]) == ("refused", status, code)


def check_forbidden(edge: Edge, data: bytes) -> None:
    """What HTTP forbids is answered once, as 400, ends the connection and reaches nobody."""
    before = edge.reached
    [answer] = edge.send(data)
    assert answer.headers["connection"] == "close"
    check_problem(edge, answer, 400, "malformed_request")
    assert edge.reached == before
