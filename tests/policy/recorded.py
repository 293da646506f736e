"""Decisions on record: generated rules without `resolve`, requests, and what was decided on them when it was recorded.

`python -m tests.policy.recorded` writes the record anew. Do so only for a change that means to change such decisions,
and say in CHANGELOG which.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.core.plan import Denial, Owner
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Principal, Selection
from gateway.policy.conditions import (
    Condition,
    CountCondition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule, TeamException
from gateway.policy.rules import Policies

RECORD = Path(__file__).with_name("recorded.json")
RULE_SETS = 200
REQUESTS = 40
EXAMPLES = 6

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
TEAM = Principal("billing", "ci")
OWNER = Owner("Platform", "#platform")

_PATHS = ("/", "/api", "/api/", "/api-v2", "/api/x", "/api/x/y")
_URLS = tuple(origin + path for origin in ("https://a.example", "https://a.example:8443") for path in _PATHS)
_RUN_IDS = ("wfr_a_1", "wfr_a_2", "wfr_a", "wfr_b_1", "x")
_VALUES = {
    "label": ("labels", ("nightly", "batch", "night")),
    "flowControlKey": ("flow_control_keys", ("k", "k2")),
    "callerIp": ("caller_ips", ("10.0.0.1", "2001:db8::1")),
}
_KINDS = ("run_ids", "filter", "everything")
_SPANS_MS = (HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS)

One = TypeVar("One")


class Draw:
    """Choices that are the same in every version of Python: only `random()` of a seeded generator is used."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311 - nothing here is secret

    def one(self, pool: Sequence[One]) -> One:
        """Return one value of the pool."""
        return pool[int(self._random.random() * len(pool))]

    def some(self, pool: Sequence[One], most: int = 3) -> tuple[One, ...]:
        """Return one to `most` different values of the pool."""
        return tuple(dict.fromkeys(self.one(pool) for _ in range(self.one(range(1, most + 1)))))

    def in_(self, number: int) -> bool:
        """Return True once in so many times."""
        return self.one(range(number)) == 0


def rule_set(draw: Draw) -> tuple[Rule, ...]:
    """Return a few rules of each kind, none of which has runs looked up; some are in shadow, or except the team."""
    kinds = [Effect.ALLOW] * draw.one((1, 2, 3, 6, 9)) + [Effect.REQUIRE] * draw.one((0, 0, 0, 1, 1, 2))
    kinds += [Effect.DENY] * draw.one((0, 0, 0, 0, 1))
    return tuple(_rule(draw, effect, f"{effect.value}-{number}") for number, effect in enumerate(kinds))


def _rule(draw: Draw, effect: Effect, name: str) -> Rule:
    selects, exact, reason = None, False, False
    conditions = _conditions(draw, effect)
    if effect is Effect.REQUIRE and not draw.in_(3):
        conditions = {}
        kind = draw.one(("selects", "exact", "reason", "count"))
        selects = frozenset(draw.some(_KINDS)) if kind == "selects" else None
        exact, reason = kind == "exact", kind == "reason"
    count = None if effect is Effect.DENY or draw.in_(2) else _count(draw)
    return Rule(
        "p",
        name,
        effect,
        conditions,
        count,
        selects=selects,
        exact_match=exact,
        reason_required=reason,
        owner_unchecked=effect is Effect.ALLOW and "workflowRunIds" in conditions,
        message="Ask first." if draw.in_(6) else None,
        shadow=draw.in_(6),
        teams=frozenset(("*",)),
        excepted=(TeamException("billing", NOW_MS + HOUR_MS),) if effect is not Effect.ALLOW and draw.in_(6) else (),
        owner=OWNER if draw.in_(3) else None,
    )


def _count(draw: Draw) -> CountCondition:
    return CountCondition(draw.one((None, 5, 50)), draw.one((None, 10, 60)))


def _conditions(draw: Draw, effect: Effect) -> dict[str, Condition]:
    if draw.in_(4):
        prefix = draw.some(("wfr_a", "wfr_", "w"))
        most = None if effect is Effect.DENY else draw.one((None, 1, 2))
        return {"workflowRunIds": RunIdCondition(most, prefix)}
    fields = draw.some(("workflowUrl", "created", *_VALUES))
    return {field: _condition(draw, field, optional=effect is not Effect.DENY and draw.in_(3)) for field in fields}


def _condition(draw: Draw, field: str, *, optional: bool) -> Condition:
    anything = optional and draw.in_(3)
    if field == "workflowUrl":
        if anything:
            return UrlCondition(any=True, optional=True)
        exact, prefix = draw.some(_URLS), draw.some(_URLS)
        kind = draw.one(("exact", "prefix"))
        return UrlCondition(
            frozenset(exact if kind == "exact" else ()), prefix if kind == "prefix" else (), optional=optional
        )
    if field == "created":
        return CreatedCondition(draw.one(_SPANS_MS), any=False, optional=optional)
    if anything:
        return ValueCondition(field, any=True, optional=True)
    return ValueCondition(field, frozenset(draw.some(_VALUES[field][1])), optional=optional)


def request(draw: Draw, rules: Sequence[Rule]) -> ActionRequest:
    """Return a readable request: of three, two are made after an `allow`, so that it is often admitted."""
    allow = draw.one([rule for rule in rules if rule.effect is Effect.ALLOW])
    selection = _selection(draw) if draw.in_(3) else _after(draw, allow)
    count = len(selection.ids) if isinstance(selection, ByIds) else draw.one((1, 7, 20, 55, 100, 5000))
    return ActionRequest(selection, count, reason="stuck" if draw.in_(2) else None)


def _selection(draw: Draw) -> Selection:
    if draw.in_(6):
        return ByIds(draw.some(_RUN_IDS, most=4))
    if draw.in_(12):
        return Everything()
    members: dict[str, object] = {}
    for field in draw.some(("workflowUrl", "workflowUrl", "created", *_VALUES)):
        if field == "workflowUrl":
            members |= {"workflow_urls": draw.some(_URLS), "exact": draw.in_(2)}
        elif field == "created":
            start = NOW_MS - draw.one(_SPANS_MS) - draw.one((-1, 0, 1))
            members |= {"from_date": start, "to_date": draw.one((None, NOW_MS))}
        else:
            name, pool = _VALUES[field]
            members[name] = draw.some(pool)
    return ByFilter(**members)  # type: ignore[arg-type]


def _after(draw: Draw, allow: Rule) -> Selection:
    """Return a selection with values that the rule lists."""
    members: dict[str, object] = {}
    for field, condition in allow.conditions.items():
        match condition:
            case RunIdCondition(prefix=prefixes):
                return ByIds(draw.some([f"{draw.one(prefixes)}{end}" for end in "123"], most=3))
            case UrlCondition(exact=exact, prefix=prefixes):
                below = [f"{prefix.rstrip('/')}/{end}" for prefix in prefixes for end in ("", "z")]
                members |= {"workflow_urls": draw.some(sorted(exact) or below or _URLS, most=2)}
                members |= {"exact": bool(exact) or draw.in_(2)}
            case CreatedCondition(within_last_ms=length_ms):
                members |= {"from_date": NOW_MS - (length_ms or HOUR_MS) + draw.one((0, 1, -1)), "to_date": NOW_MS}
            case ValueCondition(any_of=listed):
                name, pool = _VALUES[field]
                members[name] = draw.some(sorted(listed) or pool)
    return ByFilter(**members)  # type: ignore[arg-type]


def decided(rules: Sequence[Rule], asked: ActionRequest) -> dict[str, object]:
    """Return all that is decided on a request, as JSON."""
    decision = decide(Policies(tuple(rules), digest="0" * 64), TEAM, asked, NOW_MS)
    members: dict[str, object] = {
        "rule": decision.rule,
        "decided": decision.decided,
        "shadow": decision.shadow,
        "exceptions": list(decision.exceptions),
    }
    if isinstance(decision, Denial):
        return {"permit": False, **members, "reason": decision.reason, "nearest": decision.nearest} | (
            decision.particulars()
        )
    sent, narrowing, by_look_up = decision.effective, decision.narrowing, decision.resolution is not None
    return {"permit": True, **members, "sent": sent.wire(), "by": narrowing and narrowing.by, "look_up": by_look_up}


def corpus() -> Iterator[tuple[tuple[Rule, ...], tuple[ActionRequest, ...]]]:
    """Yield the rule sets, each with the requests that it judges."""
    for seed in range(RULE_SETS):
        draw = Draw(seed)
        rules = rule_set(draw)
        yield rules, tuple(request(draw, rules) for _ in range(REQUESTS))


def recorded_now() -> dict[str, object]:
    """Return what the record would hold now: a digest for each rule set, and a few decisions that can be read."""
    digests: list[str] = []
    examples: list[dict[str, object]] = []
    numbers = {"permit": 0, "deny": 0}
    for rules, requests in corpus():
        made = [decided(rules, asked) for asked in requests]
        for asked, one in zip(requests, made, strict=True):
            kind = "permit" if one["permit"] else "deny"
            numbers[kind] += 1
            if len(examples) < EXAMPLES and numbers[kind] <= EXAMPLES // 2:
                examples.append({"asked": asked.wire(), **one})
        digests.append(hashlib.sha256(json.dumps(made, sort_keys=True).encode()).hexdigest()[:16])
    return {"numbers": numbers, "examples": examples, "digests": digests}


if __name__ == "__main__":
    RECORD.write_text(json.dumps(recorded_now(), indent=1) + "\n", encoding="utf-8")
