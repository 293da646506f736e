"""What a team may do, in plain words: one offer for each `allow` rule, after every `require` and `deny`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from gateway.cancel import ByRunIds, CancelRequest, EveryRun, Permit, Principal
from gateway.policy.decide import decide
from gateway.policy.model import Rule, RunIdCondition
from gateway.policy.nearest import bent, counted
from gateway.policy.rules import Policies

USUAL = 100
"""What an example asks for where nothing bounds it: the count of the official clients."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One rule: `at_most` runs (None: as many as asked), and a request it allows; no example if it allows none."""

    rule: str
    words: str
    at_most: int | None
    example: Mapping[str, object] | None


def offers(policies: Policies, principal: Principal, now_ms: int) -> Iterator[Offer]:
    """The enforced `allow` rules of the principal's team, by name."""
    rules = policies.for_team(principal.team).enforced
    requires = list(rules.requiring(now_ms))
    for rule in rules.allows:
        if rule.closed(now_ms) and rule.during is not None and rule.exception(rules.team, now_ms) is None:
            yield Offer(rule.name, f"nothing now: only during {rule.during.words()}", None, None)
        if not rule.applies_to(principal.team, now_ms):
            continue
        at_most = _at_most(rule, requires)
        candidates = _candidates(rule, at_most or USUAL, now_ms)
        example = _example(policies, principal, candidates, now_ms)
        words = _words(rule, requires, at_most) if example is not None else _closed(rule)
        yield Offer(rule.name, words, at_most, example)


def _at_most(rule: Rule, requires: Sequence[Rule]) -> int | None:
    """The smallest bound of the rule and of every `require`."""
    ids = rule.conditions.get("workflowRunIds")
    bounds = [one.count.ceiling for one in (rule, *requires) if one.count is not None]
    if isinstance(ids, RunIdCondition):
        bounds.append(ids.max)
        bounds += [
            other.max for one in requires if isinstance(other := one.conditions.get("workflowRunIds"), RunIdCondition)
        ]
    return min((bound for bound in bounds if bound is not None), default=None)


def _example(
    policies: Policies, principal: Principal, candidates: Iterable[CancelRequest], now_ms: int
) -> Mapping[str, object] | None:
    """The first proposal that the judgement permits, as it would be sent."""
    for candidate in candidates:
        decision = decide(policies, principal, replace(candidate, reason="an example"), now_ms)
        if isinstance(decision, Permit):
            return decision.effective.wire()
    return None


def _candidates(rule: Rule, asked: int, now_ms: int) -> Iterator[CancelRequest]:
    ids = rule.conditions.get("workflowRunIds")
    if isinstance(ids, RunIdCondition):
        for prefix in ids.prefix or ("wfr_",):
            yield CancelRequest(ByRunIds((f"{prefix}example"[:128],)), 1)
        return
    selection = bent(rule, EveryRun(), now_ms)
    if selection is not None:
        yield counted(rule, selection, asked)
        yield CancelRequest(selection, 1)


def _words(rule: Rule, requires: Sequence[Rule], at_most: int | None) -> str:
    number = "any number" if at_most is None else f"at most {at_most}"
    parts = [f"{number} of the runs of {_scope(rule)}"] if "workflowRunIds" not in rule.conditions else []
    if not parts:
        parts = [f"{'any number of' if at_most is None else f'at most {at_most}'} runs by ID{_prefixes(rule)}"]
    for field, condition in rule.conditions.items():
        if field not in ("workflowUrl", "workflowRunIds"):
            parts.append(f"{field}: {condition.words()}{' (optional)' if condition.optional else ''}")
    if rule.during is not None:
        parts.append(f"only during {rule.during.words()}")
    parts += _always(requires)
    return "; ".join(parts)


def _scope(rule: Rule) -> str:
    url = rule.conditions.get("workflowUrl")
    if url is None:
        return "any workflow"
    return f"{url.words()}{' (optional)' if url.optional else ''}"


def _prefixes(rule: Rule) -> str:
    condition = rule.conditions["workflowRunIds"]
    assert isinstance(condition, RunIdCondition)
    return f" beginning with {' or '.join(condition.prefix)}" if condition.prefix else ""


def _always(requires: Iterable[Rule]) -> list[str]:
    words = []
    for rule in requires:
        if rule.exact_match:
            words.append("only with workflowUrlExactMatch=true where a URL is named")
        if rule.reason_required:
            words.append("always with a reason in the header Gateway-Reason")
        words += [f"always {field}: {condition.words()}" for field, condition in rule.conditions.items()]
    return words


def _closed(rule: Rule) -> str:
    return f"nothing as things stand: another rule refuses what {rule.name} allows, or it needs what is not known here"
