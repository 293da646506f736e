"""Nobody waits outside a limit: not for a body, not for a head, not for the cancel of another request."""

from __future__ import annotations

import contextlib
import select
import socket
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.execution.in_flight import MOST_JOINS
from tests.edge.wire import CHUNKED, JSON, PATH, RUN_IDS, URL, Edge, receive, started
from tests.support.waiting import until

OWN = "{receive_timeout_s: 30, per_principal: {in_flight: 2, requests_per_minute: 0}}"
WHOAMI = "GET /gateway/v1/whoami HTTP/1.1"
SMALL = ("prlimit", "--nofile=256:256")
"""Descriptors for so few connections that a test fills them: 48 of callers."""

BODIES = {
    "a cancel": (f"DELETE {PATH} HTTP/1.1", ("Content-Length: 9",), b""),
    "half of a cancel": (f"DELETE {PATH} HTTP/1.1", ("Content-Length: 9",), b"{"),
    "chunks": (f"DELETE {PATH} HTTP/1.1", (CHUNKED,), b"1\r\n{\r\n"),
    "explain": ("POST /gateway/v1/explain HTTP/1.1", ("Content-Length: 9",), b""),
    "a plan": ("POST /gateway/v1/plans HTTP/1.1", ("Content-Length: 9",), b""),
    "applying": (f"POST /gateway/v1/plans/{'0' * 8}-0000-7000-8000-{'0' * 12}/apply HTTP/1.1", (CHUNKED,), b""),
}


def unfinished(edge: Edge, kind: str, *, team: str = "billing") -> socket.socket:
    """A connection with a request whose body does not end."""
    line, headers, body = BODIES[kind]
    connection = edge.connect(timeout_s=20)
    connection.sendall(edge.request(JSON, *headers, line=line, body=body, team=team))
    return connection


def answered(connections: Iterable[socket.socket]) -> int:
    """How many have an answer, or have ended, as of now."""
    poll = select.poll()
    for connection in connections:
        poll.register(connection.fileno(), select.POLLIN)
    return len(poll.poll(0))


def in_an_extension(edge: Edge, body: bytes) -> bytes:
    """A cancel whose body is small, with as many bytes beside it."""
    return edge.chunked(b"2;%s\r\n{}\r\n0\r\n\r\n" % (b"a" * len(body)))


def in_chunks(edge: Edge, body: bytes) -> bytes:
    """A cancel whose body comes in one chunk."""
    return edge.chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body))


def events(edge: Edge, event: str) -> int:
    """How many records there are of one kind."""
    return sum(record["event"] == event for record in edge.records())


@pytest.mark.parametrize("kind", BODIES)
def test_above_its_limits_nobody_is_waited_for(tmp_path: Path, kind: str) -> None:
    """Two bodies wait in the two places of a key; all the others are 429 while those two wait still."""
    with started(tmp_path / "gateway", OWN) as edge, contextlib.ExitStack() as stack:
        held = [stack.enter_context(unfinished(edge, kind)) for _ in range(2)]
        edge.until_read()
        more = [stack.enter_context(unfinished(edge, kind)) for _ in range(40)]
        statuses = Counter(receive(connection)[0].status for connection in more)
        assert (statuses, answered(held)) == ({429: 40}, 0)
        assert edge.gateway.request("GET", "/gateway/v1/whoami", team="search").status == 200


@pytest.mark.parametrize("comes", [True, False], ids=["whole", "to come"])
def test_a_whole_repeat_joins_above_the_limits_and_one_to_be_waited_for_does_not(
    tmp_path: Path, *, comes: bool
) -> None:
    """The repeat of a cancel in flight gets its outcome if all of it is here; a body that is to come is 429."""
    limits = "{receive_timeout_s: 30, per_principal: {in_flight: 1, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits) as edge, ThreadPoolExecutor(2) as threads:
        whole = edge.posted(RUN_IDS)
        with edge.in_flight():
            first = threads.submit(edge.send, whole, want=1)
            until(lambda: len(edge.reached) == 1)
            repeat = threads.submit(edge.send, whole if comes else whole[: -len(RUN_IDS)], want=1)
            until(lambda: repeat.done() or events(edge, "joined") == 1)
        assert repeat.result()[0].status == (200 if comes else 429)
        assert first.result()[0].status == 200
        assert (events(edge, "joined"), len(edge.reached)) == (1 if comes else 0, 1)


@pytest.mark.alone
def test_repeats_of_one_cancel_are_bounded(tmp_path: Path) -> None:
    """Above the limits too: sixteen join, the others are 429 while it is under way, and its outcome counts them."""
    limits = "{per_principal: {in_flight: 1, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits) as edge, contextlib.ExitStack() as stack:
        request = edge.request(line=f"DELETE {PATH}?{URL}&count=3 HTTP/1.1")
        connections = []
        with edge.in_flight():
            for _ in range(200):
                connections.append(stack.enter_context(edge.connect(timeout_s=20)))
                connections[-1].sendall(request)
            edge.until_read()
            until(lambda: answered(connections) >= 199 - MOST_JOINS)
        statuses = Counter(receive(connection, want=1)[0].status for connection in connections)
        [outcome] = [record for record in edge.records() if record["event"] == "outcome"]
        joined = events(edge, "joined")
        assert 1 <= joined <= MOST_JOINS
        assert statuses == {200: 1 + joined, 429: 199 - joined}
        assert (len(edge.reached), outcome["cancelled"]) == (1, 3)
        assert outcome.get("joins_left_out", 0) in range(200 - joined)


@pytest.mark.alone
def test_a_body_costs_the_same_however_it_is_framed(tmp_path: Path) -> None:
    """Chunks cost what a length costs, whether it is their content or not; what was cut off costs what came of it."""
    body = b" " * 40_000 + b"{}"
    limits = "{per_principal: {in_flight: 4, requests_per_minute: 30}}"
    passed: list[int] = []
    for framed in (Edge.posted, in_chunks, in_an_extension):
        with started(tmp_path / f"gateway{len(passed)}", limits) as edge:
            statuses = [edge.send(framed(edge, body), want=1)[0].status for _ in range(12)]
            passed.append(sum(status != 429 for status in statuses))
    assert passed == [6, 6, 6]
    with started(tmp_path / "cut", limits) as edge:
        for _ in range(12):
            with edge.connect() as connection:
                connection.sendall(edge.posted(body)[:-1])
        until(lambda: events(edge, "refused") >= 6)
        assert edge.send(edge.request(line=WHOAMI), want=1)[0].status == 429


def test_a_team_has_half_of_the_places(tmp_path: Path) -> None:
    """Where there are several; it is 429 and says whose limit it is, and another team is served."""
    limits = "{max_in_flight: 4, receive_timeout_s: 30, per_principal: {in_flight: 0, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits) as edge, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(unfinished(edge, "a cancel"))
        edge.until_read()
        [refused] = edge.send(edge.request(line=WHOAMI), want=1)
        assert (refused.status, refused.headers["burst-ratelimit-limit"]) == (429, "2")
        assert "limit of the team" in str(refused.json()["error"])
        assert edge.record(refused.headers["gateway-decision"])["cause"] == "team_in_flight"
        assert edge.send(edge.request(line=WHOAMI, team="search"), want=1)[0].status == 200


def test_a_body_on_its_way_gives_way_and_a_cancel_in_flight_does_not(tmp_path: Path) -> None:
    """Where connections are scarce, whoever has not sent a whole request goes first; nothing was begun for it."""
    limits = "{receive_timeout_s: 30, per_principal: {in_flight: 8, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits, before=SMALL) as edge, contextlib.ExitStack() as stack:
        kept = stack.enter_context(edge.connect(timeout_s=20))
        with edge.in_flight():
            kept.sendall(edge.request(line=f"DELETE {PATH}?{URL}&count=3 HTTP/1.1"))
            until(lambda: len(edge.reached) == 1)
            waiting = [stack.enter_context(unfinished(edge, "half of a cancel", team="search")) for _ in range(8)]
            edge.until_read()
            for _ in range(100):
                stack.enter_context(edge.connect())
            until(lambda: answered(waiting) == 8)
        assert receive(kept, want=1)[0].json() == {"cancelled": 3}
        refused = [record["cause"] for record in edge.records() if record["event"] == "refused"]
        assert refused == ["incomplete"] * 8
        assert edge.send(edge.request(line=WHOAMI), want=1)[0].status == 200


def test_a_body_behind_an_answer_gives_way_too(tmp_path: Path) -> None:
    """A second request on the connection holds its place only once it is whole."""
    limits = "{receive_timeout_s: 30, per_principal: {in_flight: 8, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits, before=SMALL) as edge, contextlib.ExitStack() as stack:
        behind = stack.enter_context(edge.connect(timeout_s=20))
        first = edge.request(line=f"DELETE {PATH}?{URL}&count=3 HTTP/1.1")
        with edge.in_flight():
            behind.sendall(first + edge.posted(RUN_IDS)[:-1])
            edge.until_read()
        assert receive(behind, want=1)[0].status == 200
        for _ in range(100):
            other = stack.enter_context(edge.connect())
            other.sendall(edge.request(line=WHOAMI))
            receive(other, want=1)
        until(lambda: answered([behind]) == 1)
        assert receive(behind) == []


def test_strangers_and_another_team_end_no_idle_connection_of_a_team(tmp_path: Path) -> None:
    """A caller that keeps its connection finds it open after floods of both."""
    limits = "{receive_timeout_s: 30, per_principal: {requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits, before=SMALL) as edge, contextlib.ExitStack() as stack:
        kept = stack.enter_context(edge.connect())
        kept.sendall(edge.request(line=WHOAMI, team="search"))
        assert receive(kept, want=1)[0].status == 200
        for _ in range(100):
            stack.enter_context(edge.connect())
        for _ in range(100):
            other = stack.enter_context(edge.connect())
            other.sendall(edge.request(line=WHOAMI))
            receive(other, want=1)
        kept.sendall(edge.request(line=WHOAMI, team="search"))
        assert receive(kept, want=1)[0].status == 200
