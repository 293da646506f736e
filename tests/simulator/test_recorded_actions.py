"""Every recorded request of the other calls is answered as the client that sent it expects.

The table is written by hand from the clients' types and the published description: the answer, and what was hit.
"""

from __future__ import annotations

import http.client
import json
from dataclasses import dataclass
from typing import Any

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry
from gateway.simulator.server import SimulatorServer
from tests.support.files import recorded_actions
from tests.support.holdings import FAILED_MESSAGES, FAILED_RUNS, MESSAGES, NOW_MS, RUNS, small_holdings

WHOLE_DLQ = FAILED_RUNS | FAILED_MESSAGES
REQUESTS = recorded_actions()


@dataclass(frozen=True)
class Answered:
    """The status, the members of the body, and what was hit.

    No members: the body is empty. A number can stand for a list or an object with so many items.
    """

    status: int
    members: dict[str, Any] | list[Any] | None
    hit: frozenset[str] = frozenset()


def deleted(*ids: str) -> Answered:
    return Answered(200, {"cursor": "", "deleted": len(ids)}, frozenset(ids))


def started(*ids: str) -> Answered:
    return Answered(200, {"cursor": "", "workflowRuns": len(ids)}, frozenset(ids))


def retried(*ids: str) -> Answered:
    return Answered(201, {"cursor": "", "responses": len(ids)}, frozenset(ids))


def cancelled(*ids: str) -> Answered:
    return Answered(200, {"cancelled": len(ids)}, frozenset(ids))


def empty(*names: str) -> Answered:
    return Answered(200, None, frozenset(names))


URL = "https%3A%2F%2Fa.example%2Fx"
FAILED = "/v2/workflows/dlq"
# fmt: off
ANSWERS: dict[tuple[str, str, str], Answered] = {
    ("DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1", ""): Answered(200, {"cancelled": 1}),
    # Failed runs
    ("GET", f"/v2/dlq?workflowUrl={URL}&label=l&source=workflow", ""): Answered(200, {"cursor": "", "messages": 1}),
    ("DELETE", f"{FAILED}?dlqIds=d1", ""): deleted("d1"),
    ("DELETE", f"{FAILED}?label=l&count=100", ""): deleted("d1"),
    ("DELETE", f"{FAILED}?count=100", ""): deleted(*FAILED_RUNS),
    ("DELETE", f"{FAILED}?workflowUrl={URL}&count=100", ""): deleted("d1", "d2"),
    ("POST", f"{FAILED}/resume?dlqIds=d1", ""): started("d1"),
    ("POST", f"{FAILED}/resume?label=l&count=100", ""): started("d1"),
    ("POST", f"{FAILED}/resume?count=100", ""): started(*FAILED_RUNS),
    ("POST", f"{FAILED}/restart?count=100", ""): started(*FAILED_RUNS),
    ("POST", f"{FAILED}/restart?dlqIds=d1", ""): started("d1"),
    ("POST", f"{FAILED}/callback/d1", ""):
        Answered(200, {"workflowRunId": "wfr_of_d1", "workflowCreatedAt": NOW_MS - 120_000}, frozenset(("d1",))),
    # Events
    ("POST", "/v2/notify/wfr_1/e1", '{"a":1}'):
        Answered(201, {"waiter": 3, "messageId": "msg_again0000000000000001", "workflowRunId": "wfr_1"},
                 frozenset(("wfr_1",))),
    ("GET", "/v2/waiters/e1", ""): Answered(200, [
        {"url": run.url, "headers": {"Upstash-Workflow-RunId": [run.run_id]}, "deadline": 0} for run in RUNS]),
    # Messages
    ("DELETE", "/v2/messages/m", ""): Answered(202, {"cancelled": 1}, frozenset(("m",))),
    ("DELETE", "/v2/messages?messageIds=m1&messageIds=m2", ""): cancelled("m1", "m2"),
    ("DELETE", "/v2/messages?count=100", ""): cancelled(*MESSAGES),
    ("DELETE", "/v2/messages", '{"messageIds": []}'): cancelled(*MESSAGES),
    # The DLQ of messages
    ("GET", "/v2/dlq", ""): Answered(200, {"cursor": "", "messages": len(WHOLE_DLQ)}),
    ("DELETE", "/v2/dlq/d", ""): empty("d"),
    ("DELETE", "/v2/dlq?dlqIds=d1&dlqIds=d2", ""): deleted("d1", "d2"),
    ("DELETE", "/v2/dlq", '{"dlqIds": ["d1", "d2"]}'): deleted("d1", "d2"),
    ("DELETE", "/v2/dlq?dlqIds=d1", ""): deleted("d1"),
    ("DELETE", "/v2/dlq?count=100", ""): deleted(*WHOLE_DLQ),
    ("POST", "/v2/dlq/retry?count=100", ""): retried(*WHOLE_DLQ),
    ("POST", "/v2/dlq/retry?label=l&count=100", ""): retried("d1", "d"),
    # What can be paused and removed
    ("PATCH", "/v2/schedules/s1/resume", ""): empty("schedules/s1"),
    ("PATCH", "/v2/schedules/s/pause", ""): empty("schedules/s"),
    ("DELETE", "/v2/schedules/s1", ""): empty("schedules/s1"),
    ("DELETE", "/v2/schedules/s", ""): empty("schedules/s"),
    ("POST", "/v2/queues/qn/resume", ""): empty("queues/qn"),
    ("POST", "/v2/queues/qn/pause", ""): empty("queues/qn"),
    ("DELETE", "/v2/queues/qn", ""): empty("queues/qn"),
    ("POST", "/v2/flowControl/k/pause", ""): empty("flowControl/k"),
    ("POST", "/v2/flowControl/k/resume", ""): empty("flowControl/k"),
    ("POST", "/v2/flowControl/k/unpin?parallelism=true", ""): empty("flowControl/k"),
    ("POST", "/v2/flowControl/k/resetRate", ""): empty("flowControl/k"),
    ("GET", "/v2/flowControl/k", ""): Answered(200, {"flowControlKey": "k", "waitListSize": 0, "isPaused": False}),
    ("DELETE", "/v2/topics/g", ""): empty("topics/g"),
    ("POST", "/v2/keys/rotate", ""):
        Answered(200, {"current": "sig_2", "next": "sig_again0000000000000001"},
                 frozenset(("sig_2", "sig_again0000000000000001"))),
}
# fmt: on


def sent(request: dict[str, Any], simulator: Simulator) -> tuple[int, str, tuple[Entry, ...]]:
    """Sends the request with its headers and the full token over a real connection."""
    with SimulatorServer(simulator, clock=lambda: NOW_MS) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        headers = {**dict(request["headers"]), "Authorization": f"Bearer {server.token}"}
        connection.request(request["method"], request["target"], request["body"] or None, headers)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
    return response.status, text, simulator.ledger


def counted(members: Any) -> Any:
    """The members of an answer, with the number of its items in the place of each list or object in it."""
    if not isinstance(members, dict):
        return members
    return {name: len(value) if isinstance(value, list | dict) else value for name, value in members.items()}


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda item: f"{item['call'][:60]}@{item['versions'][0]}")
def test_a_recorded_request_is_answered_as_its_client_expects(request_: dict[str, Any]) -> None:
    """The status, the members of the body, and what is gone afterwards."""
    expected = ANSWERS[(request_["method"], request_["target"], request_["body"])]
    status, text, ledger = sent(request_, Simulator(RUNS, holdings=small_holdings()))
    assert (status, counted(json.loads(text)) if text else None) == (expected.status, expected.members)
    assert {id_ for entry in ledger for id_ in entry.hit} == expected.hit


def test_every_line_of_the_table_was_recorded() -> None:
    """The table holds no request that no client sends, so none of it is dead."""
    assert {(request["method"], request["target"], request["body"]) for request in REQUESTS} == set(ANSWERS)


@pytest.mark.parametrize("call", ["resume", "restart"])
def test_a_started_run_is_named_with_the_time_of_its_creation(call: str) -> None:
    """For each entry in a list; for one ID in the path, the object alone."""
    simulator = Simulator(RUNS, holdings=small_holdings())
    request: dict[str, Any] = {"method": "POST", "headers": [], "body": ""}
    _, listed, _ = sent({**request, "target": f"{FAILED}/{call}?dlqIds=d1&dlqIds=d2"}, simulator)
    _, alone, _ = sent({**request, "target": f"{FAILED}/{call}/d1"}, simulator)
    named = [*json.loads(listed)["workflowRuns"], json.loads(alone)]
    begun = [run for run in simulator.runs if run not in RUNS]
    assert named == [{"workflowRunId": run.run_id, "workflowCreatedAt": NOW_MS} for run in begun]
    assert [run.url for run in begun] == ["https://a.example/x", "https://a.example/x-v2", "https://a.example/x"]


def test_recorded_override_headers_reach_the_ledger() -> None:
    """`resume({dlqId, retries, flowControl})`: the run gets the key, and the ledger shows each header."""
    (request,) = [each for each in REQUESTS if each["headers"] and "resume" in each["target"]]
    simulator = Simulator(RUNS, holdings=small_holdings())
    _, _, (entry,) = sent(request, simulator)
    assert {tuple(header) for header in request["headers"]} <= set(entry.call.headers)
    assert simulator.runs[-1].flow_control_key == "k"
