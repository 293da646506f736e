"""Pauses and resumes through a gateway process, before a simulator that holds keys, queues and schedules."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import small_holdings

POLICIES = {
    "billing.yaml": """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: cancels, workflowRunIds: {any: true}, owner: unchecked}
"""
}
CALLS = [
    (method, f"/v2/{place}/{word}")
    for method, place in (("POST", "flowControl/k"), ("POST", "queues/qn"), ("PATCH", "schedules/s1"))
    for word in ("pause", "resume")
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    account = Simulator([Run("wfr_1", "https://billing.example.com/a", 0)], holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(Setup(simulator.url, tmp_path_factory.mktemp("pauses") / "gateway", POLICIES)) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_rule_for_cancels_admits_no_pause(
    simulator: SimulatorServer, gateway: RunningGateway, method: str, path: str
) -> None:
    """What a rule does not name it does not cover; the refusal is on record."""
    before = len(gateway.records("denied"))
    answer = gateway.request(method, path)
    assert (answer.status, answer.json()["code"]) == (403, "policy_denied")
    assert len(gateway.records("denied")) == before + 1
    assert simulator.ledger == ()


@pytest.mark.parametrize("word", ["pause", "resume"])
@pytest.mark.parametrize("name", ["a/../b", "..", "a%2Fb", "a%2e", "", "a,b", "a" * 129, "undefined"])
def test_a_spliced_name_is_no_path_of_ours(
    simulator: SimulatorServer, gateway: RunningGateway, name: str, word: str
) -> None:
    """`flowControl.pause("a/../b")` would pause `b`, and an empty name may mean every key."""
    answer = gateway.request("POST", f"/v2/flowControl/{name}/{word}")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert simulator.ledger == ()


@pytest.mark.parametrize(
    ("target", "body", "headers"),
    [
        ("?count=1", None, {}),
        ("", b"{}", {"Content-Type": "application/json"}),
        ("", None, {"Gateway-Until": "90m"}),
    ],
)
def test_what_stands_beside_the_path_is_malformed(
    simulator: SimulatorServer, gateway: RunningGateway, target: str, body: bytes | None, headers: dict[str, str]
) -> None:
    """A query, a body; and a header that would be passed over."""
    answer = gateway.request("POST", f"/v2/queues/qn/pause{target}", body=body, headers=headers)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert simulator.ledger == ()


@pytest.mark.parametrize("word", ["pin", "unpin", "resetRate"])
def test_a_key_is_not_tuned(simulator: SimulatorServer, gateway: RunningGateway, word: str) -> None:
    """It says who does that."""
    answer = gateway.request("POST", f"/v2/flowControl/k/{word}")
    assert answer.status == 404
    assert "never changed through the gateway" in str(answer.json()["error"])
    assert simulator.ledger == ()
