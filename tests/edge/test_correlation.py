"""The ids of a caller's request on the wire: kept in its record, echoed in every answer, and never in the way."""

from __future__ import annotations

import pytest

from tests.edge.wire import PATH, TARGET, Edge
from tests.support.gateway import REAL_TOKEN, Answer
from tests.support.waiting import until

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"traceparent: 00-{TRACE}-{PARENT}-01"
WORKS = f"DELETE {TARGET} HTTP/1.1"
IDS = {"action", "trace_id", "request_id"}


def ids_of(edge: Edge, answer: Answer, event: str) -> tuple[object, object, object]:
    """Action, trace and request id in the record of an answer."""
    name = answer.headers["gateway-decision"]
    [record] = [one for one in edge.records() if one.get("decision_id") == name and one["event"] == event]
    return record["action"], record["trace_id"], record["request_id"]


def test_a_cancel_is_found_by_the_ids_of_its_caller(edge: Edge) -> None:
    """Its intent holds them, and its answer the request id."""
    [answer] = edge.send(edge.request(TRACEPARENT, "X-Request-Id: order-4711"), want=1)
    assert (answer.status, answer.headers["x-request-id"]) == (200, "order-4711")
    assert ids_of(edge, answer, "intent") == ("cancel_runs", TRACE, "order-4711")


def test_without_ids_the_trace_is_named_after_the_decision(edge: Edge) -> None:
    """No request id is made up, and none is echoed."""
    [answer] = edge.send(edge.request(), want=1)
    made = answer.headers["gateway-decision"].replace("-", "")
    assert ids_of(edge, answer, "intent") == ("cancel_runs", made, None)
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize(
    ("line", "team", "status", "event", "action"),
    [
        (WORKS, None, 401, "refused", "cancel_runs"),
        (f"DELETE {PATH}?count=x HTTP/1.1", "billing", 400, "refused", "cancel_runs"),
        (f"DELETE {PATH}?label=none-of-yours HTTP/1.1", "search", 403, "denied", "cancel_runs"),
        ("GET /gateway/v1/whoami HTTP/1.1", None, 401, "refused", None),
        ("GET /gateway/v1/whoami HTTP/1.1", "billing", 200, None, None),
        ("GET /nowhere HTTP/1.1", "billing", 404, "refused", None),
        (f"POST {PATH} HTTP/1.1", "billing", 405, "refused", None),
        ("GET /healthz HTTP/1.1", None, 200, None, None),
        ("GET /readyz HTTP/1.1", None, 200, None, None),
        ("POST /readyz HTTP/1.1", None, 405, "refused", None),
    ],
)
def test_every_answer_echoes_the_request_id(
    edge: Edge, line: str, team: str | None, status: int, event: str | None, action: str | None
) -> None:
    """Also the refusals at the door, whose record names what was to be done if that was read."""
    [answer] = edge.send(edge.request(TRACEPARENT, "X-Request-ID: a.b_c-1", line=line, team=team), want=1)
    assert (answer.status, answer.headers["x-request-id"]) == (status, "a.b_c-1")
    if event is not None:
        assert ids_of(edge, answer, event) == (action, TRACE, "a.b_c-1")


@pytest.mark.parametrize(
    "headers",
    [
        ("X-Request-Id: a b",),
        ("X-Request-Id: " + "a" * 129,),
        ("X-Request-Id:",),
        ("X-Request-Id: a", "X-Request-Id: a"),
        ("X-Request-Id: qgk_mine",),
        (f"X-Request-Id: {REAL_TOKEN}",),
        (f"X-Request-Id: at-{REAL_TOKEN.lower()}.x",),
    ],
)
def test_a_request_id_that_is_not_accepted_is_null_and_never_refused(edge: Edge, headers: tuple[str, ...]) -> None:
    """A cancel does not fail for it; nothing of it is recorded or answered."""
    [answer] = edge.send(edge.request(*headers), want=1)
    assert (answer.status, "x-request-id" in answer.headers) == (200, False)
    assert ids_of(edge, answer, "intent")[2] is None


def test_no_part_of_the_caller_s_key_is_recorded_as_an_id(edge: Edge) -> None:
    """Neither the whole key behind a word, nor much of its secret."""
    key = edge.gateway.key("billing")
    for value in (f"id.{key}", key[-43:], key[-35:]):
        [answer] = edge.send(edge.request(f"X-Request-Id: {value}"), want=1)
        assert (answer.status, "x-request-id" in answer.headers) == (200, False), value
        assert ids_of(edge, answer, "intent")[2] is None


def test_a_malformed_or_repeated_parent_begins_a_trace_anew(edge: Edge) -> None:
    """It is no error, and `tracestate` is not read."""
    for headers in (("traceparent: 00-x",), (TRACEPARENT, TRACEPARENT), ("tracestate: a=b",)):
        [answer] = edge.send(edge.request(*headers), want=1)
        assert ids_of(edge, answer, "intent")[1] == answer.headers["gateway-decision"].replace("-", "")


def test_nothing_of_it_goes_upstream(edge: Edge) -> None:
    """The call to QStash is made of the typed request alone."""
    before = len(edge.reached)
    edge.send(edge.request(TRACEPARENT, "X-Request-Id: order-4712", "tracestate: a=b"), want=1)
    [entry] = edge.reached[before:]
    assert TRACE not in repr(entry)
    assert "order-4712" not in repr(entry)


def refused_ids_of(edge: Edge, answer: Answer) -> tuple[object, object, object]:
    """As `ids_of`, of a refusal before the application, whose answer does not wait for its record."""
    name = answer.headers["gateway-decision"]
    until(lambda: any(one.get("decision_id") == name for one in edge.records()))
    return ids_of(edge, answer, "refused")


@pytest.mark.parametrize(
    ("headers", "line", "status"),
    [
        (("Authorization: Bearer another",), WORKS, 400),
        (("Upgrade: websocket",), WORKS, 400),
        (("Expect: 100-continue",), WORKS, 417),
        ((), "DELETE http://elsewhere.example/v2/workflows/runs HTTP/1.1", 400),
    ],
)
def test_a_head_that_was_read_and_is_refused_keeps_its_ids(
    edge: Edge, headers: tuple[str, ...], line: str, status: int
) -> None:
    """What HTTP forbids is found in the record by the caller's ids, and its answer has them."""
    [answer] = edge.send(edge.request(TRACEPARENT, "X-Request-Id: order-4713", *headers, line=line), want=1)
    assert (answer.status, answer.headers["x-request-id"]) == (status, "order-4713")
    assert refused_ids_of(edge, answer) == (None, TRACE, "order-4713")


def test_a_refused_head_tells_no_secret_as_an_id(edge: Edge) -> None:
    """As with a request that is let in: neither the account's token nor a part of the caller's key."""
    for secret in (REAL_TOKEN, "qgk_mine", edge.gateway.key("billing")[-35:]):
        [answer] = edge.send(edge.request(f"X-Request-Id: {secret}", "Upgrade: websocket"), want=1)
        assert (answer.status, "x-request-id" in answer.headers) == (400, False)
        assert refused_ids_of(edge, answer)[2] is None


def test_a_head_that_was_not_read_to_its_end_has_no_ids(edge: Edge) -> None:
    """Where its headers end, or whether more of a name comes, is not known; nor are those of an earlier request it."""
    for broken in (b"no HTTP\r\n\r\n", edge.request("X-Request-Id: order-4714", "X-Pad: " + "a" * 20_000)):
        good = edge.request("X-Request-Id: order-4715", line="GET /healthz HTTP/1.1")
        _, answer = edge.send(good, broken, pause_s=0.2, want=2)
        assert (answer.status in (400, 431), "x-request-id" in answer.headers) == (True, False)
        assert refused_ids_of(edge, answer)[2] is None
