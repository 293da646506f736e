"""Official clients against an account that nothing stands in front of: what each of the other calls does there.

The clients take the simulator's answers for QStash's, and the ledger says what they cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.clients.official import UNDEFINED, OfficialClient, require_clients
from tests.support.holdings import FAILED_MESSAGES, FAILED_RUNS, MESSAGES, NOW_MS, RUNS, URL, small_holdings

pytestmark = pytest.mark.node

WHOLE_DLQ = FAILED_RUNS | FAILED_MESSAGES
AGAIN = {"workflowRunId": "wfr_again0000000000000001", "workflowCreatedAt": NOW_MS}
QUEUE = ["queue", {"queueName": "qn"}]


@pytest.fixture
def server() -> Iterator[SimulatorServer]:
    require_clients()
    with SimulatorServer(Simulator(RUNS, holdings=small_holdings()), clock=lambda: NOW_MS) as server:
        yield server


@pytest.fixture
def client(server: SimulatorServer) -> OfficialClient:
    return OfficialClient("latest", server.url, server.token)


def hit(server: SimulatorServer) -> set[str]:
    """All that was hit, besides runs."""
    return {id_ for entry in server.ledger for id_ in entry.hit}


@pytest.mark.parametrize(
    ("on", "steps", "value", "lost"),
    [
        pytest.param("workflow", ["dlq", ["delete", "d1"]], {"deleted": 1}, {"d1"}, id="delete_dlq"),
        pytest.param("workflow", ["dlq", ["resume", ["d1"]]], {"workflowRuns": [AGAIN]}, {"d1"}, id="resume_dlq"),
        pytest.param("workflow", ["dlq", ["restart", {"dlqId": "d1"}]], AGAIN, {"d1"}, id="restart_dlq"),
        pytest.param(
            "workflow",
            ["dlq", ["retryFailureFunction", {"dlqId": "d1"}]],
            {"workflowRunId": "wfr_of_d1", "workflowCreatedAt": NOW_MS - 120_000},
            {"d1"},
            id="retry the failure function",
        ),
        pytest.param("qstash", ["messages", ["cancel", "m"]], {"cancelled": 1}, {"m"}, id="cancel_messages, one"),
        pytest.param("qstash", ["messages", ["delete", "m"]], None, {"m"}, id="cancel_messages, deprecated"),
        pytest.param(
            "qstash", ["messages", ["cancel", ["m1", "m2"]]], {"cancelled": 2}, {"m1", "m2"}, id="cancel_messages"
        ),
        pytest.param("qstash", ["dlq", ["delete", "d"]], {"deleted": 1}, {"d"}, id="delete_message_dlq, one"),
        pytest.param(
            "qstash",
            ["dlq", ["deleteMany", {"dlqIds": ["d", "e"]}]],
            {"cursor": "", "deleted": 2},
            {"d", "e"},
            id="delete_message_dlq",
        ),
        pytest.param(
            "qstash",
            ["dlq", ["retry", "d"]],
            {"responses": [{"messageId": "msg_again0000000000000001"}]},
            {"d"},
            id="retry_message_dlq",
        ),
        pytest.param("qstash", ["flowControl", ["pause", "k"]], None, {"flowControl/k"}, id="pause a key"),
        pytest.param("qstash", ["flowControl", ["resume", "k"]], None, {"flowControl/k"}, id="resume a key"),
        pytest.param("qstash", [QUEUE, ["pause"]], None, {"queues/qn"}, id="pause a queue"),
        pytest.param("qstash", [QUEUE, ["resume"]], None, {"queues/qn"}, id="resume a queue"),
        pytest.param(
            "qstash", ["schedules", ["pause", {"schedule": "s"}]], None, {"schedules/s"}, id="pause a schedule"
        ),
        pytest.param(
            "qstash", ["schedules", ["resume", {"schedule": "s"}]], None, {"schedules/s"}, id="resume a schedule"
        ),
        pytest.param("qstash", ["schedules", ["delete", "s"]], None, {"schedules/s"}, id="delete a schedule"),
        pytest.param("qstash", [QUEUE, ["delete"]], None, {"queues/qn"}, id="delete a queue"),
        pytest.param("qstash", ["urlGroups", ["delete", "g"]], None, {"topics/g"}, id="delete a URL group"),
    ],
)
def test_a_call_does_what_it_says(
    server: SimulatorServer, client: OfficialClient, on: str, steps: list[Any], value: object, lost: set[str]
) -> None:
    """The client returns what it promises, after one request, and the account has lost what was named."""
    seen = client.act(on, *steps)
    assert (seen.error, seen.value, seen.attempts) == (None, value, 1)
    assert hit(server) == lost


@pytest.mark.parametrize(
    ("on", "steps", "lost"),
    [
        pytest.param("workflow", ["dlq", ["delete", {"all": False}]], FAILED_RUNS, id="delete_dlq"),
        pytest.param("workflow", ["dlq", ["resume", {"filter": {}}]], FAILED_RUNS, id="resume_dlq"),
        pytest.param("workflow", ["dlq", ["restart", {"filter": {"label": UNDEFINED}}]], FAILED_RUNS, id="restart_dlq"),
        pytest.param("qstash", ["dlq", ["delete", {"all": False}]], WHOLE_DLQ, id="delete_message_dlq"),
        pytest.param("qstash", ["dlq", ["retry", {"filter": {}}]], WHOLE_DLQ, id="retry_message_dlq"),
        pytest.param(
            "qstash", ["messages", ["cancel", {"filter": {"label": UNDEFINED}}]], MESSAGES, id="cancel_messages"
        ),
        pytest.param("qstash", ["messages", ["deleteAll"]], MESSAGES, id="cancel_messages, deprecated"),
    ],
)
def test_an_accident_costs_everything(
    server: SimulatorServer, client: OfficialClient, on: str, steps: list[Any], lost: frozenset[str]
) -> None:
    """What the author wrote is gone before it reaches the wire."""
    assert client.act(on, *steps).error is None
    assert hit(server) == lost


def test_a_prefix_that_the_dlq_does_not_know_deletes_every_failed_run(
    server: SimulatorServer, client: OfficialClient
) -> None:
    """`workflowUrlStartingWith` is a filter of the cancel; the client sends it here as well."""
    seen = client.act("workflow", "dlq", ["delete", {"filter": {"workflowUrlStartingWith": f"{URL}-none"}}])
    assert seen.value == {"deleted": 3}
    assert hit(server) == FAILED_RUNS


@pytest.mark.parametrize(
    ("steps", "lost"),
    [
        pytest.param(("messages", ["delete", "../dlq"]), WHOLE_DLQ, id="a message"),
        pytest.param(("flowControl", ["pause", "a/../b"]), {"flowControl/b"}, id="a key"),
    ],
)
def test_a_name_that_is_a_path_makes_another_call(
    server: SimulatorServer, client: OfficialClient, steps: tuple[str, list[str]], lost: set[str]
) -> None:
    """The client splices it into the path as it is, and what sends the request resolves the dots."""
    assert client.act("qstash", *steps).error is None
    assert hit(server) == lost


def test_a_lost_answer_starts_the_same_run_again(server: SimulatorServer, client: OfficialClient) -> None:
    """A dropped connection is repeated, and the entry is still there: one call, two runs."""
    server.simulator.script(Fault(on=Kind.RESTART_DLQ, acts=True, ending=Ending.RESET))
    seen = client.act("workflow", "dlq", ["restart", "d1"])
    assert (seen.error, seen.attempts) == (None, 2)
    assert [entry.hit for entry in server.ledger] == [("d1",), ("d1",)]
    assert len(server.simulator.runs) == len(RUNS) + 2


def test_the_list_of_failed_runs_is_read_as_the_client_reads_it(client: OfficialClient) -> None:
    """`dlq.list()` shows whose each entry is, and gives no cursor at the end."""
    seen = client.act("workflow", "dlq", ["list", {"filter": {"label": "l"}}])
    assert isinstance(seen.value, dict)
    assert [(entry["dlqId"], entry["workflowRunId"]) for entry in seen.value["messages"]] == [("d1", "wfr_of_d1")]
    assert "cursor" not in seen.value


def test_an_event_wakes_every_waiting_run(server: SimulatorServer, client: OfficialClient) -> None:
    """Without a run ID, `notify` is for whoever waits."""
    seen = client.act("workflow", ["notify", {"eventId": "e1", "eventData": "x"}])
    assert isinstance(seen.value, list)
    assert [told["workflowRunId"] for told in seen.value] == ["wfr_1", "wfr_2"]
    assert hit(server) == {"wfr_1", "wfr_2"}
