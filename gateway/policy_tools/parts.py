"""One rule's part in a decision: itself a judgement of `decide` about that rule alone, in the reading that decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from gateway.cancel import Decision, Denial, EveryRun, Permit
from gateway.policy.model import (
    Condition,
    CreatedCondition,
    Effect,
    Rule,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.readings import Reading, left_to_runs, matches, named_by_deny
from gateway.policy.rules import Policies
from gateway.policy_tools.question import Question
from gateway.run import Resolution
from gateway.windows import instant

_FIELDS: Mapping[str, Condition] = {
    "workflowUrl": UrlCondition(any=True, optional=True),
    "created": CreatedCondition(any=True, optional=True),
    **{name: ValueCondition(name, any=True, optional=True) for name in ("label", "flowControlKey", "callerIp")},
}
_RUN_IDS: Mapping[str, Condition] = {"workflowRunIds": RunIdCondition(any=True, optional=True)}
_OPEN = (
    Rule("", "filters", Effect.ALLOW, _FIELDS, teams=frozenset(("*",))),
    Rule("", "ids", Effect.ALLOW, _RUN_IDS, teams=frozenset(("*",))),
)
"""Allows that admit every filter and every list of IDs."""
_LOOK_UP = Rule("", "look-up", Effect.REQUIRE, {}, resolution=Resolution(), teams=frozenset(("*",)))
_EVERYTHING = Rule("", "all", Effect.ALLOW, {}, selects=frozenset(("everything",)), resolution=Resolution(),
                   teams=frozenset(("*",)))  # fmt: skip
"""Under the first every rule is judged in the resolved reading; there the second admits all that names nothing."""

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
    """One rule's part: whether it matched, held or admitted, and `count` before and after it.

    `words` say what refused or did not hold. A rule is `aside` outside its window, past its end, or where it excepts
    the team. `shadow` rules change nothing; `decides` marks the rule that the decision names; of a rule that is `left`
    to the runs, what only they can tell is judged on those that the look-up finds.
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

    @property
    def result(self) -> str:
        """`matched`, `held`, `admitted`, the opposite in words, `set aside`, or of a deny `left to the runs found`."""
        if self.left and self.effect is Effect.DENY:
            return "left to the runs found"
        return "set aside" if self.aside else _RESULT[self.effect, self.holds]

    @property
    def reached(self) -> bool:
        """Whether the rule had something to say: it refused, admitted, or lowered the count."""
        spoke = not self.holds if self.effect is Effect.REQUIRE else self.holds
        return spoke or self.count_after < self.count_before

    def members(self) -> dict[str, object]:
        """The part as JSON."""
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


@dataclass(frozen=True, slots=True)
class _Judge:
    """The question in the reading in which it was decided, with the rules that guard the other reading."""

    question: Question
    resolved: bool
    forced: bool
    guards: tuple[Rule, ...]

    def alone(self, *rules: Rule) -> Decision:
        """What these rules alone decide in this reading."""
        around = (_LOOK_UP,) if self.resolved else ()
        return self.question.judged(Policies((*rules, *around), digest=""))

    def refusal(self, rule: Rule) -> str | None:
        """The sentence with which a deny or require refuses; None if it does not."""
        decision = self.alone(rule)
        return decision.reason if isinstance(decision, Denial) and decision.rule == rule.name else None

    def permitted(self, *rules: Rule) -> int | None:
        """The count that these rules permit; None if they refuse."""
        return _count(self.alone(*rules))

    def admitted(self, allow: Rule) -> int | None:
        """The count that an `allow` leaves, in its own reading; None if it does not admit the request."""
        resolves = allow.resolution is not None
        if self.forced or resolves is self.resolved:
            return self.permitted(allow)
        # It was judged in the other reading, and there the guards may refuse what they leave to the runs in this one.
        return _count(self.question.judged(Policies((allow, *self.guards), digest="")))


def _count(decision: Decision) -> int | None:
    return decision.effective.count if isinstance(decision, Permit) else None


def parts_of(policies: Policies, question: Question, decision: Decision) -> Iterator[Part]:
    """The part of every rule that speaks about the team, in the order of judgement."""
    rules = policies.for_team(question.principal.team)
    near = frozenset(rule.name for rule in rules.allowing(question.request.selection, question.now_ms))
    count = question.request.count
    enforced = rules.enforced
    forced = any(rule.resolution is not None for rule in enforced.requiring(question.now_ms))
    resolved = question.reading(policies) is Reading.RESOLVED
    judge = _Judge(question, resolved, forced, (*enforced.denies, *enforced.requires))
    for rule in (*rules.denies, *rules.requires, *rules.allows, *rules.excepted):
        part = _part(rule, judge, count, near=rule.name in near, decides=rule.name == decision.rule)
        if rule.effect is Effect.REQUIRE and not rule.shadow:
            count = part.count_after
        yield part


def _part(rule: Rule, judge: _Judge, count: int, *, near: bool, decides: bool) -> Part:
    alone = replace(rule, shadow=False, message=None)
    holds, allowed = _by_itself(alone, judge, count, near=near)
    words = aside = _aside(rule, judge.question)
    left = False
    if aside is None and holds is (rule.effect is Effect.DENY):
        words = _words(alone, judge)
    elif aside is None and judge.resolved:
        words = _left(alone, judge)
        left = words is not None
    after = min(count, allowed)
    return Part(rule.name, rule.effect, rule.shadow, holds, words, count, after, decides, aside is not None, left)


def _by_itself(rule: Rule, judge: _Judge, count: int, *, near: bool) -> tuple[bool, int]:
    """Whether the rule matches, holds or admits, and the count it would leave; `near` are allows that may admit."""
    if rule.effect is Effect.ALLOW:
        left = judge.admitted(rule) if near else None
        return left is not None, count if left is None else left
    refuses = judge.refusal(rule) is not None
    if rule.effect is Effect.DENY or refuses or rule.count is None:
        return refuses is (rule.effect is Effect.DENY), count
    return True, judge.permitted(rule, *_OPEN, *((_EVERYTHING,) if judge.resolved else ())) or count


def _left(rule: Rule, judge: _Judge) -> str | None:
    """What of the rule is judged on the runs found, in words; None if nothing is."""
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


def _aside(rule: Rule, question: Question) -> str | None:
    """Why the rule does not speak about the team at this time."""
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
    """What matched of a deny, or what did not hold of the others."""
    request = judge.question.request
    if rule.effect is Effect.DENY:
        return named_by_deny(rule, request.selection)
    if isinstance(request.selection, EveryRun) and not rule.admits_everything and rule.effect is Effect.ALLOW:
        return "the request names nothing that selects"
    unnamed = sorted(request.selection.carried - rule.conditions.keys())
    if rule.effect is Effect.ALLOW and unnamed:
        return f"the rule does not mention {', '.join(unnamed)}"
    # An allow and a require hold by the same containment, and the refusal of a require says what did not hold.
    refusal = judge.refusal(replace(rule, effect=Effect.REQUIRE))
    if refusal is None:
        return "as the request would be forwarded, another rule refuses it"
    return refusal.removeprefix(f"Rule {rule.name} requires ").removesuffix(".")
