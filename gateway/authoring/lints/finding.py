"""A finding of a lint, and what several lints ask of a rule."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.core.request import Action
from gateway.files.nodes import Place
from gateway.policy.model import Rule
from gateway.policy.words.things import Thing, of_action


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


def thing_of(rule: Rule) -> Thing:
    """Return the word for what the rule is about; of a rule about several actions, for what the first is about."""
    return of_action(next(action for action in Action if action in rule.actions))


def place_of(rule: Rule) -> Place:
    """Return the place of a rule."""
    return rule.at or Place("", 1, 1)


def about(rule: Rule) -> Iterator[tuple[str, Action]]:
    """Yield each team that the rule is made for with each action that it is about: among those, rules are judged."""
    for team in sorted(rule.teams):
        for action in sorted(rule.actions):
            yield team, action
