"""A cancel that names its run in the path: `DELETE /v2/workflows/runs/{id}` is the bulk cancel of that one ID."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Kind
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

RUNS = "/v2/workflows/runs"
PREVIEW = f"/preview{RUNS}"
OWN, FOREIGN = "wfr_billing_1", "wfr_search_1"
STATE = 'state: {url: "sqlite:state.db"}\n'
POLICIES = {
    "billing.yaml": """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: own, workflowRunIds: {max: 5, prefix: [wfr_billing_]}, owner: unchecked}
"""
}


@pytest.fixture
def simulator() -> Iterator[SimulatorServer]:
    account = Simulator([Run(run_id, "https://billing.example.com/a", 0) for run_id in (OWN, "wfr_billing_2", FOREIGN)])
    with SimulatorServer(account, token=REAL_TOKEN) as server:
        yield server


@pytest.fixture
def gateway(simulator: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    setup = Setup(simulator.url, tmp_path / "gateway", policies=POLICIES, more=STATE)
    with RunningGateway(setup) as gateway:
        yield gateway


def sentence(answer: Answer) -> str:
    return str(answer.json()["error"])


SAID = (
    "event", "principal", "action", "dialect", "asked", "effective", "selects", "decision", "enforced", "rule",
    "reason", "upstream", "outcome", "cancelled", "upstream_status",
)  # fmt: skip
"""What a record says of a cancel; the rest is its IDs, times and place in the chain."""


def said(record: dict[str, object]) -> dict[str, object]:
    """What a record says of its cancel."""
    return {name: record.get(name) for name in SAID}


@pytest.mark.parametrize("query", ["", "?", "?cancel=true", "?cancel=%74rue"])
def test_one_run_in_the_path_is_sent_as_the_bulk_cancel_of_its_id(
    simulator: SimulatorServer, gateway: RunningGateway, query: str
) -> None:
    """What goes upstream is made of the typed request, the answer has the number, and `asked` is what was read."""
    answer = gateway.request(target=f"{RUNS}/{OWN}{query}", headers={"Gateway-Reason": "stuck"})
    assert (answer.status, answer.json()) == (200, {"cancelled": 1})
    [sent] = simulator.ledger
    assert (sent.kind, sent.call.path, sent.call.query) == (Kind.CANCEL, RUNS, f"workflowRunIds={OWN}&count=1")
    assert (sent.call.body, sent.run_ids) == (b"", (OWN,))
    [intent] = gateway.records("intent")
    assert (intent["asked"], intent["reason"]) == ({"workflowRunIds": [OWN], "count": 1}, "stuck")


@pytest.mark.parametrize("run_id", [OWN, FOREIGN])
def test_answer_and_record_are_those_of_the_bulk_cancel(gateway: RunningGateway, run_id: str) -> None:
    """Of a run that has ended already, and of one that policy refuses: status, body and record, IDs and times aside."""
    gateway.cancel(f"workflowRunIds={run_id}")
    before = len(gateway.records())
    bulk, single = gateway.cancel(f"workflowRunIds={run_id}"), gateway.request(target=f"{RUNS}/{run_id}?cancel=true")
    assert bulk.status == single.status
    assert {**bulk.json(), "decision_id": None} == {**single.json(), "decision_id": None}
    records = [said(record) for record in gateway.records()[before:] if record["event"] != "answered"]
    half = len(records) // 2
    assert half
    assert records[:half] == records[half:]


def test_a_run_of_another_team_is_refused_and_nothing_is_sent(
    simulator: SimulatorServer, gateway: RunningGateway
) -> None:
    """Policy judges the ID in the path."""
    answer = gateway.request(target=f"{RUNS}/{FOREIGN}")
    assert (answer.status, answer.json()["code"]) == (403, "policy_denied")
    assert simulator.ledger == ()
    [denied] = gateway.records("denied")
    assert denied["asked"] == {"workflowRunIds": [FOREIGN], "count": 1}


@pytest.mark.parametrize(
    ("query", "cause", "words"),
    [
        ("label=nightly", "unknown_parameter", f"leave 'label' out, or send it to {RUNS}"),
        ("cancel=true&workflowRunIds=wfr_billing_2", "unknown_parameter", "leave 'workflowRunIds' out"),
        ("count=1", "unknown_parameter", "leave 'count' out"),
        ("Cancel=true", "unknown_parameter", "did you mean 'cancel'?"),
        ("cancel=TRUE", "value", "cancel is exactly true or false"),
        ("cancel=1", "value", "cancel is exactly true or false"),
        ("cancel=", "empty_value", "'cancel' has no value"),
        ("cancel", "empty_value", "'cancel' has no value"),
        ("cancel=true&cancel=false", "repeated", "'cancel' is given twice"),
        ("cancel=false&label=x", "unknown_parameter", "leave 'label' out"),
        ("cancel=true&", "empty_pair", "The query has an empty pair"),
        ("cancel=true;x", "bad_escape", "encode the value"),
    ],
)
def test_another_query_beside_a_run_is_malformed(
    simulator: SimulatorServer, gateway: RunningGateway, query: str, cause: str, words: str
) -> None:
    """A name, value or repetition that another reader may take otherwise is 400, and nothing is sent."""
    for path in (RUNS, PREVIEW):
        answer = gateway.request(target=f"{path}/{OWN}?{query}")
        assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
        assert words in sentence(answer)
    assert {record["cause"] for record in gateway.records("refused")} == {cause}
    assert simulator.ledger == ()


@pytest.mark.parametrize("body", [b"{}", b'{"workflowRunIds":["wfr_billing_1"]}', b" "])
def test_a_body_beside_a_run_in_the_path_is_malformed(
    simulator: SimulatorServer, gateway: RunningGateway, body: bytes
) -> None:
    """No client sends one here, and one that named other runs would contradict the path."""
    answer = gateway.request(target=f"{RUNS}/{OWN}", body=body, headers={"Content-Type": "application/json"})
    assert (answer.status, answer.json()["code"]) == (400, "malformed_request")
    assert "send no body" in sentence(answer)
    assert simulator.ledger == ()


@pytest.mark.parametrize("query", ["cancel=false", "cancel=%66alse"])
def test_the_report_of_a_runtime_is_no_cancel(simulator: SimulatorServer, gateway: RunningGateway, query: str) -> None:
    """Every run that ends sends it, with its result as the body; 404 in words, in every spelling of the word."""
    for path in (RUNS, PREVIEW):
        for body in (None, b'"the result"'):
            answer = gateway.request(target=f"{path}/{OWN}?{query}", body=body)
            assert (answer.status, answer.json()["code"]) == (404, "not_found")
            assert "a runtime's report" in sentence(answer)
    assert simulator.ledger == ()


NO_RUNS = (
    "undefined",
    "..",
    ".",
    "-",
    "_.-",
    "a" * 129,
    "a,b",
    "a%20b",
    "wfr_%41",
    "a/b",
    "a/",
    "*",
    "ü",
)


@pytest.mark.parametrize("name", NO_RUNS)
def test_what_is_no_run_id_never_stands_for_one(simulator: SimulatorServer, gateway: RunningGateway, name: str) -> None:
    """404, or 400 where the bytes are no target; above all it is never read as the bulk cancel before it."""
    for path in (RUNS, PREVIEW):
        line = f"DELETE {path}/{name}?cancel=true HTTP/1.1\r\n"
        head = f"{line}Host: gateway.example\r\nAuthorization: Bearer {gateway.key()}\r\nConnection: close\r\n\r\n"
        status = int(gateway.raw(head.encode()).split()[1])
        assert status == (400 if name == "ü" else 404)
    assert simulator.ledger == ()


def test_no_path_is_proposed_in_which_another_run_may_be_named(gateway: RunningGateway) -> None:
    """Proposals are in lower case, and the case of an ID counts."""
    answer = gateway.request(target=f"/v2//workflows/runs/{OWN.upper()}")
    assert answer.status == 404
    assert "write it as" not in sentence(answer)


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "HEAD"])
def test_another_method_on_a_run_is_no_path_of_ours(gateway: RunningGateway, method: str) -> None:
    """It stays the 404 that it was: what QStash has there is another call."""
    assert gateway.request(method, f"{RUNS}/{OWN}").status == 404


def test_a_stranger_learns_nothing_of_a_run(simulator: SimulatorServer, gateway: RunningGateway) -> None:
    """Without a key a run, a report and a path that is none get the one 401."""
    targets = (f"{RUNS}/{OWN}", f"{RUNS}/{OWN}?cancel=false", f"{RUNS}/..", "/nothing")
    answers = [gateway.request(target=target, team=None) for target in targets]
    assert {(answer.status, sentence(answer)) for answer in answers} == {(401, sentence(answers[0]))}
    assert simulator.ledger == ()


def test_a_secret_in_the_place_of_a_run_is_neither_sent_nor_recorded(
    simulator: SimulatorServer, gateway: RunningGateway
) -> None:
    """A key of the gateway is no run ID; the real token, whose letters might be one, is looked for."""
    for secret in (gateway.key("search"), gateway.setup.token):
        assert gateway.request(target=f"{RUNS}/{secret}").status in (400, 404)
        assert secret not in str(gateway.records())
    assert simulator.ledger == ()


def test_a_key_that_was_used_in_one_spelling_is_known_in_the_other(
    simulator: SimulatorServer, gateway: RunningGateway
) -> None:
    """The same run by both spellings is one request; another run under the key is another one."""
    once = {"Idempotency-Key": "k-1"}
    first = gateway.request(target=f"{RUNS}/{OWN}?cancel=true", headers=once)
    again = gateway.request(target=f"{RUNS}?workflowRunIds={OWN}", headers=once)
    other = gateway.request(target=f"{RUNS}/wfr_billing_2", headers=once)
    assert (first.json(), again.json()) == ({"cancelled": 1}, {"cancelled": 1})
    assert again.headers["gateway-replayed"] == "true"
    assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len(simulator.ledger) == 1


@pytest.mark.parametrize("in_flight", [16, 1])
def test_a_cancel_in_flight_is_joined_in_the_other_spelling(
    simulator: SimulatorServer, tmp_path: Path, in_flight: int
) -> None:
    """Also above a limit, where all else is refused."""
    limits = f"{{per_principal: {{in_flight: {in_flight}, requests_per_minute: 0}}}}"
    with (
        HeldAnswers(simulator.port) as upstream,
        RunningGateway(Setup(upstream.url, tmp_path / "gateway", policies=POLICIES, limits=limits)) as gateway,
        ThreadPoolExecutor(2) as callers,
    ):
        with upstream.held():
            first = callers.submit(gateway.cancel, f"workflowRunIds={OWN}")
            until(lambda: simulator.ledger)
            repeat = callers.submit(gateway.request, target=f"{RUNS}/{OWN}")
            until(lambda: gateway.records("joined") or repeat.done())
        assert (first.result().json(), repeat.result().json()) == ({"cancelled": 1}, {"cancelled": 1})
    assert len(simulator.ledger) == 1


def test_a_preview_of_a_run_is_that_of_the_bulk_cancel(simulator: SimulatorServer, gateway: RunningGateway) -> None:
    """Status and code are the same, for a run that the rule admits and for another; nothing is sent."""
    for run_id in (OWN, FOREIGN):
        bulk = gateway.request(target=f"{PREVIEW}?workflowRunIds={run_id}")
        single = gateway.request(target=f"{PREVIEW}/{run_id}?cancel=true")
        assert (bulk.status, bulk.json()["code"]) == (single.status, single.json()["code"])
    assert simulator.ledger == ()


def test_a_question_may_be_written_with_the_run_in_its_path(gateway: RunningGateway) -> None:
    """`explain` and plans read the line as the gateway would; another call is told apart."""
    json = {"Content-Type": "application/json"}
    for line, enforced in ((f"DELETE {RUNS}/{OWN}?cancel=true", "permit"), (f"DELETE {RUNS}/{FOREIGN}", "deny")):
        body = b'{"request": "%s"}' % line.encode()
        answer = gateway.request("POST", "/gateway/v1/explain", body=body, headers=json)
        assert (answer.status, answer.json()["enforced"]) == (200, enforced)
    body = b'{"request": "DELETE %s/%s?cancel=false"}' % (RUNS.encode(), OWN.encode())
    answer = gateway.request("POST", "/gateway/v1/explain", body=body, headers=json)
    assert answer.status == 400
    assert "a runtime's report" in sentence(answer)
