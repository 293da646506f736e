"""The questions of docs/audit.md are answered by the commands beside them, of a record that a gateway wrote."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import signal
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Ending, Fault
from gateway.simulator.runs import make_runs
from gateway.simulator.server import SimulatorServer
from tests.cli.running import Done, command
from tests.conftest import NOW_MS
from tests.support.gateway import READ_TOKEN, REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.project import ROOT
from tests.support.proxies import HeldAnswers
from tests.support.repeats import repeated
from tests.support.waiting import until

PAGE = (ROOT / "docs" / "audit.md").read_text(encoding="utf-8")
QUESTIONS = {
    int(number): re.findall(r"^qstash-gateway (.*)$", text, re.MULTILINE)
    for number, text in re.findall(r"^### (\d+)\. .*?\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL)
}
OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
POLICY = """\
version: 1
name: billing
teams: [billing]
allow:
  - {id: seen, workflowUrl: {exact: ["https://billing.example.com/api/reminder"]}, resolve: true, runs: {max: 1000}}
  - {id: own, workflowUrl: {exact: ["https://billing.example.com/api/invoice"]}, count: {cap: CAP}}
  - {id: ids, workflowRunIds: {max: 20, prefix: ["wfr_billing_"]}, owner: unchecked}
"""
GUARDRAILS = """\
version: 1
name: guardrails
teams: ["*"]
deny:
  - {id: everything, selects: [everything], message: "Name what you mean."}
"""

Members = Mapping[str, object]


@dataclass(frozen=True)
class Recorded:
    """A record, the answers that callers had, and the digests of the policies before and after a reload."""

    directory: Path
    answers: Mapping[str, Answer]
    digests: Sequence[str]

    def decision(self, name: str) -> str:
        """The ID in an answer."""
        return self.answers[name].headers["gateway-decision"]

    def asked(self, question: int) -> list[Done]:
        """Runs the commands of a question, with what the page has as an example replaced by what is there."""
        before, after = self.digests
        there = {
            "var/audit": str(self.directory),
            "0193a7c4-5f1e-7c3a-9b52-8a4d1e6f7a90": self.decision("lost"),
            "3fa9c1d2e0b7": before[:12],
            "8be004d7a5c1": after[:12],
            "billing/billing-ci": "billing/billing-key",
        }
        lines = QUESTIONS[question]
        done = [command(*(there.get(word, word) for word in shlex.split(line))) for line in lines]
        assert [(one.returncode, one.stderr) for one in done] == [(0, "")] * len(done)
        return done


def planned(gateway: RunningGateway) -> Answer:
    """A plan that is applied, after one that is not."""
    ready(gateway)
    return gateway.request("POST", f"{ready(gateway)}/apply")


def ready(gateway: RunningGateway) -> str:
    """The path of a new plan that can be applied."""
    url = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Freminder&workflowUrlExactMatch=true"
    body = json.dumps({"request": f"DELETE /v2/workflows/runs?{url}&count=3"}).encode()
    made = gateway.request("POST", "/gateway/v1/plans", body=body, headers={"Content-Type": "application/json"})
    plan = f"/gateway/v1/plans/{made.json()['plan']}"
    until(lambda: gateway.request("GET", plan).json()["state"] == "ready")
    return plan


def settled(gateway: RunningGateway, upstream: SimulatorServer) -> Answer:
    """A cancel that was carried out and whose answer was lost; what came of it is learnt later."""
    upstream.simulator.script(Fault(acts=True, ending=Ending.RESET))
    answer = gateway.cancel("workflowRunIds=wfr_billing_1&workflowRunIds=wfr_billing_2")
    assert answer.status == 504, answer
    until(lambda: gateway.records("settled"))
    return answer


def killed(gateway: RunningGateway, upstream: SimulatorServer) -> None:
    """A process that is killed while QStash works on its cancel, and the next one."""
    upstream.simulator.script(Fault(acts=True, ending=Ending.HANG))
    before = len(gateway.records("intent"))
    with ThreadPoolExecutor(1) as callers:
        asked = callers.submit(gateway.cancel, f"{OWN}&count=9")
        until(lambda: len(gateway.records("intent")) > before)
        gateway.kill()
        asked.exception()
    gateway.stop()
    gateway.start()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    """Denials, a join, plans, a lost answer that was settled, a reload, and a crash."""
    setup = Setup(
        "",
        tmp_path_factory.mktemp("audit") / "gateway",
        policies={"billing.yaml": POLICY.replace("CAP", "50"), "guardrails.yaml": GUARDRAILS},
        upstream=", read_token: {file: read-token}",
    )
    runs = make_runs(2000, NOW_MS, seed=0)
    account = Simulator(runs, contract=Contract.V2025)
    with (
        SimulatorServer(account, token=REAL_TOKEN, read_token=READ_TOKEN) as upstream,
        HeldAnswers(upstream.port) as held,
    ):
        setup.upstream_url = held.url
        with RunningGateway(setup) as gateway:
            answers = {"sent": gateway.cancel(OWN), "denied": gateway.cancel("count=3")}
            answers["other"] = gateway.cancel(OWN, team="search")
            answers["first"], answers["repeat"] = repeated(gateway, held, f"{OWN}&count=7")
            answers["plan"] = planned(gateway)
            answers["lost"] = settled(gateway, upstream)
            gateway.request("GET", "/v2/messages")
            (setup.directory / "policies" / "billing.yaml").write_text(POLICY.replace("CAP", "20"))
            os.kill(gateway.process.pid, signal.SIGHUP)
            until(lambda: gateway.records("reload"))
            setup.policies = {"billing.yaml": POLICY.replace("CAP", "20"), "guardrails.yaml": GUARDRAILS}
            answers["later"] = gateway.cancel(OWN)
            killed(gateway, upstream)
        reload = gateway.records("reload")[0]
        digests = [str(reload[name]) for name in ("old_digest", "new_digest")]
        yield Recorded(gateway.audit_directory, answers, digests)


def events(done: Done) -> list[str]:
    """The event of each line."""
    return [line.split()[2] for line in done.stdout.splitlines()]


def test_there_are_ten_questions_each_with_its_command() -> None:
    """One command answers each, and two the one about a change."""
    assert list(QUESTIONS) == list(range(1, 11))
    assert {number: len(lines) for number, lines in QUESTIONS.items() if len(lines) != 1} == {6: 2}


def test_who_cancelled_what_when_why_and_under_which_policy_is_one_command(recorded: Recorded) -> None:
    """Every decision of the team has its line, with the number that is known last, and no other has one."""
    (table,) = recorded.asked(1)
    names = ("sent", "denied", "first", "plan", "lost", "later")
    lines = table.stdout.splitlines()[2:]
    assert len(lines) == len(names) + 1
    for name, line in zip(names, lines, strict=False):
        assert recorded.decision(name) in line
    before, after = (digest[:12] for digest in recorded.digests)
    assert [before in line for line in lines] == [True] * 5 + [False] * 2
    assert [after in line for line in lines] == [False] * 5 + [True] * 2
    wide = command("audit", "report", "--team", "billing", "--format", "csv", str(recorded.directory))
    rows = list(csv.DictReader(io.StringIO(wide.stdout)))
    states = ["cancelled", "denied", "cancelled", "cancelled", "unknown", "cancelled", "unknown"]
    assert [row["state"] for row in rows] == states
    rules = ["billing/own", "guardrails/everything", "billing/own", "billing/seen", "billing/ids"]
    assert [row["rule"] for row in rows][:5] == rules
    assert [row["cancelled"] for row in rows][:4] == ["50", "0", "7", "3"]
    assert {row["who"] for row in rows} == {"billing/billing-key"}


def test_a_decision_is_shown_step_by_step(recorded: Recorded) -> None:
    """Its intent, its outcome and what was learnt later; all that its principal did has them too."""
    (steps,), (theirs,) = recorded.asked(2), recorded.asked(3)
    assert events(steps) == ["intent", "outcome", "settled"]
    assert set(steps.stdout.splitlines()) <= set(theirs.stdout.splitlines())
    assert {"intent", "outcome", "settled", "denied", "joined", "plan", "chunk", "refused"} >= set(events(theirs))
    assert {"intent", "outcome", "settled", "denied", "joined", "plan"} <= set(events(theirs))
    assert recorded.decision("other") not in theirs.stdout


def test_what_was_refused_names_its_rule(recorded: Recorded) -> None:
    """Of every team."""
    (refused,) = recorded.asked(4)
    lines = refused.stdout.splitlines()
    assert len(lines) == 2
    assert recorded.decision("denied") in lines[0]
    assert recorded.decision("other") in lines[1]
    assert " rule=guardrails/everything " in lines[0]
    assert " rule=" not in lines[1]


def test_the_policies_of_a_digest_and_what_changed_in_them(recorded: Recorded) -> None:
    """As they were loaded; the reload names both digests."""
    (text,), (reloads, difference) = recorded.asked(5), recorded.asked(6)
    guardrails = f"==> guardrails.yaml <==\n{GUARDRAILS}"
    assert text.stdout == "==> billing.yaml <==\n" + POLICY.replace("CAP", "50") + guardrails
    assert events(reloads) == ["reload"]
    assert all(digest in reloads.stdout for digest in recorded.digests)
    changed = [line for line in difference.stdout.splitlines() if line.startswith(("-", "+"))]
    assert [line.partition("cap: ")[2][:2] for line in changed[2:]] == ["50", "20"]


def test_what_nobody_knew_and_what_was_learnt_of_it(recorded: Recorded) -> None:
    """An answer that was lost, and a process that was killed."""
    (unknown,), (learnt,) = recorded.asked(7), recorded.asked(8)
    lost, recovered = unknown.stdout.splitlines()
    assert recorded.decision("lost") in lost
    assert " cause=recovered" in recovered
    assert recorded.decision("lost") in learnt.stdout


def test_the_numbers_are_those_of_the_report_and_the_record_is_intact(recorded: Recorded) -> None:
    """The sum of the lines is the sum of the statistics."""
    (stats,), (verified,) = recorded.asked(9), recorded.asked(10)
    listed = json.loads(command("audit", "report", "--format", "json", str(recorded.directory)).stdout)["decisions"]
    assert f"cancelled runs: {sum(one['cancelled'] or 0 for one in listed)};" in stats.stdout
    assert verified.stdout.splitlines()[-1].endswith("intact")
