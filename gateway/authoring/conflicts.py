"""The check whether a `deny` or `require` refuses everything that an `allow` admits; pure. A "yes" is never wrong."""

from __future__ import annotations

from gateway.core.grammar import denied_below, in_subtree, lies_under
from gateway.core.request import HERE, Action
from gateway.policy.conditions import (
    Condition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.model import Effect, Rule

PAUSES = frozenset((Action.PAUSE, Action.RESUME))
"""The actions of which each request names one thing, which is never looked up."""


def refuses_all(guard: Rule, allow: Rule, *, resolved: bool = False) -> bool:
    """Return whether `guard` refuses every request that `allow` admits. `resolved`: the runs are looked up."""
    kind = kind_of(allow)
    if guard.selects is not None and kind not in guard.selects:
        return guard.effect is Effect.REQUIRE
    if guard.effect is Effect.DENY:
        if allow.actions <= PAUSES and not guard.conditions.keys() <= allow.conditions.keys():
            return False  # a queue is no schedule, and a request names one of them
        pairs = ((field, condition, allow.conditions.get(field)) for field, condition in guard.conditions.items())
        return all(
            _covers(denied, allowed, allow) and not (resolved and _left_to_runs(field, allowed, allow))
            for field, denied, allowed in pairs
        )
    return any(
        _excludes(condition, allow.conditions.get(field), unmentioned=resolved and kind == "filter")
        for field, condition in guard.conditions.items()
        if not (resolved and kind == "run_ids" and field != allow.id_list)
    )


def kind_of(allow: Rule) -> str:
    """Return the kind of selection that the `allow` admits: `everything`, `run_ids` or `filter`."""
    if allow.admits_everything:
        return "everything"
    return "run_ids" if allow.id_list is not None or allow.actions <= PAUSES else "filter"


def _left_to_runs(field: str, allowed: Condition | None, allow: Rule) -> bool:
    """Return whether a request may leave the field out, so that a `deny` on it is judged on the runs found."""
    return allowed is None or allowed.optional or allow.id_list not in (None, field)


def _covers(denied: Condition, allowed: Condition | None, allow: Rule) -> bool:
    """Return whether a `deny` condition overlaps every value that an `allow` admits in the field."""
    match denied, allowed:
        case _, None:
            # A request cannot carry a field that the allow does not mention, and a field left out overlaps; but a URL
            # that is named exactly shows its host and path.
            by_url = isinstance(denied, ValueCondition) and denied.field in HERE
            return not (by_url and "workflowUrl" in allow.conditions)
        case UrlCondition(), UrlCondition():
            below = all(lies_under(url, denied.prefix, denied_below) for url in allowed.prefix)
            return not allowed.any and below and all(_url_covered(denied, url) for url in allowed.exact)
        case ValueCondition(), ValueCondition():
            return not allowed.any and _pages_covered(denied, allowed) and all(map(denied.admits, allowed.any_of))
        case RunIdCondition(), RunIdCondition():
            return bool(allowed.prefix) and all(prefix.startswith(denied.prefix) for prefix in allowed.prefix)
        case CreatedCondition(within_last_ms=int(wide)), CreatedCondition(within_last_ms=int(narrow)):
            return narrow <= wide
    return False


def _pages(condition: ValueCondition) -> tuple[str, ...]:
    """Return the paths that a condition lists with all that lies below them."""
    return condition.prefix if isinstance(condition, PathCondition) else ()


def _pages_covered(denied: ValueCondition, allowed: ValueCondition) -> bool:
    return all(lies_under(path, _pages(denied), in_subtree) for path in _pages(allowed))


def _url_covered(denied: UrlCondition, url: str) -> bool:
    return url in denied.exact or lies_under(url, denied.prefix, denied_below)


def _excludes(required: Condition, allowed: Condition | None, *, unmentioned: bool) -> bool:
    """Return whether a `require` condition holds for no value that an `allow` admits in the field.

    `unmentioned` says that a request may carry fields that the `allow` does not mention.
    """
    if allowed is None:
        return not required.optional and not unmentioned
    if allowed.optional and required.optional:
        return False
    match required, allowed:
        case UrlCondition(any=False), UrlCondition():
            return not (allowed.any or allowed.prefix) and not any(
                required.admits(url, exact=True) or lies_under(url, required.prefix, in_subtree)
                for url in allowed.exact
            )
        case ValueCondition(any=False), ValueCondition():
            return not (allowed.any or _pages(allowed) or required.meets(allowed.any_of))
        case RunIdCondition(any=False), RunIdCondition():
            pairs = [(ours, theirs) for ours in required.prefix for theirs in allowed.prefix]
            return bool(pairs) and not any(ours.startswith(theirs) or theirs.startswith(ours) for ours, theirs in pairs)
    return False
