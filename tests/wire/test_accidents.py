"""Every accident of an official client ends at the gateway, under the widest policy that a team can be given by ID.

What each does to an account that nothing stands in front of is shown in tests/simulator/test_destroyed.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.core.request import ActionRequest, ByIds
from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.files import recorded_actions
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.holdings import BY_ID, NOW_MS, RUNS, small_holdings
from tests.wire.test_recorded_actions import READINGS, NotAsked, key_of, named

URL = "https%3A%2F%2Fa.example%2Fy"
BULK = (
    "DELETE /v2/workflows/dlq",
    "POST /v2/workflows/dlq/resume",
    "POST /v2/workflows/dlq/restart",
    "DELETE /v2/messages",
    "DELETE /v2/dlq",
    "POST /v2/dlq/retry",
)
ACCIDENTS = (
    ("", None),
    ("?", None),
    ("?count=100", None),
    ("?count=1", None),
    ("", b"{}"),
    ("", b"null"),
    ("", b'{"dlqIds": []}'),
    ("", b'{"messageIds": []}'),
    ("", b'{"dlqIds": null}'),
    ("?dlqIds=", None),
    ("?messageIds=", None),
    ("?dlqIds=undefined", None),
    ("?messageIds=undefined", None),
    ("?label=l&count=100", None),
    ("?label=undefined&count=100", None),
    (f"?workflowUrl={URL}&count=100", None),
    (f"?workflowUrlStartingWith={URL}&count=100", None),
    (f"?url={URL}", None),
    ("?host=a.example", None),
    ("?fromDate=1", None),
    ("?dlqIds=d1&label=l", None),
    ("?messageIds=m1&label=l", None),
    ("?dlqIds=d1,d2", None),
    ("?dlqIds[]=d1", None),
    ("?DlqIds=d1", None),
    ("?dlqIds=d1;x", None),
    ("?dlqIds=d1&dlqIds=d1", None),
    ("?cursor=c&count=100", None),
    ("?dlqIds=d1", b'{"dlqIds": ["d2"]}'),
    ("/", None),
    ("/undefined", None),
    ("/d1/", None),
    ("/d1%2F..", None),
    ("/../dlq", None),
    ("/%64", None),
    ("//d1", None),
    ("/d1?count=100", None),
    ("/d1", b'{"dlqIds": []}'),
)
NAMES = (
    "POST /v2/flowControl//pause",
    "POST /v2/flowControl/../pause",
    "POST /v2/flowControl/a/../b/pause",
    "POST /v2/flowControl/undefined/pause",
    "POST /v2/flowControl/a%2F..%2Fb/pause",
    "POST /v2/flowControl/k/pause/",
    "POST /v2/queues/qn/pause?all=true",
    "POST /v2/queues/x/../../flowControl/k/pause",
    "PATCH /v2/schedules/undefined/resume",
    "PATCH /v2/flowControl/k/pause",
    "DELETE /v2/messages/../dlq",
)


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    account = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN, clock=lambda: NOW_MS) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory, upstream = tmp_path_factory.mktemp("accidents") / "gateway", ", read_token: {file: read-token}"
    with RunningGateway(Setup(simulator.url, directory, policies=BY_ID, upstream=upstream)) as gateway:
        yield gateway


def refused(gateway: RunningGateway, simulator: SimulatorServer, answer: Answer) -> None:
    """Refused with a sentence, without an intent, and upstream has done nothing."""
    assert answer.status in (400, 403, 404, 405), (answer.status, answer.body)
    assert str(answer.json()["error"]).endswith(".")
    assert simulator.ledger == ()
    assert gateway.records("intent") == []


@pytest.mark.parametrize("team", ["billing", "search", "newcomers"])
@pytest.mark.parametrize("line", BULK)
@pytest.mark.parametrize(("more", "body"), ACCIDENTS)
def test_an_accident_is_refused_and_nothing_happens(
    gateway: RunningGateway, simulator: SimulatorServer, team: str, line: str, more: str, body: bytes | None
) -> None:
    """Nothing selected, an empty list, a name that is dropped, a filter without a rule that looks up, an odd path."""
    method, _, path = line.partition(" ")
    headers = {"Content-Type": "application/json"} if body else {}
    refused(gateway, simulator, gateway.request(method, path + more, body=body, headers=headers, team=team))


@pytest.mark.parametrize("line", NAMES)
def test_a_name_that_is_a_path_is_refused(gateway: RunningGateway, simulator: SimulatorServer, line: str) -> None:
    """What clients splice into a path unescaped leads nowhere."""
    method, _, target = line.partition(" ")
    answer = gateway.raw(
        f"{method} {target} HTTP/1.1\r\nHost: gateway.example\r\nAuthorization: Bearer {gateway.key()}\r\n"
        "Content-Length: 0\r\n\r\n".encode()
    )
    head, _, content = answer.partition(b"\r\n\r\n")
    refused(gateway, simulator, Answer(int(head.split(b" ")[1]), {}, content))


def selects_nothing(request: dict[str, Any]) -> bool:
    """Whether the table reads the request as anything but a list of IDs or one name."""
    reading = READINGS[key_of(request)]
    if isinstance(reading, ActionRequest):
        return not isinstance(reading.selection, ByIds)
    return not isinstance(reading, NotAsked) or request["method"] != "GET"


@pytest.mark.parametrize("request_", [one for one in recorded_actions() if selects_nothing(one)], ids=named)
def test_a_recorded_request_that_is_no_list_of_ids_is_refused(
    gateway: RunningGateway, simulator: SimulatorServer, request_: dict[str, Any]
) -> None:
    """Everything, a filter that no resolving rule admits, malformed, or a call that never passes."""
    answer = gateway.request(
        request_["method"],
        request_["target"],
        body=request_["body"].encode() or None,
        headers=dict(request_["headers"]),
    )
    refused(gateway, simulator, answer)
