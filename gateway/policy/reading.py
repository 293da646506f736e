"""The judgement of a request by one rule, in its two readings, and of one run by one condition; pure.

*Forwarded*, the request goes upstream as it is: a prefix has no boundary, and run IDs say nothing about their runs.
*Resolved*, the gateway looks the runs up and matches them itself: a prefix is a page and all below it, and what only
the runs can show is judged on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import partial
from typing import NamedTuple

from gateway.core.grammar import EARLIEST_MS, at_or_below, denied_below, in_subtree, lies_under
from gateway.core.request import DEFAULT_COUNT, HERE, ActionRequest, ByFilterHere, ByIds, Everything, Filter, Selection
from gateway.core.run import Run
from gateway.policy.conditions import (
    TO_DATE_LEAD_MS,
    Condition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
    asked_values,
    known,
    values,
)
from gateway.policy.model import Rule

RUN_IDS = "workflowRunIds"
CREATED = "created"

SHOWN_CHARS = 200
"""The most characters of a request's value that a refusal shows."""


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
    told = known(selection) if reading is _FORWARDED else selection.carried
    if reading is Reading.RESOLVED and not rule.conditions.keys() <= told:
        return False  # The runs found will show what the request does not say.
    # A field that the request leaves out overlaps everything; so do run IDs, which carry no other field.
    return all(
        field not in told or _overlaps(condition, selection, now_ms, reading)
        for field, condition in rule.conditions.items()
    )


def about(rule: Rule, selection: Selection) -> bool:
    """Return whether the rule's `selects` includes what the request selects by."""
    return rule.selects is None or selection.kind in rule.selects


class Gap(NamedTuple):
    """The reason why a request lies outside a rule: a field's wire name, and the value not admitted (None if missing).

    `wants` is the rule's bound and `found` what the request has instead, both in words. `by_kind` is true if the rule
    is about another kind of request: by IDs, by a filter, or for everything. `unmentioned` is true if the rule says
    nothing of the field.
    """

    field: str
    value: str | None
    wants: str
    found: str
    by_kind: bool = False
    unmentioned: bool = False

    def words(self) -> str:
        """Return the gap as a clause about the rule, for a sentence that names it."""
        if self.unmentioned:
            return f"it says nothing of {self.field}, and {self.found}"
        return f"it wants {self.wants}, but {self.found}"


Shortfall = Callable[[], Gap]
"""One thing that does not hold; called for its words, which most judgements never need."""


def unfit(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Iterator[Shortfall]:
    """Yield what in an `allow` or `require` does not hold, the count aside; for each field the first failing value."""
    selection = request.selection
    if rule.selects is not None and selection.kind not in rule.selects:
        yield partial(_other_selects, rule.selects, selection)
    carried = selection.carried
    forwarded = reading is _FORWARDED
    # It speaks of what is sent: where the gateway matches the runs itself, a prefix has its boundary.
    if forwarded and rule.exact_match and isinstance(selection, Filter) and selection.by_prefix:
        yield partial(_not_exact, selection)
    for field, condition in rule.conditions.items():
        if field not in carried:
            if not (condition.optional or left_to_runs(condition, selection, reading)):
                yield partial(_missing, field, condition)
        elif not (condition.contains(selection, now_ms) if forwarded else _has(condition, selection, now_ms)):
            yield partial(_outside, field, condition, selection, now_ms, reading)
    if rule.reason_required and request.reason is None:
        yield _no_reason


def shortfalls(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Iterator[Shortfall]:
    """Yield everything in an `allow` or `require` that does not hold, the count last."""
    yield from unfit(rule, request, now_ms, reading)
    selection, count = request.selection, request.count
    if (bound := exceeded(rule, selection, count)) is not None:
        yield partial(too_many, selection, count, bound)


def unmet(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> Shortfall | None:
    """Return the first thing in an `allow` or `require` that does not hold; None if all of it holds."""
    return next(shortfalls(rule, request, now_ms, reading), None)


def lacking(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> list[Gap]:
    """Return everything that keeps an `allow` from admitting the request; empty if it admits it."""
    kind = _other_kind(rule, request.selection)
    if kind is not None:
        return [kind]
    failing = [shortfall() for shortfall in shortfalls(rule, request, now_ms, reading)]
    if _mentions(rule, request.selection, reading):
        return failing
    if reading is _FORWARDED:
        return [*_unmentioned(rule, request.selection), *failing]
    return failing or [names_none(rule)]


def _other_kind(rule: Rule, selection: Selection) -> Gap | None:
    """Return the gap if the rule is about another kind of request: by IDs, by a filter, or for everything."""
    if rule.admits_everything:
        if isinstance(selection, Everything):
            return None
        return Gap(
            "selects", selection.kind, "a request for every run", f"this one is by {selection.kind}", by_kind=True
        )
    ids = rule.conditions.get(RUN_IDS)
    if ids is not None and not isinstance(selection, ByIds):
        return Gap(
            RUN_IDS, None, f"runs named by ID ({RUN_IDS}: {ids.words()})", "the request names none", by_kind=True
        )
    if ids is None and isinstance(selection, ByIds):
        return next(_unmentioned(rule, selection))._replace(by_kind=True)
    return None


def _mentions(rule: Rule, selection: Selection, reading: Reading) -> bool:
    """Return whether an `allow` on filters mentions what a filter selects by.

    Forwarded, that is all of it. Resolved, some is enough: the rest only narrows. A filter with nothing of the rule
    would reach other runs.
    """
    if reading is _FORWARDED:
        return selection.carried <= rule.conditions.keys() and not isinstance(selection, ByFilterHere)
    return not selection.carried or not selection.carried.isdisjoint(rule.conditions)


def names_none(rule: Rule) -> Gap:
    """Return the gap if a filter has none of the fields of an `allow`, all of which may be left out."""
    first, *_ = fields = sorted(rule.conditions)
    return Gap(_wire_name(first, None), None, f"one of {', '.join(fields)}", "the request names none of them")


NEVER_SENT = "Host and path are matched here and never sent to QStash, so only a rule with 'resolve: true' allows them"
"""What a caller is told whose host or path no rule admits."""


def _unmentioned(rule: Rule, selection: Selection) -> Iterator[Gap]:
    """Yield a gap for each field that the request selects by but the `allow`, which looks nothing up, cannot admit."""
    for field in sorted(selection.carried - rule.conditions.keys() | selection.carried & HERE):
        name = _wire_name(field, selection)
        value = next(value for wire, value in selection.pairs() if wire == name)
        found = f"the request names {_shown(value)}"
        if field in HERE:
            found += f" (a {field} is never sent to QStash)"
        elif isinstance(selection, Filter):
            found += " (without it more runs would be selected)"
        yield Gap(name, value, f"no {name}", found, unmentioned=True)


def named_by_deny(rule: Rule, selection: Selection) -> str:
    """Return in words what a `deny` that matches is about, and which of its fields the request leaves open."""
    bounds = [f"{field}: {condition.words()}" for field, condition in rule.conditions.items()]
    if rule.selects is not None:
        bounds.insert(0, f"selects: {' or '.join(sorted(rule.selects))}")
    unknown = sorted(rule.conditions.keys() - known(selection))
    said = "; ".join(bounds) or "every request"
    return f"{said} (the request does not say {', '.join(unknown)}, so it may)" if unknown else said


def left_to_runs(condition: Condition, selection: Selection, reading: Reading) -> bool:
    """Return whether a condition on a field that the request lacks is judged on the runs that its IDs name."""
    if reading is Reading.FORWARDED or not isinstance(selection, ByIds):
        return False
    # A span lies between the two dates of a request; a run has only one date.
    return not isinstance(condition, CreatedCondition) or condition.max_span_ms is None


def fits(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> bool:
    """Return whether every run that the request could select lies inside the `allow`, as far as the request shows."""
    selection = request.selection
    if isinstance(selection, Everything):
        about_it = reading is Reading.RESOLVED and rule.admits_everything
    else:
        by_ids = isinstance(selection, ByIds)
        about_it = by_ids is (RUN_IDS in rule.conditions) and (by_ids or _mentions(rule, selection, reading))
    return about_it and next(unfit(rule, request, now_ms, reading), None) is None


def admits(rule: Rule, request: ActionRequest, now_ms: int, reading: Reading) -> bool:
    """Return whether the request fits the `allow` and asks for no more than it lets a request ask for."""
    return fits(rule, request, now_ms, reading) and exceeded(rule, request.selection, request.count) is None


def exceeded(rule: Rule, selection: Selection, count: int) -> int | None:
    """Return the most that the rule lets a request with this selection ask for, if `count` is more."""
    bound = rule.most_named if isinstance(selection, ByIds) else rule.most_asked
    return bound if count > bound else None


def too_many(selection: Selection, count: int, bound: int) -> Gap:
    """Return the gap if a request asks for more than `bound`."""
    if isinstance(selection, ByIds):
        return Gap(RUN_IDS, str(count), f"at most {bound} run IDs", f"the request names {count}")
    default = ", as one without a count does" if count == DEFAULT_COUNT else ""
    return Gap("count", str(count), f"count at most {bound}", f"the request asks for {count}{default}")


def _other_selects(selects: frozenset[str], selection: Selection) -> Gap:
    wants = f"a request by {' or '.join(sorted(selects))}"
    return Gap("selects", selection.kind, wants, f"this one is by {selection.kind}")


def _not_exact(selection: Filter) -> Gap:
    wants = "workflowUrlExactMatch=true beside workflowUrl (clients: filter.workflowUrl, not a URL prefix)"
    return Gap("workflowUrlExactMatch", None, wants, f"{_shown(selection.workflow_urls[0])} is asked as a prefix")


def _missing(field: str, condition: Condition) -> Gap:
    name, said = ("fromDate", "fromDate or toDate") if field == CREATED else (field, field)
    return Gap(name, None, f"{field}: {condition.words()}", f"the request names no {said}")


def _no_reason() -> Gap:
    wants = "a reason: send it as the header Gateway-Reason, 1 to 200 characters"
    return Gap("Gateway-Reason", None, wants, "the request has none")


def _outside(field: str, condition: Condition, selection: Selection, now_ms: int, reading: Reading) -> Gap:
    """Return the gap for the first value of a field that lies outside."""
    name, value, found = field, None, "it lies outside"
    match condition, selection:
        case UrlCondition(), Filter(workflow_urls=urls, exact=exact):
            value = next(url for url in urls if not _lies(condition, url, exact=exact, reading=reading))
            found = _how_outside(condition, value, exact=exact, reading=reading)
        case RunIdCondition(max=int(most)), ByIds(ids=ids) if len(ids) > most:
            value, found = str(len(ids)), f"the request names {len(ids)}"
        case RunIdCondition(), ByIds(ids=ids):
            value = next(run_id for run_id in ids if not run_id.startswith(condition.prefix))
            found = f"{_shown(value)} begins otherwise"
        case ValueCondition(), Filter():
            value = next(value for value in asked_values(selection, field) if not condition.admits(value))
            found = f"{field} {_shown(value)} is not among them"
        case CreatedCondition(), Filter():
            name, value, found = _dates_outside(condition, selection, now_ms)
    return Gap(name, value, f"{field}: {condition.words()}", found)


def _lies(condition: UrlCondition, url: str, *, exact: bool, reading: Reading) -> bool:
    return _lists(condition, url, exact=exact) if reading is Reading.RESOLVED else condition.admits(url, exact=exact)


def _how_outside(condition: UrlCondition, url: str, *, exact: bool, reading: Reading) -> str:
    if not exact and _lies(condition, url, exact=True, reading=reading):
        also = "" if not lies_under(url, condition.prefix, at_or_below) else ", or end it with '/'"
        return f"{_shown(url)} is asked as a prefix: add workflowUrlExactMatch=true{also}"
    if not exact and url.rstrip("/") in condition.exact:
        return f"{_shown(url)} is asked as a prefix: name the URL itself, with workflowUrlExactMatch=true"
    return f"{_shown(url)} {'is' if exact else 'as a prefix is'} not among them"


def _dates_outside(condition: CreatedCondition, asked: Filter, now_ms: int) -> tuple[str, str | None, str]:
    start, end = asked.from_date, asked.to_date
    if condition.within_last_ms is not None and now_ms < EARLIEST_MS:
        return "fromDate", None, "the gateway's clock is wrong, so no date can be judged: tell its operators"
    if start is None:
        return "fromDate", None, "the request names no fromDate"
    if condition.within_last_ms is not None and start < now_ms - condition.within_last_ms:
        return "fromDate", str(start), f"fromDate {start} is earlier"
    if condition.within_last_ms is not None and end is not None and end > now_ms + TO_DATE_LEAD_MS:
        return "toDate", str(end), f"toDate {end} lies in the future"
    if end is None:
        return "toDate", None, "the request names no toDate"
    return "toDate", str(end), f"fromDate {start} and toDate {end} are further apart"


def _wire_name(field: str, selection: Selection | None) -> str:
    """Return the request's name for a field of a rule: `created` is one of its two dates."""
    if field != CREATED:
        return field
    return "toDate" if isinstance(selection, Filter) and selection.from_date is None else "fromDate"


def _shown(value: str) -> str:
    """Return a value of a request for people; it is printable, and a long one is cut."""
    return f"'{value}'" if len(value) <= SHOWN_CHARS else f"'{value[:SHOWN_CHARS]}…'"


def _has(condition: Condition, selection: Selection, now_ms: int) -> bool:
    """Like `condition.contains`, as the gateway matches a prefix itself."""
    if isinstance(condition, UrlCondition) and isinstance(selection, Filter):
        return condition.any or all(_lists(condition, url, exact=selection.exact) for url in selection.workflow_urls)
    return condition.contains(selection, now_ms)


def _lists(condition: UrlCondition, url: str, *, exact: bool) -> bool:
    """Return whether an exact URL, or a page and all below it, lies inside."""
    return (exact and url in condition.exact) or lies_under(url, condition.prefix, in_subtree)


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
