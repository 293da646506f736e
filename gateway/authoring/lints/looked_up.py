"""Lints of what is looked up: what a rule takes on trust, what it admits besides, and what nothing is compared with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from gateway.authoring.conflicts import kind_of
from gateway.authoring.lints.finding import Finding, about, lasting, place_of, thing_of
from gateway.core.request import Action
from gateway.policy.conditions import UrlCondition
from gateway.policy.format.actions import UNLISTED, lacked
from gateway.policy.format.allowing import OF_FAILED
from gateway.policy.model import Effect, Rule
from gateway.policy.reading import bounds_runs
from gateway.policy.rules import Policies

Teams = Mapping[Action, AbstractSet[str]]
"""For each action, the teams whose runs, entries or messages may be looked up by a rule."""


def teams_looked_up(policies: Policies) -> Teams:
    """Return the teams of every enforced rule that looks up, by action."""
    found: dict[Action, set[str]] = {}
    for rule in policies.resolving:
        for action in rule.actions if not rule.shadow else ():
            found.setdefault(action, set()).update(rule.teams)
    return found


def owner_unchecked(rule: Rule) -> Iterator[Finding]:
    """Yield a finding if the rule takes IDs on trust."""
    if not rule.owner_unchecked:
        return
    thing = thing_of(rule)
    message = f"{rule.name}: {thing.one} IDs carry no owner, and this rule does not look the {thing.many} up."
    fix = "Have them looked up (resolve: true beside workflowUrl), or keep the prefix to one team."
    if Action.CANCEL_MESSAGES in rule.actions:
        message += " It also cancels messages of workflow runs, and those that cannot be read."
        fix = "Have them looked up (resolve: true), or keep the prefix to one team."
    elif not rule.actions.isdisjoint(UNLISTED):
        message += " QStash keeps failed runs in the same queue, and no rule about failed runs is asked."
        fix = "Nothing shows whose they are: keep the prefix, or the teams of the rule, to one team."
    yield Finding(place_of(rule), "owner-unchecked", message, fix)


def admits_more(rule: Rule) -> Iterator[Finding]:
    """Yield for each rule with `resolve: true` what it admits beyond what it mentions."""
    if rule.resolution is None:
        return
    kind, thing = kind_of(rule), thing_of(rule)
    filters = [field for field in OF_FAILED if lacked(field, rule.actions) is None]
    if filters and rule.effect is Effect.REQUIRE:
        more = "every allow of its teams also admits filters that it does not mention, and workflowUrlExactMatch holds"
    elif filters and kind == "filter":
        unmentioned = ", ".join(field for field in filters if field not in rule.conditions)
        beside = f"admits requests that also name {unmentioned}" if unmentioned else "mentions every filter"
        url = rule.conditions.get("workflowUrl")
        prefixes = Action.CANCEL_RUNS in rule.actions and isinstance(url, UrlCondition) and (url.prefix or url.any)
        more = f"it {beside}" + (", and prefixes where a require wants workflowUrlExactMatch" if prefixes else "")
    else:
        named = "a request for everything" if kind == "everything" else f"{thing.one} IDs"
        more = f"it admits {named} and no filter, so nothing beyond what it mentions"
    message = f"{rule.name} has the {thing.many} looked up: {more}."
    fix = "Such filters are matched by the gateway and only narrow; silence this once you have read it (lint: ignore)."
    yield Finding(place_of(rule), "resolve-admits-more", message, fix)


def not_compared(rule: Rule, policies: Policies, resolving: Teams) -> Iterator[Finding]:
    """Yield a finding for each optional field of a rule that judges what a look-up finds."""
    left_out = [(field, bound) for field, bound in rule.conditions.items() if bound.optional and bounds_runs(bound)]
    if not left_out or not _judges_runs(rule, policies, resolving):
        return
    for field, bound in left_out:
        message = (
            f"{rule.name}: where a request leaves {field} out, the {thing_of(rule).many} that are looked up are not "
            f"compared with it ({bound.words()}): any of them may be {'cancelled' if _cancels(rule) else 'taken'}."
        )
        fix = f"Take 'optional: true' away, so that every request names {field}; or say {{any: true}} if any may be."
        yield Finding(place_of(rule), "optional-not-compared", message, fix)


def _judges_runs(rule: Rule, policies: Policies, resolving: Teams) -> bool:
    """Return whether the rule judges runs found by a look-up, its own or that of another rule."""
    if rule.resolution is not None:
        return True
    if rule.effect is Effect.REQUIRE:
        return any(_meet(rule.teams, resolving.get(action, set())) for action in rule.actions)
    return any(looks_up(policies, *each) for each in about(rule))


def _meet(ours: AbstractSet[str], theirs: AbstractSet[str]) -> bool:
    return bool(ours and theirs) and ("*" in ours or "*" in theirs or not ours.isdisjoint(theirs))


def looks_up(policies: Policies, team: str, action: Action) -> bool:
    """Return whether a `require` has the runs of every request of the team for the action looked up, at all times."""
    guards = policies.for_team(team, action).requires
    return any(one.resolution is not None and not one.shadow and lasting(one, team) for one in guards)


def _cancels(rule: Rule) -> bool:
    return rule.actions <= {Action.CANCEL_RUNS, Action.CANCEL_MESSAGES}
