"""Why a request is decided as it is: the decision, and every rule's part in it; pure.

Each part is itself a judgement of `decide`, about that rule alone. So no part can say other than what the gateway does,
and the parts together imply the decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.cancel import CancelRequest, Decision, Denial, EveryRun, Permit
from gateway.policy.model import (
    Condition,
    CreatedCondition,
    Effect,
    Rule,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.rules import Policies
from gateway.policy_tools.question import Question
from gateway.windows import instant

Members = dict[str, object]

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
    the team. `shadow` rules change nothing; `decides` marks the rule that the decision names.
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

    @property
    def result(self) -> str:
        """`matched`, `held`, `admitted` or the opposite in words, or `set aside`."""
        return "set aside" if self.aside else _RESULT[self.effect, self.holds]

    @property
    def reached(self) -> bool:
        """Whether the rule had something to say: it refused, admitted, or lowered the count."""
        spoke = not self.holds if self.effect is Effect.REQUIRE else self.holds
        return spoke or self.count_after < self.count_before

    def members(self) -> Members:
        """The part as JSON."""
        return {
            "rule": self.rule,
            "effect": self.effect.value,
            "mode": "shadow" if self.shadow else "enforce",
            "result": self.result,
            "words": self.words,
            "count": [self.count_before, self.count_after],
            "decides": self.decides,
        }


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision on a question, and the part of every rule that speaks about the team, in the order of judgement."""

    question: Question
    decision: Decision
    parts: tuple[Part, ...]
    policy_digest: str

    def members(self, *, most: int | None = None) -> Members:
        """All of it as JSON, with at most `most` parts: those that had something to say first."""
        decision, asked = self.decision, self.question.request
        permitted = isinstance(decision, Permit)
        shown = self.parts if most is None else sorted(self.parts, key=_silence)[:most]
        return {
            "decision": decision.decided,
            "enforced": "permit" if permitted else "deny",
            "rule": decision.rule,
            "shadow": decision.shadow,
            "exceptions": list(decision.exceptions),
            "asked": asked.wire(),
            "effective": decision.effective.wire() if isinstance(decision, Permit) else None,
            "reason": decision.reason if isinstance(decision, Denial) else None,
            "nearest": decision.nearest if isinstance(decision, Denial) else None,
            "rules": [part.members() for part in shown],
            "left_out": len(self.parts) - len(shown),
            "policy_digest": self.policy_digest,
        }


def _silence(part: Part) -> tuple[bool, bool]:
    return not part.decides, not part.reached


def explain(policies: Policies, question: Question) -> Explanation:
    """Judges the question as the gateway would, and says how each rule took part."""
    decision = question.judged(policies)
    parts = tuple(_parts(policies, question, decision))
    return Explanation(question, decision, parts, policies.digest)


def implied(parts: Sequence[Part]) -> tuple[str | None, int | None]:
    """What the enforced parts amount to: the rule that decides, and the count permitted (None: refused)."""
    enforced = [part for part in parts if not part.shadow]
    refusing = [part for part in enforced if part.effect is not Effect.ALLOW and part.reached and not _lowers(part)]
    if refusing:
        return refusing[0].rule, None
    admitting = [part for part in enforced if part.effect is Effect.ALLOW and part.holds]
    if not admitting:
        return None, None
    best = max(part.count_after for part in admitting)
    first = next(part for part in admitting if part.count_after == best)
    return first.rule, first.count_after


def _lowers(part: Part) -> bool:
    return part.effect is Effect.REQUIRE and part.holds


def _parts(policies: Policies, question: Question, decision: Decision) -> Iterator[Part]:
    rules = policies.for_team(question.principal.team)
    near = frozenset(rule.name for rule in rules.allowing(question.request.selection, question.now_ms))
    count = question.request.count
    for rule in (*rules.denies, *rules.requires, *rules.allows, *rules.excepted):
        part = _part(rule, question, count, near=rule.name in near, decides=rule.name == decision.rule)
        if rule.effect is Effect.REQUIRE and not rule.shadow:
            count = part.count_after
        yield part


def _part(rule: Rule, question: Question, count: int, *, near: bool, decides: bool) -> Part:
    alone = replace(rule, shadow=False, message=None)
    holds, left = _by_itself(alone, question, count, near=near)
    words = aside = _aside(rule, question)
    if aside is None and holds is (rule.effect is Effect.DENY):
        words = _words(alone, question)
    after = min(count, left)
    return Part(rule.name, rule.effect, rule.shadow, holds, words, count, after, decides, aside is not None)


def _by_itself(rule: Rule, question: Question, count: int, *, near: bool) -> tuple[bool, int]:
    """Whether the rule matches, holds or admits, and the count it would leave; `near` are allows that may admit."""
    if rule.effect is Effect.ALLOW:
        left = _permitted(question, rule) if near else None
        return left is not None, count if left is None else left
    refuses = _refusal(rule, question) is not None
    if rule.effect is Effect.DENY or refuses or rule.count is None:
        return refuses is (rule.effect is Effect.DENY), count
    return True, _permitted(question, rule, *_OPEN) or count


def _refusal(rule: Rule, question: Question) -> str | None:
    """The sentence with which a deny or require refuses; None if it does not."""
    decision = question.judged(Policies((rule,), digest=""))
    return decision.reason if isinstance(decision, Denial) and decision.rule == rule.name else None


def _permitted(question: Question, *rules: Rule) -> int | None:
    """The count that these rules permit; None if they refuse."""
    decision = question.judged(Policies(rules, digest=""))
    return decision.effective.count if isinstance(decision, Permit) else None


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


def _words(rule: Rule, question: Question) -> str | None:
    """What matched of a deny, or what did not hold of the others."""
    request = question.request
    if rule.effect is Effect.DENY:
        return _of_deny(rule, request)
    if isinstance(request.selection, EveryRun):
        return "the request names nothing that selects"
    unnamed = sorted(request.selection.carried - rule.conditions.keys())
    if rule.effect is Effect.ALLOW and unnamed:
        return f"the rule does not mention {', '.join(unnamed)}"
    # An allow and a require hold by the same containment, and the refusal of a require says what did not hold.
    refusal = _refusal(replace(rule, effect=Effect.REQUIRE), question) or ""
    return refusal.removeprefix(f"Rule {rule.name} requires ").removesuffix(".")


def _of_deny(rule: Rule, request: CancelRequest) -> str:
    named = [f"{field}: {condition.words()}" for field, condition in rule.conditions.items()]
    if rule.selects is not None:
        named.insert(0, f"selects: {' or '.join(sorted(rule.selects))}")
    unknown = sorted(rule.conditions.keys() - request.selection.carried)
    said = "; ".join(named) or "every request"
    return f"{said} (the request does not say {', '.join(unknown)}, so it may)" if unknown else said
