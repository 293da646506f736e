"""Several requests on one connection: in order, each answered as itself, and nothing written in another's place."""

from __future__ import annotations

import json

import pytest

from gateway.simulator.exchange import Fault
from tests.edge.wire import CHUNKED, JSON, PATH, RUN_IDS, TARGET, URL, Edge, check_problem, receive
from tests.support.waiting import until

HEALTH = "GET /healthz HTTP/1.1"

GARBAGE = {
    "no HTTP": b"\x00\x01\x02\r\n\r\n",
    "an answer": b'HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n{"cancelled": 0}',
    "two hosts": b"GET /healthz HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a target over 65,535 bytes": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    "a target over the limit": b"GET /" + b"a" * 140_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "headers over the limit": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + b"a" * 20_000 + b"\r\n\r\n",
    "101 headers": b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: 1\r\n" * 100 + b"\r\n",
    "a chunk that is none": b"DELETE / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
    "a trailer": b"DELETE / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: 1\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "half a head": b"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: x\r\nX-A: ",
    "half a body": b"DELETE /v2/workflows/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
}


def _slow_upstream(edge: Edge, delay_ms: int = 300) -> None:
    edge.simulator.simulator.script(Fault(acts=True, delay_before_ms=delay_ms))


def _cancel(edge: Edge, count: int, *headers: str) -> bytes:
    return edge.request(*headers, line=f"DELETE {PATH}?{URL}&count={count} HTTP/1.1")


@pytest.mark.parametrize("pause_s", [0, 0.1])
@pytest.mark.parametrize("name", GARBAGE)
def test_garbage_behind_a_cancel_in_flight_never_replaces_its_answer(edge: Edge, name: str, pause_s: float) -> None:
    """The cancel gets its own true answer first; what stands behind it is refused after it, or not answered."""
    before = len(edge.reached)
    _slow_upstream(edge)
    first, *rest = edge.send(_cancel(edge, 3), GARBAGE[name], pause_s=pause_s)
    assert (first.status, first.headers["gateway-source"]) == (200, "upstream")
    assert "cancelled" in json.loads(first.body)
    assert all(answer.status in (400, 401, 408) for answer in rest)
    assert len(edge.reached) == before + 1
    record = [record for record in edge.records() if record.get("decision_id") == first.headers["gateway-decision"]]
    assert [entry["event"] for entry in record] == ["intent", "outcome"]


@pytest.mark.parametrize("name", ["no HTTP", "two hosts", "headers over the limit", "an upgrade"])
def test_garbage_without_an_answer_is_on_record(edge: Edge, name: str) -> None:
    """What is refused behind a cancel in flight cannot be answered in its place, and is recorded all the same."""
    before = len([record for record in edge.records() if record["event"] == "refused"])
    _slow_upstream(edge)
    edge.send(_cancel(edge, 3), GARBAGE[name], pause_s=0.05)
    until(lambda: len([record for record in edge.records() if record["event"] == "refused"]) > before)
    refused = [record for record in edge.records() if record["event"] == "refused"][before:]
    assert [record["remote"] for record in refused] == ["127.0.0.1"]


def test_pipelined_cancels_are_answered_in_order(edge: Edge) -> None:
    """The second waits for the first, also where the first is slow; each answer belongs to its own decision."""
    before = len(edge.reached)
    _slow_upstream(edge)
    answers = edge.send(_cancel(edge, 11) + _cancel(edge, 12), want=2)
    counts = [entry.call.query.rpartition("=")[2] for entry in edge.reached[before:]]
    intents = {record["decision_id"]: record for record in edge.records() if record["event"] == "intent"}
    asked = [intents[answer.headers["gateway-decision"]]["asked"] for answer in answers]
    assert [answer.status for answer in answers] == [200, 200]
    assert counts == ["11", "12"]
    assert [str(members["count"]) for members in asked if isinstance(members, dict)] == ["11", "12"]


def test_pipelined_requests_of_every_kind_are_answered_in_order(edge: Edge) -> None:
    """A refusal in the middle answers its own request, and the connection goes on."""
    data = [
        edge.request(line=HEALTH, team=None),
        edge.request(line="GET /nothing HTTP/1.1", team=None),
        edge.request(line="GET /nothing HTTP/1.1"),
        edge.request(line=f"POST {PATH} HTTP/1.1"),
        edge.request(line=f"DELETE {PATH}?Label=x HTTP/1.1"),
        edge.request(line=f"DELETE {PATH} HTTP/1.1"),
        edge.posted(RUN_IDS),
        _cancel(edge, 2),
    ]
    answers = edge.send(b"".join(data), want=len(data))
    assert [answer.status for answer in answers] == [200, 401, 404, 405, 400, 403, 200, 200]
    assert len({answer.headers["gateway-decision"] for answer in answers}) == len(data)


def test_more_pipelined_requests_than_are_held_are_not_answered_for_others(edge: Edge) -> None:
    """The requests that were taken are answered in order, then the connection ends; no cancel runs twice."""
    before = len(edge.reached)
    _slow_upstream(edge)
    answers = edge.send(b"".join(_cancel(edge, count) for count in range(1, 31)))
    counts = [int(entry.call.query.rpartition("=")[2]) for entry in edge.reached[before:]]
    assert 1 <= len(answers) < 30
    assert all(answer.status == 200 for answer in answers)
    assert counts == list(range(1, len(answers) + 1))


def test_nothing_behind_connection_close_is_a_request(edge: Edge) -> None:
    """After `Connection: close` no byte is read as a request (RFC 9112, 9.6)."""
    before = len(edge.reached)
    answers = edge.send(_cancel(edge, 4, "Connection: close") + _cancel(edge, 5))
    assert [answer.status for answer in answers] == [200]
    assert len(edge.reached) == before + 1


def test_http_1_0_has_one_request_a_connection(edge: Edge) -> None:
    """HTTP/1.0 is answered once, and what stands behind it is no request."""
    before = len(edge.reached)
    request = edge.request("Connection: keep-alive", line=f"DELETE {TARGET} HTTP/1.0")
    answers = edge.send(request + request)
    assert [answer.status for answer in answers] == [200]
    assert len(edge.reached) == before + 1


def test_connections_are_used_again_after_a_refusal(edge: Edge) -> None:
    """Refusals without a body leave the connection as it was, and each request stands on its own key."""
    with edge.connect() as connection:
        for line, team, status in (
            (f"DELETE {TARGET} HTTP/1.1", None, 401),
            (f"DELETE {PATH} HTTP/1.1", "billing", 403),
            (f"DELETE {TARGET} HTTP/1.1", None, 401),
            (f"DELETE {PATH}?count=0 HTTP/1.1", "billing", 400),
            ("DELETE / HTTP/1.1", "billing", 404),
            (f"PUT {PATH} HTTP/1.1", "billing", 405),
            (f"DELETE {TARGET} HTTP/1.1", "search", 403),
            (f"DELETE {TARGET} HTTP/1.1", "billing", 200),
        ):
            connection.sendall(edge.request(line=line, team=team))
            [answer] = receive(connection, want=1)
            assert answer.status == status
            assert answer.headers["connection"] == "keep-alive"


def test_a_401_with_an_unread_body_ends_the_connection(edge: Edge) -> None:
    """The body of a stranger is not read, so a cancel hidden in it is never seen."""
    hidden = _cancel(edge, 6)
    before = edge.reached
    data = edge.request(JSON, f"Content-Length: {len(hidden)}", team=None, line=f"DELETE {PATH} HTTP/1.1", body=hidden)
    [answer] = edge.send(data)
    check_problem(edge, answer, 401, "unauthenticated")
    assert answer.headers["connection"] == "close"
    assert edge.reached == before


def test_a_body_does_not_run_over_into_the_next_request(edge: Edge) -> None:
    """Bytes behind a body of announced length are a request of their own: judged, with its own key."""
    before = len(edge.reached)
    answers = edge.send(edge.posted(RUN_IDS) + edge.request(team=None), want=2)
    assert [answer.status for answer in answers] == [200, 401]
    assert len(edge.reached) == before + 1


def test_a_slow_body_does_not_let_a_pipelined_request_overtake(edge: Edge) -> None:
    """What follows a chunked body is read only after its last chunk."""
    head = edge.request(JSON, CHUNKED, line=f"DELETE {PATH} HTTP/1.1")
    before = len(edge.reached)
    answers = edge.send(head, b"25\r\n" + RUN_IDS, b"\r\n0\r\n\r\n" + _cancel(edge, 9), pause_s=0.1, want=2)
    assert [answer.status for answer in answers] == [200, 200]
    assert [entry.call.query.rpartition("=")[2] for entry in edge.reached[before:]] == ["1", "9"]
