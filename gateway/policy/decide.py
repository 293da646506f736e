"""The judgement: policies, principal, request, time -> Decision. Pure, and independent of the order of files and rules.

    1. a matching `deny` refuses
    2. every `require` must hold; all their caps together lower `count` to the smallest
    3. one `allow` must admit what is left: of several the one that leaves the largest `count`, then by file and id
    otherwise: denied

A rule counts while its window is open and no exception holds for the team. Rules in shadow mode are judged beside this
and never enforced.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from gateway.cancel import ByRunIds, CancelRequest, Decision, Denial, EveryRun, Permit, Principal
from gateway.policy.model import Effect, Rule
from gateway.policy.nearest import candidates_near, in_words
from gateway.policy.rules import Policies, TeamRules


@dataclass(frozen=True, slots=True)
class _Admitted:
    rule: Rule
    effective: CancelRequest


@dataclass(frozen=True, slots=True)
class _Refused:
    rule: Rule | None
    reason: str


def decide(policies: Policies, principal: Principal, request: CancelRequest, now_ms: int) -> Decision:
    """Judges one request; `now_ms` is Unix milliseconds. Only `count` is ever changed, only downwards."""
    rules = policies.for_team(principal.team)
    judged = _judge(rules.enforced, request, now_ms)
    shadowed = _judge(rules, request, now_ms) if rules.has_shadow else judged
    decided = "permit" if isinstance(shadowed, _Admitted) else "deny"
    shadow = _in_shadow(rules, judged, shadowed, now_ms)
    name = judged.rule.name if judged.rule is not None else None
    used = _exceptions(rules.enforced, request, now_ms)
    if isinstance(judged, _Admitted):
        unchecked = judged.rule.owner_unchecked
        return Permit(name, decided, shadow, judged.effective, exceptions=used, owner_unchecked=unchecked)
    nearest = _nearest(rules.enforced, request, now_ms)
    return Denial(name, decided, shadow, _sentence(judged, request, nearest), nearest, exceptions=used)


def _in_shadow(
    rules: TeamRules, judged: _Admitted | _Refused, shadowed: _Admitted | _Refused, now_ms: int
) -> str | None:
    """The rule in shadow mode that makes the difference, if there is one: it refuses, admits, or caps the count."""
    if _result(shadowed) == _result(judged):
        return None
    if shadowed.rule is not None and shadowed.rule.shadow:
        return shadowed.rule.name
    counts = [(rule.count, rule) for rule in rules.requiring(now_ms) if rule.shadow]
    caps = [(count.cap, rule.name) for count, rule in counts if count is not None and count.cap is not None]
    return min(caps)[1] if caps else None


def permitted(rules: TeamRules, request: CancelRequest, now_ms: int) -> CancelRequest | None:
    """What these rules would send of a request; None if they refuse it."""
    return _result(_judge(rules, request, now_ms))


def _result(judged: _Admitted | _Refused) -> CancelRequest | None:
    """What would be sent, if anything."""
    return judged.effective if isinstance(judged, _Admitted) else None


def _judge(rules: TeamRules, request: CancelRequest, now_ms: int) -> _Admitted | _Refused:
    for rule in rules.denying(request.selection, now_ms):
        if _matches(rule, request, now_ms):
            return _Refused(rule, f"Rule {rule.name} refuses every request that could select such runs{_while(rule)}.")
    requires = list(rules.requiring(now_ms))
    for rule in requires:
        if unmet := _unmet(rule, request, now_ms):
            return _Refused(rule, f"Rule {rule.name} requires {unmet}{_while(rule)}.")
    capped = _lowered(request, requires)
    admitted = [rule for rule in rules.allowing(request.selection, now_ms) if _admits(rule, request, now_ms)]
    if not admitted:
        return _Refused(None, _not_now(rules, request, now_ms) or "No rule of your team allows this request.")
    rule = min(admitted, key=lambda rule: (-_lowered(capped, (rule,)).count, rule.policy, rule.id))
    return _Admitted(rule, _lowered(capped, (rule,)))


def _while(rule: Rule) -> str:
    return f" (during {rule.during.words()})" if rule.during is not None else ""


def _not_now(rules: TeamRules, request: CancelRequest, now_ms: int) -> str | None:
    """Which rule allows this at another time."""
    for rule in rules.closed(request.selection, now_ms):
        if rule.during is not None and _admits(rule, request, now_ms):
            return f"Rule {rule.name} allows this only during {rule.during.words()}."
    return None


def _exceptions(rules: TeamRules, request: CancelRequest, now_ms: int) -> tuple[str, ...]:
    """Each exception that was used: its rule would have refused the request or lowered its count."""
    return tuple(
        f"{rule.name}: {exception}" for rule, exception in rules.excused(now_ms) if _counts(rule, request, now_ms)
    )


def _counts(rule: Rule, request: CancelRequest, now_ms: int) -> bool:
    """Whether a `deny` or `require` refuses the request or lowers its count."""
    if rule.effect is Effect.DENY:
        return _matches(rule, request, now_ms)
    return _unmet(rule, request, now_ms) is not None or _lowered(request, (rule,)) is not request


def _matches(rule: Rule, request: CancelRequest, now_ms: int) -> bool:
    """Whether some run that the request could select may be one that the `deny` is about."""
    if rule.selects is not None and request.selection.kind not in rule.selects:
        return False
    # A field that the request leaves out overlaps everything; so do run IDs, which carry no other field.
    carried = request.selection.carried
    return all(
        field not in carried or condition.overlaps(request.selection, now_ms)
        for field, condition in rule.conditions.items()
    )


def _unmet(rule: Rule, request: CancelRequest, now_ms: int) -> str | None:
    """What of a `require` does not hold, in words; None if all of it holds."""
    selection = request.selection
    if rule.selects is not None and selection.kind not in rule.selects:
        return f"a request by {' or '.join(sorted(rule.selects))}"
    if rule.exact_match and "workflowUrl" in selection.carried and not getattr(selection, "exact", False):
        return "workflowUrlExactMatch=true beside workflowUrl (clients: filter.workflowUrl, not a URL prefix)"
    for field, condition in rule.conditions.items():
        holds = condition.contains(selection, now_ms) if field in selection.carried else condition.optional
        if not holds:
            return f"{field}: {condition.words()}"
    if rule.reason_required and request.reason is None:
        return "a reason: send it as the header Gateway-Reason, 1 to 200 characters"
    return _too_many(rule, request)


def _too_many(rule: Rule, request: CancelRequest) -> str | None:
    if rule.count is None:
        return None
    by_ids = isinstance(request.selection, ByRunIds)
    bound = rule.count.ceiling if by_ids else rule.count.max
    if bound is None or request.count <= bound:
        return None
    return f"at most {bound} run IDs" if by_ids else f"count at most {bound}"


def _admits(rule: Rule, request: CancelRequest, now_ms: int) -> bool:
    """Whether every run the request could select lies inside the `allow`."""
    selection = request.selection
    if isinstance(selection, EveryRun):
        return False
    return selection.carried <= rule.conditions.keys() and _unmet(rule, request, now_ms) is None


def _lowered(request: CancelRequest, rules: Iterable[Rule]) -> CancelRequest:
    """The request with `count` lowered to the smallest cap; a list of IDs is never cut."""
    caps = [rule.count.cap for rule in rules if rule.count is not None and rule.count.cap is not None]
    if isinstance(request.selection, ByRunIds) or not caps or min(caps) >= request.count:
        return request
    return replace(request, count=min(caps))


def _nearest(rules: TeamRules, request: CancelRequest, now_ms: int) -> dict[str, object] | None:
    for candidate in candidates_near(rules, request, now_ms):
        effective = permitted(rules, replace(candidate, reason=request.reason), now_ms)
        if effective is not None:
            wire = effective.wire()
            if isinstance(effective.selection, ByRunIds):
                del wire["count"]  # nothing may stand beside run IDs in a request
            return wire
    return None


def _sentence(refused: _Refused, request: CancelRequest, nearest: dict[str, object] | None) -> str:
    parts = []
    if isinstance(request.selection, EveryRun):
        parts.append("This request names no runs and no filter, so it would cancel every run of the account.")
    message = refused.rule.message if refused.rule is not None else None
    if message is not None:
        parts.append(message)
    elif parts:
        parts.append("Name the runs (workflowRunIds), or the workflow (workflowUrl, exactly).")
    else:
        parts.append(refused.reason)
    if nearest is not None:
        parts.append(f"The nearest that would be allowed: {in_words(nearest)}.")
    return " ".join(parts)
