"""Lints of what rules about other actions than cancels of runs leave unchecked, or cannot undo."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.authoring.lints.finding import Finding, place_of
from gateway.core.request import Action
from gateway.policy.conditions import FAILED, PAUSED, ValueCondition
from gateway.policy.format.actions import UNLISTED
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies

_TO_ONE_TEAM = "or keep the prefix to one team."


def owner_unchecked(rule: Rule) -> Iterator[Finding]:
    """Yield a finding if the rule takes IDs on trust; for each kind of thing with what that risks."""
    if rule.owner_unchecked:
        said, fix = _trusted(rule)
        yield Finding(place_of(rule), "owner-unchecked", f"{rule.name}: {said}", fix)


def _trusted(rule: Rule) -> tuple[str, str]:
    if Action.CANCEL_MESSAGES in rule.actions:
        said = "message IDs carry no owner, and a message may be a step of a workflow, whose run may then never end."
        return said, f"Have each message read (resolve: true), which refuses a step of a run, {_TO_ONE_TEAM}"
    if not rule.actions.isdisjoint(UNLISTED):
        said = "entry IDs carry no owner, nothing shows it, and an entry may be a step of a workflow."
        return said, "Keep the prefix to one team: nothing else tells whose entries these are."
    many, one = ("entries", "entry") if rule.actions <= FAILED else ("runs", "run")
    said = f"{one} IDs carry no owner, and this rule does not look the {many} up."
    return said, f"Have them looked up (resolve: true beside workflowUrl), {_TO_ONE_TEAM}"


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
