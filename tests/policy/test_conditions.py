"""The sentences of "Policy files": what each condition admits, at and beside its boundary."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.plan import Denial, Permit
from gateway.core.request import ByFilter, ByIds, Everything, Principal, Selection
from gateway.policy.conditions import CountCondition, CreatedCondition, RunIdCondition, UrlCondition
from gateway.policy.model import Effect, Rule, TeamException
from tests.core.rules import API, allow, judge, label, permits, rule, urls
from tests.core.strategies import ALLOW_ALL, HOUR_MS, NOW_MS, anything


@pytest.mark.parametrize(
    ("prefix", "url", "exact", "admitted"),
    [
        (API, API, True, True), (API, f"{API}/", True, True), (API, f"{API}/x", True, True),
        (API, f"{API}/x?q=1", True, True), (API, f"{API}-v2", True, False), (API, f"{API}?q=1", True, False),
        (API, f"{API}x", True, False), (API, "https://a.example/", True, False),
        (f"{API}/", f"{API}/", True, True), (f"{API}/", f"{API}/?q=1", True, True), (f"{API}/", API, True, False),
        (f"{API}/", f"{API}/x", True, True), (f"{API}/", f"{API}-v2/", True, False),
        (API, API, False, False), (API, f"{API}/", False, True), (API, f"{API}/x", False, False),
        (API, f"{API}/x/", False, True), (API, f"{API}-v2/", False, False), (API, "https://a.example/", False, False),
        ("https://a.example", "https://a.example/", False, True), ("https://a.example", f"{API}/", False, True),
        ("https://a.example", API, False, False), ("https://a.example", API, True, True),
        ("https://a.example", "https://a.example.evil/", True, False),
        ("https://a.example", "https://a.example.evil/", False, False),
        ("https://a.example", "https://a.example:8443/", False, False),
        ("https://a.example", "http://a.example/", False, False),
    ],
)  # fmt: skip
def test_a_prefix_ends_at_a_segment(prefix: str, url: str, *, exact: bool, admitted: bool) -> None:
    """Exact values at or below P; prefix values at or below P that end in `/`; the boundary is the end or `/`."""
    assert permits(urls(url, exact=exact), allow(workflowUrl=UrlCondition(prefix=(prefix,)))) is admitted


def test_an_exact_rule_needs_the_exact_flag_and_the_value() -> None:
    """`{exact}` admits no prefix request, not even of the same text, and no neighbour."""
    listed = allow(workflowUrl=UrlCondition(exact=frozenset((API,))))
    assert permits(urls(API), listed)
    assert not permits(urls(API, exact=False), listed)
    assert not permits(urls(f"{API}/"), listed)
    assert not permits(urls(f"{API}?q=1"), listed)


def test_every_value_of_a_repeated_field_must_be_admitted() -> None:
    """One bad value among good ones refuses, whichever place it stands in."""
    listed = allow(
        workflowUrl=UrlCondition(frozenset((API,)), ("https://b.example",)), label=label("a", "b", optional=True)
    )
    assert permits(urls(API, "https://b.example/x"), listed)
    assert not permits(urls(API, "https://c.example/x"), listed)
    assert not permits(urls("https://c.example/x", API), listed)
    assert permits(ByFilter((API,), exact=True, labels=("a", "b")), listed)
    assert not permits(ByFilter((API,), exact=True, labels=("a", "c")), listed)


def test_a_mentioned_field_must_be_carried_unless_it_is_optional() -> None:
    """A field that a rule mentions bounds every run; `optional` and `any` are the exceptions."""
    wanted, free = UrlCondition(exact=frozenset((API,))), anything("flowControlKey")
    assert not permits(urls(API), allow(workflowUrl=wanted, label=label("a")))
    assert permits(urls(API), allow(workflowUrl=wanted, label=label("a", optional=True)))
    assert permits(urls(API), allow(workflowUrl=wanted, flowControlKey=free))
    assert not permits(ByFilter(labels=("a",)), allow(workflowUrl=wanted, label=label("a", optional=True)))


@pytest.mark.parametrize(
    "added", [{"labels": ("a",)}, {"caller_ips": ("10.0.0.1",)}, {"flow_control_keys": ("k",)}, {"from_date": NOW_MS}]
)
def test_a_filter_that_the_allow_does_not_mention_is_not_admitted(added: dict) -> None:
    """Not even one that would only narrow: mention it to admit it."""
    listed = allow(workflowUrl=UrlCondition(exact=frozenset((API,))))
    assert not permits(ByFilter((API,), exact=True, **added), listed)


def test_run_ids_and_filters_are_admitted_by_rules_of_their_own_kind() -> None:
    """An ID rule admits no filter, a filter rule no IDs, and `any` on IDs admits everything else's never."""
    by_id, by_label = allow("i", workflowRunIds=anything("workflowRunIds")), allow("l", label=anything("label"))
    assert permits(ByIds(("a",)), by_id)
    assert not permits(ByIds(("a",)), by_label)
    assert not permits(ByFilter(labels=("a",)), by_id)
    assert not permits(Everything(), by_id, by_label)


def test_run_ids_are_bounded_by_number_and_prefix() -> None:
    """`max` at and above the bound, every ID below a prefix; the prefix of run IDs has no boundary."""
    listed = allow(workflowRunIds=RunIdCondition(2, ("wfr_a_", "x")))
    assert permits(ByIds(("wfr_a_1", "xy")), listed)
    assert not permits(ByIds(("wfr_a_1", "wfr_a_2", "x")), listed)
    assert not permits(ByIds(("wfr_a_1", "wfr_b_1")), listed)


@pytest.mark.parametrize(
    ("start", "end", "admitted"),
    [
        (-24 * HOUR_MS, None, True), (-24 * HOUR_MS - 1, None, False), (0, None, True), (None, 0, False),
        (-HOUR_MS, 60_000, True), (-HOUR_MS, 60_001, False), (-HOUR_MS, -1, True),
    ],
)  # fmt: skip
def test_within_last_bounds_both_ends(start: int | None, end: int | None, *, admitted: bool) -> None:
    """`fromDate` given and not before now - D; `toDate`, if given, at most 60 s ahead."""
    created = allow(created=CreatedCondition(within_last_ms=24 * HOUR_MS))
    assert permits(dated(start, end), created) is admitted


@pytest.mark.parametrize(
    ("start", "end", "admitted"),
    [(-HOUR_MS, 0, True), (-HOUR_MS - 1, 0, False), (0, 0, True), (-1, None, False), (None, 0, False)],
)
def test_max_span_needs_both_dates(start: int | None, end: int | None, *, admitted: bool) -> None:
    """The two dates at most that far apart, and neither left out."""
    assert permits(dated(start, end), allow(created=CreatedCondition(max_span_ms=HOUR_MS))) is admitted


def dated(start: int | None, end: int | None) -> ByFilter:
    return ByFilter(from_date=None if start is None else NOW_MS + start, to_date=None if end is None else NOW_MS + end)


def effective_count(*rules: Rule, asked: int = 100, selection: Selection | None = None) -> int | None:
    """The count that is sent, or None for a refusal."""
    match judge(selection or ByFilter(labels=("a",)), *rules, count=asked):
        case Permit(effective=effective):
            return effective.count
    return None


def test_a_count_is_refused_above_max_and_lowered_to_cap() -> None:
    """`max` looks at the count that was asked, whatever a cap makes of it; `cap` lowers."""
    assert effective_count(allow(label=label("a"))) == 100
    assert effective_count(allow(label=label("a"), count=CountCondition(cap=50))) == 50
    assert effective_count(allow(label=label("a"), count=CountCondition(cap=50)), asked=50) == 50
    assert effective_count(allow(label=label("a"), count=CountCondition(cap=50)), asked=3) == 3
    assert effective_count(allow(label=label("a"), count=CountCondition(max=50)), asked=50) == 50
    assert effective_count(allow(label=label("a"), count=CountCondition(max=50)), asked=51) is None
    assert effective_count(allow(label=label("a"), count=CountCondition(max=60, cap=50)), asked=100) is None
    assert effective_count(allow(label=label("a"), count=CountCondition(max=60, cap=50)), asked=60) == 50
    assert effective_count(allow(label=label("a"), count=CountCondition(any=True)), asked=10**8) == 10**8


def test_all_caps_together_lower_to_the_smallest() -> None:
    """The caps of every require and of the admitting allow; a require's `max` refuses before any cap lowers."""
    base = allow(label=label("a"), count=CountCondition(cap=50))
    caps = [rule(Effect.REQUIRE, f"c{cap}", CountCondition(cap=cap)) for cap in (80, 20, 60)]
    assert effective_count(base, *caps) == 20
    assert effective_count(base, rule(Effect.REQUIRE, "m", CountCondition(max=70)), *caps) is None


def test_a_list_of_run_ids_is_never_cut() -> None:
    """For run IDs the count is their number; above a max or a cap, anyone's, the request is refused whole."""
    three = ByIds(("a", "b", "c"))
    ids = anything("workflowRunIds")
    for bound in (CountCondition(max=2), CountCondition(cap=2)):
        assert effective_count(allow(count=bound, workflowRunIds=ids), selection=three) is None
        assert effective_count(allow(workflowRunIds=ids), rule(Effect.REQUIRE, "c", bound), selection=three) is None
    assert effective_count(allow(count=CountCondition(cap=3), workflowRunIds=ids), selection=three) == 3


def test_of_several_allows_the_largest_count_wins_and_then_the_name() -> None:
    """The one that leaves most, and between equals by file and rule id."""
    small = allow("a", CountCondition(cap=10), label=label("a"))
    large, same = (allow(name, CountCondition(cap=40), label=label("a")) for name in ("c", "b"))
    match judge(ByFilter(labels=("a",)), small, large, same):
        case Permit(rule=name, effective=effective):
            assert (name, effective.count) == ("p/b", 40)
        case denied:
            pytest.fail(str(denied))
    assert effective_count(small, large, rule(Effect.REQUIRE, "c5", CountCondition(cap=5))) == 5


def test_default_is_deny() -> None:
    """Without rules, or with rules about other teams only, nothing passes."""
    theirs = replace(allow(label=label("a")), teams=frozenset(("search",)))
    assert not permits(ByFilter(labels=("a",)))
    assert not permits(ByFilter(labels=("a",)), theirs)
    assert isinstance(judge(ByFilter(labels=("a",)), theirs, team=Principal("search", "k")), Permit)


def test_an_excepted_team_is_not_spoken_about() -> None:
    """`except` takes a team out of a rule for everyone, and no other."""
    deny = replace(rule(Effect.DENY), excepted=(TeamException("oncall"),))
    assert isinstance(judge(ByFilter(labels=("a",)), *ALLOW_ALL, deny, team=Principal("oncall", "k")), Permit)
    assert not permits(ByFilter(labels=("a",)), *ALLOW_ALL, deny)


def test_the_exact_requirement_speaks_about_requests_that_name_a_url() -> None:
    """`workflowUrlExactMatch: true` holds where no URL is named."""
    exact = Rule("p", "e", Effect.REQUIRE, {}, exact_match=True)
    assert permits(urls(API), *ALLOW_ALL, exact)
    assert not permits(urls(f"{API}/", exact=False), *ALLOW_ALL, exact)
    assert permits(ByFilter(labels=("a",)), *ALLOW_ALL, exact)
    assert permits(ByIds(("a",)), *ALLOW_ALL, exact)


def test_a_require_holds_by_containment() -> None:
    """A required field must be carried and every value lie inside; run IDs carry none."""
    nightly = rule(Effect.REQUIRE, label=label("nightly"))
    assert permits(ByFilter(labels=("nightly",)), *ALLOW_ALL, nightly)
    for selection in (ByFilter(labels=("nightly", "x")), ByFilter(flow_control_keys=("k",)), ByIds(("a",))):
        assert not permits(selection, *ALLOW_ALL, nightly)


@pytest.mark.parametrize(
    "selection",
    [
        urls(API), urls(f"{API}/x"), urls(f"{API}?q=1"), urls("https://b.example/", API),
        urls("https://a.example/", exact=False), urls("https://a.example/a", exact=False),
        urls(API, exact=False), urls(f"{API}/x/", exact=False), ByFilter(labels=("a",)), ByIds(("a",)),
    ],
)  # fmt: skip
def test_a_deny_below_a_prefix_matches_by_possible_overlap(selection: Selection) -> None:
    """Exact below, any prefix above or below, the URL left out, run IDs: each could select a denied run."""
    assert not permits(selection, *ALLOW_ALL, rule(Effect.DENY, workflowUrl=UrlCondition(prefix=(API,))))


@pytest.mark.parametrize(
    "selection", [urls(f"{API}-v2"), urls(f"{API}-v2", exact=False), urls("https://a.example/other/", exact=False),
                  urls("https://a.example.evil/", exact=False)],
)  # fmt: skip
def test_a_deny_below_a_prefix_lets_its_neighbours_alone(selection: Selection) -> None:
    """A sibling segment is not below."""
    assert permits(selection, *ALLOW_ALL, rule(Effect.DENY, workflowUrl=UrlCondition(prefix=(API,))))


def test_a_deny_with_several_fields_needs_an_overlap_in_each() -> None:
    """A request that certainly misses one field of the deny is not about its runs."""
    both = rule(Effect.DENY, label=label("a"), workflowUrl=UrlCondition(exact=frozenset((API,))))
    assert not permits(ByFilter(labels=("a",)), *ALLOW_ALL, both)
    assert not permits(ByFilter((API,), exact=True, labels=("a", "b")), *ALLOW_ALL, both)
    assert permits(ByFilter((API,), exact=True, labels=("b",)), *ALLOW_ALL, both)


def test_a_deny_on_dates_overlaps_unless_the_request_ends_before() -> None:
    """Only a `toDate` before the window keeps clear of it."""
    recent = rule(Effect.DENY, created=CreatedCondition(within_last_ms=HOUR_MS))
    assert not permits(dated(-24 * HOUR_MS, None), *ALLOW_ALL, recent)
    assert not permits(dated(None, -HOUR_MS), *ALLOW_ALL, recent)
    assert permits(dated(None, -HOUR_MS - 1), *ALLOW_ALL, recent)


def test_a_deny_without_conditions_matches_all_and_one_on_kinds_its_kinds() -> None:
    """`selects` bounds a deny to run IDs, filters or everything."""
    assert not permits(ByFilter(labels=("a",)), *ALLOW_ALL, rule(Effect.DENY))
    only_ids = Rule("p", "i", Effect.DENY, {}, selects=frozenset(("run_ids",)))
    assert permits(ByFilter(labels=("a",)), *ALLOW_ALL, only_ids)
    assert not permits(ByIds(("a",)), *ALLOW_ALL, only_ids)


def test_a_shadow_rule_is_judged_and_never_enforced() -> None:
    """A shadow deny lets pass and says so; a shadow allow admits nothing and says so."""
    nightly = ByFilter(labels=("nightly",))
    passed = judge(nightly, *ALLOW_ALL, replace(rule(Effect.DENY, "d"), shadow=True))
    assert (type(passed), passed.decided, passed.shadow, passed.rule) == (Permit, "deny", "p/d", "all/filters")
    refused = judge(nightly, replace(allow("a", label=label("nightly")), shadow=True))
    assert (type(refused), refused.decided, refused.shadow, refused.rule) == (Denial, "permit", "p/a", None)
