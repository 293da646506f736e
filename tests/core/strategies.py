"""Requests, rules and policies made by their grammar, from small pools so that they often meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from hypothesis import strategies as st

from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Filter, Principal, Selection, filter_with
from gateway.policy.conditions import (
    Condition,
    CountCondition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies

NOW_MS = 1_790_000_000_000
HOUR_MS = 3_600_000
TEAM = Principal("billing", "ci")

ORIGINS = ("https://a.example", "https://a.example.evil", "https://a.example:8443", "http://b.example")
PATHS = ("/", "/api", "/api/", "/api-v2", "/api/x", "/api/x/y", "/api/x%20y", "/other+z")
URLS = tuple(origin + path for origin in ORIGINS for path in PATHS)
EXACT_URLS = (*URLS, "https://a.example/api?q=1", "https://a.example/api/?q=1&r=/x")
PREFIXES = (*ORIGINS, *URLS)
RUN_IDS = ("wfr_a_1", "wfr_a_2", "wfr_a", "wfr_b_1", "wfr-c.1", "x")
RUN_ID_PREFIXES = ("wfr_a_", "wfr_a", "wfr_", "w")
POOLS = {
    "label": ("nightly", "batch", "night", "N.1"),
    "flowControlKey": ("k", "k2", "K"),
    "callerIp": ("10.0.0.1", "10.0.0.2", "2001:db8::1"),
    "host": ("a.example", "a.example.evil", "a.example:8443", "b.example"),
    "path": PATHS,
}
MEMBERS = {
    "label": "labels",
    "flowControlKey": "flow_control_keys",
    "callerIp": "caller_ips",
    "host": "hosts",
    "path": "paths",
}
HERE = ("host", "path")
SENT = tuple(field for field in POOLS if field not in HERE)
"""The fields that the gateway matches and never sends, and the others of `POOLS`."""
SPANS_MS = (HOUR_MS, 6 * HOUR_MS, 24 * HOUR_MS)


def some(pool: Sequence[str], most: int = 3) -> st.SearchStrategy[tuple[str, ...]]:
    """One to `most` different values of a pool; one strategy for each pool, since making it costs more than drawing."""
    return _some(tuple(pool), most)


@cache
def _some(pool: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(pool), min_size=1, max_size=most, unique=True).map(tuple)


counts = st.one_of(st.integers(1, 120), st.integers(1, 999_999_999))


@cache
def dates() -> st.SearchStrategy[int]:
    """Times at, beside and between the boundaries that rules draw."""
    edges = [NOW_MS - span for span in SPANS_MS] + [NOW_MS, NOW_MS + 60_000]
    near = st.tuples(st.sampled_from(edges), st.sampled_from((-1, 0, 1, HOUR_MS))).map(sum)
    return st.one_of(near, st.integers(10**12, 10**13 - 1))


@cache
@st.composite
def filters(draw: st.DrawFn) -> ByFilter:
    """A filter that names one field at least, and can be sent."""
    named = draw(st.lists(st.sampled_from(("url", "created", *SENT)), min_size=1, max_size=3, unique=True))
    exact = "url" in named and draw(st.booleans())
    start, end = sorted((draw(dates()), draw(dates()))) if "created" in named else (None, None)
    drop = draw(st.sampled_from(("start", "end", "none", "none")))
    values = {MEMBERS[field]: draw(some(POOLS[field])) for field in named if field in POOLS}
    return ByFilter(
        workflow_urls=draw(some(EXACT_URLS if exact else URLS)) if "url" in named else (),
        exact=exact,
        from_date=None if drop == "start" else start,
        to_date=None if drop == "end" else end,
        **values,
    )


@cache
@st.composite
def filters_here(draw: st.DrawFn) -> Filter:
    """A filter that names a host or a path, and mostly something else."""
    named = draw(st.lists(st.sampled_from(HERE), min_size=1, unique=True))
    members: dict[str, object] = {MEMBERS[field]: draw(some(POOLS[field])) for field in named}
    return filter_with(members, of=draw(filters()) if draw(st.integers(0, 3)) else None)


@cache
def selections() -> st.SearchStrategy[Selection]:
    """Filters mostly, lists of run IDs, and now and then a filter that is never sent, or everything."""
    by_ids = some(RUN_IDS, most=4).map(ByIds)
    return st.one_of(filters(), filters(), filters(), filters_here(), by_ids, st.just(Everything()))


@cache
@st.composite
def requests(draw: st.DrawFn) -> ActionRequest:
    """Any readable request."""
    return counted(draw(selections()), draw(counts))


def counted(selection: Selection, count: int) -> ActionRequest:
    """A request with this count, or with the number of its run IDs."""
    return ActionRequest(selection, len(selection.ids) if isinstance(selection, ByIds) else count)


@cache
@st.composite
def bounds(draw: st.DrawFn, field: str) -> Condition:
    """What an `allow` or `require` may say about a field; `any` implies optional, as in a file."""
    if draw(st.integers(0, 5)) == 0:
        return anything(field)
    optional = draw(st.booleans())
    if field == "workflowUrl":
        exact, prefix = draw(some(EXACT_URLS)), draw(some(PREFIXES))
        kind = draw(st.sampled_from(("exact", "prefix", "both")))
        return UrlCondition(
            frozenset(exact if kind != "prefix" else ()), prefix if kind != "exact" else (), optional=optional
        )
    if field == "created":
        within, span = draw(st.sampled_from([(1, 0), (0, 1), (1, 1)]))
        lengths = st.sampled_from(SPANS_MS)
        return CreatedCondition(draw(lengths) if within else None, draw(lengths) if span else None, optional=optional)
    return listing(field, draw(some(POOLS[field])), below=draw(st.booleans()), optional=optional)


def listing(field: str, values: Sequence[str], *, below: bool, optional: bool = False) -> ValueCondition:
    """A bound on a field of values that lists these; for a path, perhaps all that lies below each."""
    if field != "path":
        return ValueCondition(field, frozenset(values), optional=optional)
    one, *more = values
    pages = tuple(values) if below else tuple(more)
    return PathCondition(field, frozenset(() if below else (one,)), optional=optional, prefix=pages)


def anything(field: str) -> Condition:
    """`{any: true}` on a field."""
    if field == "workflowUrl":
        return UrlCondition(any=True, optional=True)
    if field == "workflowRunIds":
        return RunIdCondition(any=True, optional=True)
    if field == "created":
        return CreatedCondition(any=True, optional=True)
    return (PathCondition if field == "path" else ValueCondition)(field, any=True, optional=True)


FIELDS = ("workflowUrl", "created", *SENT)
fields = st.lists(st.sampled_from(FIELDS), min_size=1, max_size=3, unique=True)


@cache
@st.composite
def filter_conditions(draw: st.DrawFn) -> dict[str, Condition]:
    """Bounds on one to three filter fields."""
    return {field: draw(bounds(field)) for field in draw(fields)}


@cache
@st.composite
def id_conditions(draw: st.DrawFn) -> dict[str, Condition]:
    """A bound on run IDs."""
    most, prefix = draw(st.one_of(st.none(), st.integers(1, 4))), draw(some(RUN_ID_PREFIXES, most=2))
    return {"workflowRunIds": RunIdCondition(most, prefix if draw(st.booleans()) else ())}


@cache
def count_conditions() -> st.SearchStrategy[CountCondition | None]:
    """Nothing, `max`, `cap`, both, or any."""
    bound = st.one_of(st.none(), st.integers(1, 120))
    return st.one_of(st.none(), st.builds(CountCondition, bound, bound), st.just(CountCondition(any=True)))


@cache
@st.composite
def allows(draw: st.DrawFn, name: str = "allow") -> Rule:
    """An `allow` rule."""
    conditions = draw(st.one_of(filter_conditions(), filter_conditions(), id_conditions()))
    return Rule("p", name, Effect.ALLOW, conditions, draw(count_conditions()), owner_unchecked=True)


@cache
@st.composite
def requires(draw: st.DrawFn, name: str = "require") -> Rule:
    """A `require` rule: one kind of demand, so that requests often meet it."""
    kind = draw(st.sampled_from(("count", "exact", "selects", "conditions")))
    return Rule(
        "p",
        name,
        Effect.REQUIRE,
        draw(st.one_of(filter_conditions(), id_conditions())) if kind == "conditions" else {},
        draw(count_conditions()) if kind == "count" else None,
        selects=frozenset(draw(some(("run_ids", "filter", "everything")))) if kind == "selects" else None,
        exact_match=kind == "exact",
    )


@cache
@st.composite
def overlaps(draw: st.DrawFn, field: str) -> Condition:
    """What a `deny` may say about a field."""
    if field == "workflowUrl":
        exact, prefix = draw(some(EXACT_URLS)), draw(some(PREFIXES))
        kind = draw(st.sampled_from(("exact", "prefix")))
        return UrlCondition(frozenset(exact if kind == "exact" else ()), prefix if kind == "prefix" else ())
    if field == "created":
        return CreatedCondition(draw(st.sampled_from(SPANS_MS)))
    if field == "workflowRunIds":
        return RunIdCondition(prefix=draw(some(RUN_ID_PREFIXES)))
    return listing(field, draw(some(POOLS[field])), below=draw(st.booleans()))


@cache
@st.composite
def denies(draw: st.DrawFn, name: str = "deny") -> Rule:
    """A `deny` rule on one to three fields, on what selects, or on all."""
    named = draw(st.lists(st.sampled_from((*FIELDS, *HERE, "workflowRunIds")), max_size=3, unique=True))
    kinds = frozenset(draw(some(("run_ids", "filter", "everything"), most=2)))
    selects = kinds if draw(st.integers(0, 3)) == 0 else None
    return Rule("p", name, Effect.DENY, {field: draw(overlaps(field)) for field in named}, selects=selects)


@cache
@st.composite
def rule_sets(draw: st.DrawFn) -> tuple[Rule, ...]:
    """One to four allows, and now and then a require and a deny."""
    named = [draw(allows(f"allow-{number}")) for number in range(draw(st.integers(1, 4)))]
    named += [draw(requires(f"require-{number}")) for number in range(draw(st.sampled_from((0, 0, 1, 2))))]
    named += [draw(denies(f"deny-{number}")) for number in range(draw(st.sampled_from((0, 0, 0, 1))))]
    return tuple(named)


def policies(*rules: Rule) -> Policies:
    """Rules that speak about everyone, as a directory of files would give them."""
    everyone = frozenset(("*",))
    return Policies(tuple(replace(rule, teams=rule.teams or everyone) for rule in rules), digest="0" * 64)


ALLOW_ALL = (
    Rule("all", "filters", Effect.ALLOW, {field: anything(field) for field in FIELDS}),
    Rule("all", "ids", Effect.ALLOW, {"workflowRunIds": RunIdCondition(any=True, optional=True)}),
)
"""Admits every filter and every list of IDs, so that only a `deny` or `require` can refuse."""


@st.composite
def fitting(draw: st.DrawFn, rule: Rule) -> ActionRequest:
    """A request made after an `allow` rule, so that it is often admitted; narrower at times if runs are looked up."""
    ids = rule.conditions.get("workflowRunIds")
    if isinstance(ids, RunIdCondition):
        named = [run_id for run_id in RUN_IDS if not ids.prefix or run_id.startswith(ids.prefix)]
        return counted(ByIds(draw(some(named, most=ids.max or 3))), 1)
    kept = [field for field in rule.conditions if not rule.conditions[field].optional or draw(st.booleans())]
    members: dict[str, object] = {}
    for field in kept or list(rule.conditions)[:1]:
        members |= draw(_member(rule.conditions[field], field))
    if rule.resolution is not None and draw(st.integers(0, 2)) == 0:
        unsaid = draw(st.sampled_from([field for field in (*FIELDS, *HERE) if field not in rule.conditions]))
        members |= draw(_member(anything(unsaid), unsaid))
    return ActionRequest(filter_with(members), draw(counts))


@st.composite
def _member(draw: st.DrawFn, condition: Condition, field: str) -> dict[str, object]:
    if isinstance(condition, UrlCondition):
        exact = draw(st.booleans()) or not (condition.prefix or condition.any)
        below = [url for url in (EXACT_URLS if exact else URLS) if condition.any or condition.admits(url, exact=exact)]
        return {"workflow_urls": draw(some(below or ("https://a.example/",))), "exact": exact and bool(below)}
    if isinstance(condition, CreatedCondition):
        length = min(filter(None, (condition.within_last_ms, condition.max_span_ms, 24 * HOUR_MS)))
        return {"from_date": NOW_MS - length, "to_date": NOW_MS}
    assert isinstance(condition, ValueCondition)
    pool = [value for value in POOLS[field] if condition.any or condition.admits(value)]
    return {MEMBERS[field]: draw(some(pool))}
