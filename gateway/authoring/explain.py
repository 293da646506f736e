"""The explanation of a decision: the decision itself, and every rule's part in it; pure.

Each part is judged by the functions that the gateway decides with, and the parts together imply the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

from gateway.authoring.question import Question
from gateway.core.errors import counted
from gateway.core.forms.budgets import ShownBudget
from gateway.core.forms.times import instant
from gateway.core.plan import Approval, Budget, Decision, Denial, Permit
from gateway.core.request import Everything, Filter
from gateway.core.run import Resolution
from gateway.policy.decide import within
from gateway.policy.model import Effect, Rule
from gateway.policy.reading import Reading, admits, left_to_runs, matches, unmet
from gateway.policy.rules import Policies, TeamRules
from gateway.policy.view import capped
from gateway.policy.window import duration
from gateway.policy.words.gaps import Shortfall, named_by_deny, names_none, never_sent
from gateway.policy.words.things import RUN, Thing, of_action

Members = dict[str, object]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision on a question, and the part of every rule made for the team, in the order of judgement."""

    question: Question
    decision: Decision
    parts: tuple[Part, ...]
    policy_digest: str

    @property
    def budget(self) -> Budget | None:
        """The budget of the rule that permits the request, if it has one."""
        return self.decision.budget if isinstance(self.decision, Permit) else None

    @property
    def approval(self) -> Approval | None:
        """The approval that the rule asks for that permits the request, if it does."""
        return self.decision.approval if isinstance(self.decision, Permit) else None

    def members(self, *, most: int | None = None) -> Members:
        """Return the explanation as JSON.

        With `most`, keep at most that many parts, beginning with the rule that decided and those that were `reached`.
        """
        decision, asked = self.decision, self.question.request
        permitted = isinstance(decision, Permit)
        shown = self.parts if most is None else sorted(self.parts, key=_silence)[:most]
        return {
            "action": asked.action.value,
            "decision": decision.decided,
            "enforced": "permit" if permitted else "deny",
            "rule": decision.rule,
            "shadow": decision.shadow,
            "exceptions": list(decision.exceptions),
            "asked": asked.wire(),
            "effective": decision.effective.wire() if isinstance(decision, Permit) else None,
            "resolve": bounds_of(decision.resolution) if isinstance(decision, Permit) else None,
            "reason": decision.reason if isinstance(decision, Denial) else None,
            "nearest": decision.nearest if isinstance(decision, Denial) else None,
            "not_admitted": None,
            "owner": None,
            **(decision.particulars() if isinstance(decision, Denial) else {}),
            "rules": [part.members() for part in shown],
            "left_out": len(self.parts) - len(shown),
            "policy_digest": self.policy_digest,
            **({"budget": budget_of(self.budget)} if self.budget is not None else {}),
            **({"approve": approval_of(self.approval)} if self.approval is not None else {}),
        }


def _silence(part: Part) -> tuple[bool, bool]:
    return not part.decides, not part.reached


def explain(policies: Policies, question: Question) -> Explanation:
    """Judge the question as the gateway would, and explain how each rule took part."""
    decision = question.judged(policies)
    parts = tuple(parts_of(policies, question, decision))
    return Explanation(question, decision, parts, policies.digest)


def implied(parts: Sequence[Part]) -> tuple[str | None, int | None]:
    """Return what the enforced parts imply: the rule that decides, and the permitted count (None: refused)."""
    enforced = [part for part in parts if not part.shadow]
    refusing = [part for part in enforced if part.effect is not Effect.ALLOW and part.reached and not _lowers(part)]
    if refusing:
        return refusing[0].rule, None
    admitting = [part for part in enforced if part.effect is Effect.ALLOW and part.holds]
    if not admitting:
        return None, None
    best = max((part.asks, part.count_after) for part in admitting)
    first = next(part for part in admitting if (part.asks, part.count_after) == best)
    return first.rule, first.count_after


def _lowers(part: Part) -> bool:
    return part.effect is Effect.REQUIRE and part.holds


def bounds_of(resolution: Resolution | None) -> Members | None:
    """Return the bounds on the runs that are looked up, as a policy file writes them; None if no runs are looked up."""
    if resolution is None:
        return None
    older = {"older_than": duration(resolution.older_than_ms)} if resolution.older_than_ms else {}
    bounds = {"max": resolution.max_runs, "cap": resolution.cap}
    return {**{name: bound for name, bound in bounds.items() if bound is not None}, **older}


def budget_of(budget: Budget) -> Members:
    """Return a budget as a policy file writes it."""
    return ShownBudget(budget.runs, budget.requests, duration(budget.per_ms), budget.shared).bounds()


def budget_in_words(budget: Budget, thing: Thing = RUN) -> str:
    """Return a budget in words, with the word for what its runs are."""
    runs = [] if budget.runs is None else [thing.counted(budget.runs)]
    requests = [] if budget.requests is None else [counted(budget.requests, "request")]
    whose = {"rule": "for all under the rule together", "team": "for each team", "key": "for each key"}[budget.shared]
    return f"at most {' and '.join([*runs, *requests])} within any {duration(budget.per_ms)}, {whose}"


def approval_of(approval: Approval) -> Members:
    """Return what a rule says of approval as a policy file writes it."""
    within = duration(approval.within_ms)
    return {"by": list(approval.by), "count": approval.count, "over": approval.over, "within": within}


def approval_in_words(approval: Approval, thing: Thing = RUN) -> str:
    """Return who has to approve, and from how many runs on, in words; with the word for what the runs are."""
    over = f"more than {approval.over} {thing.many} of the team" if approval.over else f"any {thing.one}"
    who = f"{counted(approval.count, 'other person', 'other persons')} of team {' or '.join(approval.by)}"
    return f"{over} within {duration(approval.within_ms)} only after the approval of {who}"


def resolution_in_words(resolution: Resolution) -> str:
    """Return the bounds on the runs that are looked up, in words."""
    words = [] if resolution.max_runs is None else [f"more than {resolution.max_runs} left are refused"]
    words += [] if resolution.cap is None else [f"at most {resolution.cap} are taken, the rest is left"]
    if resolution.older_than_ms:
        words.append(f"those younger than {duration(resolution.older_than_ms)} are left out")
    return ", ".join(words) or "any number"


_RESULT = {
    (Effect.DENY, True): "matched",
    (Effect.DENY, False): "no match",
    (Effect.REQUIRE, True): "held",
    (Effect.REQUIRE, False): "did not hold",
    (Effect.ALLOW, True): "admitted",
    (Effect.ALLOW, False): "not admitted",
}


@dataclass(frozen=True, slots=True)
class Part:
    """One rule's part: whether it matched, held or admitted, and the `count` before and after it.

    `words` say why the rule refused, did not hold, was set aside, or is left to the runs. A rule is `aside` outside its
    window, past its end, or if it excepts the team. `shadow` rules change nothing. `decides` marks the rule that the
    decision names. A rule is `left` to the runs if the look-up has to find them before some of its conditions can be
    judged. One that `asks` for approval is preferred.
    """

    rule: str
    effect: Effect
    shadow: bool
    holds: bool
    words: str | None
    count_before: int
    count_after: int
    decides: bool
    aside: bool = False
    left: bool = False
    asks: bool = False

    @property
    def result(self) -> str:
        """The result in words: `matched`, `held`, `admitted` or the opposite, `set aside`, `left to the runs found`."""
        if self.left and self.effect is Effect.DENY:
            return "left to the runs found"
        return "set aside" if self.aside else _RESULT[self.effect, self.holds]

    @property
    def reached(self) -> bool:
        """True if the rule refused, admitted, or lowered the count."""
        spoke = not self.holds if self.effect is Effect.REQUIRE else self.holds
        return spoke or self.count_after < self.count_before

    def members(self) -> dict[str, object]:
        """Return the part as JSON."""
        return {
            "rule": self.rule,
            "effect": self.effect.value,
            "mode": "shadow" if self.shadow else "enforce",
            "result": self.result,
            "words": self.words,
            "count": [self.count_before, self.count_after],
            "decides": self.decides,
            "left_to_runs": self.left,
        }


@dataclass(frozen=True)
class _Judge:
    """The question, the team's rules, and the reading in which the question was decided.

    `forced` says that a `require` in force has the runs of every request looked up.
    """

    question: Question
    rules: TeamRules
    resolved: bool
    forced: bool

    def verdict(self, rule: Rule, count: int) -> tuple[bool, int]:
        """Return whether a rule in force, by itself, matches, holds or admits, and the count that it leaves."""
        if rule.effect is Effect.DENY:
            reading = self._reading(resolved=self.resolved)
            return rule.name in self._touching and self._matches(rule, reading), count
        if rule.effect is Effect.ALLOW:
            left = self.admitted(rule)
            return left is not None, count if left is None else min(count, left)
        if self.unmet(rule) is not None:
            return False, count
        request = self.question.request
        # A request for everything can be permitted only if its runs are looked up.
        counts = self.resolved or not isinstance(request.selection, Everything)
        return True, min(count, capped(request, (rule,))) if counts else count

    def unmet(self, rule: Rule) -> Shortfall | None:
        """Return the first thing that keeps a rule from holding; None if it holds.

        A rule that has runs looked up is always read as resolved.
        """
        reading = self._reading(resolved=self.resolved or rule.resolution is not None)
        return unmet(rule, self.question.request, self.question.now_ms, reading)

    def admitted(self, allow: Rule) -> int | None:
        """Return the count that an `allow` leaves, in its own reading; None if it does not admit the request."""
        resolved = self.looks_up(allow)
        request, now_ms = self.question.request, self.question.now_ms
        if allow.name not in self._near or not admits(allow, request, now_ms, self._reading(resolved=resolved)):
            return None
        left = request.count if resolved is self.resolved else self._guarded
        return None if left is None else min(left, capped(request, (allow,)))

    def looks_up(self, allow: Rule) -> bool:
        """Return whether an `allow` is read as resolved."""
        return self.resolved if self.forced else allow.resolution is not None

    @cached_property
    def _guarded(self) -> int | None:
        """The count that the guards leave in the other reading; None if they refuse there.

        In this reading they may leave to the runs what they refuse in the other one.
        """
        request, now_ms, reading = (
            self.question.request,
            self.question.now_ms,
            self._reading(resolved=not self.resolved),
        )
        guards = self.rules.enforced
        denies = guards.denying(request.selection, now_ms, wholly=reading is Reading.RESOLVED)
        requires = tuple(guards.requiring(now_ms))
        refused = any(self._matches(rule, reading) for rule in denies)
        refused = refused or any(unmet(rule, request, now_ms, reading) is not None for rule in requires)
        return None if refused else capped(request, requires)

    @cached_property
    def _touching(self) -> frozenset[str]:
        selection, now_ms = self.question.request.selection, self.question.now_ms
        return frozenset(rule.name for rule in self.rules.denying(selection, now_ms, wholly=self.resolved))

    @cached_property
    def _near(self) -> frozenset[str]:
        selection, now_ms = self.question.request.selection, self.question.now_ms
        return frozenset(rule.name for rule in self.rules.allowing(selection, now_ms, resolved=self.rules.resolves))

    def _matches(self, rule: Rule, reading: Reading) -> bool:
        return matches(rule, self.question.request, self.question.now_ms, reading)

    @staticmethod
    def _reading(*, resolved: bool) -> Reading:
        return Reading.RESOLVED if resolved else Reading.FORWARDED


def parts_of(policies: Policies, question: Question, decision: Decision) -> Iterator[Part]:
    """Yield the part of every rule made for the team, in the order of judgement."""
    rules = policies.for_team(question.principal.team, question.request.action)
    count = question.request.count
    forced = any(rule.resolution is not None for rule in rules.enforced.requiring(question.now_ms))
    judge = _Judge(question, rules, question.reading(policies) is Reading.RESOLVED, forced)
    for rule in (*rules.denies, *rules.requires, *rules.allows, *rules.excepted):
        part = _part(rule, judge, count, decides=rule.name == decision.rule)
        if rule.effect is Effect.REQUIRE and not rule.shadow:
            count = part.count_after
        yield part


def _part(rule: Rule, judge: _Judge, count: int, *, decides: bool) -> Part:
    words = aside = _aside(rule, judge.question)
    holds, after = judge.verdict(rule, count) if aside is None else (rule.effect is Effect.REQUIRE, count)
    left = False
    if aside is None and holds is (rule.effect is Effect.DENY):
        words = _words(rule, judge)
    elif aside is None and judge.resolved:
        words = _left(rule, judge)
        left = words is not None
    asks = rule.approval is not None
    return Part(rule.name, rule.effect, rule.shadow, holds, words, count, after, decides, aside is not None, left, asks)


def _left(rule: Rule, judge: _Judge) -> str | None:
    """Return the conditions of the rule that are judged on the runs found, in words; None if there are none."""
    selection = judge.question.request.selection
    unsaid = {field: bound for field, bound in rule.conditions.items() if field not in selection.carried}
    if rule.effect is Effect.DENY:
        named = unsaid if matches(rule, judge.question.request, judge.question.now_ms, Reading.FORWARDED) else {}
    else:
        named = {
            field: bound
            for field, bound in unsaid.items()
            if not bound.optional and left_to_runs(bound, selection, Reading.RESOLVED)
        }
    return "; ".join(f"{field}: {bound.words()}" for field, bound in named.items()) or None


def _unnamed(rule: Rule, judge: _Judge) -> str | None:
    """Return which fields of the request an `allow` cannot admit because it does not mention them; None if all."""
    selection = judge.question.request.selection
    unnamed = sorted(selection.carried - rule.conditions.keys())
    if judge.looks_up(rule) and isinstance(selection, Filter) and rule.id_list is None:
        return None
    if (here := never_sent(selection)) is not None and not judge.looks_up(rule):
        many = of_action(judge.question.request.action).many
        return f"the rule does not look the {many} up. {here}"
    return f"the rule does not mention {', '.join(unnamed)}" if unnamed else None


def _aside(rule: Rule, question: Question) -> str | None:
    """Return why the rule does not apply to the team at this time; None if it does."""
    exception = rule.exception(question.principal.team, question.now_ms)
    if exception is not None:
        return f"it excepts {exception}"
    if rule.in_force(question.now_ms):
        return None
    if rule.until_ms is not None and question.now_ms >= rule.until_ms:
        return f"it ended at {instant(rule.until_ms)}"
    assert rule.during is not None
    return f"it holds only during {rule.during.words()}"


def _words(rule: Rule, judge: _Judge) -> str | None:
    """Return what a `deny` matched, or what keeps another rule from holding."""
    request = judge.question.request
    if rule.effect is Effect.DENY:
        return named_by_deny(rule, request.selection, request.action)
    if isinstance(request.selection, Everything) and not rule.admits_everything and rule.effect is Effect.ALLOW:
        return "the request names nothing that selects"
    if rule.effect is Effect.ALLOW and (unnamed := _unnamed(rule, judge)) is not None:
        return unnamed
    # An allow and a require hold by the same test: whether the request lies inside the rule.
    missing = judge.unmet(rule)
    if missing is None and rule.effect is Effect.ALLOW and request.selection.carried.isdisjoint(rule.conditions):
        missing = partial(names_none, rule)
    if missing is None:
        return "as the request would be forwarded, another rule refuses it"
    gap = missing()
    return f"{gap.wants}{within(rule)}; {gap.found}"
