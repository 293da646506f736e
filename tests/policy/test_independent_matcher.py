"""Whatever is ordered in the end lies inside an allow and every require and outside every deny, as told here once more.

The matcher below knows runs and rules alone: no request, no reading, no index, and none of the gateway's own matching.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.plan import Denial, Permit
from gateway.core.request import ByFilter, ByFilterHere, ByIds, Everything, Selection
from gateway.core.run import Run
from gateway.policy.choose import choose
from gateway.policy.conditions import (
    Condition,
    CreatedCondition,
    PathCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.populations import Case, cases
from tests.core.strategies import NOW_MS, TEAM, policies
from tests.core.strategies import denies as deny_rules
from tests.support import generated

thorough = settings(max_examples=generated.cases(500), deadline=None, suppress_health_check=list(HealthCheck))

MINUTE_MS = 60_000


def page_of(url: str) -> list[str]:
    """The segments of a URL, without a closing slash."""
    return url.rstrip("/").split("/")


def is_below(url: str, top: str) -> bool:
    """The page `top`, or what lies below it."""
    return url.split("/")[: len(page_of(top))] == page_of(top)


def has(run: Run, field: str) -> set[str]:
    """What a run has of a field of values."""
    place = urlsplit(run.workflow_url)
    one = {"flowControlKey": run.flow_control_key, "callerIp": run.caller_ip, "host": place.netloc, "path": place.path}
    return set(run.labels) if field == "label" else {value for value in (one[field],) if value is not None}


def bounds(condition: Condition, run: Run) -> bool:
    """Whether the run keeps the bound of an `allow` or `require`."""
    match condition:
        case UrlCondition(any=True) | RunIdCondition(any=True) | CreatedCondition(any=True):
            return True
        case UrlCondition():
            return run.workflow_url in condition.exact or any(is_below(run.workflow_url, t) for t in condition.prefix)
        case RunIdCondition():
            return not condition.prefix or any(run.run_id[: len(top)] == top for top in condition.prefix)
        case CreatedCondition(within_last_ms=int(length_ms)):
            return NOW_MS - length_ms <= run.created_ms <= NOW_MS + MINUTE_MS
        case CreatedCondition():
            return True
        case ValueCondition():
            found = has(run, condition.field)
            tops = condition.prefix if isinstance(condition, PathCondition) else ()
            listed = found & condition.any_of or {value for value in found for top in tops if is_below(value, top)}
            return bool(found if condition.any else listed)
    raise AssertionError(condition)


def forbids(condition: Condition, run: Run) -> bool:
    """Whether a `deny` is about the run, in doubt yes: a ?query belongs to its page."""
    if isinstance(condition, UrlCondition):
        pages = (run.workflow_url, run.workflow_url.partition("?")[0])
        return run.workflow_url in condition.exact or any(is_below(url, t) for t in condition.prefix for url in pages)
    if isinstance(condition, CreatedCondition) and condition.within_last_ms is not None:
        return run.created_ms >= NOW_MS - condition.within_last_ms
    return bounds(condition, run)


def asked_for(selection: Selection, run: Run) -> bool:
    """Whether the request names the run."""
    if isinstance(selection, Everything):
        return True
    if isinstance(selection, ByIds):
        return run.run_id in selection.ids
    urls = selection.workflow_urls
    named = run.workflow_url in urls if selection.exact else any(is_below(run.workflow_url, url) for url in urls)
    fields = {
        "label": selection.labels,
        "flowControlKey": selection.flow_control_keys,
        "callerIp": selection.caller_ips,
        "host": getattr(selection, "hosts", ()),
        "path": getattr(selection, "paths", ()),
    }
    return (
        (named or not urls)
        and all(not values or set(values) & has(run, field) for field, values in fields.items())
        and (selection.from_date or 0) <= run.created_ms <= (selection.to_date or 10**13)
    )


def kept(rule: Rule, selection: Selection, run: Run) -> bool:
    """Whether the run keeps every bound of an `allow` or `require` that the request may not leave out, or did not."""
    age_ms = rule.resolution.older_than_ms if rule.resolution is not None else 0
    old = not age_ms or run.created_ms <= NOW_MS - age_ms
    return old and all(
        bounds(condition, run)
        for field, condition in rule.conditions.items()
        if field in selection.carried or not condition.optional
    )


def is_forbidden(rule: Rule, selection: Selection, run: Run) -> bool:
    """Whether the `deny` is about the run, in a request that selects as this one does."""
    kinds = {ByIds: "run_ids", ByFilter: "filter", ByFilterHere: "filter", Everything: "everything"}
    about = rule.selects is None or kinds[type(selection)] in rule.selects
    return about and all(forbids(condition, run) for condition in rule.conditions.values())


@thorough
@given(cases(), st.lists(deny_rules(), max_size=2), st.integers(0, 5))
def test_nothing_is_chosen_that_a_matcher_of_its_own_would_not_choose(
    case: Case, denies: list[Rule], in_shadow: int
) -> None:
    """Only what runs, what was asked for, what one allow and all requires take and what no deny is about."""
    rules = [*case.rules, *(replace(rule, id=f"more-{at}") for at, rule in enumerate(denies))]
    rules = [replace(rule, shadow=at == in_shadow) for at, rule in enumerate(rules)]
    request = case.request
    judged = policies(*rules)
    permit = decide(judged, TEAM, request, NOW_MS)
    if not isinstance(permit, Permit) or permit.resolution is None:
        return
    chosen = choose(judged, TEAM, request, permit, case.listing, NOW_MS)
    if isinstance(chosen, Denial):
        return
    enforced = [rule for rule in rules if not rule.shadow]
    requires = [rule for rule in enforced if rule.effect is Effect.REQUIRE]
    allow = next(rule for rule in enforced if rule.name == permit.rule)
    selection = request.selection
    assert len(chosen.runs) <= request.count
    for run in chosen.runs:
        assert run.running
        assert asked_for(selection, run)
        assert all(kept(rule, selection, run) for rule in (allow, *requires))
        assert not any(is_forbidden(rule, selection, run) for rule in enforced if rule.effect is Effect.DENY)
