"""A small audit log as the gateway writes it, and candidate policies to judge it by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.record import denied_members, intent_members
from gateway.authoring.question import Question
from gateway.core.plan import Denial, Order, Plan, order_of
from gateway.core.request import ActionRequest, ByFilter, ByFilterHere, ByIds, FailedFilter, Principal
from gateway.operations.table import OPERATIONS
from gateway.policy.conditions import RunIdCondition
from gateway.policy.format.load import load_policies
from gateway.policy.rules import Policies
from tests.core.rules import allow

LABELLED = (allow("ids", workflowRunIds=RunIdCondition(any=True, optional=True)),)
HOUR_MS = 3_600_000
TS = (1_788_652_800_000, 1_788_652_800_000 + HOUR_MS)
"""2026-09-06T00:00:00Z, and an hour later."""

BASE = """\
version: 1
name: own
teams: [billing]
allow:
  - {id: nightly, label: {any_of: [nightly]}}
"""
CANDIDATES = {
    "same": BASE,
    "deny": BASE + "deny:\n  - {id: no-nightly, label: {any_of: [nightly]}}\n",
    "permit": BASE.replace("[nightly]}}", "[nightly, weekly]}}"),
    "cap": BASE.replace("[nightly]}}", "[nightly]}, count: {cap: 10}}"),
    "window": BASE + "deny:\n  - {id: freeze, during: {from: 2026-09-06T00:30:00Z, until: 2026-09-07T00:00:00Z}}\n",
    "shadow": BASE.replace("[nightly]}}", "[nightly]}}\n  - {id: weekly, mode: shadow, label: {any_of: [weekly]}}")
    + "deny:\n  - {id: no-nightly, mode: shadow, label: {any_of: [nightly]}}\n",
    "shadow-cap": BASE + "require:\n  - {id: few, mode: shadow, count: {cap: 10}}\n",
}
BILLING = Principal("billing", "ci")


def candidate(directory: Path, name: str) -> Path:
    """A policy directory with one of the candidates."""
    directory.mkdir(parents=True)
    (directory / "own.yaml").write_text(CANDIDATES[name])
    return directory


def write_log(directory: Path, *, rules: str = "same") -> Path:
    """A log of a start, two requests for `nightly` and one for `weekly`, judged by `rules`; returns its one file."""
    policies = load_policies(candidate(directory.parent / f"{directory.name}-policies", rules))
    asked = [("nightly", TS[0]), ("nightly", TS[1]), ("weekly", TS[1])]
    return log_of(
        directory, policies, [(BILLING, ActionRequest(ByFilter(labels=(label,)), 100), ts) for label, ts in asked]
    )


def log_of(directory: Path, policies: Policies, asked: Sequence[tuple[Principal, ActionRequest, int]]) -> Path:
    """A log of requests (who, what, when in Unix milliseconds) as `policies` decide them; returns its one file."""
    records = [Record(TS[0] * 1_000_000, "start", {})]
    records += [record_of(policies, f"d{number}", *each) for number, each in enumerate(asked, 1)]
    lines, _ = Sealer("c", key=None).seal(GENESIS, records)
    directory.mkdir()
    path = directory / "c.000001.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def record_of(policies: Policies, decision_id: str, principal: Principal, asked: ActionRequest, ts_ms: int) -> Record:
    """The record of one request, as `policies` decide it."""
    decision = Question(principal, asked, ts_ms).judged(policies)
    if isinstance(decision, Denial):
        members = denied_members(
            decision_id, principal=principal, asked=asked, denial=decision, remote=None, policy_digest="", upstream=""
        )
        return Record(ts_ms * 1_000_000, "denied", members)
    # What is never sent can only have been looked up; its order names what was found.
    if isinstance(asked.selection, ByFilterHere | FailedFilter):
        order = Order(ByIds(("found",), OPERATIONS[asked.action].fields[0]), 1, asked.action)
    else:
        order = order_of(decision.effective)
    plan = Plan(decision_id, principal, asked, decision, (order,), "", None)
    return Record(ts_ms * 1_000_000, "intent", intent_members(plan, upstream=""))
