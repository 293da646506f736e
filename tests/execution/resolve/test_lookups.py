"""Look-ups at the same time: one of a principal, four in all, and a repeat joins."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from gateway.simulator.exchange import Fault, Kind
from tests.execution.resolve.account import API, INVOICE, ids, runs_of
from tests.execution.resolve.house import House, tree
from tests.support.gateway import Answer
from tests.support.proxies import READING
from tests.support.waiting import until


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Callers at the same time."""
    with ThreadPoolExecutor(8) as found:
        yield found


def begun(house: House, pool: ThreadPoolExecutor, team: str, query: str) -> Future[Answer]:
    """A cancel whose look-up has reached upstream."""
    before = house.account.arrived(Kind.LOGS)
    future = pool.submit(house.cancel, query, team=team)
    until(lambda: house.account.arrived(Kind.LOGS) > before)
    return future


def test_a_principal_has_one_look_up_at_a_time(house: House, pool: ThreadPoolExecutor) -> None:
    """Another of its requests is throttled, and told when to come again; the first goes on."""
    house.begin(runs_of(INVOICE, 4))
    with house.answers.held(READING):
        first = begun(house, pool, "below", tree())
        second = house.cancel(tree(count=1))
    assert (second.status, second.json()["code"]) == (429, "throttled")
    assert int(second.headers["retry-after"]) > 0
    assert {"burst-ratelimit-limit", "burst-ratelimit-remaining", "burst-ratelimit-reset"} <= second.headers.keys()
    assert first.result().json() == {"cancelled": 4}
    assert len(house.orders) == 1


def test_four_look_ups_are_all_there_are_at_a_time(house: House, pool: ThreadPoolExecutor) -> None:
    """The fifth principal is told that the gateway is busy; nothing is sent for it."""
    teams = ("below", "second", "third", "fourth", "fifth")
    house.begin(run for team in teams for run in runs_of(f"{API}/{team}", 2, name=team))
    with house.answers.held(READING):
        first = [begun(house, pool, team, tree(url=f"{API}/{team}")) for team in teams[:4]]
        fifth = house.cancel(tree(url=f"{API}/fifth"), team="fifth")
    assert (fifth.status, fifth.json()["code"], fifth.headers["retry-after"]) == (503, "overloaded", "1")
    assert [future.result().json() for future in first] == [{"cancelled": 2}] * 4
    assert house.cancel(tree(url=f"{API}/fifth"), team="fifth").json() == {"cancelled": 2}


def test_an_identical_cancel_during_the_look_up_joins(house: House, pool: ThreadPoolExecutor) -> None:
    """A client that lost its connection repeats: one look-up, one intent, one order, and both get the true number."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    with house.answers.held(READING):
        first = begun(house, pool, "below", tree())
        second = pool.submit(house.cancel, tree())
        until(lambda: house.records("joined"))
    answers = [first.result(), second.result()]
    assert [answer.json() for answer in answers] == [{"cancelled": 4}] * 2
    assert house.orders == [ids(runs)]
    assert (len(house.records("plan")), len(house.records("intent")), len(house.records("outcome"))) == (1, 1, 1)
    assert len({answer.headers["gateway-decision"] for answer in answers}) == 2


def test_a_caller_that_goes_away_during_the_look_up_does_not_stop_it(house: House, pool: ThreadPoolExecutor) -> None:
    """What was asked for is carried out once and recorded; the repeat is told of it."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    request = f"DELETE /v2/workflows/runs?{tree()} HTTP/1.1\r\nHost: a\r\n"
    with house.answers.held(READING):
        with socket.create_connection(("127.0.0.1", house.gateway.port)) as caller:
            caller.sendall(f"{request}Authorization: Bearer {house.gateway.key('below')}\r\n\r\n".encode())
            until(lambda: house.account.arrived(Kind.LOGS))
        repeat = pool.submit(house.cancel, tree())
        until(lambda: house.records("joined"))
    assert repeat.result().json() == {"cancelled": 4}
    assert house.orders == [ids(runs)]
    assert [outcome["caller_gone"] for outcome in house.records("outcome")] == [True]


def test_upstreams_burst_limit_is_respected(house: House) -> None:
    """A reading that is throttled waits as long as it is told, and the look-up comes to its end."""
    house.begin(runs_of(INVOICE, 30))
    headers = {"Burst-RateLimit-Limit": "100", "Burst-RateLimit-Remaining": "0", "Burst-RateLimit-Reset": "1"}
    house.account.script(Fault(on=Kind.LOGS, status=429, body='{"error": "slow"}', headers=headers))
    assert house.cancel(tree()).json() == {"cancelled": 30}
    first_s, second_s = house.account.times[:2]
    assert second_s - first_s >= 1
