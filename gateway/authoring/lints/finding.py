"""A finding of a lint, and what several lints ask of a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.files.nodes import Place
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One finding: its place, what was found, and what to do about it."""

    place: Place
    id: str
    message: str
    fix: str

    def __str__(self) -> str:
        place = self.place
        return f"{place.file}:{place.line}:{place.column}: warning: {self.message} [{self.id}] {self.fix}"


def lasting(guard: Rule, team: str) -> bool:
    """Return whether the rule applies to the team at all times."""
    return guard.during is None and guard.until_ms is None and all(one.team != team for one in guard.excepted)


def guards_of(rule: Rule, policies: Policies, team: str, effect: Effect = Effect.REQUIRE) -> Sequence[Rule]:
    """Return the `require` (or `deny`) rules of a team that are about every action that the rule is about."""
    rules = policies.for_team(team, min(rule.actions))
    found = rules.requires if effect is Effect.REQUIRE else rules.denies
    return [guard for guard in found if guard.actions >= rule.actions]


def place_of(rule: Rule) -> Place:
    """Return the place of a rule."""
    return rule.at or Place("", 1, 1)
