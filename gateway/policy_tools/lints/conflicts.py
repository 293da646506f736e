"""Whether a `deny` or `require` refuses everything that an `allow` admits; pure, and never wrong where it says yes."""

from __future__ import annotations

from gateway.policy.bounds import RUN_IDS
from gateway.policy.index import above
from gateway.policy.model import Condition, CreatedCondition, Effect, Rule, RunIdCondition, UrlCondition, ValueCondition


def refuses_all(guard: Rule, allow: Rule) -> bool:
    """Whether every request that the `allow` admits is refused by the other rule."""
    kind = "run_ids" if RUN_IDS in allow.conditions else "filter"
    if guard.effect is Effect.DENY:
        covered = all(_covers(condition, allow.conditions.get(field)) for field, condition in guard.conditions.items())
        return covered and (guard.selects is None or kind in guard.selects)
    if guard.selects is not None and kind not in guard.selects:
        return True
    return any(_excludes(condition, allow.conditions.get(field)) for field, condition in guard.conditions.items())


def _covers(denied: Condition, allowed: Condition | None) -> bool:
    """Whether a deny's condition overlaps whatever an `allow` admits of the field."""
    match denied, allowed:
        case _, None:
            return True  # A request cannot carry what the allow does not mention, and what is left out overlaps.
        case UrlCondition(), UrlCondition():
            below = all(not above(url).isdisjoint(denied.prefix) for url in allowed.prefix)
            return not allowed.any and below and all(_url_covered(denied, url) for url in allowed.exact)
        case ValueCondition(), ValueCondition():
            return not allowed.any and allowed.any_of <= denied.any_of
        case RunIdCondition(), RunIdCondition():
            return bool(allowed.prefix) and all(prefix.startswith(denied.prefix) for prefix in allowed.prefix)
        case CreatedCondition(within_last_ms=int(wide)), CreatedCondition(within_last_ms=int(narrow)):
            return narrow <= wide
    return False


def _url_covered(denied: UrlCondition, url: str) -> bool:
    return url in denied.exact or not above(url).isdisjoint(denied.prefix)


def _excludes(required: Condition, allowed: Condition | None) -> bool:
    """Whether a require's condition holds for nothing that an `allow` admits of the field."""
    if allowed is None:
        return not required.optional
    if (allowed.optional and required.optional) or getattr(required, "any", False):
        return False
    match required, allowed:
        case UrlCondition(), UrlCondition():
            return not (allowed.any or allowed.prefix) and not any(
                required.admits(url, exact=True) for url in allowed.exact
            )
        case ValueCondition(), ValueCondition():
            return not allowed.any and required.any_of.isdisjoint(allowed.any_of)
        case RunIdCondition(), RunIdCondition():
            pairs = [(ours, theirs) for ours in required.prefix for theirs in allowed.prefix]
            return bool(pairs) and not any(ours.startswith(theirs) or theirs.startswith(ours) for ours, theirs in pairs)
    return False
