"""Lints of approvals: those that are never asked for, and those that nobody can give."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from gateway.authoring.lints.finding import Finding, place_of, thing_of
from gateway.policy.model import Rule
from gateway.policy.rules import Policies


def approving_teams(policies: Policies) -> Collection[str]:
    """Return the teams whose principals a rule asks for approval."""
    return {team for rule in policies.rules if rule.approval is not None for team in rule.approval.by}


def approve_idle(rule: Rule) -> Iterator[Finding]:
    """Yield a finding if the budget of the rule is used up before it asks for approval."""
    budget, approval = rule.budget, rule.approval
    if approval is None or budget is None or budget.runs is None or budget.shared == "key":
        return
    if budget.runs <= approval.over and budget.per_ms >= approval.within_ms:
        message = (
            f"{rule.name} asks for approval above {thing_of(rule).counted(approval.over)}, and its budget admits no "
            f"more than {budget.runs}, so it is never asked for."
        )
        yield Finding(place_of(rule), "approve-idle", message, f"Write 'over' below {budget.runs}, or no approve.")


def by_nobody(policies: Policies, teams: Collection[str]) -> Iterator[Finding]:
    """Yield a finding for each rule that asks for the approval of teams that no caller speaks for; `teams` have one."""
    for rule in policies.rules:
        if rule.approval is not None and set(rule.approval.by).isdisjoint(teams):
            by = " or ".join(rule.approval.by)
            message = f"{rule.name} asks for the approval of team {by}, and no key and no issuer names it."
            fix = "Name a team that somebody can call as: until then nothing above 'over' is sent."
            yield Finding(place_of(rule), "approve-by-nobody", message, fix)
