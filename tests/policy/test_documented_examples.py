"""Every YAML in the documentation is loaded and judged."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.authoring.cases import judge_cases, parse_cases
from gateway.authoring.lint import IDS, Summary, lint
from gateway.core.parse import Body
from gateway.core.plan import Denial, Permit
from gateway.core.request import Action, ActionRequest, ByIds, Everything, FailedFilter, Principal, Selection
from gateway.core.run import Listing, Resolution, Run
from gateway.files.nodes import Place
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.choose import choose
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies
from gateway.policy.rules import Policies

ROOT = Path(__file__).parents[2]
NOW_MS = 1_795_000_000_000
FENCED = re.compile(
    r"(?:```yaml\n|<< 'END'[^\n]*\n)(version: 1\nname: ([a-z-]+)\n.*?)(?:```|^END$)", re.DOTALL | re.MULTILINE
)

SEARCH = "workflowUrl=https%3A%2F%2Fsearch.example.com%2F"
BILLING = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2F"
EXACT = "&workflowUrlExactMatch=true"

# (file, example, team, query, permitted)
JUDGED = [
    ("README.md", 0, "billing", f"{BILLING}invoice{EXACT}", True),
    ("README.md", 0, "billing", "workflowRunIds=wfr_billing_1", False),
    ("README.md", 0, "billing", "count=100", False),
    ("docs/policies.md", 0, "billing", f"{BILLING}invoice{EXACT}", True),
    ("docs/policies.md", 0, "billing", f"{BILLING}invoice", False),
    ("docs/policies.md", 1, "search", f"{SEARCH}api%2Findex{EXACT}&count=20", True),
    ("docs/policies.md", 1, "search", f"{SEARCH}api{EXACT}&count=20", True),
    ("docs/policies.md", 1, "search", f"{SEARCH}api%2F&count=20", True),
    ("docs/policies.md", 1, "search", f"{SEARCH}api&count=20", False),
    ("docs/policies.md", 1, "search", f"{SEARCH}api-v2%2Fx{EXACT}&count=20", False),
    ("docs/policies.md", 1, "search", f"{SEARCH}api%2Findex{EXACT}", False),
    ("docs/policies.md", 2, "batch", "workflowUrl=https%3A%2F%2Fbatch.example.com%2Frun" + EXACT, False),
    (
        "docs/policies.md",
        2,
        "batch",
        "workflowUrl=https%3A%2F%2Fbatch.example.com%2Frun"
        + EXACT
        + f"&label=nightly&fromDate={NOW_MS - 7_200_000}&toDate={NOW_MS}",
        True,
    ),
    ("docs/policies.md", 3, "billing", "workflowRunIds=wfr_billing_1&workflowRunIds=wfr_billing_2", True),
    ("docs/policies.md", 3, "billing", "workflowRunIds=wfr_other_1", False),
    ("docs/policies.md", 4, "billing", "count=1", False),
]

JUDGED += [
    ("docs/policies.md", 7, "search", f"{SEARCH}api", True),
    ("docs/policies.md", 7, "search", f"{SEARCH}api%2Findex{EXACT}", True),
    ("docs/policies.md", 7, "search", f"{SEARCH}api&label=batch", True),
    ("docs/policies.md", 7, "search", f"{SEARCH}", False),
    ("docs/policies.md", 7, "search", f"{SEARCH}api-v2", False),
    ("docs/policies.md", 7, "search", f"{SEARCH}api&label=keep", False),
    ("docs/policies.md", 7, "search", "workflowRunIds=wfr_1&workflowRunIds=wfr_2", True),
    ("docs/policies.md", 7, "search", "count=1", False),
    ("docs/policies.md", 7, "search", f"{SEARCH}api&callerIp=10.0.0.1", True),
    ("docs/policies.md", 8, "mail", "host=mail.example.com&path=/api/x", True),
    ("docs/policies.md", 8, "mail", "host=mail.example.com&path=/api/x&label=nightly", True),
    ("docs/policies.md", 8, "mail", "host=mail.example.com&path=/api-v2", False),
    ("docs/policies.md", 8, "mail", "host=mail.example.com", False),
    ("docs/policies.md", 9, "oncall", "count=1", False),
    ("docs/policies.md", 9, "oncall", "label=x", False),
    ("docs/policies.md", 10, "search", f"{SEARCH}api", False),
    ("docs/policies.md", 11, "billing", "workflowUrl=https%3A%2F%2Fjobs.example.com%2Fapi%2Fx", True),
    ("docs/policies.md", 11, "billing", "workflowUrl=https%3A%2F%2Fjobs.example.com%2Fother", False),
    ("docs/policies.md", 12, "search", "workflowUrl=https%3A%2F%2Fjobs.example.com%2Fapi%2Fx", True),
    ("docs/policies.md", 12, "platform", "workflowUrl=https%3A%2F%2Fjobs.example.com%2Fapi%2Fx", False),
]

SHOP = "workflowUrl=https%3A%2F%2Fshop.example.com%2Fapi%2F"
ORDER = f"{SHOP}order{EXACT}"
OFFICE, NIGHT = "2026-11-25T10:00:00+01:00", "2026-11-25T20:00:00+01:00"

# (example of docs/policies.md, team, query, at, reason, rule that decides)
JUDGED_IN_TIME = [
    (5, "shop", ORDER, OFFICE, None, "shop/office-hours"),
    (5, "shop", ORDER, NIGHT, None, None),
    (5, "shop", ORDER, "2026-11-28T10:00:00+01:00", None, None),
    (5, "shop", ORDER, "2026-12-21T10:00:00+01:00", None, "shop/freeze"),
    (5, "shop", ORDER, "2027-01-04T10:00:00+01:00", None, "shop/office-hours"),
    (6, "oncall", SHOP, OFFICE, "stuck orders", "incident/subtree"),
    (6, "oncall", SHOP, OFFICE, None, "incident/why"),
    (6, "shop", SHOP, OFFICE, "stuck orders", "incident/subtree"),
    (6, "shop", SHOP, "2026-12-02T00:00:00+00:00", "stuck orders", "incident/exact-url"),
    (6, "shop", ORDER, "2026-12-02T00:00:00+00:00", "one order", "incident/subtree"),
]


def examples(file: str) -> list[tuple[str, str]]:
    """Text and name of every whole policy in a document."""
    return [(match[1], match[2]) for match in FENCED.finditer((ROOT / file).read_text())]


def loaded(tmp_path: Path, file: str, index: int) -> Policies:
    """One example as a policy directory."""
    text, name = examples(file)[index]
    (tmp_path / f"{name}.yaml").write_text(text)
    return load_policies(tmp_path)


@pytest.mark.parametrize(("file", "index", "team", "query", "permitted"), JUDGED)
def test_documented_policies_judge_as_the_page_says(
    tmp_path: Path, file: str, index: int, team: str, query: str, permitted: bool
) -> None:
    """What the documentation says about a request is what the judgement is."""
    request = parse_cancel(query.encode(), Body())
    decision = decide(loaded(tmp_path, file, index), Principal(team, "k"), request, NOW_MS)
    assert isinstance(decision, Permit if permitted else Denial)


@pytest.mark.parametrize(("index", "team", "query", "at", "reason", "rule"), JUDGED_IN_TIME)
def test_documented_times_and_reasons_decide_as_the_page_says(
    tmp_path: Path, index: int, team: str, query: str, at: str, reason: str | None, rule: str | None
) -> None:
    """The rule that decides at each instant, with and without a reason; no rule is a refusal."""
    now_ms = int(dt.datetime.fromisoformat(at).timestamp() * 1000)
    request = replace(parse_cancel(query.encode(), Body()), reason=reason)
    decision = decide(loaded(tmp_path, "docs/policies.md", index), Principal(team, "k"), request, now_ms)
    assert decision.rule == rule
    assert isinstance(decision, Permit) is (rule in ("shop/office-hours", "incident/subtree"))


def test_the_documented_exception_is_marked_as_the_page_says(tmp_path: Path) -> None:
    """The record of a used exception reads as quoted, and one that changed nothing is not there."""
    policies = loaded(tmp_path, "docs/policies.md", 6)
    now_ms = int(dt.datetime.fromisoformat(OFFICE).timestamp() * 1000)
    asked = [replace(parse_cancel(query.encode(), Body()), reason="r") for query in (SHOP, ORDER)]
    used = [decide(policies, Principal("shop", "k"), request, now_ms).exceptions for request in asked]
    assert used == [("incident/exact-url: shop (ticket OPS-4711)",), ()]
    assert used[0][0] in (ROOT / "docs/policies.md").read_text()


def test_every_lint_is_documented() -> None:
    """Whoever reads an id finds its reason and fix on the page."""
    page = (ROOT / "docs/policies.md").read_text()
    assert [lint for lint in IDS if f"`{lint}`" not in page] == []


@pytest.mark.parametrize(
    ("file", "index"),
    [(file, index) for file in ("README.md", "docs/policies.md") for index in range(len(examples(file)))],
)
def test_no_documented_policy_says_a_bound_that_runs_are_not_held_against(
    tmp_path: Path, file: str, index: int
) -> None:
    """Whoever copies one with `resolve: true` gets what it seems to say."""
    policies = loaded(tmp_path, file, index)
    summary = Summary("2026-09", (), total_timeout_s=30, shutdown_grace_s=35, at=Place("config.yaml", 1, 1))
    assert "optional-not-compared" not in {finding.id for finding in lint(policies, {}, summary, NOW_MS)}


@pytest.mark.parametrize(
    "query",
    [f"{BILLING}", "label=nightly", "workflowRunIds=wfr_1", f"{BILLING}pay%3Fx=1{EXACT}", f"{BILLING}pay{EXACT}"],
)
def test_the_documented_deny_holds_against_every_wider_spelling(tmp_path: Path, query: str) -> None:
    """A prefix above it, another field, run IDs, and the same path with a query all touch the denied subtree."""
    policies = loaded(tmp_path, "docs/policies.md", 4)
    decision = decide(policies, Principal("billing", "k"), parse_cancel(query.encode(), Body()), NOW_MS)
    assert isinstance(decision, Denial)
    assert decision.rule == "guardrails/payments"


def run(run_id: str, path: str, age_s: int = 7200, *labels: str) -> Run:
    return Run(run_id, f"https://search.example.com{path}", NOW_MS - age_s * 1000, labels=labels)


OWN, OTHER, YOUNG = run("wfr_own", "/api/x"), run("wfr_other", "/api-v2"), run("wfr_young", "/api", 299)
KEPT = run("wfr_kept", "/api", 7200, "keep", "nightly")

# (query, runs found, IDs cancelled or the rule that refuses)
LOOKED_UP = [
    (f"{SEARCH}api", (OWN, OTHER, YOUNG), ["wfr_own"]),
    (f"{SEARCH}api", (OWN, KEPT), "exactly/keep"),
    (f"{SEARCH}api", (), []),
    (f"{SEARCH}api&label=nightly", (OWN, OTHER), []),
    (f"{SEARCH}api", tuple(run(f"wfr_{number}", "/api", 7200 + number) for number in range(201)), "exactly/subtree"),
    ("workflowRunIds=wfr_own", (OWN,), ["wfr_own"]),
    ("workflowRunIds=wfr_own&workflowRunIds=wfr_other", (OWN, OTHER), "exactly/by-id"),
    ("workflowRunIds=wfr_own&workflowRunIds=wfr_gone", (OWN,), "exactly/by-id"),
    ("workflowRunIds=wfr_own&workflowRunIds=wfr_kept", (OWN, KEPT), "exactly/keep"),
]


@pytest.mark.parametrize(("query", "found", "end"), LOOKED_UP)
def test_documented_look_ups_end_as_the_page_says(
    tmp_path: Path, query: str, found: tuple[Run, ...], end: list[str] | str
) -> None:
    """The runs that are cancelled, or the rule that refuses all of them."""
    policies, who, request = loaded(tmp_path, "docs/policies.md", 7), Principal("search", "k"), read(query)
    permit = decide(policies, who, request, NOW_MS)
    assert isinstance(permit, Permit)
    resolved = choose(policies, who, request, permit, Listing(found), NOW_MS)
    assert (resolved.rule if isinstance(resolved, Denial) else [one.run_id for one in resolved.runs]) == end


def read(query: str) -> ActionRequest:
    return parse_cancel(query.encode(), Body())


def test_the_documented_require_of_a_look_up_forces_direct_rules(tmp_path: Path) -> None:
    """Beside the first example of the page; on-call is excepted, and everything needs its reason."""
    [policies] = [loaded(tmp_path, "docs/policies.md", index) for index in (0, 9, 10)][-1:]
    asked = read(f"{BILLING}invoice{EXACT}")
    forced = decide(policies, Principal("billing", "k"), asked, NOW_MS)
    assert isinstance(forced, Permit)
    assert forced.resolution == Resolution(100, 60_000)
    everything = replace(read("count=9"), reason="stuck")
    decision = decide(policies, Principal("oncall", "k"), everything, NOW_MS)
    assert isinstance(decision, Permit)
    assert decision.resolution == Resolution(500, 3_600_000)
    assert decide(policies, Principal("oncall", "k"), read("count=9"), NOW_MS).rule == "emergency/why"


@pytest.mark.parametrize(("example", "at", "number"), [(7, 0, 1), (13, 1, 3)])
def test_the_documented_cases_pass(tmp_path: Path, example: int, at: int, number: int) -> None:
    """The page's cases are judged by the policy above them."""
    policies = loaded(tmp_path, "docs/policies.md", example)
    page = (ROOT / "docs/policies.md").read_text()
    text = re.findall(r"```yaml\n(version: 1\ncases:\n.*?)```", page, re.DOTALL)[at]
    verdicts = list(judge_cases(policies, parse_cases("page", text.encode())))
    assert [verdict.differences for verdict in verdicts] == [()] * number


ACTIONS = 13
FAILED_API = FailedFilter(workflow_urls=("https://billing.example.com/api/invoice",), exact=True)
SLOW = FailedFilter(workflow_urls=("https://billing.example.com/api/slow",), exact=True, flow_control_keys=("billing",))
TO_SLOW, ELSEWHERE = ("Upstash-Flow-Control-Key", "billing-slow"), ("Upstash-Flow-Control-Key", "other")

# (action, selection, override header, rule that decides)
JUDGED_ACTIONS: list[tuple[Action, Selection, tuple[str, str] | None, str | None]] = [
    (Action.DELETE_DLQ, FAILED_API, None, "failed/own-failed"),
    (Action.RESTART_DLQ, ByIds(("1-0", "1-1"), "dlqIds"), None, "failed/by-id"),
    (Action.RESUME_DLQ, ByIds(("1-0",), "dlqIds"), None, None),
    (Action.RESTART_DLQ, SLOW, TO_SLOW, "failed/slowly"),
    (Action.RESTART_DLQ, SLOW, ELSEWHERE, None),
    (Action.RESTART_DLQ, FAILED_API, ("Upstash-Retries", "3"), None),
    (Action.RESTART_DLQ, Everything(), None, "failed/everything"),
    (Action.DELETE_DLQ, replace(FAILED_API, labels=("keep",)), None, "failed/kept"),
    (Action.CANCEL_MESSAGES, ByIds(("msg_1",), "messageIds"), None, "failed/messages"),
    (Action.CANCEL_MESSAGES, Everything(), None, "failed/everything"),
    (Action.RETRY_MESSAGE_DLQ, ByIds(("billing-1",), "dlqIds"), None, "failed/again"),
    (Action.RETRY_MESSAGE_DLQ, ByIds(("other-1",), "dlqIds"), None, None),
    (Action.DELETE_MESSAGE_DLQ, ByIds(("billing-1",), "dlqIds"), None, None),
    (Action.PAUSE, ByIds(("billing-mail",), "queue"), None, "failed/mail"),
    (Action.RESUME, ByIds(("billing-slow",), "flowControlKey"), None, "failed/key"),
    (Action.PAUSE, ByIds(("billing-mail",), "schedule"), None, None),
    (Action.CANCEL_RUNS, Everything(), None, "failed/everything"),
    (Action.CANCEL_RUNS, ByIds(("wfr_1",)), None, None),
]


@pytest.mark.parametrize(("action", "selection", "header", "rule"), JUDGED_ACTIONS)
def test_documented_actions_are_judged_as_the_page_says(
    tmp_path: Path, action: Action, selection: Selection, header: tuple[str, str] | None, rule: str | None
) -> None:
    """The rule that decides: an `allow` of the action, or a `deny` that reaches it."""
    count = len(selection.ids) if isinstance(selection, ByIds) else 20
    request = ActionRequest(selection, count, action=action, overrides=(header,) if header is not None else ())
    decision = decide(loaded(tmp_path, "docs/policies.md", ACTIONS), Principal("billing", "k"), request, NOW_MS)
    assert decision.rule == rule
    assert isinstance(decision, Permit) is (rule not in (None, "failed/everything", "failed/kept"))


def test_every_example_is_judged() -> None:
    """No whole policy stands in the documents without a row above."""
    found = {(file, index) for file in ("README.md", "docs/policies.md") for index in range(len(examples(file)))}
    timed = {("docs/policies.md", index) for index, *_ in JUDGED_IN_TIME}
    assert found == {(file, index) for file, index, *_ in JUDGED} | timed | {("docs/policies.md", ACTIONS)}
