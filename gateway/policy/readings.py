"""What one rule says of a request, in the two readings there are of it, and what a condition says of one run; pure.

*Forwarded*, the request goes upstream as it is: a prefix has no boundary, and run IDs say nothing of their runs.
*Resolved*, the gateway looks the runs up and matches by itself: a prefix is a page and all below it, and what only the
runs can tell is left to be judged on them.
"""

from __future__ import annotations

from enum import Enum, auto

from gateway.cancel import ByFilter, ByRunIds, CancelRequest, EveryRun, Selection
from gateway.grammar import EARLIEST_MS
from gateway.policy.model import (
    TO_DATE_LEAD_MS,
    Condition,
    CreatedCondition,
    Rule,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.segments import denied_below, in_subtree, lies_under
from gateway.run import Run

RUN_IDS = "workflowRunIds"


class Reading(Enum):
    """Who matches runs to the request: upstream, or the gateway."""

    FORWARDED = auto()
    RESOLVED = auto()


def matches(rule: Rule, request: CancelRequest, now_ms: int, reading: Reading) -> bool:
    """Whether some run that the request could select may be one that the `deny` is about."""
    selection = request.selection
    if not about(rule, selection):
        return False
    carried = selection.carried
    if reading is Reading.RESOLVED and not rule.conditions.keys() <= carried:
        return False  # What the request does not say, the runs found will.
    # A field that the request leaves out overlaps everything; so do run IDs, which carry no other field.
    return all(
        field not in carried or _overlaps(condition, selection, now_ms, reading)
        for field, condition in rule.conditions.items()
    )


def about(rule: Rule, selection: Selection) -> bool:
    """Whether the rule's `selects` names what the request selects by."""
    return rule.selects is None or selection.kind in rule.selects


def unmet(rule: Rule, request: CancelRequest, now_ms: int, reading: Reading) -> str | None:
    """What of an `allow` or `require` does not hold, in words; None if all of it holds."""
    selection = request.selection
    if rule.selects is not None and selection.kind not in rule.selects:
        return f"a request by {' or '.join(sorted(rule.selects))}"
    if rule.exact_match and "workflowUrl" in selection.carried and not getattr(selection, "exact", False):
        return "workflowUrlExactMatch=true beside workflowUrl (clients: filter.workflowUrl, not a URL prefix)"
    for field, condition in rule.conditions.items():
        if field in selection.carried:
            holds = _contains(condition, selection, now_ms, reading)
        else:
            holds = condition.optional or left_to_runs(condition, selection, reading)
        if not holds:
            return f"{field}: {condition.words()}"
    if rule.reason_required and request.reason is None:
        return "a reason: send it as the header Gateway-Reason, 1 to 200 characters"
    return _too_many(rule, request)


def left_to_runs(condition: Condition, selection: Selection, reading: Reading) -> bool:
    """Whether a condition on a field that the request does not carry is judged on the runs that its IDs name."""
    if reading is Reading.FORWARDED or not isinstance(selection, ByRunIds):
        return False
    # A span lies between two dates of a request; a run has only one.
    return not isinstance(condition, CreatedCondition) or condition.max_span_ms is None


def admits(rule: Rule, request: CancelRequest, now_ms: int, reading: Reading) -> bool:
    """Whether every run the request could select lies inside the `allow`, as far as the request can tell."""
    selection = request.selection
    if isinstance(selection, EveryRun):
        named = reading is Reading.RESOLVED and rule.admits_everything
    else:
        by_ids = isinstance(selection, ByRunIds)
        named = by_ids is (RUN_IDS in rule.conditions) and selection.carried <= rule.conditions.keys()
    return named and unmet(rule, request, now_ms, reading) is None


def _too_many(rule: Rule, request: CancelRequest) -> str | None:
    if rule.count is None:
        return None
    by_ids = isinstance(request.selection, ByRunIds)
    bound = rule.count.ceiling if by_ids else rule.count.max
    if bound is None or request.count <= bound:
        return None
    return f"at most {bound} run IDs" if by_ids else f"count at most {bound}"


def _contains(condition: Condition, selection: Selection, now_ms: int, reading: Reading) -> bool:
    if reading is Reading.RESOLVED and isinstance(condition, UrlCondition) and isinstance(selection, ByFilter):
        return condition.any or all(_lists(condition, url, exact=selection.exact) for url in selection.workflow_urls)
    return condition.contains(selection, now_ms)


def _lists(condition: UrlCondition, url: str, *, exact: bool) -> bool:
    """Whether an exact URL, or a page and all below it, lies inside."""
    return (exact and url in condition.exact) or lies_under(url, condition.prefix, in_subtree)


def _overlaps(condition: Condition, selection: Selection, now_ms: int, reading: Reading) -> bool:
    by_prefix = isinstance(selection, ByFilter) and not selection.exact
    if reading is Reading.RESOLVED and by_prefix and isinstance(condition, UrlCondition):
        assert isinstance(selection, ByFilter)
        return _meets(condition, selection.workflow_urls)
    return condition.overlaps(selection, now_ms)


def _meets(condition: UrlCondition, tops: tuple[str, ...]) -> bool:
    """Whether one of the pages and all below it share a URL with the condition."""
    inside = any(lies_under(listed, tops, in_subtree) for listed in (*condition.exact, *condition.prefix))
    return inside or any(lies_under(top, condition.prefix, in_subtree) for top in tops)


def lies_inside(condition: Condition, run: Run, now_ms: int) -> bool:
    """Whether one run lies inside what an `allow` or `require` says of its field; what a run lacks lies outside."""
    match condition:
        case UrlCondition():
            return url_inside(condition, run.workflow_url)
        case RunIdCondition():
            return not condition.prefix or run.run_id.startswith(condition.prefix)
        case CreatedCondition(within_last_ms=None):
            return True
        case CreatedCondition(within_last_ms=int(length_ms)):
            # A run of the future is none of the last while, as no such `toDate` is.
            return now_ms >= EARLIEST_MS and now_ms - length_ms <= run.created_ms <= now_ms + TO_DATE_LEAD_MS
        case ValueCondition():
            found = values(run, condition.field)
            return bool(found) if condition.any else not condition.any_of.isdisjoint(found)
    return False


def url_inside(condition: UrlCondition, url: str) -> bool:
    """Whether runs of this URL lie inside."""
    return condition.any or url in condition.exact or lies_under(url, condition.prefix, in_subtree)


def is_denied(rule: Rule, run: Run, selection: Selection, now_ms: int) -> bool:
    """Whether the `deny` is about this run of a request's."""
    return about(rule, selection) and touches(rule, run, now_ms)


def touches(rule: Rule, run: Run, now_ms: int) -> bool:
    """Whether all conditions of the `deny` are about this run."""
    return all(_touches(condition, run, now_ms) for condition in rule.conditions.values())


def bounds_runs(condition: Condition) -> bool:
    """Whether there can be a run that lies outside."""
    match condition:
        case RunIdCondition():
            return bool(condition.prefix)
        case CreatedCondition():
            return condition.within_last_ms is not None
        case UrlCondition() | ValueCondition():
            return not condition.any
    return True


def _touches(condition: Condition, run: Run, now_ms: int) -> bool:
    """As `lies_inside` for a `deny`: when in doubt, yes."""
    match condition:
        case UrlCondition():
            url = run.workflow_url
            return url in condition.exact or lies_under(url, condition.prefix, denied_below)
        case CreatedCondition(within_last_ms=int(length_ms)):
            return now_ms < EARLIEST_MS or run.created_ms >= now_ms - length_ms
    return lies_inside(condition, run, now_ms)


def values(run: Run, field: str) -> tuple[str, ...]:
    """What a run has of a field of values, by its wire name."""
    if field == "label":
        return run.labels
    value = run.flow_control_key if field == "flowControlKey" else run.caller_ip
    return () if value is None else (value,)
