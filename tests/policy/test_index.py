"""The index leaves out no rule that would hold, whatever the URL: a look at every rule finds nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core import grammar
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Selection
from gateway.core.run import Run
from gateway.policy.choose import _covers
from gateway.policy.conditions import UrlCondition
from gateway.policy.index.rules import AllowIndex, DenyIndex, seen
from gateway.policy.model import Effect, Rule
from gateway.policy.reading import Reading, admits, matches, touches
from tests.core.populations import resolving, resolving_sets, runs
from tests.core.strategies import NOW_MS, RUN_IDS, allows, counted, denies, filters, filters_here, some
from tests.support import generated

PATHS = ("", "/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/a-b", "/a%20", "/a/b/c")
PLACES = (*(f"https://h{path}" for path in PATHS), "http://h/a", "https://h:8/a", "http://[::1]/a/", "https://a.h/a")
QUERIES = ("", "", "?q", "?a/b", "?a=b/", "?/", "?q?")
"""Few, so that what rules list and what is asked for often lie beside, above or below each other."""

thorough = settings(max_examples=generated.cases(300), deadline=None)


def fits(check: Callable[[str], str]) -> Callable[[str], bool]:
    """Whether the grammar takes a text."""

    def fitting(text: str) -> bool:
        try:
            check(text)
        except ValueError:
            return False
        return True

    return fitting


places = st.sampled_from(PLACES)
urls = st.builds("{}{}".format, places, st.sampled_from(QUERIES)).filter(fits(grammar.url))
policy_prefixes = places.filter(fits(grammar.policy_url_prefix))
asked_prefixes = places.filter(fits(grammar.url_prefix))


@st.composite
def url_conditions(draw: st.DrawFn) -> UrlCondition:
    """Up to two exact URLs and two prefixes, one at least."""
    exact = draw(st.frozensets(urls, max_size=2))
    prefix = draw(st.lists(policy_prefixes, min_size=not exact, max_size=2, unique=True))
    return UrlCondition(exact, tuple(prefix), optional=draw(st.booleans()))


@st.composite
def about_urls(draw: st.DrawFn, rule: Rule) -> Rule:
    """The rule with such URLs in the place of its own, where it names any, and now and then where it does not."""
    if "workflowUrl" not in rule.conditions and ("workflowRunIds" in rule.conditions or draw(st.booleans())):
        return rule
    condition = draw(url_conditions())
    optional = condition.optional and rule.effect is Effect.ALLOW
    return replace(rule, conditions={**rule.conditions, "workflowUrl": replace(condition, optional=optional)})


def named(rules: Sequence[Rule]) -> list[Rule]:
    """Each rule under a name of its own, in the order of names."""
    return [replace(rule, id=f"r{number}", teams=frozenset("*")) for number, rule in enumerate(rules)]


deny_lists = st.lists(denies().flatmap(about_urls), max_size=8).map(named)
allow_lists = st.lists(allows().flatmap(about_urls).flatmap(resolving), max_size=8).map(named)


@st.composite
def selections(draw: st.DrawFn) -> Selection:
    """Filters with such URLs, exact or as prefixes; run IDs; everything."""
    kind = draw(st.sampled_from(("filter", "filter", "filter", "urls", "ids", "everything")))
    if kind == "ids":
        return ByIds(draw(some(RUN_IDS, most=4)))
    if kind == "everything":
        return Everything()
    exact = draw(st.booleans())
    named = tuple(draw(st.lists(urls if exact else asked_prefixes, min_size=1, max_size=3, unique=True)))
    if kind == "urls":
        return ByFilter(workflow_urls=named, exact=exact)
    drawn = draw(st.one_of(filters(), filters_here()))
    if not drawn.workflow_urls:
        return drawn
    return replace(drawn, workflow_urls=named, exact=exact)


def found(rules: Iterable[Rule]) -> set[str]:
    """Their names, each once."""
    names = [rule.name for rule in rules]
    assert len(set(names)) == len(names)
    return set(names)


def asks(selection: Selection) -> ActionRequest:
    """A request for ten runs, or for those it names."""
    return counted(selection, 10)


@thorough
@given(deny_lists, selections())
def test_every_deny_that_matches_a_request_is_found(rules: list[Rule], selection: Selection) -> None:
    """In both readings, whatever the request selects by; by name, as the first of them is the one that is said."""
    index, request = DenyIndex(rules), asks(selection)
    for reading in Reading:
        matching = [rule for rule in rules if matches(rule, request, NOW_MS, reading)]
        given_by_it = list(index.candidates(selection, wholly=reading is Reading.RESOLVED))
        assert found(given_by_it) >= found(matching)
        assert [rule for rule in given_by_it if matches(rule, request, NOW_MS, reading)] == matching


@thorough
@given(allow_lists, selections())
def test_every_allow_that_admits_a_request_is_found(rules: list[Rule], selection: Selection) -> None:
    """In both readings; those that only come near are never fewer."""
    index, request = AllowIndex(rules), asks(selection)
    for reading in Reading:
        admitting = found([rule for rule in rules if admits(rule, request, NOW_MS, reading)])
        resolved = reading is Reading.RESOLVED
        assert found(index.admitting(selection, resolved=resolved)) >= admitting
        assert found(index.candidates(selection, resolved=resolved)) >= admitting


@st.composite
def single_runs(draw: st.DrawFn) -> Run:
    """A run with such a URL and other values that rules name, or without them."""
    run = draw(runs(draw(st.sampled_from(RUN_IDS)), Everything()))
    return replace(run, workflow_url=draw(urls))


@thorough
@given(deny_lists, single_runs())
def test_every_deny_that_is_about_a_run_is_found(rules: list[Rule], run: Run) -> None:
    """By the run's URL alone, and by everything that is known of it."""
    index = DenyIndex(rules)
    about_it = found([rule for rule in rules if touches(rule, run, NOW_MS)])
    assert found(index.about((run.workflow_url,), seen(run))) >= about_it
    assert found(index.about((run.workflow_url,))) >= found(index.about((run.workflow_url,), seen(run)))


@thorough
@given(st.one_of(allow_lists, resolving_sets().map(named)), single_runs())
def test_every_allow_that_covers_a_run_is_found(rules: list[Rule], run: Run) -> None:
    """By the run's URL alone, and by everything that is known of it."""
    allowing = [rule for rule in rules if rule.effect is Effect.ALLOW]
    index = AllowIndex(allowing)
    covering = found([rule for rule in allowing if _covers(rule, run, NOW_MS)])
    assert found(index.about(run.workflow_url, seen(run))) >= covering
    assert found(index.about(run.workflow_url)) >= found(index.about(run.workflow_url, seen(run)))


CROWD = 20


def crowded(rules: Sequence[Rule]) -> list[Rule]:
    """Each rule many times, under names of their own, so that many list each value."""
    return [replace(rule, id=f"{rule.id}-{number:02}") for rule in rules for number in range(CROWD)]


@settings(deadline=None)
@given(deny_lists, allow_lists, selections(), single_runs())
def test_in_a_crowd_the_same_rules_are_found(
    denies: list[Rule], allows: list[Rule], selection: Selection, run: Run
) -> None:
    """Long lists are not looked through, but asked; whoever stands in them is found as among a few."""
    few_denies, many_denies = DenyIndex(denies), DenyIndex(crowded(denies))
    few_allows, many_allows = AllowIndex(allows), AllowIndex(crowded(allows))
    for few, many in (
        (few_denies.candidates(selection), many_denies.candidates(selection)),
        (few_denies.candidates(selection, wholly=True), many_denies.candidates(selection, wholly=True)),
        (few_denies.about((run.workflow_url,), seen(run)), many_denies.about((run.workflow_url,), seen(run))),
        (few_allows.about(run.workflow_url, seen(run)), many_allows.about(run.workflow_url, seen(run))),
    ):
        assert list(many) == crowded(list(few))
    # Among a few rules nothing is looked up, so that all are returned that say something of the same fields.
    request = asks(selection)
    for reading in Reading:
        resolved = reading is Reading.RESOLVED
        maybe = found(many_allows.admitting(selection, resolved=resolved))
        assert maybe <= found(crowded(list(few_allows.admitting(selection, resolved=resolved))))
        assert maybe >= found([rule for rule in crowded(allows) if admits(rule, request, NOW_MS, reading)])
        near = found(few_allows.candidates(selection, resolved=resolved))
        assert found(many_allows.candidates(selection, resolved=resolved)) == {
            f"{name}-{number:02}" for name in near for number in range(CROWD)
        }


def lies_below(url: str, top: str) -> bool:
    """Whether a run's URL is the page or lies below it, by segments; a ?query belongs to its page."""
    page = top.rstrip("/").split("/")
    return url.split("/")[: len(page)] == page or url.partition("?")[0].split("/")[: len(page)] == page


def hit(condition: UrlCondition, url: str) -> bool:
    """Whether a `deny` on URLs is about the run's."""
    return url in condition.exact or any(lies_below(url, top) for top in condition.prefix)


@thorough
@given(deny_lists, st.lists(asked_prefixes, min_size=1, max_size=3, unique=True), urls)
def test_a_prefix_finds_every_deny_about_a_run_that_upstream_would_take(
    rules: list[Rule], asked: list[str], url: str
) -> None:
    """Upstream's prefix has no boundary; whichever runs begin with it, no `deny` on one of their URLs is missed."""
    only_urls = [rule for rule in rules if rule.conditions.keys() == {"workflowUrl"}]
    hitting = [rule for rule in only_urls if hit(rule.conditions["workflowUrl"], url)]  # type: ignore[arg-type]
    selection = ByFilter(workflow_urls=tuple(asked))
    if url.startswith(tuple(asked)):
        assert found(list(DenyIndex(rules).candidates(selection))) >= found(hitting)
        refusing = [rule for rule in hitting if rule.selects is None]
        assert all(matches(rule, asks(selection), NOW_MS, Reading.FORWARDED) for rule in refusing)
