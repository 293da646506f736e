"""The rules of all files, and what of them speaks about one team."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from gateway.cancel import Selection
from gateway.policy.index import AllowIndex
from gateway.policy.model import Effect, Rule


@dataclass(frozen=True)
class TeamRules:
    """The rules that speak about one team, each kind sorted by name so that no order of files shows."""

    denies: tuple[Rule, ...]
    requires: tuple[Rule, ...]
    allows: tuple[Rule, ...]

    @staticmethod
    def of(rules: Iterable[Rule]) -> TeamRules:
        """Sorts rules into the three kinds."""
        ordered = sorted(rules, key=lambda rule: (rule.policy, rule.id))
        kinds = {effect: tuple(rule for rule in ordered if rule.effect is effect) for effect in Effect}
        return TeamRules(kinds[Effect.DENY], kinds[Effect.REQUIRE], kinds[Effect.ALLOW])

    def allowing(self, selection: Selection) -> Sequence[Rule]:
        """The `allow` rules that could admit the selection."""
        return self._index.candidates(selection)

    @cached_property
    def _index(self) -> AllowIndex:
        return AllowIndex(self.allows)

    @cached_property
    def has_shadow(self) -> bool:
        """Whether any rule is in shadow mode."""
        return any(rule.shadow for rule in (*self.denies, *self.requires, *self.allows))

    @cached_property
    def enforced(self) -> TeamRules:
        """The same without the rules in shadow mode."""
        return TeamRules.of(rule for rule in (*self.denies, *self.requires, *self.allows) if not rule.shadow)


@dataclass(frozen=True)
class Policies:
    """All rules of a policy directory; `digest` is the SHA-256 (hex) of what was loaded."""

    rules: tuple[Rule, ...]
    digest: str

    def for_team(self, team: str) -> TeamRules:
        """The rules that speak about `team`; those about everyone for a team that no file names."""
        return self._by_team.get(team, self._by_team["*"])

    @cached_property
    def _by_team(self) -> dict[str, TeamRules]:
        named = {"*"}.union(*(rule.teams | rule.excepted for rule in self.rules))
        return {team: TeamRules.of(rule for rule in self.rules if rule.applies_to(team)) for team in named}
