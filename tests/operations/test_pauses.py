"""Pauses and resumes through a gateway process, before a simulator that holds keys, queues and schedules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Entry
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
  - {id: keys, action: [pause, resume], flowControlKey: {any_of: [k]}}
  - {id: queues, action: [pause, resume], queue: {any_of: [qn]}}
  - {id: schedules, action: [pause, resume], schedule: {any_of: [s1]}}
""",
    "search.yaml": """\
version: 1
name: search
teams: [search]
allow:
  - {id: cancels, workflowRunIds: {any: true}, owner: unchecked}
  - {id: pauses, action: pause, queue: {any: true}}
""",
}
PLACES = (("POST", "flowControl", "k"), ("POST", "queues", "qn"), ("PATCH", "schedules", "s1"))
CALLS = [
    (method, sort, name, word)
    for method, sort, name in (*PLACES, ("POST", "schedules", "s1"))
    for word in ("pause", "resume")
]
FIELDS = {"flowControl": "flowControlKey", "queues": "queue", "schedules": "schedule"}
UNREADABLE = ("", "90", "0m", "01h", "90s", "90M", "1.5h", "+1h", " 1 h", "1h1m", "169h", "10081m", "1d", "-1h")
STATE = 'state: {url: "sqlite:state.db"}\n'


@pytest.fixture(scope="module")
def served() -> Iterator[SimulatorServer]:
    account = Simulator([Run("wfr_1", "https://billing.example.com/a", 0)], holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN) as server:
        yield server


@dataclass(frozen=True)
class Since:
    """A simulator, of which a test sees only what it has sent itself."""

    server: SimulatorServer
    before: int

    @property
    def ledger(self) -> tuple[Entry, ...]:
        return self.server.ledger[self.before :]

    @property
    def switches(self) -> dict[str, bool]:
        return self.server.simulator.holdings.switches


@pytest.fixture
def simulator(served: SimulatorServer) -> Since:
    return Since(served, len(served.ledger))


@pytest.fixture(scope="module")
def gateway(served: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory = tmp_path_factory.mktemp("pauses") / "gateway"
    with RunningGateway(Setup(served.url, directory, POLICIES, more=STATE)) as gateway:
        yield gateway


@pytest.mark.parametrize(("method", "sort", "name", "word"), CALLS)
def test_what_a_rule_names_is_switched(
    simulator: Since, gateway: RunningGateway, method: str, sort: str, name: str, word: str
) -> None:
    """The answer is an empty 200 as QStash gives it, and the record says what was asked, ordered and done."""
    before = len(gateway.records("intent"))
    answer = gateway.request(method, f"/v2/{sort}/{name}/{word}", headers={"Gateway-Reason": "stuck"})
    assert (answer.status, answer.body, "content-type" in answer.headers) == (200, b"", False)
    assert simulator.switches[f"{sort}/{name}"] is (word == "pause")
    [sent] = simulator.ledger
    expected = "PATCH" if sort == "schedules" else "POST"
    assert (sent.call.method, sent.call.path, sent.call.query) == (expected, f"/v2/{sort}/{name}/{word}", "")
    assert sent.call.body == b""
    intent = gateway.records("intent")[before]
    assert (intent["action"], intent["asked"], intent["reason"]) == (word, {FIELDS[sort]: [name], "count": 1}, "stuck")
    assert gateway.records("outcome")[-1]["cancelled"] == 1


@pytest.mark.parametrize("team", ["billing", "search"])
@pytest.mark.parametrize(("method", "sort", "name"), PLACES)
def test_what_no_rule_names_is_refused(
    simulator: Since, gateway: RunningGateway, team: str, method: str, sort: str, name: str
) -> None:
    """Another name under a rule for pauses, and any under one for cancels. The refusal is on record."""
    other, before = f"{name}2" if team == "billing" else name, len(gateway.records("denied"))
    answer = gateway.request(method, f"/v2/{sort}/{other}/resume", team=team)
    assert (answer.status, answer.json()["code"]) == (403, "policy_denied")
    assert len(gateway.records("denied")) == before + 1
    assert simulator.ledger == ()


def test_a_pause_is_done_once_under_one_key(simulator: Since, gateway: RunningGateway) -> None:
    """Its repeat gets the answer that it was given, which is empty; another name with that key is refused."""
    headers = {"Idempotency-Key": "k1"}
    first, second = (gateway.request("POST", "/v2/queues/qn/pause", headers=headers) for _ in range(2))
    assert (first.status, second.status, second.body) == (200, 200, b"")
    assert (second.headers["gateway-replayed"], "content-type" in second.headers) == ("true", False)
    assert gateway.request("POST", "/v2/flowControl/k/pause", headers=headers).status == 422
    assert len(simulator.ledger) == 1


def test_what_qstash_does_not_know_is_unknown(simulator: Since, gateway: RunningGateway) -> None:
    """A schedule that is not there: 504 with where to look, and nothing is sent again."""
    removed = simulator.switches.pop("schedules/s1")
    try:
        answer = gateway.request("PATCH", "/v2/schedules/s1/pause")
    finally:
        simulator.switches["schedules/s1"] = removed
    assert (answer.status, answer.json()["code"]) == (504, "outcome_unknown")
    assert len(simulator.ledger) == 1


@pytest.mark.parametrize("word", ["pause", "resume"])
@pytest.mark.parametrize("name", ["a/../b", "..", "a%2Fb", "a%2e", "", "a,b", "a" * 129, "undefined"])
def test_a_spliced_name_is_no_path_of_ours(simulator: Since, gateway: RunningGateway, name: str, word: str) -> None:
    """`flowControl.pause("a/../b")` would pause `b`, and an empty name may mean every key."""
    answer = gateway.request("POST", f"/v2/flowControl/{name}/{word}")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert simulator.ledger == ()


@pytest.mark.parametrize(
    ("target", "body", "headers"),
    [
        ("?count=1", None, {}),
        ("", b"{}", {"Content-Type": "application/json"}),
        ("", None, {"Upstash-Retries": "1"}),
        *(("", None, {"Gateway-Until": until}) for until in UNREADABLE),
    ],
)
def test_what_stands_beside_the_path_is_malformed(
    simulator: Since, gateway: RunningGateway, target: str, body: bytes | None, headers: dict[str, str]
) -> None:
    """A query, a body, a header of another call; or a time that cannot be read in one way."""
    answer = gateway.request("POST", f"/v2/queues/qn/pause{target}", body=body, headers=headers)
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert simulator.ledger == ()


@pytest.mark.parametrize("word", ["pin", "unpin", "resetRate"])
def test_a_key_is_not_tuned(simulator: Since, gateway: RunningGateway, word: str) -> None:
    """It says who does that."""
    answer = gateway.request("POST", f"/v2/flowControl/k/{word}")
    assert answer.status == 404
    assert "never changed through the gateway" in str(answer.json()["error"])
    assert simulator.ledger == ()


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/v2/queues/qn/resume"),
        ("DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1"),
        ("DELETE", "/v2/workflows/runs/wfr_1"),
        ("POST", "/gateway/v1/plans/00000000-0000-7000-8000-000000000000/apply"),
    ],
)
def test_only_a_pause_ends_by_itself(simulator: Since, gateway: RunningGateway, method: str, target: str) -> None:
    """On any other call the header is malformed: whoever sent it meant something."""
    answer = gateway.request(method, target, headers={"Gateway-Until": "1h"})
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert "Only a pause ends by itself" in str(answer.json()["error"])
    assert simulator.ledger == ()


def test_a_pause_that_ends_wants_a_rule_for_the_resume(simulator: Since, gateway: RunningGateway) -> None:
    """The refusal says so, and is on record."""
    answer = gateway.request("POST", "/v2/queues/any/pause", team="search", headers={"Gateway-Until": "1h"})
    assert (answer.status, answer.json()["code"]) == (403, "policy_denied")
    assert "no rule allows the resume that Gateway-Until asks for" in str(answer.json()["error"])
    assert simulator.ledger == ()
    assert gateway.request("POST", "/v2/queues/any/pause", team="search").status == 200


def test_a_pause_has_no_preview(simulator: Since, tmp_path: Path) -> None:
    """There is nothing to look up, and nothing is sent: the answer says to send the call itself."""
    upstream = ", read_token: {file: read-token}"
    with RunningGateway(Setup(simulator.server.url, tmp_path / "gateway", POLICIES, upstream=upstream)) as gateway:
        answer = gateway.request("POST", "/preview/v2/queues/qn/pause")
    assert (answer.status, answer.json()["code"]) == (404, "not_found")
    assert "send the call itself" in str(answer.json()["error"])
    assert simulator.ledger == ()
