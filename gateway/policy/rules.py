"""The rules of all files, and the part of them that applies to one team."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from gateway.core.forms.texts import PolicyTexts
from gateway.core.plan import Budget
from gateway.core.request import CANCEL_RUNS, Action, Selection
from gateway.core.run import Run
from gateway.policy.index.rules import AllowIndex, DenyIndex, seen
from gateway.policy.model import Effect, Rule, TeamException


@dataclass(frozen=True)
class TeamRules:
    """The rules made for one team. Each kind is sorted by name, so that the order of files makes no difference.

    The fields hold the rules whatever the time; the methods return those that apply to the team at an instant.
    `excepted` holds the rules that never do.
    """

    team: str
    denies: tuple[Rule, ...]
    requires: tuple[Rule, ...]
    allows: tuple[Rule, ...]
    excepted: tuple[Rule, ...] = ()

    @staticmethod
    def of(team: str, rules: Iterable[Rule]) -> TeamRules:
        """Sort the rules that are made for the team into `deny`, `require` and `allow`."""
        kinds: dict[Effect | None, list[Rule]] = defaultdict(list)
        for rule in sorted(rules, key=lambda rule: (rule.policy, rule.id)):
            kinds[None if rule.never_about(team) else rule.effect].append(rule)
        allows, excepted = tuple(kinds[Effect.ALLOW]), tuple(kinds[None])
        return TeamRules(team, tuple(kinds[Effect.DENY]), tuple(kinds[Effect.REQUIRE]), allows, excepted)

    def at(self, now_ms: int) -> TeamRules:
        """Return the rules that apply to the team now."""
        kinds = (tuple(self._now(rules, now_ms)) for rules in (self.denies, self.requires, self.allows))
        return TeamRules(self.team, *kinds)

    def prepare(self) -> None:
        """Build now every index that is otherwise built on first use."""
        self._allows.prepare()
        self._denies.prepare()
        self._excusing[0].prepare()

    def only(self, allow: Rule) -> TeamRules:
        """Return the same `deny` and `require` rules around this one `allow`; the `deny` rules' index is shared."""
        alone = TeamRules(self.team, self.denies, self.requires, (allow,))
        alone.__dict__["_denies"] = self._denies
        return alone

    def denying(self, selection: Selection, now_ms: int, *, wholly: bool = False) -> Iterator[Rule]:
        """Return the `deny` rules that apply now and could match the selection, by name.

        With `wholly`, a rule must match on fields that the selection carries.
        """
        if not self.denies:
            return iter(())
        return self._now(self._denies.candidates(selection, wholly=wholly), now_ms)

    def all_denying(self, now_ms: int) -> Iterator[Rule]:
        """Return all `deny` rules that apply now, by name."""
        return self._now(self.denies, now_ms)

    def tried(self, selection: Selection) -> int:
        """Return how many rules a judgement of the selection has to try, at most."""
        allows = self._allows.number(selection, resolved=self.resolves)
        return self._denies.number(selection) + len(self.requires) + allows

    def requiring(self, now_ms: int) -> Sequence[Rule]:
        """Return the `require` rules that apply now, by name."""
        return self.requires if self._requires_timeless else [*self._now(self.requires, now_ms)]

    def allowing(self, selection: Selection, now_ms: int, *, resolved: bool) -> Sequence[Rule]:
        """Return the `allow` rules that apply now and could admit the selection, by name; `resolved`: in that reading.

        In the forwarded reading, fewer could.
        """
        found = self._allows.admitting(selection, resolved=resolved)
        return found if self._allows_timeless else [*self._now(found, now_ms)]

    def near(self, selection: Selection, now_ms: int) -> Iterator[Rule]:
        """Return the `allow` rules that apply now and share something with the selection, the closest first."""
        found = self._allows.candidates(selection, resolved=self.resolves)
        return found if self._allows_timeless else self._now(found, now_ms)

    def denying_run(self, run: Run, now_ms: int) -> Iterator[Rule]:
        """Return the `deny` rules that apply now and could match the run, by name."""
        return self._now(self._denies.about((run.workflow_url,), seen(run)), now_ms)

    def covering(self, run: Run, now_ms: int) -> Iterator[Rule]:
        """Return the `allow` rules that apply now and could cover the run."""
        return self._now(self._allows.about(run.workflow_url, seen(run)), now_ms)

    def covering_url(self, url: str, now_ms: int) -> Iterator[Rule]:
        """Return the `allow` rules that apply now and could cover any run with this URL."""
        return self._now(self._allows.about(url), now_ms)

    def allowed(self, now_ms: int) -> Iterator[Rule]:
        """Return all `allow` rules that apply now, by name."""
        return self._now(self.allows, now_ms)

    def closed(self, selection: Selection, now_ms: int) -> Iterator[Rule]:
        """Return the `allow` rules that could admit the selection at another time: their window is closed now."""
        if not self._has_windows:
            return iter(())
        return (
            rule
            for rule in self._allows.candidates(selection, resolved=self.resolves)
            if rule.closed(now_ms) and rule.exception(self.team, now_ms) is None
        )

    def excused(self, selection: Selection, now_ms: int) -> Iterator[tuple[Rule, TeamException]]:
        """Yield the rules that except the team, with the exception: each `require`, and each `deny` that could match.

        Only rules in force count.
        """
        if not self.excepting:
            return
        denies, requires = self._excusing
        found = {rule.name for rule in denies.candidates(selection)}.union(requires)
        for rule in (rule for rule in self.excepting if rule.name in found):
            exception = rule.exception(self.team, now_ms)
            if exception is not None and rule.in_force(now_ms):
                yield rule, exception

    def _now(self, rules: Iterable[Rule], now_ms: int) -> Iterator[Rule]:
        return (
            rule
            for rule in rules
            if rule.timeless or (rule.in_force(now_ms) and rule.exception(self.team, now_ms) is None)
        )

    @cached_property
    def excepting(self) -> tuple[Rule, ...]:
        """The `deny` and `require` rules with an exception for the team, whether or not it has ended."""
        guarding = (rule for rule in self._all if rule.effect is not Effect.ALLOW)
        return tuple(rule for rule in guarding if any(one.team == self.team for one in rule.excepted))

    @cached_property
    def _excusing(self) -> tuple[DenyIndex, frozenset[str]]:
        """The index of the `deny` rules that except the team, and the names of the `require` rules that do."""
        denies = [rule for rule in self.excepting if rule.effect is Effect.DENY]
        return DenyIndex(denies), frozenset(rule.name for rule in self.excepting) - {rule.name for rule in denies}

    @cached_property
    def _allows(self) -> AllowIndex:
        return AllowIndex(self.allows)

    @cached_property
    def _denies(self) -> DenyIndex:
        return DenyIndex(self.denies)

    @cached_property
    def _requires_timeless(self) -> bool:
        return all(rule.timeless for rule in self.requires)

    @cached_property
    def _allows_timeless(self) -> bool:
        return all(rule.timeless for rule in self.allows)

    @cached_property
    def _has_windows(self) -> bool:
        return any(rule.during is not None for rule in self.allows)

    @cached_property
    def has_shadow(self) -> bool:
        """Whether any rule is in shadow mode."""
        return any(rule.shadow for rule in self._all)

    @cached_property
    def resolves(self) -> bool:
        """Whether any rule has the runs looked up."""
        return any(rule.resolution is not None for rule in (*self.requires, *self.allows))

    @cached_property
    def enforced(self) -> TeamRules:
        """The same rules without those in shadow mode."""
        if not self.has_shadow:
            return self
        return TeamRules.of(self.team, (rule for rule in self._all if not rule.shadow))

    @property
    def _all(self) -> tuple[Rule, ...]:
        return (*self.denies, *self.requires, *self.allows, *self.excepted)


@dataclass(frozen=True)
class Policies:
    """All rules of a policy directory; `digest` is the SHA-256 (hex) of what was loaded, and `texts` is that itself.

    Any thread may judge by them: what is built on first use is complete before it is kept, and never changes.
    """

    rules: tuple[Rule, ...]
    digest: str
    texts: PolicyTexts = field(default=PolicyTexts(()), compare=False, repr=False)
    _found: dict[tuple[str, Action], TeamRules] = field(default_factory=dict, init=False, compare=False, repr=False)
    _numbers: dict[str, int] = field(default_factory=dict, init=False, compare=False, repr=False)
    _prepared: set[str] = field(default_factory=set, init=False, compare=False, repr=False)

    def prepare(self, team: str) -> None:
        """Build everything that judgements of the team look up; with very many rules that takes a second."""
        if self.is_prepared(team):
            return
        for action in self._actions:
            rules = self.for_team(team, action)
            rules.prepare()
            rules.enforced.prepare()
        self._prepared.add(self._known(team))

    def is_prepared(self, team: str) -> bool:
        """Return whether `prepare` has nothing left to build for the team."""
        return self._known(team) in self._prepared

    def number(self, team: str) -> int:
        """Return how many rules are made for `team`."""
        known = self._known(team)
        number = self._numbers.get(known)
        if number is None:
            number = self._numbers[known] = sum(len(self._by_team.get(name, ())) for name in {known, "*"})
        return number

    def for_team(self, team: str, action: Action = CANCEL_RUNS) -> TeamRules:
        """Return the rules about the action made for `team`; for a team that no file names, those for every team."""
        known = self._known(team)
        # Teams are sorted out on first use: all at once would cost the product of teams and common rules.
        found = self._found.get((known, action))
        if found is None:
            own = self._by_team.get(known, [])
            common = self._by_team.get("*", [])
            made = own if known == "*" else (*common, *own)
            about = [rule for rule in made if action in rule.actions]
            found = self._found[known, action] = TeamRules.of(known, about)
        return found

    def _known(self, team: str) -> str:
        return team if team in self.named else "*"

    @property
    def teams(self) -> frozenset[str]:
        """Every team that a file is made for; `*` is not among them."""
        return frozenset(self._by_team) - {"*"}

    @cached_property
    def resolving(self) -> tuple[Rule, ...]:
        """Every rule that has the runs looked up, in shadow mode too: it needs a token that can read."""
        return tuple(rule for rule in self.rules if rule.resolution is not None)

    @cached_property
    def budgets(self) -> Mapping[str, Budget]:
        """The budget of each enforced `allow` that has one, by the name of the rule."""
        return {rule.name: rule.budget for rule in self.rules if rule.budget is not None and not rule.shadow}

    @cached_property
    def _actions(self) -> frozenset[Action]:
        """Every action that a rule is about."""
        return frozenset().union(*(rule.actions for rule in self.rules))

    @cached_property
    def named(self) -> frozenset[str]:
        """Every team that a file names, as one it is made for or in an exception."""
        return self.teams.union(one.team for rule in self.rules for one in rule.excepted)

    @cached_property
    def _by_team(self) -> dict[str, list[Rule]]:
        found: dict[str, list[Rule]] = defaultdict(list)
        for rule in self.rules:
            for team in ("*",) if "*" in rule.teams else rule.teams:
                found[team].append(rule)
        return dict(found)
