"""`Gateway-Reason` on the wire: read in one way or refused, demanded where a rule does, and kept in the record."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import parse_reason
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.conftest import NOW_MS
from tests.edge.wire import URL, Edge, check_problem
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup

POLICY = """\
version: 1
name: p
teams: [billing, search]
require:
  - {id: why, reason: true, except: [{team: search, until: 2999-12-31, ticket: OPS-1}]}
allow:
  - {id: all, workflowUrl: {any: true}, count: {cap: 5}}
"""


@pytest.fixture(scope="module")
def demanding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """A gateway whose policy demands a reason of all but one team."""
    runs = make_runs(50, NOW_MS, seed=0)
    with SimulatorServer(Simulator(runs, contract=Contract.V2025), token=REAL_TOKEN) as upstream:
        directory = tmp_path_factory.mktemp("reasons")
        setup = Setup(upstream.url, directory, policies={"p.yaml": POLICY}, teams=("billing", "search"))
        with RunningGateway(setup) as gateway:
            yield Edge(gateway, upstream)


def cancelled(edge: Edge, headers: dict[str, str], team: str = "billing") -> tuple[Answer, dict[str, object]]:
    """A cancel with these headers, and what the record says of the judgement."""
    answer = edge.gateway.request(target=f"/v2/workflows/runs?{URL}", headers=headers, team=team)
    decision_id = answer.headers["gateway-decision"]
    records = [record for record in edge.records() if record.get("decision_id") == decision_id]
    return answer, next(record for record in records if record["event"] in ("intent", "denied"))


def test_a_demanded_reason_is_asked_for_and_recorded(demanding: Edge) -> None:
    """Without it nothing is sent and the refusal names the header; with it the record holds it."""
    refused, denied = cancelled(demanding, {})
    assert (refused.status, refused.json()["rule"]) == (403, "p/why")
    assert "Gateway-Reason" in str(refused.json()["error"])
    assert (denied["event"], denied["reason"]) == ("denied", None)
    answer, intent = cancelled(demanding, {"Gateway-Reason": "OPS-4711: stuck"})
    assert (answer.status, intent["event"], intent["reason"]) == (200, "intent", "OPS-4711: stuck")
    assert intent["exceptions"] == []


def test_a_used_exception_is_in_the_record(demanding: Edge) -> None:
    """A team that is excepted sends nothing, and the record says by which exception."""
    answer, intent = cancelled(demanding, {}, team="search")
    assert (answer.status, intent["exceptions"]) == (200, ["p/why: search (ticket OPS-1)"])


def test_a_reason_that_cannot_be_read_is_malformed(demanding: Edge) -> None:
    """Also where the policy would not ask for one: it would go into the record."""
    answer = demanding.gateway.request(
        target=f"/v2/workflows/runs?{URL}", headers={"Gateway-Reason": "x" * 201}, team="search"
    )
    check_problem(demanding, answer, 400, "malformed_request")


@pytest.mark.parametrize("text", ["OPS-1: stuck", "x" * 200, "Läufe hängen", "é" * 200, "a, b; c=d"])
def test_a_printable_reason_is_read_as_utf_8(text: str) -> None:
    """Up to 200 characters, whatever their bytes."""
    assert parse_reason([text.encode()]) == text


@pytest.mark.parametrize(
    "headers",
    [
        [b""],
        [b" "],
        [b"x" * 201],
        [b"tab\there"],
        ["bidi \u202e".encode()],
        [b"latin-1 \xe9"],
        [b"overlong \xc0\xaf"],
        [b"half \xe2\x82"],
        [b"one", b"two"],
    ],
)
def test_a_reason_that_could_be_read_in_two_ways_is_malformed(headers: list[bytes]) -> None:
    """Empty, too long, with controls or direction marks, not UTF-8, or twice."""
    with pytest.raises(MalformedRequest) as raised:
        parse_reason(headers)
    assert raised.value.cause == "reason"


def test_no_header_is_no_reason() -> None:
    """Official clients cannot send one."""
    assert parse_reason([]) is None
