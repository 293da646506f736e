"""Lints of how many runs a rule lets go: bounds and budgets that never count, or that one team can use up."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.authoring.lints.finding import Finding, about, lasting, place_of, thing_of
from gateway.core.errors import counted
from gateway.core.request import MAX_COUNT, Action
from gateway.policy.conditions import RunIdCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies


def cap_above(rule: Rule, policies: Policies) -> Iterator[Finding]:
    """Yield a finding if a guardrail lowers the count further than the rule's own cap."""
    if rule.effect is not Effect.ALLOW or rule.count is None or rule.count.cap is None:
        return
    for team in sorted(rule.teams):
        lower = [_lower_cap(rule.count.cap, policies, team, action) for action in sorted(rule.actions)]
        caps = [found for found in lower if found is not None]
        if len(caps) == len(lower):
            guard, cap = max(caps, key=lambda found: found[1])
            message = f"{rule.name}: the cap {rule.count.cap} never counts, {guard.name} lowers to {cap}."
            yield Finding(place_of(rule), "cap-above-guardrail", message, f"Write at most {cap}.")
            return


def _lower_cap(cap: int, policies: Policies, team: str, action: Action) -> tuple[Rule, int] | None:
    """Return the first guardrail that always lowers the count of the team's requests for the action below `cap`."""
    for guard in policies.for_team(team, action).requires:
        lowers = guard.count.cap if guard.count is not None and lasting(guard, team) else None
        if lowers is not None and lowers < cap:
            return guard, lowers
    return None


def above_lookup(rule: Rule, most: int) -> Iterator[Finding]:
    """Yield a finding if a look-up is refused for its own bound before it reaches that of the rule."""
    if rule.resolution is None or rule.id_list is not None:
        return
    count = rule.count.ceiling if rule.count is not None else None
    # A look-up ends once it has as many runs as are taken, unless a rule has to know of all.
    capped = rule.resolution.cap is not None and (count is None or count > most)
    for key, bound in (("max", rule.resolution.max_runs), ("cap", rule.resolution.cap if capped else None)):
        if bound is not None and bound > most:
            message = (
                f"{rule.name}: runs.{key} {bound} is never reached, because a look-up is refused where more than "
                f"{most} {thing_of(rule).many} match (limits.lookup.runs)."
            )
            yield Finding(place_of(rule), "runs-above-lookup", message, f"Write at most {most}, or raise the limit.")


def budget_of_all(rule: Rule) -> Iterator[Finding]:
    """Yield a finding if every team shares one budget."""
    if rule.budget is not None and rule.budget.shared == "rule" and "*" in rule.teams:
        message = f"{rule.name} is for every team, and all of them share one budget: one team can use it up."
        yield Finding(
            place_of(rule), "budget-of-all", message, "Write 'shared: team', or 'shared: key', in the budget."
        )


def budget_idle(rule: Rule, policies: Policies) -> Iterator[Finding]:
    """Yield a finding if as many requests as the budget admits cannot cancel more runs than it admits."""
    budget = rule.budget
    if budget is None or budget.runs is None or budget.requests is None:
        return
    most = max((_most_taken(rule, policies, *each) for each in about(rule)), default=MAX_COUNT)
    if most * budget.requests <= budget.runs:
        thing = thing_of(rule)
        message = (
            f"{rule.name}: {counted(budget.requests, 'request')} of at most {thing.counted(most)} each never come to "
            f"more than {most * budget.requests}, so the {budget.runs} {thing.many} of its budget never count."
        )
        yield Finding(
            place_of(rule), "budget-idle", message, f"Write fewer than {most * budget.requests} runs, or none."
        )


def _most_taken(rule: Rule, policies: Policies, team: str, action: Action) -> int:
    """Return to how many runs at most one request of the team can do the action under the rule."""
    requires = policies.for_team(team, action).requires
    guards = (guard for guard in requires if lasting(guard, team) and not guard.shadow)
    bounds = []
    for one in (rule, *guards):
        bounds += [one.count.ceiling] if one.count is not None else []
        bounds += [one.resolution.max_runs, one.resolution.cap] if one.resolution is not None else []
        ids = one.conditions.get(rule.id_list) if rule.id_list is not None else None
        bounds += [ids.max] if isinstance(ids, RunIdCondition) else []
    return min((bound for bound in bounds if bound is not None), default=MAX_COUNT)
