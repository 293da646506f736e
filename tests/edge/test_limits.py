"""One team cannot take all places: what one principal does too much of is refused to it alone, on record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from tests.edge.wire import JSON, PATH, URL, Edge, check_problem, started
from tests.support.gateway import Answer
from tests.support.waiting import until

NAMED = "workflowRunIds=wfr_search_1"


def _cancel(edge: Edge, count: int) -> Answer:
    return edge.gateway.cancel(f"{URL}&count={count}")


def _check_throttled(edge: Edge, answer: Answer, *, limit: int, cause: str) -> None:
    record = edge.record(answer.headers["gateway-decision"])
    assert (answer.status, answer.json()["code"]) == (429, "throttled")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["burst-ratelimit-limit"] == str(limit)
    assert answer.headers["burst-ratelimit-remaining"] == "0"
    # Upstream's header is an instant in Unix seconds, and the official clients show people that number.
    ends_s = int(answer.headers["burst-ratelimit-reset"]) - int(answer.headers["retry-after"])
    assert -60 <= ends_s - _at_s(record) <= 1
    assert (record["event"], record["principal"], record["cause"]) == ("throttled", "billing/billing-key", cause)


def _at_s(record: Mapping[str, object]) -> int:
    """When the record was written, in whole Unix seconds, rounded up."""
    return math.ceil(datetime.fromisoformat(str(record["ts"])).timestamp())


def test_requests_a_minute(tmp_path: Path) -> None:
    """Above its rate a principal gets 429 and waits; what it asked for is not sent, another team is served."""
    with started(tmp_path / "gateway", "{per_principal: {in_flight: 4, requests_per_minute: 5}}") as edge:
        statuses = [_cancel(edge, 1).status for _ in range(5)]
        throttled = _cancel(edge, 1)
        other = edge.gateway.cancel(NAMED, team="search")
        assert (statuses, other.status) == ([200] * 5, 200)
        assert len(edge.reached) == 6
        _check_throttled(edge, throttled, limit=5, cause="requests_per_minute")


def test_requests_that_are_refused_count_too(tmp_path: Path) -> None:
    """A known caller cannot fill the log with denials, wrong paths and malformed requests."""
    with started(tmp_path / "gateway", "{per_principal: {in_flight: 4, requests_per_minute: 6}}") as edge:
        for target in (PATH, "/nothing", f"{PATH}?Label=x"):
            edge.gateway.request(target=target)
            edge.gateway.request(target=target)
        before = len(edge.records())
        flood = [edge.gateway.request(target=PATH) for _ in range(300)]
        written = [record for record in edge.records()[before:] if record["event"] != "start"]
        assert {answer.status for answer in flood} == {429}
        assert len(written) < 200
        assert {record["event"] for record in written} == {"throttled"}


def test_places_of_one_principal(tmp_path: Path) -> None:
    """A principal holds so many places at once; the next is 429, another team has its own, and places come back."""
    limits = "{receive_timeout_s: 5, per_principal: {in_flight: 2, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits) as edge, ThreadPoolExecutor(4) as threads:
        with edge.in_flight():
            held = [threads.submit(_cancel, edge, count) for count in (2, 3)]
            until(lambda: len(edge.reached) == 2)
            throttled = _cancel(edge, 4)
            other = threads.submit(edge.gateway.cancel, NAMED, team="search")
            until(lambda: len(edge.reached) == 3)
        assert (other.result().status, [answer.result().status for answer in held]) == (200, [200, 200])
        _check_throttled(edge, throttled, limit=2, cause="in_flight")
        assert _cancel(edge, 5).status == 200
        assert sorted(entry.call.query.rpartition("=")[2] for entry in edge.reached) == ["1", "2", "3", "5"]


def test_bodies_that_never_come_hold_only_the_places_of_their_own_principal(tmp_path: Path) -> None:
    """Slow bodies of one team are bounded by its places, and another team cancels meanwhile."""
    limits = "{receive_timeout_s: 5, max_in_flight: 4, per_principal: {in_flight: 2, requests_per_minute: 0}}"
    with started(tmp_path / "gateway", limits) as edge:
        head = edge.request(JSON, "Content-Length: 9", line=f"DELETE {PATH} HTTP/1.1", team="search")
        slow = [edge.connect() for _ in range(4)]
        for connection in slow:
            connection.sendall(head)
            edge.until_read()
        assert _cancel(edge, 1).status == 200
        assert edge.gateway.cancel(NAMED, team="search").status == 429
        for connection in slow:
            connection.close()


def test_places_of_the_gateway(tmp_path: Path) -> None:
    """With every place taken the answer is 503 `overloaded` before the receipt: nothing was sent."""
    with started(tmp_path / "gateway", "{max_in_flight: 1}") as edge, ThreadPoolExecutor(4) as threads:
        with edge.in_flight():
            held = threads.submit(_cancel, edge, 2)
            until(lambda: len(edge.reached) == 1)
            refused = edge.gateway.cancel(NAMED, team="search")
            healthy = edge.gateway.request("GET", "/healthz", team=None)
        assert (healthy.status, held.result().status) == (200, 200)
        check_problem(edge, refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        assert len(edge.reached) == 1
