"""A caller that may name any ID of one kind of thing, against the things of others that have the same ID.

Before a gateway in a process of its own, also after it was killed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import RUNS, small_holdings

BILLING = """\
version: 1
name: mine
teams: [billing]
allow:
  - id: runs
    workflowRunIds: {max: 10}
    workflowUrl: {prefix: ["https://a.example/"]}
    resolve: true
    runs: {max: 10}
  - id: entries
    action: restart_dlq
    dlqIds: {max: 10}
    workflowUrl: {prefix: ["https://a.example/"]}
    resolve: true
    runs: {max: 10}
  - {id: messages, action: cancel_messages, messageIds: {max: 10}, resolve: true, runs: {max: 10}}
"""
SEARCH = """\
version: 1
name: trusted
teams: [search]
allow:
  - {id: entries, action: delete_message_dlq, dlqIds: {any: true}, owner: unchecked}
  - {id: messages, action: cancel_messages, messageIds: {any: true}, owner: unchecked}
"""


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    """A gateway before a small account."""
    simulator = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(simulator, token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        policies = {"billing.yaml": BILLING, "search.yaml": SEARCH}
        upstream = ", read_token: {file: read-token}"
        setup = Setup(server.url, tmp_path / "gateway", policies=policies, upstream=upstream)
        with RunningGateway(setup) as running:
            yield running


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize(
    ("strange", "method", "own"),
    [
        ("/v2/dlq?dlqIds=wfr_1", "DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1"),
        ("/v2/messages?messageIds=d1", "POST", "/v2/workflows/dlq/restart?dlqIds=d1"),
        ("/v2/dlq?dlqIds=m1", "DELETE", "/v2/messages?messageIds=m1"),
    ],
)
def test_nobody_is_kept_from_its_own_by_an_id_named_as_another_thing(
    gateway: RunningGateway, strange: str, method: str, own: str, *, killed: bool
) -> None:
    """What was ordered of late is left out of look-ups, and that is about this kind of thing alone."""
    assert gateway.request("DELETE", strange, team="search").status == 200
    if killed:
        gateway.kill()
        gateway.start()
    answer = gateway.request(method, own)
    assert (answer.status, answer.headers.get("gateway-skipped")) == (200, None), answer.body
