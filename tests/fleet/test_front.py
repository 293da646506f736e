"""The two lines of nginx.conf that matter: with them nothing is sent twice, and without either something is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from gateway.simulator.exchange import Kind
from tests.execution.resolve.account import INVOICE, runs_of
from tests.execution.resolve.house import exactly
from tests.fleet.house import Fleet, fleet
from tests.support.gateway import Answer
from tests.support.waiting import until

DIRECT = {
    "billing.yaml": f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: own, workflowUrl: {{exact: ["{INVOICE}"]}}, count: {{max: 100}}}}
"""
}
QUERY = exactly(INVOICE, count=50)


def held(house: Fleet) -> threading.Event:
    """Lets the first cancel wait at the account until the event is set."""
    go = threading.Event()
    house.account.when(Kind.CANCEL, 1, lambda: go.wait(60))
    return go


@pytest.mark.parametrize("without", [None, "hash $http_authorization"])
def test_a_repeat_meets_the_request_that_it_repeats(tmp_path: Path, without: str | None) -> None:
    """A direct cancel asked for six times at once is sent once; without `hash` each gateway sends it."""
    with fleet(tmp_path, policies=DIRECT, teams=["billing"], without=without) as house:
        house.account.begin(runs_of(INVOICE, 3))
        go = held(house)
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.extend(house.at_once(6, QUERY)))
        asking.start()
        until(lambda: sum(len(one.records("joined")) + len(one.records("intent")) for one in house.gateways) == 6)
        go.set()
        asking.join()
        assert {one.status for one in answers} == {200}
        assert len(house.sent) == (1 if without is None else 3)


@pytest.mark.parametrize("without", [None, "proxy_next_upstream off"])
def test_a_gateway_that_is_killed_in_the_middle_does_not_send_its_callers_on(
    tmp_path: Path, without: str | None
) -> None:
    """The caller gets 502, and nothing is sent again; without the line nginx has another gateway send it again."""
    with fleet(tmp_path, policies=DIRECT, teams=["billing"], without=without) as house:
        house.account.begin(runs_of(INVOICE, 3))
        go = held(house)
        answers: list[Answer] = []
        asking = threading.Thread(target=lambda: answers.append(house.cancel(QUERY)))
        asking.start()
        until(lambda: house.account.arrived(Kind.CANCEL) == 1)
        [sender] = house.of("intent")
        sender.kill()
        go.set()
        asking.join()
        again = 0 if without is None else 1
        assert sum(len(one.records("intent")) for one in house.gateways if one is not sender) == again
        assert house.account.arrived(Kind.CANCEL) == 1 + again
        assert [one.status for one in answers] == ([502] if without is None else [200])
