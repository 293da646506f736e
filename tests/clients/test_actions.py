"""The official JavaScript clients do every other action through the gateway, and the simulator says what they hit.

What the same calls do to an account that nothing stands in front of is shown in test_without_the_gateway.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.clients.official import UNDEFINED, OfficialClient, Seen, require_clients
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import BY_ID, NOW_MS, RUNS, URL, small_holdings

pytestmark = pytest.mark.node

AGAIN = {"workflowRunId": "wfr_again0000000000000001", "workflowCreatedAt": NOW_MS}
QUEUE = ["queue", {"queueName": "qn"}]
FLOW = {"key": "k", "parallelism": 1}
ALLOWED = [
    pytest.param("workflow", ["dlq", ["delete", "d1"]], {"deleted": 1}, {"d1"}, id="delete_dlq"),
    pytest.param("workflow", ["dlq", ["delete", ["d1", "d2"]]], {"deleted": 2}, {"d1", "d2"}, id="delete_dlq, two"),
    pytest.param("workflow", ["dlq", ["resume", ["d1"]]], {"workflowRuns": [AGAIN]}, {"d1"}, id="resume_dlq"),
    pytest.param("workflow", ["dlq", ["resume", "d1"]], {"workflowRuns": [AGAIN]}, {"d1"}, id="resume_dlq, one"),
    pytest.param("workflow", ["dlq", ["restart", {"dlqId": "d1"}]], AGAIN, {"d1"}, id="restart_dlq"),
    pytest.param("qstash", ["messages", ["cancel", "m"]], {"cancelled": 1}, {"m"}, id="cancel_messages, one"),
    pytest.param("qstash", ["messages", ["delete", "m"]], None, {"m"}, id="cancel_messages, deprecated"),
    pytest.param("qstash", ["messages", ["cancel", ["m1", "m2"]]], {"cancelled": 2}, {"m1", "m2"},
                 id="cancel_messages"),
    pytest.param("qstash", ["dlq", ["delete", "d"]], {"deleted": 1}, {"d"}, id="delete_message_dlq, one"),
    pytest.param("qstash", ["dlq", ["deleteMany", {"dlqIds": ["d", "e"]}]], {"cursor": "", "deleted": 2}, {"d", "e"},
                 id="delete_message_dlq"),
    pytest.param("qstash", ["dlq", ["retry", "d"]], {"responses": [{"messageId": "msg_again0000000000000001"}]}, {"d"},
                 id="retry_message_dlq"),
    pytest.param("qstash", ["flowControl", ["pause", "k"]], None, {"flowControl/k"}, id="pause a key"),
    pytest.param("qstash", ["flowControl", ["resume", "k"]], None, {"flowControl/k"}, id="resume a key"),
    pytest.param("qstash", [QUEUE, ["pause"]], None, {"queues/qn"}, id="pause a queue"),
    pytest.param("qstash", [QUEUE, ["resume"]], None, {"queues/qn"}, id="resume a queue"),
    pytest.param("qstash", ["schedules", ["pause", {"schedule": "s"}]], None, {"schedules/s"}, id="pause a schedule"),
    pytest.param("qstash", ["schedules", ["resume", {"schedule": "s"}]], None, {"schedules/s"}, id="resume a schedule"),
]  # fmt: skip
ACCIDENTS = [
    pytest.param("workflow", ["dlq", ["delete", {"all": False}]], id="delete_dlq, all false"),
    pytest.param("workflow", ["dlq", ["delete", {"all": True}]], id="delete_dlq, all"),
    pytest.param("workflow", ["dlq", ["delete", {"filter": {"label": "l"}}]], id="delete_dlq, a filter"),
    pytest.param(
        "workflow", ["dlq", ["delete", {"filter": {"workflowUrlStartingWith": URL}}]], id="delete_dlq, prefix"
    ),
    pytest.param("workflow", ["dlq", ["resume", {"filter": {}}]], id="resume_dlq, an empty filter"),
    pytest.param("workflow", ["dlq", ["restart", {"filter": {"label": UNDEFINED}}]], id="restart_dlq, undefined"),
    pytest.param("workflow", ["dlq", ["retryFailureFunction", {"dlqId": "d1"}]], id="the failure function"),
    pytest.param("qstash", ["dlq", ["delete", {"all": False}]], id="delete_message_dlq, all false"),
    pytest.param("qstash", ["dlq", ["retry", {"filter": {}}]], id="retry_message_dlq, an empty filter"),
    pytest.param("qstash", ["dlq", ["retry", {"filter": {"label": "l"}}]], id="retry_message_dlq, a filter"),
    pytest.param("qstash", ["messages", ["cancel", {"filter": {"label": UNDEFINED}}]], id="cancel_messages, undefined"),
    pytest.param("qstash", ["messages", ["cancel", {"all": True}]], id="cancel_messages, all"),
    pytest.param("qstash", ["messages", ["deleteAll"]], id="cancel_messages, deprecated"),
    pytest.param("qstash", ["messages", ["delete", "../dlq"]], id="a message that is a path"),
    pytest.param("qstash", ["schedules", ["delete", "s"]], id="delete a schedule"),
    pytest.param("qstash", [QUEUE, ["delete"]], id="delete a queue"),
    pytest.param("qstash", ["urlGroups", ["delete", "g"]], id="delete a URL group"),
]


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    require_clients()
    account = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN, clock=lambda: NOW_MS) as server:
        yield server


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory, upstream = tmp_path_factory.mktemp("actions") / "gateway", ", read_token: {file: read-token}"
    with RunningGateway(Setup(simulator.url, directory, policies=BY_ID, upstream=upstream)) as gateway:
        yield gateway


def act(gateway: RunningGateway, on: str, *steps: Any, team: str = "billing") -> Seen:
    """One call of a client of a team."""
    return OfficialClient("latest", gateway.url, gateway.key(team)).act(on, *steps)


def hit(simulator: SimulatorServer) -> set[str]:
    """All that was hit, besides runs."""
    return {id_ for entry in simulator.ledger for id_ in entry.hit}


@pytest.mark.parametrize(("on", "steps", "value", "done"), ALLOWED)
def test_an_allowed_call_does_what_it_says(
    gateway: RunningGateway, simulator: SimulatorServer, on: str, steps: list[Any], value: object, done: set[str]
) -> None:
    """The client returns what it returns without a gateway, after one request, and exactly what was named is hit."""
    seen = act(gateway, on, *steps)
    assert (seen.error, seen.value, seen.attempts) == (None, value, 1)
    assert hit(simulator) == done
    assert len(simulator.ledger) == len(gateway.records("intent")) == 1


@pytest.mark.parametrize(("on", "steps", "value", "done"), ALLOWED)
def test_the_same_call_of_another_team_is_refused(
    gateway: RunningGateway, simulator: SimulatorServer, on: str, steps: list[Any], value: object, done: set[str]
) -> None:
    """A team without a rule for it does nothing, and reads in the client's error why."""
    seen = act(gateway, on, *steps, team="newcomers")
    assert (seen.problem["status"], seen.problem["code"], seen.attempts) == (403, "policy_denied", 1)
    assert seen.sentence
    assert simulator.ledger == ()
    assert [record["team"] for record in gateway.records("denied")] == ["newcomers"]


@pytest.mark.parametrize(("on", "steps"), ACCIDENTS)
def test_an_accident_costs_nothing(
    gateway: RunningGateway, simulator: SimulatorServer, on: str, steps: list[Any]
) -> None:
    """What would reach everything, and what never passes, ends with a sentence, also for whoever may do all by ID."""
    seen = act(gateway, on, *steps)
    assert seen.problem["status"] in (400, 403, 404)
    assert seen.sentence.endswith(".")
    assert simulator.ledger == ()


@pytest.mark.parametrize(
    ("call", "value"),
    [
        pytest.param("delete", {"deleted": 1}, id="delete_dlq"),
        pytest.param("resume", {"workflowRuns": [AGAIN]}, id="resume_dlq"),
        pytest.param("restart", {"workflowRuns": [AGAIN]}, id="restart_dlq"),
    ],
)
def test_a_filter_reaches_the_teams_own_failed_runs_once(
    gateway: RunningGateway, simulator: SimulatorServer, call: str, value: object
) -> None:
    """Under a rule that looks up: not a neighbour by prefix; and what a loop asks for again is not done again."""
    asked = {"filter": {"workflowUrl": URL}}
    first, again = (act(gateway, "workflow", "dlq", [call, asked], team="search") for _ in range(2))
    assert (first.error, first.value) == (None, value)
    assert hit(simulator) == {"d1"}
    assert [entry.hit for entry in simulator.ledger] == [("d1",)]
    assert again.error is not None or not any(again.value.values())  # type: ignore[attr-defined]


def test_a_team_lists_its_own_failed_runs_without_what_they_carry(gateway: RunningGateway) -> None:
    """`dlq.list()` shows what its resolving rule covers, and no payload; another team has nothing to see."""
    seen = act(gateway, "workflow", "dlq", ["list"], team="search")
    assert isinstance(seen.value, dict)
    assert [(entry["dlqId"], entry["workflowRunId"]) for entry in seen.value["messages"]] == [("d1", "wfr_of_d1")]
    assert not any({"body", "header", "responseBody"} & entry.keys() for entry in seen.value["messages"])
    other = act(gateway, "workflow", "dlq", ["list"], team="newcomers")
    assert other.value is None or not other.value["messages"]  # type: ignore[index]


def test_overrides_are_for_rules_that_say_so(gateway: RunningGateway, simulator: SimulatorServer) -> None:
    """`resume({dlqId, retries})` reaches upstream with the header under `overrides: true`, and else not at all."""
    steps: list[Any] = ["dlq", ["resume", {"dlqId": "d1", "retries": 3}]]
    assert act(gateway, "workflow", *steps, team="search").problem["status"] == 403
    assert simulator.ledger == ()
    seen = act(gateway, "workflow", *steps)
    assert (seen.error, seen.value) == (None, AGAIN)
    [[retries]] = [[value for name, value in entry.call.headers if name == "upstash-retries"]
                   for entry in simulator.simulator.ledger]  # fmt: skip
    assert retries == "3"
