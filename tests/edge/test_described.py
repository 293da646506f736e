"""The description of the gateway's own calls says all of them, and everything that they answer."""

from __future__ import annotations

import ast
import json
import re
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import jsonschema
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from gateway.cli.main import main
from gateway.core.errors import MethodNotAllowed, Refusal
from gateway.core.forms.budgets import LeftOver, ShownBudget
from gateway.core.forms.shown import (
    APPROVALS,
    COUNTS,
    DECISIONS,
    EVENTS,
    FREEZES,
    PLANS,
    POLICIES,
    Left,
    Listed,
    Narrowed,
    ShownPlan,
)
from gateway.edge.described.calls import CALLS
from gateway.edge.described.declare import Call
from gateway.edge.described.document import document, rendered
from gateway.edge.health import HealthPages
from gateway.edge.inbound import Intake
from gateway.edge.pages.approvals import ApprovalPages
from gateway.edge.pages.calls import Pages
from gateway.edge.pages.decisions import DecisionPages
from gateway.edge.pages.freezes import FreezePages
from gateway.edge.pages.overview.events import OF_ONE
from gateway.edge.routing.cancels import Cancels
from gateway.edge.routing.table import CallRoute, routes
from gateway.execution.plans.draft import State
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.server import SimulatorServer
from tests.edge.described import Described
from tests.edge.streams import read_stream, stream
from tests.edge.wire import answers
from tests.execution.resolve.account import INVOICE, MovingAccount, ids, runs_of
from tests.execution.resolve.house import exactly
from tests.support.gateway import REAL_TOKEN, Answer, RunningGateway, Setup
from tests.support.project import ROOT
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until

OWN = "/gateway/v1/"
WHOAMI, EXPLAIN, OPENAPI = (f"{OWN}{name}" for name in ("whoami", "explain", "openapi.json"))
NAME = "01890000-0000-7000-8000-000000000000"
NO_PLAN = f"{PLANS}/{NAME}"
JSON = {"Content-Type": "application/json"}


def test_the_shipped_document_is_that_of_the_calls(capsys: pytest.CaptureFixture[str]) -> None:
    """`schema openapi` prints what schemas/ holds."""
    assert main(["schema", "openapi"]) == 0
    assert capsys.readouterr().out == rendered() == (ROOT / "schemas" / "openapi.json").read_text()


def test_it_is_an_openapi_document() -> None:
    """Of version 3.1, by a validator that others use; and each schema in it is one."""
    OpenAPIV31SpecValidator(document()).validate()
    described = Described()
    for schema in described.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_below_the_gateways_own_path_is_described_and_no_other() -> None:
    """In both directions, by method and path; no call has the name of another."""
    approvals, freezes = ApprovalPages(None, None, None), FreezePages(None, None)  # type: ignore[arg-type]
    pages = Pages(None, None, None, DecisionPages(None, None), freezes=freezes, approvals=approvals)  # type: ignore[arg-type]
    parts = routes(Cancels(Intake(None, None, None), None, None), pages, HealthPages(None))  # type: ignore[arg-type]
    own = [route for route in parts if isinstance(route, CallRoute) and route.path.startswith(OWN)]
    assert sorted((method, route.path) for route in own for method in route.methods or ()) == sorted(
        (call.method, call.path) for call in CALLS
    )
    assert len({call.name for call in CALLS}) == len(CALLS)


def _kinds(base: type[Refusal]) -> Iterator[type[Refusal]]:
    for kind in base.__subclasses__():
        yield kind
        yield from _kinds(kind)


def test_every_kind_of_problem_is_described() -> None:
    """Those of refusals and those that the table of answers makes, but for what only other paths answer."""
    described = {(status, code) for _, _, status, code in Described().said()}
    refusals = {(kind.status, kind.code) for kind in _kinds(Refusal) if hasattr(kind, "code")}
    elsewhere = {(MethodNotAllowed.status, MethodNotAllowed.code), (409, "conflict")}
    tree = ast.parse((ROOT / "gateway" / "edge" / "answers.py").read_text())
    made = [
        call for call in ast.walk(tree) if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "_Problem"
    ]
    named = [[arg.value for arg in call.args[:2] if isinstance(arg, ast.Constant)] for call in made]
    problems = {(pair[0], pair[1]) for pair in named if len(pair) == 2}
    assert len(problems) > 5
    assert (refusals | problems) - described == elsewhere


def test_the_members_that_a_problem_is_said_to_have_are_in_its_schema() -> None:
    """So that none is only mentioned."""
    properties = document()["components"]["schemas"]["Problem"]["properties"]  # type: ignore[index]
    assert {name for call in CALLS for problem in call.problems for name in problem.members} <= properties.keys()


AT = "2026-01-31T09:30:00.001Z"
WHOLE = ShownPlan(
    NAME,
    "ready",
    expires_in_s=600,
    digest="0" * 64,
    runs=2,
    sample=(Listed("wfr_1", AT), Listed("wfr_2", AT, INVOICE, ("a",))),
    oldest=AT,
    newest=AT,
    by_workflow={INVOICE: 2},
    by_label={"a": 1},
    skipped={"young": Left(3, ("wfr_3",))},
    rule="f/r",
    count=50,
    narrowed=Narrowed(100, 50, "f/r"),
    more=True,
    read_to_end=True,
    as_of=AT,
)
REFUSED = {
    "rule": None,
    "owner": {"team": "b", "contact": "#b"},
    "not_admitted": {"rule": "f/r", "field": "label", "value": None},
}
SHOWN = [
    *(replace(WHOLE, state=state.value) for state in State),
    replace(WHOLE, narrowed=Narrowed(100, 50, "f/r", "runs")),
    replace(WHOLE, budget=ShownBudget(100, None, "24h", "team", LeftOver(7, None, AT))),
    replace(WHOLE, budget=ShownBudget(None, 9, "24h", "key")),
    ShownPlan(NAME, "ready", digest="0" * 64),
    ShownPlan(NAME, "looking", 600, pages=2, matched=7),
    ShownPlan(NAME, "failed", failure="It took too long."),
    ShownPlan(NAME, "refused", failure="No.", refused=REFUSED),
]


@pytest.mark.parametrize("plan", SHOWN, ids=lambda plan: plan.state)
def test_a_plan_in_any_state_is_as_described(plan: ShownPlan) -> None:
    """With every member that it may have."""
    described = Described()
    described.check_value(described.value("Plan"), json.loads(json.dumps(plan.to_json())))


POLICY = f"""\
version: 1
name: billing
teams: [billing]
owner: {{team: Billing platform, contact: "#billing"}}
allow:
  - {{id: own, workflowUrl: {{exact: ["{INVOICE}"]}}, resolve: true, runs: {{cap: 2, older_than: 5m}}}}
  - {{id: any, workflowRunIds: {{max: 9, prefix: [wfr_]}}, owner: unchecked}}
"""

FEW, WATCHED = f"{INVOICE}/few", f"{INVOICE}/watched"
BUDGETED = f"""\
  - {{id: watched, workflowUrl: {{exact: ["{WATCHED}"]}}, resolve: true, runs: {{cap: 2}}, approve: {{by: [platform]}}}}
  - {{id: few, workflowUrl: {{exact: ["{FEW}"]}}, resolve: true, runs: {{cap: 2}}, budget: {{runs: 3, per: 1h}}}}
"""
STATE = 'state: {url: "sqlite:state.db"}\noperators: {teams: [platform]}\n'
LIMITS = "{receive_timeout_s: 1, max_run_ids: 10, per_principal: {in_flight: 64, requests_per_minute: 0}}"
PLAIN = POLICY.replace(", resolve: true, runs: {cap: 2, older_than: 5m}", "")


@dataclass
class Desk:
    """A gateway, the account behind it, and the document that everything it answers is held against."""

    gateway: RunningGateway
    account: MovingAccount
    answers: HeldAnswers
    described: Described = field(default_factory=Described)

    def ask(self, method: str, target: str, body: object = None, **more: object) -> Answer:
        """One call, whose answer is as described."""
        content = None if body is None else json.dumps(body).encode()
        headers = {**(JSON if body is not None else {}), **more.pop("headers", {})}  # type: ignore[dict-item]
        answer = self.gateway.request(method, target, body=content, headers=headers, **more)  # type: ignore[arg-type]
        self.described.check(method, target, answer)
        return answer

    def raw(self, line: str, *headers: str) -> None:
        """One call in bytes of its own."""
        key = f"Authorization: Bearer {self.gateway.key()}"
        text = "\r\n".join([f"{line} HTTP/1.1", "Host: g.example", key, *headers, "", ""])
        [answer] = answers(self.gateway.raw(text.encode("latin-1")))
        method, target = line.split(" ")
        self.described.check(method, target, answer)

    def plan(self, url: str = INVOICE) -> str:
        """The path of a plan of two new runs, which are there."""
        self.account.begin(runs_of(url, 3))
        planned = self.ask("POST", PLANS, {"request": exactly(url)}).json()
        assert planned.get("state") == "ready", planned
        return f"{PLANS}/{planned['plan']}"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Callable[..., Desk]]:
    """Starts a gateway; `reads` gives it a read-only token, `operators` the state for freezes."""
    account = MovingAccount()
    with SimulatorServer(account, token=REAL_TOKEN) as server, HeldAnswers(server.port) as held:
        running: list[RunningGateway] = []

        def start(limits: str = LIMITS, *, reads: bool = True, operators: bool = False) -> Desk:
            directory = tmp_path / f"gateway{len(running)}"
            directory.mkdir()
            (directory / "read-token").write_text(server.read_token)
            upstream = ", read_token: {file: read-token}" if reads else ""
            setup = Setup(
                held.url,
                directory,
                policies={"b.yaml": (POLICY if reads else PLAIN) + (BUDGETED if operators else "")},
                teams=("billing", "platform") if operators else ("billing",),
                limits=limits,
                more=STATE if operators else "",
                contract="2026-09",
                upstream=upstream,
            )
            running.append(RunningGateway(setup))
            running[-1].start()
            return Desk(running[-1], account, held)

        yield start
        for one in running:
            one.stop()


def asked(call: Call) -> tuple[str, str, object]:
    """A call with an ID that is none where it wants one, and with the least body that it takes."""
    body = None if call.body is None else {"request": exactly(INVOICE)} if call.body_required else {}
    return call.method, re.sub(r"\{[a-z]+\}", NAME, call.path), body


def everywhere(desk: Desk) -> None:
    """What every call may be answered with."""
    for call in CALLS:
        method, target, body = asked(call)
        desk.ask(method, target, body, team=None)
        desk.raw(f"{method} {target}", "Content-Length: 5", "Content-Length: 6")
        desk.raw(f"{method} {target}", "Authorization: Bearer another")
        desk.raw(f"{method} {target}", "Content-Length: 999999999")
        desk.raw(f"{method} {target}", "Expect: 100-continue")
        desk.raw(f"{method} {target}", *(f"X-{number}: a" for number in range(200)))
        desk.raw(f"{method} {target}?{'a' * 140_000}")
        if call.body is not None:
            desk.raw(f"{method} {target}", "Content-Type: application/json", "Content-Length: 5")


def late(desk: Desk) -> None:
    """Heads that do not arrive, of all calls at once."""

    def begun(call: Call) -> None:
        method, target, _ = asked(call)
        [answer] = answers(desk.gateway.raw(f"{method} {target} HTTP/1.1\r\nHost: g".encode()))
        desk.described.check(method, target, answer)

    with ThreadPoolExecutor(len(CALLS)) as threads:
        list(threads.map(begun, CALLS))


def full(desk: Desk) -> None:
    """A gateway with one place, which is taken."""
    lines = (f"POST {EXPLAIN} HTTP/1.1", "Host: g", f"Authorization: Bearer {desk.gateway.key()}", "Content-Length: 9")
    with socket.create_connection(("127.0.0.1", desk.gateway.port)) as taken:
        taken.sendall("\r\n".join([*lines, "", "{"]).encode())
        until(lambda: desk.gateway.request("GET", WHOAMI).status == 503)
        for call in CALLS:
            desk.ask(*asked(call))


def questions(desk: Desk) -> None:
    """The calls that only ask."""
    desk.ask("GET", WHOAMI)
    desk.ask("GET", OPENAPI)
    desk.ask("GET", f"{OPENAPI}?a=b")
    for query in (
        exactly(INVOICE),
        "label=a",
        "workflowRunIds=wfr_1&workflowRunIds=wfr_2",
        "count=7",
        exactly(INVOICE, count=5),
    ):
        desk.ask("POST", EXPLAIN, {"request": query})
    desk.ask("POST", EXPLAIN, {"request": exactly(INVOICE), "reason": "stuck", "body": None})
    for wrong in ({}, {"request": "labels=a"}, {"request": 1}, {"request": "label=a", "more": 1}):
        desk.ask("POST", EXPLAIN, wrong)
        desk.ask("POST", PLANS, wrong)
    many = "&".join(f"workflowRunIds=wfr_{number}" for number in range(11))
    desk.ask("POST", EXPLAIN, {"request": many})
    desk.ask("POST", PLANS, {"request": many})


def plans(desk: Desk) -> None:
    """A plan on its way, and what keeps one from being made or applied."""
    desk.ask("GET", NO_PLAN)
    desk.ask("POST", f"{NO_PLAN}/apply")
    desk.ask("POST", f"{PLANS}/none/apply")
    desk.ask("POST", PLANS, {"request": "label=a"})
    desk.account.begin(runs_of(INVOICE, 3))
    desk.account.script(Fault(on=Kind.LOGS, status=500, body="{}", times=20))
    desk.ask("POST", PLANS, {"request": exactly(INVOICE)})
    plan = desk.plan()
    unchecked = desk.ask("POST", PLANS, {"request": "workflowRunIds=wfr_run_0002"})
    assert unchecked.json()["by_workflow"] == {}
    desk.ask("GET", plan)
    desk.ask("GET", f"{plan}?a=b")
    desk.ask("POST", f"{plan}/apply", {"count": 1})
    applied = desk.ask("POST", f"{plan}/apply", {})
    assert applied.json() == {"cancelled": 2}
    assert applied.headers["gateway-more"] == "true"
    desk.ask("GET", plan)
    assert desk.ask("POST", f"{plan}/apply").json()["code"] == "plan_applied"


def stopped(desk: Desk) -> None:
    """A plan that is stopped before it is applied, and one in the middle, while its first order is out."""
    plan = desk.plan()
    desk.ask("GET", PLANS)
    desk.ask("GET", f"{PLANS}?a=b")
    desk.ask("DELETE", NO_PLAN)
    desk.ask("DELETE", plan, {"a": 1})
    assert desk.ask("DELETE", plan).json()["state"] == "stopped"
    assert desk.ask("POST", f"{plan}/apply").json()["code"] == "plan_stopped"
    plan = desk.plan()
    with ThreadPoolExecutor(1) as threads:
        with desk.answers.held():
            applied = threads.submit(desk.ask, "POST", f"{plan}/apply")
            until(lambda: desk.account.arrived(Kind.CANCEL) > 0)
            assert desk.ask("DELETE", plan).status == 202
        assert applied.result().status in (200, 409)
    desk.ask("GET", PLANS)


def decisions(desk: Desk) -> None:
    """What became of requests of every end, one by one and as a list; of a list of nothing; and of none."""
    made = [
        desk.ask("POST", f"{desk.plan()}/apply"),
        desk.gateway.cancel(exactly(INVOICE)),
        desk.gateway.cancel("label=a"),
    ]
    for fault in (Fault(status=403, body='{"error": "no"}'), Fault(status=500, body="not JSON")):
        desk.account.begin(runs_of(INVOICE, 3))
        desk.account.script(fault)
        made.append(desk.gateway.cancel(exactly(INVOICE)))
    assert [answer.status for answer in made] == [200, 200, 403, 502, 504]
    shown = [desk.ask("GET", f"{DECISIONS}/{answer.headers['gateway-decision']}").json() for answer in made]
    assert {one["state"] for one in shown} >= {"cancelled", "denied", "refused", "unknown"}
    assert desk.ask("GET", made[-1].json()["status_url"]).json() == shown[-1]  # type: ignore[arg-type]
    cursor = desk.ask("GET", f"{DECISIONS}?limit=2").json()["cursor"]
    desk.ask("GET", f"{DECISIONS}?limit=2&cursor={cursor}")
    desk.ask("GET", DECISIONS)
    desk.ask("GET", f"{DECISIONS}/{NAME}")
    for query in ("limit=0", "limit=101", "cursor=a", "more=1"):
        desk.ask("GET", f"{DECISIONS}?{query}")
    desk.ask("GET", f"{DECISIONS}/{NAME}?a=b")


def looks(desk: Desk) -> None:
    """The record of decisions, numbers over time, and policies; to a team, to operators, and where they are none."""
    made = desk.gateway.cancel("label=a").headers["gateway-decision"]
    for team in ("billing", "platform"):
        assert desk.ask("GET", f"{DECISIONS}/{made}/record", team=team).json()["records"]
        assert desk.ask("GET", COUNTS, team=team).json()["counts"]
        desk.ask("GET", f"{COUNTS}?since=90m", team=team)
        assert desk.ask("GET", f"{POLICIES}?since=7d", team=team).json()["files"]
    desk.ask("GET", f"{DECISIONS}/{NAME}/record")
    desk.ask("GET", f"{DECISIONS}/{made}/record?a=b")
    for wrong in ("since=1", "since=31d", "since=10s", "more=1"):
        desk.ask("GET", f"{COUNTS}?{wrong}")
        desk.ask("GET", f"{POLICIES}?{wrong}")
    desk.ask("GET", f"{EVENTS}?a=b")


def events(desk: Desk) -> None:
    """A stream with a decision in it, and one too many."""
    with ExitStack() as open_streams:
        streams = [open_streams.enter_context(stream(desk.gateway)) for _ in range(OF_ONE)]
        until(lambda: desk.gateway.request("GET", WHOAMI).status == 200)
        desk.ask("GET", EVENTS)
        desk.gateway.cancel("label=a")
        desk.described.check("GET", EVENTS, read_stream(streams[0], b"data: {"))


def freezes(desk: Desk) -> None:
    """Freezes by operators, what they stop, and who may not."""
    plan = desk.plan()
    for wrong in ({}, {"reason": 1}, {"reason": "x", "more": 1}, {"reason": "x", "until": "then"}):
        desk.ask("POST", FREEZES, wrong, team="platform")
    assert desk.ask("POST", FREEZES, {"reason": "x"}).json()["code"] == "not_an_operator"
    for nobody in ({"rule": "billing/none"}, {"team": "none"}):
        assert desk.ask("POST", FREEZES, {"reason": "x", **nobody}, team="platform").status == 422
    whole = {"reason": "x", "team": "billing", "rule": "billing/own", "until": "2999-01-01T00:00:00Z"}
    made = desk.ask("POST", FREEZES, whole, team="platform").json()
    assert made["rule"] == "billing/own"
    assert desk.ask("POST", f"{plan}/apply").json()["code"] == "frozen"
    desk.ask("GET", FREEZES)
    desk.ask("GET", f"{FREEZES}?a=b")
    desk.ask("DELETE", f"{FREEZES}/{made['id']}")
    for status in (200, 404):
        assert desk.ask("DELETE", f"{FREEZES}/{made['id']}", team="platform").status == status
    for target in (plan, f"{PLANS}?all=true", DECISIONS):
        assert desk.ask("GET", target, team="platform").status == 200
    assert desk.ask("GET", f"{PLANS}?all=true").status == 403
    assert desk.ask("DELETE", plan, team="platform").json()["state"] == "stopped"


def budgets(desk: Desk) -> None:
    """A budget that is used up, and Idempotency-Keys that come again."""

    def apply(plan: str, key: str) -> Answer:
        """Applies a plan with a key."""
        return desk.ask("POST", f"{plan}/apply", headers={"Idempotency-Key": key})

    desk.ask("GET", WHOAMI)
    desk.ask("POST", EXPLAIN, {"request": exactly(FEW)})
    plan = desk.plan(FEW)
    desk.ask("GET", plan)
    first = apply(plan, "a")
    assert first.headers.get("gateway-budget", "").startswith("left=1;reset="), first
    assert apply(plan, "a").headers["gateway-replayed"] == "true"
    other = desk.plan(FEW)
    assert apply(other, "a").json()["code"] == "idempotency_key_reused"
    assert apply(other, "b").json()["code"] == "budget_exhausted"
    plan = desk.plan()
    desk.account.script(Fault(status=500, body="not JSON"))
    assert apply(plan, "c").status == 504
    assert apply(plan, "c").json()["code"] == "outcome_unknown"


def approvals(desk: Desk) -> None:
    """Plans that wait for another team: approved and applied, rejected, stopped; and who may say nothing of them."""

    def waiting(reason: str = "stuck") -> tuple[str, dict[str, object]]:
        """A plan that waits, and the body that approves it."""
        desk.account.begin(runs_of(WATCHED, 3))
        planned = desk.ask("POST", PLANS, {"request": exactly(WATCHED), "reason": reason}).json()
        plan = f"{PLANS}/{planned['plan']}"
        refused = desk.ask("POST", f"{plan}/apply")
        assert refused.json()["code"] == "approval_required", refused
        return plan, {"digest": refused.json()["digest"], "decision": "approve"}

    def says(plan: str, body: object, *, team: str = "platform") -> Answer:
        """What somebody says of it."""
        return desk.ask("POST", f"{plan}/approvals", body, team=team)

    plan, yes = waiting()
    assert says(plan, yes, team="billing").json()["code"] == "not_an_approver"
    for wrong in (
        {},
        {**yes, "decision": "perhaps"},
        {**yes, "more": 1},
        {**yes, "reason": "a\nb"},
        {**yes, "digest": 1},
    ):
        assert says(plan, wrong).status == 400
    assert says(plan, {**yes, "digest": "0" * 64}).json()["code"] == "approval_void"
    assert says(NO_PLAN, yes).status == 404
    waits = desk.ask("GET", APPROVALS, team="platform").json()["approvals"]
    assert [one["principal"] for one in waits] == ["billing/billing-key"]  # type: ignore[attr-defined]
    assert desk.ask("GET", APPROVALS).json() == {"approvals": []}
    everybodys = desk.ask("GET", f"{PLANS}?all=true", team="platform").json()["plans"]
    assert plan.rpartition("/")[2] in {one["plan"] for one in everybodys}  # type: ignore[attr-defined]
    desk.ask("GET", f"{APPROVALS}?a=b")
    assert len(desk.ask("GET", plan, team="platform").json()["listed"]) == 2  # type: ignore[arg-type]
    assert says(plan, {**yes, "reason": "go"}).status == 201
    assert desk.ask("GET", plan).json()["approvals"]["given"][0]["reason"] == "go"  # type: ignore[index]
    assert desk.ask("POST", f"{plan}/apply").status == 200
    assert says(plan, yes).json()["code"] == "plan_applied"
    plan, yes = waiting()
    assert says(plan, {**yes, "decision": "reject"}).json()["state"] == "rejected"
    assert says(plan, yes).json()["code"] == "plan_rejected"
    assert desk.ask("POST", f"{plan}/apply").json()["code"] == "plan_rejected"
    again = desk.ask("POST", f"{desk.plan(WATCHED)}/apply").json()
    assert again["code"] == "approval_required"
    plan, yes = waiting("something else")
    desk.ask("DELETE", plan)
    assert says(plan, yes).json()["code"] == "plan_stopped"


def ends(desk: Desk) -> None:
    """What may come of applying a plan, when QStash does not do what is asked."""
    plan = desk.plan()
    desk.account.restart(*ids(runs_of(INVOICE, 3)))
    assert desk.ask("POST", f"{plan}/apply").json()["code"] == "nothing_cancelled"
    plan = desk.plan()
    desk.account.script(Fault(on=Kind.LOGS, status=500, body="{}", times=20))
    assert desk.ask("POST", f"{plan}/apply").json()["cause"] == "lookup_failed"
    limit = {"Retry-After": "300", "Burst-RateLimit-Limit": "5", "Burst-RateLimit-Remaining": "0"}
    for fault in (
        Fault(status=403, body='{"error": "no"}'),
        Fault(status=429, body="{}", headers=limit),
        Fault(status=500, body="not JSON"),
        Fault(acts=True, status=200, body='{"cancelled": 7}'),
    ):
        plan = desk.plan()
        desk.account.script(fault)
        desk.ask("POST", f"{plan}/apply")
        desk.ask("GET", plan)


NOT_PROVOKED = {
    (202, ""): "a look-up of more than ten seconds",
    (403, "policy_denied"): "a reload between the plan and its application",
    (409, "plan_pending"): "a look-up of more than ten seconds",
    (409, "plan_refused"): "a look-up that fails after ten seconds",
    (409, "approval_void"): "policies or keys that change after the approval",
    (409, "plan_damaged"): "a store that somebody has changed",
    (503, "audit_unavailable"): "a full disk",
    (503, "decisions_unavailable"): "an index that is being made",
    (503, "internal_error"): "a bug",
    (503, "shutting_down"): "a gateway that ends",
    (503, "state_unavailable"): "a store that does not answer",
}
"""What some call is not provoked to here, by status and code, and what it would take."""


def test_what_the_gateway_answers_is_what_the_document_says(desk: Callable[..., Desk]) -> None:
    """Status, code, headers and every member, of every call and every refusal that can be provoked."""
    one = desk(operators=True)
    parts = (everywhere, late, questions, plans, stopped, decisions, looks, events, freezes, budgets, approvals, ends)
    for provoked in parts:
        provoked(one)
    lone = desk("{per_principal: {requests_per_minute: 12, in_flight: 4}}", reads=False)
    lone.described.seen = one.described.seen
    lone.ask("POST", PLANS, {"request": exactly(INVOICE)})
    lone.ask("GET", FREEZES)
    lone.ask("GET", APPROVALS)
    lone.ask("POST", FREEZES, {"reason": "x"})
    for _ in range(12):
        lone.gateway.request("GET", WHOAMI)
    for call in CALLS:
        lone.ask(*asked(call))
    small = desk("{receive_timeout_s: 20, max_in_flight: 1, per_principal: {requests_per_minute: 0}}")
    small.described.seen = one.described.seen
    full(small)
    missing = {(status, code) for *_, status, code in one.described.said() - one.described.seen}
    assert missing == NOT_PROVOKED.keys()
