"""The judgement of a request by one rule, in its two readings, and of one run by one condition; pure.

*Forwarded*, the request goes upstream as it is: a prefix has no boundary, and run IDs say nothing about their runs.
*Resolved*, the gateway looks the runs up and matches them itself: a prefix is a page and all below it, and what only
the runs can show is judged on them.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum, auto
from functools import partial

from gateway.core.grammar import EARLIEST_MS, denied_below, in_subtree, lies_under
from gateway.core.request import (
    Action,
    ActionRequest,
    ByFilterHere,
    ByIds,
    Everything,
    FailedFilter,
    Filter,
    Selection,
)
from gateway.core.run import Run
from gateway.policy.conditions import (
    PAUSED,
    TO_DATE_LEAD_MS,
    Condition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
    known,
    values,
)
from gateway.policy.model import Effect, Rule
from gateway.policy.words import gaps
from gateway.policy.words.gaps import FLOW_KEY, FLOW_KEY_HEADER, Gap, Shortfall

ONLY_HERE = (ByFilterHere, FailedFilter)
"""The filters that are matched here and never sent."""


class Reading(Enum):
    """The two readings of a request: upstream or the gateway matches runs to it."""

    FORWARDED = auto()
    RESOLVED = auto()


_FORWARDED = Reading.FORWARDED  # To look a member up in its class costs as much as three calls.


def matches(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> bool:
    """Return whether some run that the request could select may be one that the `deny` is about."""
    selection = request.selection
    if not about(rule, selection):
        return False
    if isinstance(selection, ByIds) and selection.name in PAUSED and not rule.conditions.keys() <= selection.carried:
        return False  # A queue is no schedule, whatever its name.
    told = known(selection) if reading is _FORWARDED else selection.carried
    if _puts_into(rule, request):
        told -= {FLOW_KEY}
    elif reading is Reading.RESOLVED and not rule.conditions.keys() <= told:
        return False  # The runs found will show what the request does not say.
    # A field that the request leaves out overlaps everything; so do run IDs, which carry no other field.
    return all(
        field not in told or _overlaps(condition, selection, now_ms, reading)
        for field, condition in rule.conditions.items()
    )


def _puts_into(rule: Rule, request: ActionRequest) -> bool:
    """Return whether the request starts runs under a flow-control key that the `deny` is about."""
    listed = rule.conditions.get(FLOW_KEY) if request.overrides else None
    return isinstance(listed, ValueCondition) and listed.meets(_keys_put(request))


def _keys_put(request: ActionRequest) -> list[str]:
    """Return the flow-control key that a header puts in the place of the entries' own, if one does."""
    return [value for name, value in request.overrides if name == FLOW_KEY_HEADER]


def about(rule: Rule, selection: Selection) -> bool:
    """Return whether the rule's `selects` includes what the request selects by."""
    return rule.selects is None or selection.kind in rule.selects


def unfit(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Iterator[Shortfall]:
    """Yield what in an `allow` or `require` does not hold, the count aside; for each field the first failing value."""
    selection = request.selection
    if rule.selects is not None and selection.kind not in rule.selects:
        yield partial(gaps.other_selects, rule.selects, selection, request.action)
    carried = selection.carried
    forwarded = reading is _FORWARDED
    # It speaks of what is sent: where the gateway matches the runs itself, a prefix has its boundary.
    if forwarded and rule.exact_match and isinstance(selection, Filter) and selection.by_prefix:
        yield partial(gaps.not_exact, selection)
    for field, condition in rule.conditions.items():
        if field not in carried:
            if not (condition.optional or left_to_runs(condition, selection, reading)):
                yield partial(gaps.missing, field, condition)
        elif not (condition.contains(selection, now_ms) if forwarded else _has(condition, selection, now_ms)):
            yield partial(gaps.outside, field, condition, selection, now_ms, here=not forwarded)
    if rule.reason_required and request.reason is None:
        yield gaps.no_reason
    if request.overrides and not _may_override(rule, request):
        yield partial(gaps.overriding, rule, request)


def _may_override(rule: Rule, request: ActionRequest) -> bool:
    """Return whether an `allow` or `require` admits the headers that change what is resumed or restarted."""
    if request.action is Action.PAUSE:
        return True  # How long a pause lasts is no header of QStash's.
    keys, listed = _keys_put(request), rule.conditions.get(FLOW_KEY)
    if rule.effect is Effect.REQUIRE:
        return not isinstance(listed, ValueCondition) or listed.takes(keys)
    return rule.overrides and (not keys or (isinstance(listed, ValueCondition) and listed.takes(keys)))


def shortfalls(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Iterator[Shortfall]:
    """Yield everything in an `allow` or `require` that does not hold, the count last."""
    yield from unfit(rule, request, now_ms, reading)
    selection, count = request.selection, request.count
    if (bound := exceeded(rule, selection, count)) is not None:
        yield partial(gaps.too_many, selection, count, bound)


def unmet(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Shortfall | None:
    """Return the first thing in an `allow` or `require` that does not hold; None if all of it holds."""
    return next(shortfalls(rule, request, now_ms, reading), None)


def lacking(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> list[Gap]:
    """Return everything that keeps an `allow` from admitting the request; empty if it admits it."""
    kind = gaps.other_kind(rule, request)
    if kind is not None:
        return [kind]
    failing = [shortfall() for shortfall in shortfalls(rule, request, now_ms, reading)]
    if _mentions(rule, request.selection, reading):
        return failing
    if reading is _FORWARDED:
        return [*gaps.unmentioned(rule, request.selection), *failing]
    return failing or [gaps.names_none(rule)]


def _mentions(rule: Rule, selection: Selection, reading: Reading) -> bool:
    """Return whether an `allow` on filters mentions what a filter selects by.

    Forwarded, that is all of it. Resolved, some is enough: the rest only narrows. A filter with nothing of the rule
    would reach other runs.
    """
    if reading is _FORWARDED:
        return selection.carried <= rule.conditions.keys() and not isinstance(selection, ONLY_HERE)
    return not selection.carried or not selection.carried.isdisjoint(rule.conditions)


def left_to_runs(condition: Condition, selection: Selection, reading: Reading) -> bool:
    """Return whether a condition on a field that the request lacks is judged on the runs that its IDs name."""
    if reading is Reading.FORWARDED or not isinstance(selection, ByIds):
        return False
    # A span lies between the two dates of a request; a run has only one date.
    return not isinstance(condition, CreatedCondition) or condition.max_span_ms is None


def fits(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> bool:
    """Return whether every run that the request could select lies inside the `allow`, as far as the request shows."""
    selection = request.selection
    if isinstance(selection, ByIds):
        about_it = selection.name in rule.conditions
    elif isinstance(selection, Everything):
        about_it = reading is Reading.RESOLVED and rule.admits_everything
    else:
        about_it = rule.id_list is None and _mentions(rule, selection, reading)
    return about_it and next(unfit(rule, request, now_ms, reading), None) is None


def admits(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> bool:
    """Return whether the request fits the `allow` and asks for no more than it lets a request ask for."""
    return fits(rule, request, now_ms, reading) and exceeded(rule, request.selection, request.count) is None


def exceeded(rule: Rule, selection: Selection, count: int) -> int | None:
    """Return the most that the rule lets a request with this selection ask for, if `count` is more."""
    bound = rule.most_named if isinstance(selection, ByIds) else rule.most_asked
    return bound if count > bound else None


def _has(condition: Condition, selection: Selection, now_ms: int) -> bool:
    """Like `condition.contains`, as the gateway matches a prefix itself."""
    if isinstance(condition, UrlCondition) and isinstance(selection, Filter):
        return condition.any or all(condition.lists(url, exact=selection.exact) for url in selection.workflow_urls)
    return condition.contains(selection, now_ms)


def _overlaps(condition: Condition, selection: Selection, now_ms: int, reading: Reading) -> bool:
    match condition, selection:
        case UrlCondition(), Filter(by_prefix=True) if reading is Reading.RESOLVED:
            return _meets(condition, selection.workflow_urls)
    return condition.overlaps(selection, now_ms)


def _meets(condition: UrlCondition, tops: tuple[str, ...]) -> bool:
    """Return whether one of the pages and all below it share a URL with the condition."""
    inside = any(lies_under(listed, tops, in_subtree) for listed in (*condition.exact, *condition.prefix))
    return inside or any(lies_under(top, condition.prefix, in_subtree) for top in tops)


def lies_inside(condition: Condition, run: Run, now_ms: int) -> bool:
    """Return whether one run lies inside a condition of an `allow` or `require`; it does not if it lacks the field."""
    match condition:
        case UrlCondition():
            return url_inside(condition, run.workflow_url)
        case RunIdCondition():
            return not condition.prefix or run.run_id.startswith(condition.prefix)
        case CreatedCondition(within_last_ms=None):
            return True
        case CreatedCondition(within_last_ms=int(length_ms)):
            # A run created in the future is not within the last while; a `toDate` in the future is not either.
            return now_ms >= EARLIEST_MS and now_ms - length_ms <= run.created_ms <= now_ms + TO_DATE_LEAD_MS
        case ValueCondition():
            found = values(run, condition.field)
            return bool(found) if condition.any else condition.meets(found)
    return False


def url_inside(condition: UrlCondition, url: str) -> bool:
    """Return whether runs with this URL lie inside."""
    return condition.any or url in condition.exact or lies_under(url, condition.prefix, in_subtree)


def is_denied(rule: Rule, run: Run, selection: Selection, now_ms: int) -> bool:
    """Return whether the `deny` refuses this run to a request with this selection."""
    return about(rule, selection) and touches(rule, run, now_ms)


def touches(rule: Rule, run: Run, now_ms: int) -> bool:
    """Return whether the run meets all conditions of the `deny`."""
    return all(_touches(condition, run, now_ms) for condition in rule.conditions.values())


def bounds_runs(condition: Condition) -> bool:
    """Return whether there can be a run that lies outside."""
    match condition:
        case RunIdCondition():
            return bool(condition.prefix)
        case CreatedCondition():
            return condition.within_last_ms is not None
        case UrlCondition() | ValueCondition():
            return not condition.any
    return True


def _touches(condition: Condition, run: Run, now_ms: int) -> bool:
    """Like `lies_inside`, but a doubtful case counts as a match (for `deny`)."""
    match condition:
        case UrlCondition():
            url = run.workflow_url
            return url in condition.exact or lies_under(url, condition.prefix, denied_below)
        case CreatedCondition(within_last_ms=int(length_ms)):
            return now_ms < EARLIEST_MS or run.created_ms >= now_ms - length_ms
    return lies_inside(condition, run, now_ms)
