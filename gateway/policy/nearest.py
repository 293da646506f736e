"""The requests that a refused caller could have made instead: the part of the request that an `allow` rule admits.

A proposal never reaches a run that the request did not: every bound that the caller gave stays or gets narrower, and
bounds that the rule wants are added. So no proposal puts another workflow, label or day in the place of one that no
rule admits, and none leaves out a filter because a rule does not mention it: a caller who pastes such a proposal would
cancel runs that nobody asked for. If a rule admits no part of the request, nothing is proposed, and the refusal's
sentence says what the rule wants (`reading.Gap`). A caller who asked for every run is shown a first value of each
field.

This holds however prefixes are matched: as plain beginnings of a URL, as upstream does, or as a page and all below it,
as the gateway does. The requests made here are only proposals: each is judged like a request before it is shown.

`authoring.offers` makes requests that would be allowed as well, and is a search of another kind. A proposal here is a
*part* of what one caller asked: there is at most one for each rule and spelling, a refusal costs at most `MOST_JUDGED`
judgements, and values are the caller's or the rule's own. An offer answers no request: it tries made-up values of each
field, up to hundreds of combinations, until the rule and every `require` and `deny` beside it permit one. An offer in
place of a proposal would hand a refused caller other runs than it asked for; a proposal in place of an offer stops at
the rule's first value, which another rule may refuse. Both make filters with `filter_of`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from gateway.core.request import Action, ByIds, Filter, Selection, filter_with
from gateway.policy.conditions import (
    FAILED,
    MEMBERS,
    Condition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
    asked_values,
)
from gateway.policy.model import Rule
from gateway.policy.view import Admitted, View

SLACK_MS = 60_000
MOST = 20
"""The most rules that are tried for a proposal."""
MOST_JUDGED = 6
"""The most proposals that are made: each is judged like a request, and a refusal must not cost many times a permit."""


Proposal = tuple[Selection, int]
"""What a request could ask for: a selection and a count."""


def admitted_near(view: View, near: Sequence[Rule]) -> Proposal | None:
    """Return the first of a few proposals that policy admits, with the count that it leaves; None if it admits none.

    They are made from rules that share something with the request (`near`), then from others by name.
    """
    request, now_ms = view.request, view.now_ms
    most = min([request.count, *[rule.most_asked for rule in view.requires]])
    tried = _Tried([(request.selection, request.count)], _spellings(request.selection), most)
    found = _first_admitted(view, near, tried)
    if found is not None or tried.enough:
        return found
    others = (rule for rule in view.rules.allowed(now_ms) if rule not in near)
    return _first_admitted(view, islice(others, MOST - len(near)), tried)


class _Tried(NamedTuple):
    """The proposals so far, the first of which was just refused; the spellings to make more of; the most to ask for."""

    known: list[Proposal]
    spellings: Sequence[Selection]
    most: int

    @property
    def enough(self) -> bool:
        """Whether no more proposals may be judged."""
        return len(self.known) > MOST_JUDGED


def _first_admitted(view: View, rules: Iterable[Rule], tried: _Tried) -> Proposal | None:
    for rule in rules:
        for asked in tried.spellings:
            # The commonest refusal is for the count alone, and then there is nothing to look for.
            kept = view.kept_by(rule)
            selection = asked if kept else _part(rule, asked, view)
            if selection is None:
                continue
            asks = len(selection.ids) if isinstance(selection, ByIds) else min(tried.most, rule.most_asked)
            proposal = selection, asks
            if proposal not in tried.known:
                tried.known.append(proposal)
                judged = view.of(selection, asks).judged(asks)
                if isinstance(judged, Admitted):
                    return selection, judged.left
            if tried.enough:
                return None
    return None


def _spellings(asked: Selection) -> Sequence[Selection]:
    """Return the selection with its URL prefixes closed by `/`, then as it was asked.

    As far as a rule with a boundary can admit them, both mean the same runs.
    """
    if isinstance(asked, Filter) and asked.workflow_urls and not asked.exact:
        closed = dict.fromkeys(url.rstrip("/") + "/" for url in asked.workflow_urls)
        return replace(asked, workflow_urls=tuple(closed)), asked
    return (asked,)


def in_words(wire: Mapping[str, object]) -> str:
    """Return a request (`ActionRequest.wire`) in a person's words."""
    parts = []
    for name, value in wire.items():
        if not isinstance(value, list):
            parts.append(f"{name}=true" if name == "workflowUrlExactMatch" else f"{name} {value}")
        elif len(value) == 1:
            parts.append(f"{name} {value[0]}")
        else:
            parts.append(f"{name} {', '.join(map(str, value[:3]))}{' …' if len(value) > 3 else ''}")
    return "; ".join(parts)


def _part(rule: Rule, asked: Selection, view: View) -> Selection | None:
    """Return the part of the selection that the rule may admit; None if there is none.

    If the runs are looked up for it, filters which the rule does not mention only narrow.
    """
    if isinstance(asked, ByIds):
        return _fewer_ids(rule, asked)
    if rule.id_list is not None:
        return None  # Nobody can guess which runs are the caller's.
    carried = asked.carried
    if not view.looks_up(rule) and not carried <= rule.conditions.keys():
        return None  # Without the filter that the rule does not mention, more runs would be selected.
    wanted = asked if isinstance(asked, Filter) else None
    members: Members = {}
    for field, condition in rule.conditions.items():
        given = wanted if field in carried else None
        if given is None and condition.optional:
            continue
        part = _field(condition, given, view.now_ms)
        if part is None:
            return None
        members |= part
    if wanted is None:
        return filter_of(members, view.request.action)  # None if all fields of the rule are optional.
    # If the rule bounds nothing but the count, this selection is judged once more as it is.
    return _with(wanted, members) if members else wanted


def _with(asked: Filter, members: Members) -> Filter | None:
    """Return the filter with other values, each made from a valid one; None if they do not make one."""
    try:
        return filter_with(members, of=asked)
    except ValueError:
        return None


def _fewer_ids(rule: Rule, asked: ByIds) -> Selection | None:
    """Return the IDs that the rule admits: a caller who named single ones is not referred to a filter of many."""
    ids = rule.conditions.get(asked.name)
    if not isinstance(ids, RunIdCondition):
        return None
    fitting = [one for one in asked.ids if not ids.prefix or one.startswith(ids.prefix)]
    fewer = fitting[: rule.most_named if ids.max is None else min(ids.max, rule.most_named)]
    return ByIds(tuple(fewer), asked.name) if fewer else None


Members = dict[str, object]
"""Some members of a filter."""


def filter_of(members: Members, action: Action = Action.CANCEL_RUNS) -> Filter | None:
    """Return the filter of a made-up request; None if the values, each made from a valid one, do not make one."""
    try:
        return filter_with(members, failed=action in FAILED)
    except ValueError:
        return None


def _field(condition: Condition, given: Filter | None, now_ms: int) -> Members | None:
    """Return what a proposal says of one field beside what was given: a part of that, or the rule's own.

    Nothing is said if all that was given is kept; None means that the rule has no part of it.
    """
    if isinstance(condition, ValueCondition):
        return _listed(condition, given)
    if isinstance(condition, UrlCondition):
        return _urls(condition, given)
    return _dates(condition, given, now_ms) if isinstance(condition, CreatedCondition) else None


def _listed(condition: ValueCondition, given: Filter | None) -> Members | None:
    if given is None:
        return {MEMBERS[condition.field]: (condition.first(),)}
    if condition.contains(given, 0):
        return {}
    values = tuple(value for value in asked_values(given, condition.field) if condition.admits(value))
    return {MEMBERS[condition.field]: values} if values else None


def _urls(condition: UrlCondition, given: Filter | None) -> Members | None:
    if given is None:
        return _first_url(condition, "https://")
    urls = given.workflow_urls
    if given.exact and condition.exact.issuperset(urls):
        return {}
    fitting = tuple(url for url in urls if condition.any or condition.admits(url, exact=True))
    if not fitting:
        # A prefix with its final `/` means the same in both readings. One without it was tried with it before.
        closed = tuple(url for url in urls if url.endswith("/"))
        return None if given.exact or not closed else _first_url(condition, closed)
    # Propose prefixes only if all values end in `/`, none is listed as exact, and the caller did not ask for exact
    # ones.
    exact = given.exact or not all(url.endswith("/") for url in fitting) or not condition.exact.isdisjoint(fitting)
    return {} if (fitting, exact) == (urls, given.exact) else {"workflow_urls": fitting, "exact": exact}


def _first_url(condition: UrlCondition, tops: str | tuple[str, ...]) -> Members | None:
    """Return the first of the rule's own URLs that begins with one of `tops`, an exact one if possible."""
    if exact := min((url for url in condition.exact if url.startswith(tops)), default=None):
        return {"workflow_urls": (exact,), "exact": True}
    below = next((page for url in condition.prefix if (page := url.rstrip("/") + "/").startswith(tops)), None)
    return None if below is None else {"workflow_urls": (below,)}


def _dates(condition: CreatedCondition, given: Filter | None, now_ms: int) -> Members | None:
    """Return the earliest part of the dates that the rule admits; an end is added only if the rule wants one."""
    start, end = (given.from_date, given.to_date) if given is not None else (None, None)
    if condition.within_last_ms is not None:
        # Begin a little later than the rule requires, so that the proposal still holds when somebody has read it.
        earliest = now_ms - condition.within_last_ms + min(SLACK_MS, condition.within_last_ms // 2)
        end = min(end, now_ms) if end is not None else None
        start = max(start, earliest) if start is not None else _begun(condition, end, now_ms, earliest)
    elif start is None and not condition.any:
        start = _begun(condition, end, now_ms, 0)
    if condition.max_span_ms is not None and start is not None:
        end = min(start + condition.max_span_ms, end if end is not None else now_ms)
    if start is not None and end is not None and start > end:
        return None  # The rule is about other days.
    if given is not None and (start, end) == (given.from_date, given.to_date):
        return {}
    return {"from_date": start, "to_date": end}


def _begun(condition: CreatedCondition, end: int | None, now_ms: int, earliest: int) -> int:
    """Return a start where none was given: the earliest that the rule admits."""
    if condition.max_span_ms is None:
        return earliest
    return max(earliest, (end if end is not None else now_ms) - condition.max_span_ms)
