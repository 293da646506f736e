"""The conditions that a rule may have, field by field: declarations that read and describe them.

An `allow` and a `require` hold by containment, a `deny` by possible overlap; each has only the conditions that have a
meaning under it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from gateway.core import grammar
from gateway.core.errors import Problem
from gateway.core.request import MAX_COUNT, RUN_IDS
from gateway.files.mappings import Key, ListOf, Present, Shape, may
from gateway.files.nodes import Place
from gateway.files.values import Bool, Int, Text, duration_field
from gateway.policy.conditions import (
    ID_LISTS,
    Condition,
    CountCondition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)

PATH = "path"
_PATTERN_SIGNS = "*^$|\\{}()"


def _without_patterns(parse: Callable[[str], str], *, of: str = "URL", listed: str = "exact") -> Callable[[str], str]:
    def checked(text: str) -> str:
        """Parse a text; refuse it if it has a sign of a pattern."""
        for sign in _PATTERN_SIGNS:
            if sign in text:
                raise ValueError(f"a policy {of} is no pattern, and '{sign}' looks like one: use {listed} or prefix")
        return parse(text)

    return checked


VALUE_FIELDS = {
    "label": grammar.key,
    "flowControlKey": grammar.key,
    "callerIp": grammar.ip_address,
    "host": grammar.host,
    PATH: _without_patterns(grammar.path, of=PATH, listed="any_of"),
}
FILTERS = ("workflowUrl", *VALUE_FIELDS, "created")
"""The filters of runs."""

OF_OTHERS = {"workflowRunId": grammar.run_id, "queue": grammar.item_id, "schedule": grammar.item_id}
"""The fields of values that only other actions than `cancel_runs` have."""

FIELDS = (RUN_IDS, *FILTERS, *(field for field in ID_LISTS if field != RUN_IDS), *OF_OTHERS)
"""Every field that a rule may bound."""

_VALUES = {**VALUE_FIELDS, **OF_OTHERS}
NOT_IN_DENY = "in a deny only exact, prefix, any_of, within_last and selects exist"


def bounds() -> dict[str, Shape[Condition]]:
    """Return the readers of the conditions of `allow` and `require`, by wire name."""
    ids = {"max": may(Int(1, MAX_COUNT)), "prefix": may(distinct(Text(grammar.id_prefix)))}
    created = {
        "within_last": may(duration_field(), into="within_last_ms"),
        "max_span": may(duration_field(), into="max_span_ms"),
    }
    return {
        "workflowUrl": _bound(_url_condition, _url_lists()),
        **{name: _bound(RunIdCondition, ids) for name in ID_LISTS},
        **{name: _bound(partial(_value_condition, name), _any_of(name)) for name in _VALUES},
        "created": _bound(CreatedCondition, created),
    }


def overlaps() -> dict[str, Shape[Condition]]:
    """Return the readers of the conditions of `deny`, by wire name."""
    ids = {"prefix": may(distinct(Text(grammar.id_prefix)))}
    return {
        "workflowUrl": _overlap(_url_condition, _url_lists()),
        **{name: _overlap(RunIdCondition, ids) for name in ID_LISTS},
        **{name: _overlap(partial(_value_condition, name), _any_of(name)) for name in _VALUES},
        "created": _overlap(CreatedCondition, {"within_last": may(duration_field(), into="within_last_ms")}),
    }


def _url_lists() -> dict[str, Key]:
    exact, prefix = _without_patterns(grammar.url), _without_patterns(grammar.policy_url_prefix)
    return {"exact": may(distinct(Text(exact))), "prefix": may(distinct(Text(prefix)))}


def _any_of(name: str) -> dict[str, Key]:
    values = distinct(Text(_VALUES[name]))
    return {"any_of": may(values)} | ({"prefix": may(values)} if name == PATH else {})


def _bound(make: Callable[..., Condition], lists: dict[str, Key]) -> Shape[Condition]:
    keys = lists | {"any": may(Bool(only_true=True)), "optional": may(Bool(only_true=True))}
    return Shape(partial(_any_is_optional, make), keys, check=partial(_names_a_bound, (*lists, "any")))


def _overlap(make: Callable[..., Condition], lists: dict[str, Key]) -> Shape[Condition]:
    absent = {name: NOT_IN_DENY for name in ("max", "max_span", "any", "optional") if name not in lists}
    return Shape(make, lists, check=partial(_names_a_bound, tuple(lists)), absent=absent)


def count() -> Shape[CountCondition]:
    """Return the reader of the bound on `count` in an `allow` or `require`."""
    keys = {"max": may(Int(1, MAX_COUNT)), "cap": may(Int(1, MAX_COUNT)), "any": may(Bool(only_true=True))}
    absent = {"optional": "count is no filter, every request has one"}
    return Shape(CountCondition, keys, check=partial(_names_a_bound, tuple(keys)), absent=absent)


def _any_is_optional(make: Callable[..., Condition], **bounds: object) -> Condition:
    return make(**bounds | {"optional": True}) if "any" in bounds else make(**bounds)


def _url_condition(*, exact: tuple[str, ...] = (), **others: object) -> Condition:
    make: Callable[..., Condition] = UrlCondition
    return make(exact=frozenset(exact), **others)


def _value_condition(name: str, *, any_of: tuple[str, ...] = (), **others: object) -> Condition:
    make: Callable[..., Condition] = PathCondition if name == PATH else ValueCondition
    return make(name, any_of=frozenset(any_of), **others)


def _names_a_bound(bounds: tuple[str, ...], place: Place, present: Present) -> list[Problem]:
    if "any" in present and len(present) > 1:
        return [place.problem("'any' stands alone: it admits every value and implies optional")]
    if present.keys().isdisjoint(bounds):
        return [place.problem(f"the condition bounds nothing: write {' or '.join(bounds)}")]
    return []


def distinct(item: Text[str]) -> ListOf[str]:
    """Return the reader of a list without repeated values."""
    return ListOf(item, distinct={"value": str})
