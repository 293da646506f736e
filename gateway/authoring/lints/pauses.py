"""Lints of pauses: those that nobody may undo."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.authoring.lints.finding import Finding, place_of
from gateway.core.request import Action
from gateway.policy.conditions import PAUSED, ValueCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies


def paused_for_good(rule: Rule, policies: Policies) -> Iterator[Finding]:
    """Yield a finding if a rule allows to pause what no rule allows anybody to resume."""
    if rule.effect is not Effect.ALLOW or Action.PAUSE not in rule.actions or rule.shadow:
        return
    for field in PAUSED:
        condition = rule.conditions.get(field)
        if isinstance(condition, ValueCondition) and not _resumed(field, condition, policies):
            message = f"{rule.name} allows to pause {field}: {condition.words()}, and no rule allows all of it again."
            fix = "Add resume to its actions: else only who holds the token can undo it."
            yield Finding(place_of(rule), "pause-for-good", message, fix)


def _resumed(field: str, paused: ValueCondition, policies: Policies) -> bool:
    """Return whether rules in force allow somebody to resume all that a condition admits to pause."""
    found = [
        condition
        for rule in policies.rules
        if rule.effect is Effect.ALLOW and Action.RESUME in rule.actions and not rule.shadow
        if isinstance(condition := rule.conditions.get(field), ValueCondition)
    ]
    listed = frozenset[str]().union(*(condition.any_of for condition in found))
    return any(condition.any for condition in found) or (not paused.any and paused.any_of <= listed)
