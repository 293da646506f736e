"""Requests that an `allow` rule could admit, made for showing: for every field the values that no `require` refuses.

They are only proposals; `offers` judges each before it shows one. Which values a `deny` leaves can depend on several
fields together, so the values of all fields are combined, the plainest first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, product

from gateway.core.request import ByFilter, ByRunIds, CancelRequest, EveryRun, Selection
from gateway.policy.model import Condition, CreatedCondition, Rule, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.nearest import MEMBERS
from gateway.policy.rules import TeamRules

DAY_MS = 86_400_000
MOST_VALUES = 12
"""How many values of one field are combined with those of the others."""

MOST_TRIED = 1000
"""How many values of one field are held against every rule that bounds it."""

MADE_UP = {"label": "example", "flowControlKey": "example", "callerIp": "192.0.2.1"}
_ENDINGS = ("example", "", "0", "Z")

Members = dict[str, object]


def examples(rule: Rule, rules: TeamRules, count: int, now_ms: int) -> Iterator[CancelRequest]:
    """Proposals for the rule, each for `count` runs, or for one run ID."""
    if rule.admits_everything:
        yield CancelRequest(EveryRun(), count)
        return
    if "workflowRunIds" in rule.conditions:
        yield from (CancelRequest(ByRunIds((run_id,)), 1) for run_id in _run_ids(rule, rules))
        return
    values = [_values(field, rule, rules, now_ms) for field in rule.conditions]
    for combined in product(*values):
        members = {name: value for part in combined for name, value in part.items()}
        if members:
            yield CancelRequest(ByFilter(**members), count)  # type: ignore[arg-type]


def _run_ids(rule: Rule, rules: TeamRules) -> Iterator[str]:
    prefixes = [
        prefix
        for one in (rule, *rules.requires)
        if isinstance(ids := one.conditions.get("workflowRunIds"), RunIdCondition)
        for prefix in ids.prefix
    ]
    for prefix in (*prefixes[:MOST_TRIED], "wfr_", ""):
        for ending in _ENDINGS:
            selection = _named(f"{prefix}{ending}"[:128])
            if selection is not None and _contained("workflowRunIds", selection, rule, rules, 0):
                yield from selection.run_ids


def _values(field: str, rule: Rule, rules: TeamRules, now_ms: int) -> Sequence[Members]:
    """What a filter may say of one field, nothing included where the field may be left out; the plainest first."""
    bounds = [one.conditions[field] for one in (rule, *rules.requires) if field in one.conditions]
    denied = [one.conditions[field] for one in rules.denies if field in one.conditions]
    proposed = (
        members
        for members in islice(_proposed(field, bounds, denied, now_ms), MOST_TRIED)
        if (selection := _filter(members)) is not None and _contained(field, selection, rule, rules, now_ms)
    )
    left_out: list[Members] = [{}] if all(bound.optional for bound in bounds) else []
    return [*left_out, *islice(proposed, MOST_VALUES)]


def _contained(field: str, selection: Selection, rule: Rule, rules: TeamRules, now_ms: int) -> bool:
    bounds = (one.conditions.get(field) for one in (rule, *rules.requires))
    return all(bound is None or bound.contains(selection, now_ms) for bound in bounds)


def _proposed(field: str, bounds: Sequence[Condition], denied: Sequence[Condition], now_ms: int) -> Iterator[Members]:
    if field == "workflowUrl":
        return _urls([bound for bound in bounds if isinstance(bound, UrlCondition)])
    if field == "created":
        return _dates([bound for bound in (*bounds, *denied) if isinstance(bound, CreatedCondition)], now_ms)
    listed = {value for bound in bounds if isinstance(bound, ValueCondition) for value in bound.any_of}
    return ({MEMBERS[field]: (value,)} for value in (*sorted(listed), MADE_UP[field]))


def _urls(bounds: Iterable[UrlCondition]) -> Iterator[Members]:
    bounds = list(bounds)
    for url in sorted({url for bound in bounds for url in bound.exact}):
        yield {"workflow_urls": (url,), "exact": True}
    below = [prefix.rstrip("/") for bound in bounds for prefix in bound.prefix]
    for prefix in (*below, "https://example.com"):
        for ending in ("/example", "/", ""):
            yield {"workflow_urls": (prefix + ending,), "exact": True}
        yield {"workflow_urls": (f"{prefix}/",), "exact": False}


def _dates(bounds: Iterable[CreatedCondition], now_ms: int) -> Iterator[Members]:
    """Windows that end now, stay open, or end before what a `deny` is about; begun late enough to hold for a while."""
    bounds = list(bounds)
    lengths = [bound.within_last_ms for bound in bounds if bound.within_last_ms is not None]
    spans = sorted({bound.max_span_ms for bound in bounds if bound.max_span_ms is not None})
    for length in sorted({*lengths, DAY_MS}):
        start = max(0, now_ms - length // 2)
        yield {"from_date": start, "to_date": None}
        yield {"from_date": start, "to_date": now_ms}
    for end in [now_ms, *(now_ms - length - 1 for length in lengths)]:
        for length in (*spans, DAY_MS, 0):
            if end >= 0:
                yield {"from_date": max(0, end - length), "to_date": end}


def _filter(members: Members) -> ByFilter | None:
    try:
        return ByFilter(**members)  # type: ignore[arg-type]
    except ValueError:
        return None  # A prefix with an ending is not always a value.


def _named(run_id: str) -> ByRunIds | None:
    try:
        return ByRunIds((run_id,))
    except ValueError:
        return None
