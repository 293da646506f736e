"""The gaps between a request and a rule, in words: each says what the rule wants and what the request has instead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from gateway.core.grammar import EARLIEST_MS, at_or_below, lies_under
from gateway.core.request import (
    DEFAULT_COUNT,
    HERE,
    Action,
    ActionRequest,
    ByFilter,
    ByFilterHere,
    ByIds,
    Everything,
    FailedFilter,
    Filter,
    Selection,
)
from gateway.policy.conditions import (
    TO_DATE_LEAD_MS,
    Condition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
    asked_values,
    known,
)
from gateway.policy.model import Effect, Rule
from gateway.policy.words.things import kind_word, named_by, of_action

CREATED = "created"
FLOW_KEY, FLOW_KEY_HEADER = "flowControlKey", "Upstash-Flow-Control-Key"

SHOWN_CHARS = 200
"""The most characters of a request's value that a refusal shows."""


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


def other_kind(rule: Rule, request: ActionRequest) -> Gap | None:
    """Return the gap if the rule is about another kind of request: by IDs, by a filter, or for everything."""
    selection, action = request.selection, request.action
    if rule.admits_everything:
        if isinstance(selection, Everything):
            return None
        kind = kind_word(selection.kind, action)
        wants = f"a request for every {of_action(action).one}"
        return Gap("selects", selection.kind, wants, f"this one is by {kind}", by_kind=True)
    if isinstance(selection, ByIds):
        if selection.name in rule.conditions:
            return None
        return next(unmentioned(rule, selection))._replace(by_kind=True)
    if (field := rule.id_list) is not None:
        wants = f"{named_by(field).many} named by ID ({field}: {rule.conditions[field].words()})"
        return Gap(field, None, wants, "the request names none", by_kind=True)
    return None


def names_none(rule: Rule) -> Gap:
    """Return the gap if a filter has none of the fields of an `allow`, all of which may be left out."""
    first, *_ = fields = sorted(rule.conditions)
    return Gap(_wire_name(first, None), None, f"one of {', '.join(fields)}", "the request names none of them")


NEVER_SENT = "Host and path are matched here and never sent to QStash, so only a rule with 'resolve: true' allows them"
"""What a caller is told whose host or path no rule admits."""

FAILED_NEVER_SENT = (
    "A filter of failed runs is matched here and never sent to QStash, so only a rule with 'resolve: true' allows it"
)
"""What a caller is told whose filter of the dead letter queue no rule admits."""


def never_sent(selection: Selection) -> str | None:
    """Return what is said of a filter that is only matched here; None of another selection."""
    match selection:
        case ByFilterHere():
            return NEVER_SENT
        case FailedFilter():
            return FAILED_NEVER_SENT
    return None


def unmentioned(rule: Rule, selection: Selection) -> Iterator[Gap]:
    """Yield a gap for each field that the request selects by but the `allow`, which looks nothing up, cannot admit."""
    for field in sorted(selection.carried - rule.conditions.keys() | selection.carried & HERE):
        name = _wire_name(field, selection)
        value = next(value for wire, value in selection.pairs() if wire == name)
        found = f"the request names {shown(value)}"
        if field in HERE:
            found += f" (a {field} is never sent to QStash)"
        elif isinstance(selection, Filter):
            many = "runs" if isinstance(selection, ByFilter | ByFilterHere) else "entries"
            found += f" (without it more {many} would be selected)"
        yield Gap(name, value, f"no {name}", found, unmentioned=True)


def named_by_deny(rule: Rule, selection: Selection, action: Action) -> str:
    """Return in words what a `deny` that matches is about, and which of its fields the request leaves open."""
    bounds = [f"{field}: {condition.words()}" for field, condition in rule.conditions.items()]
    if rule.selects is not None:
        bounds.insert(0, f"selects: {_kinds(rule.selects, action)}")
    unknown = sorted(rule.conditions.keys() - known(selection))
    said = "; ".join(bounds) or "every request"
    return f"{said} (the request does not say {', '.join(unknown)}, so it may)" if unknown else said


def _kinds(selects: frozenset[str], action: Action) -> str:
    return " or ".join(sorted(kind_word(kind, action) for kind in selects))


def other_selects(selects: frozenset[str], selection: Selection, action: Action) -> Gap:
    """Return the gap if a rule's `selects` leaves out what the request selects by."""
    wants = f"a request by {_kinds(selects, action)}"
    return Gap("selects", selection.kind, wants, f"this one is by {kind_word(selection.kind, action)}")


def too_many(selection: Selection, count: int, bound: int) -> Gap:
    """Return the gap if a request asks for more than `bound`."""
    if isinstance(selection, ByIds):
        wants = f"at most {bound} {named_by(selection.name).one} IDs"
        return Gap(selection.name, str(count), wants, f"the request names {count}")
    default = ", as one without a count does" if count == DEFAULT_COUNT else ""
    return Gap("count", str(count), f"count at most {bound}", f"the request asks for {count}{default}")


def not_exact(selection: Filter) -> Gap:
    """Return the gap if a URL is asked as a prefix where it must be exact."""
    wants = "workflowUrlExactMatch=true beside workflowUrl (clients: filter.workflowUrl, not a URL prefix)"
    return Gap("workflowUrlExactMatch", None, wants, f"{shown(selection.workflow_urls[0])} is asked as a prefix")


def missing(field: str, condition: Condition) -> Gap:
    """Return the gap if the request lacks a field."""
    name, said = ("fromDate", "fromDate or toDate") if field == CREATED else (field, field)
    return Gap(name, None, f"{field}: {condition.words()}", f"the request names no {said}")


def no_reason() -> Gap:
    """Return the gap if the request gives no reason."""
    wants = "a reason: send it as the header Gateway-Reason, 1 to 200 characters"
    return Gap("Gateway-Reason", None, wants, "the request has none")


def overriding(rule: Rule, request: ActionRequest) -> Gap:
    """Return the gap if a rule does not admit the headers that change what is resumed or restarted."""
    if rule.effect is Effect.ALLOW and not rule.overrides:
        name, value = request.overrides[0]
        wants = "no header that changes what is resumed or restarted (only a rule with 'overrides: true' admits one)"
        return Gap(name, value, wants, f"the request has {name}: {shown(value)}")
    name, value = next(pair for pair in request.overrides if pair[0] == FLOW_KEY_HEADER)
    listed = rule.conditions.get(FLOW_KEY)
    if listed is None:
        return Gap(name, value, f"no {name}, as it lists no {FLOW_KEY}", f"the request has {name}: {shown(value)}")
    return Gap(name, value, f"{name}: {listed.words()}", f"{shown(value)} is not among them")


def outside(field: str, condition: Condition, selection: Selection, now_ms: int, *, here: bool) -> Gap:
    """Return the gap for the first value of a field that lies outside; `here` says that the gateway matches URLs."""
    name, value, found = field, None, "it lies outside"
    match condition, selection:
        case UrlCondition(), Filter(workflow_urls=urls, exact=exact):
            value = next(url for url in urls if not _lies(condition, url, exact=exact, here=here))
            found = _how_outside(condition, value, exact=exact, here=here)
        case RunIdCondition(max=int(most)), ByIds(ids=ids) if len(ids) > most:
            value, found = str(len(ids)), f"the request names {len(ids)}"
        case RunIdCondition(), ByIds(ids=ids):
            value = next(one for one in ids if not one.startswith(condition.prefix))
            found = f"{shown(value)} begins otherwise"
        case ValueCondition(), Filter() | ByIds():
            value = next(value for value in asked_values(selection, field) if not condition.admits(value))
            found = f"{field} {shown(value)} is not among them"
        case CreatedCondition(), Filter():
            name, value, found = _dates_outside(condition, selection, now_ms)
    return Gap(name, value, f"{field}: {condition.words()}", found)


def _lies(condition: UrlCondition, url: str, *, exact: bool, here: bool) -> bool:
    return condition.lists(url, exact=exact) if here else condition.admits(url, exact=exact)


def _how_outside(condition: UrlCondition, url: str, *, exact: bool, here: bool) -> str:
    if not exact and _lies(condition, url, exact=True, here=here):
        also = "" if not lies_under(url, condition.prefix, at_or_below) else ", or end it with '/'"
        return f"{shown(url)} is asked as a prefix: add workflowUrlExactMatch=true{also}"
    if not exact and url.rstrip("/") in condition.exact:
        return f"{shown(url)} is asked as a prefix: name the URL itself, with workflowUrlExactMatch=true"
    return f"{shown(url)} {'is' if exact else 'as a prefix is'} not among them"


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


def shown(value: str) -> str:
    """Return a value of a request for people; it is printable, and a long one is cut."""
    return f"'{value}'" if len(value) <= SHOWN_CHARS else f"'{value[:SHOWN_CHARS]}…'"
