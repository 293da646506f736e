"""Approvals over a real gateway: sockets, chains, a store, official clients, commands, reloads and deaths."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.clients.official import OfficialClient, require_clients
from tests.execution.resolve.account import INVOICE, MovingAccount, ids, runs_of
from tests.execution.resolve.house import exactly
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.waiting import findings, until

OVER, RUNS = 2, 5
POLICY = f"""\
version: 1
name: own
teams: [billing]
allow:
  - id: watched
    workflowUrl: {{prefix: ["{INVOICE}"]}}
    resolve: true
    runs: {{cap: 50}}
    approve: {{by: [platform], over: {OVER}, within: WITHIN}}
"""
STATE = 'state: {url: "sqlite:state.db"}\n'
APPROVALS = "/gateway/v1/approvals"


@dataclass
class Desk:
    """A gateway whose rule asks for approval, and the account behind it with five runs."""

    gateway: RunningGateway
    account: MovingAccount

    @property
    def sent(self) -> list[str]:
        """The queries of the cancels that reached the account."""
        return [entry.call.query for entry in self.account.ledger]

    def cancel(self, *, reason: str = "stuck", team: str = "billing") -> Answer:
        """The cancel of all runs of the workflow."""
        target = f"/v2/workflows/runs?{exactly(INVOICE)}"
        return self.gateway.request(target=target, team=team, headers={"Gateway-Reason": reason})

    def waiting(self) -> dict[str, object]:
        """The answer to a cancel that waits."""
        refused = self.cancel()
        assert (refused.status, refused.json()["code"]) == (409, "approval_required"), refused
        return refused.json()

    def says(self, refused: dict[str, object], word: str = "approve", *, team: str = "platform") -> Answer:
        """What somebody says of the plan."""
        body = json.dumps({"digest": refused["digest"], "decision": word, "reason": "seen"}).encode()
        target = f"/gateway/v1/plans/{refused['plan']}/approvals"
        return self.gateway.request("POST", target, team=team, body=body, headers={"Content-Type": "application/json"})

    def approvals(self) -> list[tuple[object, object, object]]:
        """The approvals on record: decision, what happened, and by whom."""
        records = self.gateway.records("approval")
        return [(one["decision_id"], one["state"], one["by"]) for one in records]

    def command(self, *words: str, team: str = "platform") -> subprocess.CompletedProcess[str]:
        """A command of a person of a team."""
        names = {"QSTASH_GATEWAY_URL": self.gateway.url, "QSTASH_GATEWAY_KEY": self.gateway.key(team)}
        more = [] if words[0] == "audit" else ["--allow-http"]
        command = [sys.executable, "-m", "gateway", *words, *more]
        return subprocess.run(
            command, env={**os.environ, **names}, capture_output=True, text=True, check=False, timeout=60
        )


@pytest.fixture
def within() -> str:
    """How long an approval holds."""
    return "30m"


@pytest.fixture
def desk(tmp_path: Path, within: str) -> Iterator[Desk]:
    """The gateway, running, with a store of its own."""
    account = MovingAccount()
    with SimulatorServer(account) as server:
        directory = tmp_path / "gateway"
        directory.mkdir()
        (directory / "read-token").write_text(server.read_token)
        setup = Setup(
            server.url,
            directory,
            policies={"own.yaml": POLICY.replace("WITHIN", within)},
            teams=("billing", "platform", "search"),
            contract="2026-09",
            upstream=", read_token: {file: read-token}",
            token=server.token,
            more=STATE,
        )
        with RunningGateway(setup) as gateway:
            account.begin(runs_of(INVOICE, RUNS))
            yield Desk(gateway, account)


def test_a_cancel_waits_is_approved_and_is_then_the_same_cancel(desk: Desk) -> None:
    """Once, exactly its runs; the record has all of it under the decision that it began with, and verifies."""
    refused = desk.waiting()
    assert (refused["state"], refused["runs"], desk.sent) == ("awaiting_approval", RUNS, [])
    assert desk.waiting()["plan"] == refused["plan"]
    given = desk.says(refused)
    assert given.status == 201
    done = desk.cancel()
    assert (done.status, done.json()) == (200, {"cancelled": RUNS})
    assert sorted(desk.account.cancelled) == sorted(ids(runs_of(INVOICE, RUNS)))
    plan, by = refused["plan"], "platform/platform-key"
    assert desk.approvals() == [(plan, "asked", "billing/billing-key"), (plan, "approved", by)]
    [intent] = desk.gateway.records("intent")
    assert (intent["plan"], intent["approved_by"], intent["digest"]) == (plan, [by], refused["digest"])
    shown = desk.command("audit", "show", "--decision", str(plan), str(desk.gateway.audit_directory))
    events = [line.split()[2] for line in shown.stdout.splitlines() if line.startswith("20")]
    assert events == ["plan", "approval", "refused", "approval"]
    seen = desk.gateway.request("GET", f"/gateway/v1/plans/{plan}").json()
    assert seen["state"] == "applied"
    assert seen["approvals"]["given"][0]["principal"] == by  # type: ignore[index]
    assert findings(desk.gateway.audit_directory) == {"INTACT"}


def test_ten_scanners_that_follow_every_link_change_nothing(desk: Desk) -> None:
    """Whoever's key they have: GET approves, rejects and stops nothing; nor does HEAD or any other method."""
    refused = desk.waiting()
    plan = f"/gateway/v1/plans/{refused['plan']}"
    links = [(method, path) for path in (plan, f"{plan}/approvals", APPROVALS) for method in ("GET", "HEAD", "OPTIONS")]
    with ThreadPoolExecutor(10) as scanners:
        for team in ("platform", "billing", "search"):
            list(scanners.map(lambda link, team=team: desk.gateway.request(*link, team=team), links * 10))
    assert desk.approvals() == [(refused["plan"], "asked", "billing/billing-key")]
    assert desk.waiting()["approvals"] == refused["approvals"]
    assert desk.sent == []


def test_only_those_who_are_asked_see_it_and_say_something(desk: Desk) -> None:
    """Others are refused: 403 to say something, 404 to see it, and nothing in the list."""
    refused = desk.waiting()
    plan = f"/gateway/v1/plans/{refused['plan']}"
    for team, seen in (("platform", 200), ("search", 404)):
        assert desk.gateway.request("GET", plan, team=team).status == seen
    for team in ("billing", "search"):
        answer = desk.says(refused, team=team)
        assert (answer.status, answer.json()["code"]) == (403, "not_an_approver")
        assert desk.gateway.request("GET", APPROVALS, team=team).json() == {"approvals": []}
    whole = desk.gateway.request("GET", plan, team="platform").json()
    assert (whole["principal"], whole["reason"]) == ("billing/billing-key", "stuck")
    listed = whole["listed"]
    assert isinstance(listed, list)
    assert {(run["workflowRunId"], run["workflowUrl"]) for run in listed} == {
        (run_id, INVOICE) for run_id in ids(runs_of(INVOICE, RUNS))
    }


def test_a_rejection_is_told_by_whom_and_why(desk: Desk) -> None:
    """To the same cancel, and on record with the decision that it began with."""
    refused = desk.waiting()
    assert desk.says(refused, "reject").status == 201
    told = desk.cancel()
    assert (told.status, told.json()["code"]) == (409, "plan_rejected")
    assert "platform/platform-key: seen" in str(told.json()["error"])
    assert desk.approvals()[-1] == (refused["plan"], "rejected", "platform/platform-key")
    assert desk.sent == []


@pytest.mark.parametrize("within", ["1s"])
def test_what_expires_is_recorded_though_nobody_asks(desk: Desk) -> None:
    """By the gateway itself, with the decision that it began with; it is not applied, and the cancel begins anew."""
    refused = desk.waiting()
    desk.says(refused)
    until(lambda: (refused["plan"], "expired", None) in desk.approvals())
    late = desk.gateway.request("POST", f"/gateway/v1/plans/{refused['plan']}/apply")
    assert (late.status, late.json()["code"]) == (409, "approval_void")
    assert desk.waiting()["plan"] != refused["plan"]
    assert desk.sent == []


@pytest.mark.parametrize("within", ["2s"])
def test_what_expires_while_its_gateway_is_dead_is_recorded_by_the_next(desk: Desk) -> None:
    """Once it counts as gone."""
    refused = desk.waiting()
    desk.gateway.kill()
    desk.gateway.start()
    until(lambda: (refused["plan"], "expired", None) in desk.approvals())
    assert desk.sent == []


def test_an_approval_outlives_the_process(desk: Desk) -> None:
    """It is in the store, and the runs with it."""
    refused = desk.waiting()
    desk.says(refused)
    desk.gateway.kill()
    desk.gateway.start()
    assert desk.cancel().json() == {"cancelled": RUNS}


def reload(desk: Desk) -> None:
    """Has the gateway read its files again, and waits until it has."""
    before = len(desk.gateway.records("reload"))
    desk.gateway.process.send_signal(1)
    until(lambda: len(desk.gateway.records("reload")) > before)


def test_an_approver_whose_key_is_removed_voids_it(desk: Desk) -> None:
    """Also one whose key was replaced: whoever held the old one may have approved."""
    for change in (
        lambda text: "".join(line for line in text.splitlines(keepends=True) if "platform-key" not in line),
        lambda text: text.replace(_digest_of(text), "ab" * 32),
    ):
        config = desk.gateway.setup.directory / "config.yaml"
        text = config.read_text()
        refused = desk.waiting()
        assert desk.says(refused).status == 201
        config.write_text(change(text))
        reload(desk)
        void = desk.cancel()
        assert (void.status, void.json()["code"], void.json()["cause"]) == (409, "approval_void", "approver")
        assert desk.approvals()[-1] == (refused["plan"], "void", None)
        config.write_text(text)
        reload(desk)
    assert desk.sent == []


def _digest_of(text: str) -> str:
    """The digest of the key of the team that approves."""
    [line] = [line for line in text.splitlines() if "platform-key" in line]
    return line.partition('sha256: "')[2].partition('"')[0]


def test_changed_policies_void_it(desk: Desk) -> None:
    """Whatever has changed."""
    refused = desk.waiting()
    desk.says(refused)
    policy = desk.gateway.setup.directory / "policies" / "own.yaml"
    policy.write_text(policy.read_text().replace("cap: 50", "cap: 49"))
    reload(desk)
    void = desk.cancel()
    assert (void.status, void.json()["code"], void.json()["cause"]) == (409, "approval_void", "policy")
    assert desk.sent == []


def test_slices_at_once_do_not_avoid_it(desk: Desk) -> None:
    """Requests below the bound, one after the other and at once: together they cancel no more than it."""

    def asked(number: int) -> Answer:
        """A slice of so many runs, for a reason of its own."""
        target = f"/v2/workflows/runs?{exactly(INVOICE, count=number)}"
        return desk.gateway.request(target=target)

    with ThreadPoolExecutor(2) as callers:
        told = [*callers.map(asked, (OVER, OVER - 1)), *map(asked, (OVER, 1))]
    assert {one.status for one in told} <= {200, 409, 429}
    assert len(desk.account.cancelled) <= OVER
    assert "approval_required" in {one.json().get("code") for one in told}


def test_people_approve_and_reject_from_the_command_line(desk: Desk) -> None:
    """They see what it is about; what they say is what the requester is told."""
    refused = desk.waiting()
    listed = desk.command("approvals")
    assert listed.returncode == 0, listed.stderr
    assert str(refused["plan"]) in listed.stdout
    assert "billing/billing-key wants to cancel 5 runs" in listed.stdout
    assert "why: stuck" in listed.stdout
    assert "&workflowUrlExactMatch=true" in listed.stdout  # as a request line says it, to be sent again
    assert desk.command("approvals", team="billing").stdout == "No cancel waits for your approval.\n"
    asked = desk.command("approve", str(refused["plan"]))
    assert (asked.returncode, "--yes" in asked.stderr) == (2, True)
    assert desk.command("approve", str(refused["plan"]), "--yes", team="search").returncode == 1
    said = desk.command("approve", str(refused["plan"]), "--yes", "--reason", "looked")
    assert said.returncode == 0, said.stderr
    assert "Approved." in said.stdout
    assert all(run_id in said.stdout for run_id in ids(runs_of(INVOICE, RUNS)))
    assert desk.cancel().status == 200
    desk.account.begin(runs_of(INVOICE, RUNS))
    again = desk.cancel(reason="again")
    rejected = desk.command("reject", str(again.json()["plan"]), "--yes", "--reason", "no more today")
    assert (rejected.returncode, "Rejected." in rejected.stdout) == (0, True)
    assert "no more today" in str(desk.cancel(reason="again").json()["error"])
    assert desk.command("reject", str(again.json()["plan"]), "--yes", team="search").returncode == 1


def test_without_state_such_a_rule_is_a_load_error(desk: Desk) -> None:
    """It would be approved by what is forgotten."""
    desk.gateway.stop()
    desk.gateway.setup.more = ""
    with pytest.raises(AssertionError, match="has an approval"):
        desk.gateway.start()
    desk.gateway.setup.more = STATE
    desk.gateway.start()


@pytest.mark.node
@pytest.mark.parametrize("version", ["latest", "1.1"])
def test_official_clients_need_no_change(desk: Desk, version: str) -> None:
    """They show our sentence with the plan, and their identical call goes through once it is approved."""
    call = {"filter": {"workflowUrl": INVOICE}} if version == "latest" else {"urlStartingWith": INVOICE}
    require_clients()
    client = OfficialClient(version, desk.gateway.url, desk.gateway.key())
    first = client.cancel(call)
    assert first.error is not None
    assert (first.error["status"], first.problem["code"], first.attempts) == (409, "approval_required", 1)
    assert str(first.problem["plan"]) in first.sentence
    assert desk.says(dict(first.problem)).status == 201
    second = client.cancel(call)
    assert (second.cancelled, second.error) == (RUNS, None)
