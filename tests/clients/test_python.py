"""The official Python client through the gateway: each of its calls that destroys, allowed and refused.

It has no client of workflows, so what it calls are messages, the DLQ of messages and what can be paused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from qstash import QStash
from qstash.errors import QStashError

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import BY_ID, NOW_MS, RUNS, small_holdings

Call = Callable[[QStash], object]
ALLOWED: list[tuple[str, Call, object, set[str]]] = [
    ("message.cancel", lambda client: client.message.cancel("m"), None, {"m"}),
    ("message.cancel_many", lambda client: client.message.cancel_many(["m1", "m2"]), 2, {"m1", "m2"}),
    ("dlq.delete", lambda client: client.dlq.delete("d"), None, {"d"}),
    ("dlq.delete_many", lambda client: client.dlq.delete_many(["d", "e"]), 2, {"d", "e"}),
    ("schedule.pause", lambda client: client.schedule.pause("s"), None, {"schedules/s"}),
    ("schedule.resume", lambda client: client.schedule.resume("s"), None, {"schedules/s"}),
    ("queue.pause", lambda client: client.queue.pause("qn"), None, {"queues/qn"}),
    ("queue.resume", lambda client: client.queue.resume("qn"), None, {"queues/qn"}),
    ("flow_control.pause", lambda client: client.flow_control.pause("k"), None, {"flowControl/k"}),
    ("flow_control.resume", lambda client: client.flow_control.resume("k"), None, {"flowControl/k"}),
]
ACCIDENTS: list[tuple[str, Call]] = [
    ("message.cancel_many([])", lambda client: client.message.cancel_many([])),
    ("message.cancel_all()", lambda client: client.message.cancel_all()),
    ('message.cancel("")', lambda client: client.message.cancel("")),
    ('message.cancel("../dlq")', lambda client: client.message.cancel("../dlq")),
    ("dlq.delete_many([])", lambda client: client.dlq.delete_many([])),
    ('dlq.delete("")', lambda client: client.dlq.delete("")),
    ("flow_control.pause of what is no name", lambda client: client.flow_control.pause("a b")),
    ("flow_control.reset_rate", lambda client: client.flow_control.reset_rate("k")),
    ("schedule.delete", lambda client: client.schedule.delete("s")),
    ("queue.delete", lambda client: client.queue.delete("qn")),
    ("url_group.delete", lambda client: client.url_group.delete("g")),
    ("signing_key.rotate", lambda client: client.signing_key.rotate()),
]


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    account = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN, clock=lambda: NOW_MS) as server:
        yield server


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory, upstream = tmp_path_factory.mktemp("python") / "gateway", ", read_token: {file: read-token}"
    with RunningGateway(Setup(simulator.url, directory, policies=BY_ID, upstream=upstream)) as gateway:
        yield gateway


@contextmanager
def client(gateway: RunningGateway, team: str = "billing") -> Iterator[QStash]:
    """The client with the key of a team. It has no way to close its connections itself."""
    made = QStash(gateway.key(team), base_url=gateway.url)
    try:
        yield made
    finally:
        made.http._client.close()


def refused(call: Call, gateway: RunningGateway, team: str = "billing") -> str:
    """The sentence that the person behind the client reads."""
    with client(gateway, team) as by, pytest.raises(QStashError) as raised:
        call(by)
    said = str(raised.value)
    sentence = json.loads(said[said.index("{") : said.rindex("}") + 1])["error"]
    assert isinstance(sentence, str)
    return sentence


@pytest.mark.parametrize(("call", "value", "done"), [row[1:] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_an_allowed_call_does_what_it_says(
    gateway: RunningGateway, simulator: SimulatorServer, call: Call, value: object, done: set[str]
) -> None:
    """It returns what it returns without a gateway, and exactly what was named is hit."""
    with client(gateway) as by:
        assert call(by) == value
    assert {id_ for entry in simulator.ledger for id_ in entry.hit} == done
    assert len(simulator.ledger) == len(gateway.records("intent")) == 1


@pytest.mark.parametrize("call", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
def test_the_same_call_of_another_team_is_refused(
    gateway: RunningGateway, simulator: SimulatorServer, call: Call
) -> None:
    """A team without a rule for it does nothing, and its people read why."""
    assert refused(call, gateway, "newcomers").endswith(".")
    assert simulator.ledger == ()


@pytest.mark.parametrize("call", [row[1] for row in ACCIDENTS], ids=[row[0] for row in ACCIDENTS])
def test_an_accident_costs_nothing(gateway: RunningGateway, simulator: SimulatorServer, call: Call) -> None:
    """An empty list, an empty ID, a name that is a path, and what never passes, for whoever may do all by ID."""
    assert refused(call, gateway).endswith(".")
    assert simulator.ledger == ()
