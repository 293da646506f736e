"""Every page, number and record of a real gateway says which action it was, and adds none of them to another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast
from urllib.parse import quote

import pytest

from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.metrics.scraping import recorded, scrape, series, shown
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.holdings import NOW_MS, RUNS, URL, small_holdings
from tests.support.waiting import until

POLICY = f"""\
version: 1
name: billing
teams: [billing]
allow:
  - {{id: own, workflowUrl: {{exact: ["{URL}"]}}, resolve: true, runs: {{max: 10}}}}
  - {{id: tidy, action: delete_dlq, workflowUrl: {{exact: ["{URL}"]}}, resolve: true, runs: {{max: 10}}}}
  - {{id: again, action: restart_dlq, workflowUrl: {{exact: ["{URL}-v2"]}}, resolve: true, runs: {{max: 10}}}}
  - {{id: retry, action: retry_message_dlq, dlqIds: {{max: 5}}, owner: unchecked}}
  - {{id: named, action: [restart_dlq, resume_dlq], dlqIds: {{max: 5}}, owner: unchecked}}
"""
AT = f"workflowUrl={quote(URL, safe='')}"
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
        teams=("billing",),
        upstream=", read_token: {file: read-token}",
        more='health: {listen: "127.0.0.1:0"}\nmetrics: {on: health}\n',
    )
    with RunningGateway(setup) as running:
        yield running


def ask(gateway: RunningGateway, method: str, target: str, body: dict[str, object] | None = None) -> Answer:
    """One call of the team's."""
    headers = {} if body is None else {"Content-Type": "application/json"}
    content = b"" if body is None else json.dumps(body).encode()
    return gateway.request(method, target, headers=headers, body=content)


def decision(gateway: RunningGateway, answer: Answer) -> dict[str, object]:
    """What became of it."""
    name = answer.headers["gateway-decision"]
    until(lambda: ask(gateway, "GET", f"/gateway/v1/decisions/{name}").status == 200)
    return ask(gateway, "GET", f"/gateway/v1/decisions/{name}").json()


def audit(gateway: RunningGateway, *arguments: str) -> str:
    """What a command says of the record."""
    command = [sys.executable, "-m", "gateway", "audit", *arguments, str(gateway.audit_directory)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_mixed_actions_are_counted_and_shown_each_by_itself(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """The answers, decisions, metrics and statistics of cancels, deletions and restarts, done and refused."""
    cancelled = ask(gateway, "DELETE", f"/v2/workflows/runs?{AT}&workflowUrlExactMatch=true")
    deleted = ask(gateway, "DELETE", f"{DLQ}?{AT}")
    restarted = ask(gateway, "POST", f"{DLQ}/restart?{AT}-v2")
    resumed = ask(gateway, "POST", f"{DLQ}/resume/d3")
    refused = ask(gateway, "DELETE", f"{DLQ}?dlqIds=d3")
    malformed = ask(gateway, "DELETE", f"{DLQ}?label=")
    assert [one.status for one in (cancelled, deleted, restarted, resumed, refused, malformed)] == [
        *(200, 200, 200, 200, 403, 400)
    ], [one.body for one in (cancelled, deleted, restarted, resumed, refused, malformed)]
    assert (cancelled.json(), deleted.json()) == ({"cancelled": 1}, {"cursor": "", "deleted": 1})
    for answer, action, number in (
        (cancelled, "cancel_runs", 1),
        (deleted, "delete_dlq", 1),
        (restarted, "restart_dlq", 1),
        (resumed, "resume_dlq", 1),
        (refused, "delete_dlq", 0),
    ):
        found = decision(gateway, answer)
        assert (found["action"], found["cancelled"]) == (action, number)
    records = gateway.records()
    [made] = [one["made"] for one in records if one["event"] == "chunk" and "made" in one]
    assert [name for name, _ in made] == [one["workflowRunId"] for one in restarted.json()["workflowRuns"]]  # type: ignore[attr-defined]
    [bad] = [one for one in records if one["event"] == "refused"]
    assert (bad["action"], bad["decision_id"]) == ("delete_dlq", malformed.headers["gateway-decision"])
    until(lambda: shown(scrape(gateway.health_port)) == recorded(gateway.audit_directory))
    metrics = scrape(gateway.health_port)
    assert metrics[series("runs_cancelled_total", team="billing")] == 1
    for action in ("cancel_runs", "delete_dlq", "restart_dlq", "resume_dlq"):
        assert metrics[series("effects_total", team="billing", action=action)] == 1
        assert metrics[series("outcomes_total", action=action, outcome="cancelled")] == 1
    said = [" ".join(line.split()) for line in audit(gateway, "stats").splitlines()]
    assert "action delete_dlq 2 decisions, 1 entry deleted" in said
    assert "action restart_dlq 1 decision, 1 entry restarted" in said
    assert said[-1].startswith("cancelled runs: 1;")
    events = [json.loads(line) for line in audit(gateway, "export", "--format", "ocsf").splitlines()]
    assert {one["api"]["operation"] for one in events if one["metadata"]["event_code"] == "outcome"} == {
        *("cancel_runs", "delete_dlq", "restart_dlq", "resume_dlq")
    }


def test_a_plan_of_another_action_is_shown_and_applied_as_that(gateway: RunningGateway) -> None:
    """By a query beside its action, or by its request line; each entry is named as what it is."""
    planned = ask(gateway, "POST", "/gateway/v1/plans", {"request": AT, "action": "delete_dlq", "reason": "old"})
    plan = planned.json()
    assert (planned.status, plan["action"], plan["runs"], plan["orders"]) == (
        *(201, "delete_dlq", 1),
        {"planned": 1, "sent": 0},
    )
    [entry] = cast("list[dict[str, object]]", plan["sample"])
    assert (entry["dlqId"], entry["workflowRunId"]) == ("d1", "wfr_of_d1")
    listed = ask(gateway, "GET", "/gateway/v1/plans").json()["plans"]
    assert [one["action"] for one in listed] == ["delete_dlq"]  # type: ignore[attr-defined]
    same = ask(gateway, "POST", "/gateway/v1/plans", {"request": f"DELETE {DLQ}?{AT}"}).json()
    assert (same["digest"], same["action"]) == (plan["digest"], "delete_dlq")
    other = ask(gateway, "POST", "/gateway/v1/plans", {"request": f"DELETE {DLQ}?{AT}", "action": "restart_dlq"})
    assert (other.status, other.json()["code"]) == (400, "malformed_request")
    preview = ask(gateway, "DELETE", f"/preview{DLQ}?{AT}").json()
    assert "1 entry would be deleted. To delete exactly those" in str(preview["error"])
    told = told_by_the_command(gateway, str(plan["plan"]))
    assert "is for delete_dlq, and this command only cancels runs. Nothing was cancelled." in " ".join(told.split())
    applied = ask(gateway, "POST", f"/gateway/v1/plans/{plan['plan']}/apply")
    assert (applied.status, applied.json()) == (200, {"cursor": "", "deleted": 1})
    assert decision(gateway, applied)["action"] == "delete_dlq"
    again = ask(gateway, "POST", f"/gateway/v1/plans/{plan['plan']}/apply")
    gone = ask(gateway, "POST", f"/gateway/v1/plans/{gateway_id(again)}/apply")
    records = {one.get("decision_id"): one for one in gateway.records() if one["event"] == "refused"}
    assert (again.json()["code"], records[gateway_id(again)]["action"]) == ("plan_applied", "delete_dlq")
    assert (gone.status, records[gateway_id(gone)]["action"]) == (404, None)


def test_what_nothing_lists_has_no_plan(gateway: RunningGateway) -> None:
    """The refusal says so, instead of asking for a token that is there."""
    body: dict[str, object] = {"request": "dlqIds=d", "action": "retry_message_dlq"}
    refused = ask(gateway, "POST", "/gateway/v1/plans", body)
    assert (refused.status, refused.json()["code"]) == (404, "not_found")
    assert "so there is no plan or preview of it: send the call itself." in str(refused.json()["error"])


def test_a_look_up_that_fails_says_what_was_not_done(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """In the word of the action."""
    upstream.simulator.script(Fault(on="any", status=500, body="{}", times=9))
    failed = ask(gateway, "DELETE", f"{DLQ}?{AT}")
    assert (failed.status, failed.json()["code"]) == (502, "lookup_failed")
    assert "Nothing was sent and nothing was deleted." in str(failed.json()["error"])


def gateway_id(answer: Answer) -> str:
    """The decision of an answer."""
    return answer.headers["gateway-decision"]


def told_by_the_command(gateway: RunningGateway, plan: str) -> str:
    """What `cancel --plan` says of a plan; it may not apply one that it would call a cancel."""
    command = [sys.executable, "-m", "gateway", "cancel", "--plan", plan, "--yes"]
    environment = {**os.environ, "QSTASH_GATEWAY_URL": gateway.url, "QSTASH_GATEWAY_KEY": gateway.key()}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 1, done
    return done.stdout + done.stderr


def test_what_may_have_been_restarted_is_not_restarted_again(
    gateway: RunningGateway, upstream: SimulatorServer
) -> None:
    """By its ID without a look-up and lost on the way, then found by a filter; also by the next process."""
    upstream.simulator.script(Fault(on=Kind.RESTART_DLQ, acts=True, status=500, body="{}"))
    lost = ask(gateway, "POST", f"{DLQ}/restart?dlqIds=d2")
    assert (lost.status, lost.json()["code"]) == (504, "outcome_unknown")
    assert "a repeat may start the same thing again" in str(lost.json()["error"])
    for _ in range(2):
        found = ask(gateway, "POST", f"{DLQ}/restart?{AT}-v2")
        assert (found.status, found.json()["code"]) == (409, "nothing_cancelled"), found.body
        assert found.headers["gateway-skipped"] == 'done=("d2");n=1'
        gateway.kill()
        gateway.stop()
        gateway.start()
    assert [one.hit for one in upstream.simulator.ledger if one.kind is Kind.RESTART_DLQ] == [("d2",)]
    settled = [one for one in gateway.records() if one["event"] == "settled"]
    assert settled == []
