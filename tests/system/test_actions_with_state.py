"""Budgets, approvals, freezes and Idempotency-Keys hold for entries as they do for runs, and say what they count."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.holdings import NOW_MS, RUNS, URL, small_holdings

POLICY = f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: own, workflowRunIds: {{max: 5}}, owner: unchecked}}
  - id: tidy
    action: delete_dlq
    workflowUrl: {{exact: ["{URL}", "{URL}-v2"]}}
    resolve: true
    runs: {{max: 10}}
    budget: {{runs: 1, per: 24h}}
  - id: again
    action: restart_dlq
    workflowUrl: {{exact: ["{URL}", "{URL}-v2"]}}
    resolve: true
    runs: {{max: 10}}
    approve: {{by: [platform]}}
  - {{id: named, action: [resume_dlq, restart_dlq], dlqIds: {{max: 5}}, owner: unchecked}}
"""
DLQ = "/v2/workflows/dlq"


@pytest.fixture
def upstream() -> Iterator[SimulatorServer]:
    account = Simulator(RUNS, holdings=small_holdings())
    with SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN, clock=lambda: NOW_MS) as server:
        yield server


@pytest.fixture
def gateway(upstream: SimulatorServer, tmp_path: Path) -> Iterator[RunningGateway]:
    setup = Setup(
        upstream.url,
        tmp_path / "gateway",
        policies={"billing.yaml": POLICY},
        teams=("billing", "platform"),
        upstream=", read_token: {file: read-token}",
        more='state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n',
    )
    with RunningGateway(setup) as running:
        yield running


def at(url: str) -> str:
    """The query that names a workflow."""
    return f"workflowUrl={quote(url, safe='')}"


def ask(
    gateway: RunningGateway,
    method: str,
    target: str,
    body: dict[str, object] | None = None,
    *,
    team: str = "billing",
    key: str | None = None,
) -> Answer:
    """One call, perhaps with an Idempotency-Key."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    headers |= {} if key is None else {"Idempotency-Key": key}
    content = b"" if body is None else json.dumps(body).encode()
    return gateway.request(method, target, team=team, headers=headers, body=content)


def test_a_budget_counts_entries(gateway: RunningGateway) -> None:
    """What is deleted is taken of it, and the answers say how many entries are left."""
    done = ask(gateway, "DELETE", f"{DLQ}?{at(URL)}")
    assert (done.status, done.json()) == (200, {"cursor": "", "deleted": 1})
    assert done.headers["gateway-budget"].startswith("left=0;")
    over = ask(gateway, "DELETE", f"{DLQ}?{at(f'{URL}-v2')}")
    assert (over.status, over.json()["code"]) == (403, "budget_exhausted")
    sentence = str(over.json()["error"])
    assert "allows 1 entry within any 1d" in sentence
    assert "nothing was deleted" in sentence
    assert ask(gateway, "DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1").status == 200
    intents = {one["action"]: one.get("reserved") for one in gateway.records() if one["event"] == "intent"}
    assert intents["delete_dlq"] == {"rule": "billing/tidy", "scope": "billing/tidy", "runs": 1}
    assert intents["cancel_runs"] is None


def test_entries_are_approved_by_name_and_then_restarted(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """Whoever approves sees the action and the entries; the same request applies exactly those."""
    asked = ask(gateway, "POST", f"{DLQ}/restart?{at(URL)}")
    waiting = asked.json()
    assert (asked.status, waiting["code"], waiting["action"]) == (409, "approval_required", "restart_dlq")
    sentence = str(waiting["error"])
    assert "asks for approval of any entry, and this request means 1 entry" in sentence
    assert "this restart waits until" in sentence
    assert "send the same restart again" in sentence
    other = ask(gateway, "DELETE", f"{DLQ}?{at(URL)}")
    assert (other.status, other.json()["deleted"]) == (200, 1), "another action does not wait"
    shown = ask(gateway, "GET", f"/gateway/v1/plans/{waiting['plan']}", team="platform").json()
    [entry] = cast("list[dict[str, object]]", shown["listed"])
    assert (shown["action"], entry["dlqId"], entry["workflowRunId"]) == ("restart_dlq", "d1", "wfr_of_d1")
    [listed] = cast(
        "list[dict[str, object]]", ask(gateway, "GET", "/gateway/v1/approvals", team="platform").json()["approvals"]
    )
    assert listed["action"] == "restart_dlq"
    said = {"digest": shown["digest"], "decision": "approve"}
    approved = ask(gateway, "POST", f"/gateway/v1/plans/{waiting['plan']}/approvals", said, team="platform")
    assert approved.status == 201, approved.body
    # The entry was deleted meanwhile, so it is not restarted.
    again = ask(gateway, "POST", f"{DLQ}/restart?{at(URL)}")
    assert (again.status, again.json()) == (200, {"cursor": "", "workflowRuns": []}), again.body
    assert [one.hit for one in upstream.simulator.ledger if one.kind is Kind.RESTART_DLQ] == []


def test_more_than_was_sent_freezes_the_rule(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """QStash says that it deleted five for one: the rule is frozen for the team, and another rule goes on."""
    body = '{"cursor": "", "deleted": 5}'
    upstream.simulator.script(Fault(on=Kind.DELETE_DLQ, acts=True, status=200, body=body))
    done = ask(gateway, "DELETE", f"{DLQ}?{at(URL)}")
    assert (done.status, done.headers["gateway-over-cancelled"]) == (200, "4")
    frozen = ask(gateway, "DELETE", f"{DLQ}?{at(f'{URL}-v2')}")
    assert (frozen.status, frozen.json()["code"], frozen.json()["title"]) == (403, "frozen", "Deletions are frozen")
    sentence = str(frozen.json()["error"])
    assert sentence.startswith("Deletions of team billing under rule billing/tidy are frozen")
    assert "deleted 4 more entries than were sent" in sentence
    assert sentence.endswith("Nothing was sent and nothing was deleted.")
    assert ask(gateway, "DELETE", "/v2/workflows/runs?workflowRunIds=wfr_1").status == 200
    [outcome] = [one for one in gateway.records() if one["event"] == "outcome" and one["over_cancelled"]]
    assert (outcome["cancelled"], outcome["over_cancelled"]) == (5, 4)


def test_a_key_stands_for_one_action(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """Its repeat gets the recorded answer; the same entry under another action is another request."""
    first = ask(gateway, "POST", f"{DLQ}/restart/d2", key="k1")
    again = ask(gateway, "POST", f"{DLQ}/restart/d2", key="k1")
    assert (first.status, again.status, again.json()) == (200, 200, first.json())
    assert again.headers["gateway-replayed"] == "true"
    other = ask(gateway, "POST", f"{DLQ}/resume/d2", key="k1")
    assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
    assert [one.hit for one in upstream.simulator.ledger if one.kind in (Kind.RESTART_DLQ, Kind.RESUME_DLQ)] == [
        ("d2",)
    ]
