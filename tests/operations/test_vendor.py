"""Every call of QStash's list is judged, shown, or refused with a sentence, whatever a policy says."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.operations.vendor import CALLS, Treatment, VendorCall, call_of, instead_of
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Kind
from gateway.simulator.holdings import calls as simulated
from gateway.simulator.holdings.things import Message
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, RunningGateway, Setup
from tests.support.holdings import failed_run
from tests.support.project import ROOT

REFUSED = [call for call in CALLS if call.treatment is Treatment.REFUSED]
EVERYTHING = {
    "billing.yaml": """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: ids, workflowRunIds: {any: true}, owner: unchecked}
  - {id: everything, selects: [everything], resolve: true, runs: {max: 1000}}
  - {id: urls, workflowUrl: {prefix: ["https://billing.example.com/"]}, resolve: true, runs: {max: 1000}}
  - {id: labels, label: {any: true}, resolve: true, selects: [filter], runs: {max: 1000}}
  - id: entries
    action: [delete_dlq, resume_dlq, restart_dlq, delete_message_dlq, retry_message_dlq]
    dlqIds: {any: true}
    owner: unchecked
  - id: failed
    action: [delete_dlq, resume_dlq, restart_dlq]
    workflowUrl: {prefix: ["https://billing.example.com/"]}
    resolve: true
    runs: {max: 1000}
  - {id: messages, action: cancel_messages, messageIds: {any: true}, owner: unchecked}
  - {id: keys, action: [pause, resume], flowControlKey: {any_of: [wfr_1]}}
  - {id: queues, action: [pause, resume], queue: {any_of: [wfr_1]}}
  - {id: schedules, action: [pause, resume], schedule: {any_of: [wfr_1]}}
"""
}
DLQ = "/v2/workflows/dlq"
QUERIES = {
    "/v2/workflows/runs": "?workflowRunIds=wfr_1",
    "/v2/workflows/events": "?groupBy=workflowRunId",
    **dict.fromkeys((DLQ, f"{DLQ}/resume", f"{DLQ}/restart", "/v2/dlq/retry"), "?dlqIds=wfr_1"),
    "/v2/messages": "?messageIds=wfr_1",
}
ANSWERED = {
    f"DELETE {DLQ}": Kind.DELETE_DLQ,
    f"POST {DLQ}/resume": Kind.RESUME_DLQ,
    f"POST {DLQ}/restart": Kind.RESTART_DLQ,
    "DELETE /v2/dlq": Kind.DELETE_MESSAGE_DLQ,
    "POST /v2/dlq/retry": Kind.RETRY_MESSAGE_DLQ,
    "DELETE /v2/messages": Kind.CANCEL_MESSAGES,
    "DELETE /v2/workflows/runs": Kind.CANCEL,
    "GET /v2/dlq": Kind.DLQ,
    "GET /v2/workflows/": Kind.LOGS,
}
"""What upstream is asked, by how the call begins; the others pause or resume."""


def query_of(call: VendorCall) -> str:
    """What stands behind the path, so that the call names something."""
    if call.path == "/v2/dlq":
        return "?source=workflow" if call.method == "GET" else "?dlqIds=wfr_1"
    return QUERIES.get(call.path, "")


def line_of(call: VendorCall) -> tuple[str, str]:
    """A method and path that make the call."""
    path = re.sub(r"\{[a-z]+\}", "wfr_1", call.path)
    return call.method, path.replace("*", "https://billing.example.com/api/invoice")


def named(call: VendorCall) -> str:
    return f"{call.method} {call.path}"


@pytest.fixture(scope="module")
def simulator() -> Iterator[SimulatorServer]:
    account = Simulator([Run("wfr_1", "https://billing.example.com/api/invoice", 0)])
    account.holdings.switches |= dict.fromkeys(
        (f"{kind}/wfr_1" for kind in ("flowControl", "queues", "schedules")), False
    )
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def gateway(simulator: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    directory, upstream = tmp_path_factory.mktemp("vendor") / "gateway", ", read_token: {file: read-token}"
    with RunningGateway(Setup(simulator.url, directory, policies=EVERYTHING, upstream=upstream)) as gateway:
        yield gateway


@pytest.mark.parametrize("call", REFUSED, ids=named)
def test_a_refused_call_says_what_to_do_instead_and_reaches_nobody(
    simulator: SimulatorServer, gateway: RunningGateway, call: VendorCall
) -> None:
    """Under a policy that allows everything: 404 with the sentence of the table, also with a query and a body."""
    method, path = line_of(call)
    before = (simulator.ledger, simulator.simulator.readings, len(gateway.records("intent")))
    for target, body in ((path, None), (f"{path}?count=100", None), (path, b'{"dlqIds": []}')):
        answer = gateway.request(method, target, body=body, headers={"Content-Type": "application/json"})
        assert (answer.status, answer.json()["code"]) == (404, "not_found")
        assert str(answer.json()["error"]).startswith(f"{call.instead} ")
    assert (simulator.ledger, simulator.simulator.readings, len(gateway.records("intent"))) == before


@pytest.mark.parametrize("call", [call for call in CALLS if call not in REFUSED], ids=named)
def test_every_other_call_is_judged_or_shown(
    simulator: SimulatorServer, gateway: RunningGateway, call: VendorCall
) -> None:
    """It is answered with 200 under such a policy; a team without a rule is refused, or shown nothing."""
    method, path = line_of(call)
    url = "https://billing.example.com/api/invoice"
    simulator.simulator.holdings.add([failed_run("wfr_1", url)], [Message(message_id="wfr_1", url=url, created_ms=0)])
    target, before = path + query_of(call), simulator.ledger
    other = gateway.request(method, target, team="search")
    assert other.status == 403 if call.treatment is Treatment.JUDGED else [] in other.json().values()
    assert simulator.ledger == before
    assert gateway.request(method, target).status == 200
    reached = simulator.ledger if call.treatment is Treatment.JUDGED else simulator.simulator.readings
    switched = Kind.PAUSE if path.endswith("/pause") else Kind.RESUME
    begun = (kind for line, kind in ANSWERED.items() if named(call).startswith(line))
    assert reached[-1].kind is next(begun, switched)


def test_a_stranger_learns_nothing_of_the_list(simulator: SimulatorServer, gateway: RunningGateway) -> None:
    """Without a key each call gets the 401 of a path that nobody has."""
    before = simulator.ledger
    answers = [gateway.request(*line_of(call), team=None) for call in CALLS]
    nothing = gateway.request("GET", "/nothing", team=None)
    assert {(answer.status, answer.json()["error"]) for answer in answers} == {(401, nothing.json()["error"])}
    assert simulator.ledger == before


@pytest.mark.parametrize("call", REFUSED, ids=named)
def test_what_to_do_instead_is_one_sentence(call: VendorCall) -> None:
    """It begins like one and has one end."""
    assert re.fullmatch(r"[A-Z][^.]*(?:/v1/[^.]*)?\.", call.instead)


@pytest.mark.parametrize(
    "path",
    ["keys/rotate", "publish/*", "schedules/{id}", "queues/{name}", "topics/{name}", "notify/{event}", "qstash/*"],
)
def test_what_is_never_passed_says_never(path: str) -> None:
    """Nobody waits for a version that passes it; of the others the sentence says that it is not yet so."""
    [call] = [call for call in CALLS if call.path == f"/v2/{path}" and call.method in ("DELETE", "POST")]
    assert "never" in call.instead
    assert "yet" not in call.instead


@given(st.sampled_from(simulated._ROUTES).flatmap(lambda route: st.from_regex(route.line, fullmatch=True)))
def test_every_call_that_the_simulator_carries_out_is_in_the_list(line: str) -> None:
    """Whatever stands in the place of an ID: none of them is refused by chance alone."""
    method, _, path = line.partition(" ")
    assert call_of(method, path) is not None


def test_every_call_that_clients_were_recorded_to_make_is_in_the_list() -> None:
    """The recorded ones, by method and path."""
    recorded = [json.loads(line) for line in (ROOT / "tests/wire/actions.jsonl").read_text().splitlines()]
    lines = [(one["method"], one["target"].partition("?")[0]) for one in recorded]
    assert [line for line in lines if call_of(*line) is None] == []


def test_every_call_that_the_contract_speaks_of_is_in_the_list() -> None:
    """Each method and path in docs/upstream-contract.md, with its optional part and without."""
    page = (ROOT / "docs/upstream-contract.md").read_text()
    found = {
        (method, path.replace("…", "pause"))
        for method, path in re.findall(r"`(DELETE|GET|PATCH|POST) (/v2/[^`?\s]*)[^`]*`", page)
    }
    assert len(found) > 20
    lines = {
        (method, path.replace(optional, with_it))
        for method, path in found
        for optional in (re.findall(r"\[(?:[^\]]*)\]", path) or [""])
        for with_it in ({"", optional.strip("[]")} if optional else {""})
    }
    assert sorted(line for line in lines if call_of(*line) is None) == []


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_each_call_is_the_first_at_its_own_path(call: VendorCall) -> None:
    """So no row of the table stands behind another that hides it."""
    assert call_of(*line_of(call)) is call


@given(st.sampled_from(["GET", "DELETE", "POST"]), st.text(st.sampled_from("/abv12%.{}*"), max_size=40))
def test_any_path_is_looked_up(method: str, path: str) -> None:
    """Whatever it is made of, one below no version of the API is none of the list."""
    if not path.startswith(("/v1/", "/v2/")):
        assert call_of(method, path) is None
        assert instead_of(method, path) == ""


def test_a_long_path_is_taken_apart_only_as_far_as_calls_go() -> None:
    """A target of many slashes makes no more segments than the longest call has, and one."""
    assert call_of("GET", "/v2" + "/" * 100_000) is None
    published = call_of("POST", "/v2/publish/" + "a/" * 50_000)
    assert published is not None
    assert published.path == "/v2/publish/*"


def test_a_call_that_is_refused_has_a_sentence_and_no_other_has_one() -> None:
    """A row that says nothing, or says it of a call that is passed, cannot be made."""
    with pytest.raises(ValueError, match="says what to do instead"):
        VendorCall("GET", "/v2/x", Treatment.REFUSED)
    with pytest.raises(ValueError, match="says what to do instead"):
        VendorCall("GET", "/v2/x", Treatment.SHOWN, "Do this instead.")
