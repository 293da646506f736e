"""Where runs are looked up, a request may name more than its rule: that is matched here, and only narrows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import (
    HERE,
    ActionRequest,
    ByFilter,
    ByFilterHere,
    ByIds,
    Everything,
    Filter,
    Selection,
    filter_with,
)
from gateway.core.run import Listing, Resolution, Resolved, Run
from gateway.policy.choose import choose, selects
from gateway.policy.conditions import Condition, PathCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.words.gaps import NEVER_SENT
from gateway.upstream.runs.narrowing import narrowing
from tests.core.populations import everything, meant, resolutions, runs
from tests.core.rules import API, allow, label, rule
from tests.core.strategies import (
    MEMBERS,
    NOW_MS,
    POOLS,
    RUN_IDS,
    TEAM,
    bounds,
    counted,
    filter_conditions,
    filters,
    filters_here,
    fitting,
    policies,
    requests,
    rule_sets,
)
from tests.support import generated

LOOKED_UP = Resolution(50)
BELOW = UrlCondition(prefix=(API,))
HOST = ValueCondition("host", frozenset(("a.example",)))
RUN = Run("wfr_1", f"{API}/x?q=/1", NOW_MS - 60_000, flow_control_key="k", labels=("nightly",))

thorough = settings(max_examples=generated.cases(300), deadline=None, suppress_health_check=list(HealthCheck))


def looked_up(**conditions: Condition) -> Rule:
    """An `allow` that has the runs looked up."""
    return replace(allow(), conditions=conditions, resolution=LOOKED_UP)


def on(effect: Effect, condition: ValueCondition) -> Rule:
    """A rule on the field of one condition."""
    return replace(rule(effect, "guard"), conditions={condition.field: condition})


def judge(selection: Selection, *rules: Rule, count: int = 20) -> Decision:
    return decide(policies(*rules), TEAM, counted(selection, count), NOW_MS)


def permits(selection: Selection, *rules: Rule) -> bool:
    return isinstance(judge(selection, *rules), Permit)


# ---------------------------------------------------------------- filters that a rule does not mention

UNMENTIONED: dict[str, dict[str, object]] = {
    "label": {"labels": ("nightly",)},
    "flowControlKey": {"flow_control_keys": ("k",)},
    "callerIp": {"caller_ips": ("10.0.0.1",)},
    "fromDate": {"from_date": NOW_MS - 1000},
    "toDate": {"to_date": NOW_MS},
    "host": {"hosts": ("a.example",)},
    "path": {"paths": ("/api/x",)},
}


@pytest.mark.parametrize("members", UNMENTIONED.values(), ids=UNMENTIONED)
def test_a_rule_that_looks_runs_up_admits_a_filter_that_it_does_not_mention(members: dict[str, object]) -> None:
    """Beside what it does mention, which has to lie inside; a rule without a look-up admits none."""
    asked = filter_with({"workflow_urls": (f"{API}/",), **members})
    outside = filter_with({"workflow_urls": ("https://b.example/",), **members})
    assert permits(asked, looked_up(workflowUrl=BELOW))
    assert not permits(outside, looked_up(workflowUrl=BELOW))
    assert not permits(asked, allow(workflowUrl=BELOW))
    # Nor does one that is optional make a filter of fields that it does not know enough.
    assert not permits(filter_with(members), looked_up(workflowUrl=BELOW))
    assert not permits(filter_with(members), looked_up(workflowUrl=replace(BELOW, optional=True)))


@pytest.mark.parametrize("members", UNMENTIONED.values(), ids=UNMENTIONED)
def test_a_look_up_that_a_require_forces_admits_it_as_well(members: dict[str, object]) -> None:
    """The runs are matched here whichever rule has them looked up."""
    forced = replace(rule(Effect.REQUIRE, "q"), resolution=LOOKED_UP)
    assert permits(filter_with({"workflow_urls": (f"{API}/",), **members}), allow(workflowUrl=BELOW), forced)


def test_run_ids_are_no_filter() -> None:
    """A rule on filters admits no list of IDs, a rule on IDs no filter, and one about every run neither."""
    by_ids = looked_up(workflowRunIds=RunIdCondition(5), workflowUrl=BELOW)
    assert not permits(ByIds(("wfr_1",)), looked_up(workflowUrl=BELOW), everything(LOOKED_UP))
    assert not permits(ByFilter((API,), exact=True), by_ids, everything(LOOKED_UP))
    assert not permits(ByFilter(labels=("nightly",)), by_ids, everything(LOOKED_UP))
    assert permits(Everything(), everything(LOOKED_UP))


def test_where_runs_are_looked_up_an_exact_url_is_not_demanded() -> None:
    """The demand speaks of what is sent; in the forwarded reading it stands."""
    exact = rule(Effect.REQUIRE, "exact")
    exact = replace(exact, exact_match=True)
    prefix = ByFilter((f"{API}/",))
    assert permits(prefix, looked_up(workflowUrl=BELOW), exact)
    assert not permits(prefix, allow(workflowUrl=BELOW), exact)
    assert "workflowUrlExactMatch=true" in refusal(judge(prefix, allow(workflowUrl=BELOW), exact)).reason
    both = judge(prefix, allow("plain", workflowUrl=BELOW), replace(looked_up(workflowUrl=BELOW), id="z"), exact)
    assert isinstance(both, Permit)
    assert (both.rule, both.resolution) == ("p/z", LOOKED_UP)


def refusal(decision: Decision) -> Denial:
    assert isinstance(decision, Denial)
    return decision


@st.composite
def narrowed(draw: st.DrawFn) -> tuple[Rule, Filter, Filter]:
    """A rule that looks runs up, a filter by what it mentions, and the same with what it does not."""
    conditions = draw(filter_conditions())
    if draw(st.booleans()):
        conditions = {**conditions, **{field: draw(bounds(field)) for field in draw(st.sampled_from((HERE, ["host"])))}}
    one = replace(looked_up(**conditions), resolution=draw(resolutions))
    made = draw(st.one_of(fitting(replace(one, resolution=None)), requests())).selection
    more = draw(st.one_of(filters(), filters_here()))
    assume(isinstance(made, Filter) and made.carried <= one.conditions.keys())
    assert isinstance(made, Filter)
    names = ("workflow_urls", "exact", "from_date", "to_date", *MEMBERS.values())
    own = {"workflowUrl": names[:2], "created": names[2:4], **{field: (name,) for field, name in MEMBERS.items()}}
    further = {name: getattr(more, name) for field in more.carried - one.conditions.keys() for name in own[field]}
    return one, made, filter_with(further, of=made)


@thorough
@given(narrowed(), st.data())
def test_what_a_rule_does_not_mention_changes_nothing_but_narrows(
    case: tuple[Rule, Filter, Filter], data: st.DataObject
) -> None:
    """It is admitted where the filter without it is, and then chooses those of the same runs that it matches."""
    one, without, beside = case
    wide, narrow = judge(without, one), judge(beside, one)
    assert isinstance(narrow, Permit) is isinstance(wide, Permit)
    listed = tuple(data.draw(runs(run_id, data.draw(st.sampled_from((without, beside))))) for run_id in RUN_IDS)
    for run in listed:
        assert selects(beside, run) is meant(beside, run)
        assert selects(without, run) or not selects(beside, run)
    ends = [chosen(one, selection, permit, listed) for selection, permit in ((without, wide), (beside, narrow))]
    if all(isinstance(end, Resolved) for end in ends):
        reached, fewer = ({run.run_id for run in end.runs} for end in ends if isinstance(end, Resolved))
        assert fewer == {run.run_id for run in listed if run.run_id in reached and meant(beside, run)}


def chosen(one: Rule, selection: Filter, permit: Decision, listed: tuple[Run, ...]) -> Denial | Resolved:
    """What comes of a filter, with a count and bounds that leave nothing out."""
    if isinstance(permit, Denial):
        return permit
    request = ActionRequest(selection, 100)
    unbounded = permit._replace(resolution=Resolution(100), effective=request)
    return choose(policies(one), TEAM, request, unbounded, Listing(listed), NOW_MS)


# ---------------------------------------------------------------- host and path

RUNS = {
    "https://a.example/api": ("a.example", "/api"),
    "https://a.example/api?x=/y": ("a.example", "/api"),
    "https://a.example:8443/": ("a.example:8443", "/"),
    "http://[::1]:8080/a/b/": ("[::1]:8080", "/a/b/"),
    "https://a.example.evil/a%20b?http://a.example/": ("a.example.evil", "/a%20b"),
}


@pytest.mark.parametrize(("url", "place"), RUNS.items())
def test_a_run_is_matched_by_the_host_and_path_of_its_url(url: str, place: tuple[str, str]) -> None:
    """Byte for byte, with the port and without the query."""
    run = replace(RUN, workflow_url=url)
    assert (run.host, run.path) == place
    assert selects(ByFilterHere(hosts=(place[0],), paths=(place[1],)), run)
    assert [name for name, _ in RUNS.values() if selects(ByFilterHere(hosts=(name,)), run)] == [
        name for name, _ in RUNS.values() if name == place[0]
    ]
    assert not selects(ByFilterHere(hosts=("evil.example",), paths=(place[1],)), run)
    assert not selects(ByFilterHere(hosts=(place[0],), paths=(f"{place[1]}x",)), run)


def test_upstream_is_asked_for_neither() -> None:
    """The rest of the filter narrows what is read; host and path are matched afterwards."""
    beside = ByFilterHere(labels=("nightly",), hosts=("a.example",), paths=("/api",))
    assert narrowing(beside) == [("label", "nightly")]
    assert narrowing(ByFilterHere(hosts=("a.example",))) == []


@thorough
@given(rule_sets(), filters_here())
def test_a_host_or_path_is_never_forwarded(rules: tuple[Rule, ...], asked: Filter) -> None:
    """Without a rule that looks runs up it is refused, whatever the rules say, and a sentence says why."""
    rules = tuple(
        replace(one, conditions={**one.conditions, **MENTIONED} if draws(one) else one.conditions) for one in rules
    )
    assert NEVER_SENT in refusal(judge(asked, *rules)).reason


MENTIONED: dict[str, Condition] = {
    "host": ValueCondition("host", any=True, optional=True),
    "path": PathCondition("path", any=True, optional=True),
}


def draws(one: Rule) -> bool:
    """Whether a rule is to mention host and path too: no file can say so without a look-up."""
    return one.effect is Effect.ALLOW and "workflowRunIds" not in one.conditions and len(one.conditions) % 2 == 0


def test_a_refusal_without_any_rule_says_it_too() -> None:
    """As for a team that is allowed nothing; one that is refused for another reason is not told of look-ups."""
    asked = ByFilterHere(hosts=("a.example",))
    assert NEVER_SENT in refusal(judge(asked)).reason
    assert NEVER_SENT in refusal(judge(asked, looked_up(label=label("nightly")))).reason
    denied = judge(asked, looked_up(host=HOST), rule(Effect.DENY, "d", host=HOST))
    assert NEVER_SENT not in refusal(denied).reason


CONTAINED = [
    (HOST, ("a.example",), True),
    (HOST, ("a.example", "b.example"), False),
    (HOST, ("a.example:8443",), False),
    (HOST, ("a.example.evil",), False),
    (ValueCondition("host", any=True, optional=True), ("evil.example",), True),
    (PathCondition("path", frozenset(("/api",))), ("/api",), True),
    (PathCondition("path", frozenset(("/api",))), ("/api/x",), False),
    (PathCondition("path", prefix=("/api",)), ("/api", "/api/", "/api/x"), True),
    (PathCondition("path", prefix=("/api",)), ("/api-v2",), False),
    (PathCondition("path", prefix=("/api/",)), ("/api/x",), True),
    (PathCondition("path", prefix=("/api",)), ("/api/x", "/other"), False),
    (PathCondition("path", prefix=("/",)), ("/", "/api-v2"), True),
    (PathCondition("path", frozenset(("/x",)), prefix=("/api",)), ("/x", "/api/x"), True),
]


@pytest.mark.parametrize(("condition", "values", "inside"), CONTAINED)
@pytest.mark.parametrize("effect", ["allow", "require"])
def test_a_bound_on_host_or_path_holds_by_containment(
    condition: ValueCondition, values: tuple[str, ...], effect: str, *, inside: bool
) -> None:
    """Of the request's own field, in an `allow` and in a `require`; a path's prefix ends at a segment."""
    asked = filter_with({MEMBERS[condition.field]: values, "labels": ("nightly",)})
    rules = [looked_up(**{condition.field: condition})]
    if effect == "require":
        rules = [looked_up(label=label("nightly")), on(Effect.REQUIRE, condition)]
    assert permits(asked, *rules) is inside
    assert permits(ByFilter(labels=("nightly",)), *rules) is (effect == "require" and condition.optional)


@pytest.mark.parametrize(("condition", "values", "inside"), [one for one in CONTAINED if not one[0].any])
def test_a_deny_on_host_or_path_is_judged_on_a_url_that_is_named_exactly(
    condition: ValueCondition, values: tuple[str, ...], *, inside: bool
) -> None:
    """On what is sent, on the runs where they are looked up; and what names neither overlaps."""
    deny = on(Effect.DENY, condition)
    anything = UrlCondition(any=True, optional=True)
    for value in values:
        url = f"https://{value}/z?q" if condition.field == "host" else f"https://z.example{value}"
        site = f"https://{value}/" if condition.field == "host" else "https://z.example/"
        hit = condition.admits(value)
        assert hit or not inside
        assert permits(ByFilter((url,), exact=True), allow(workflowUrl=anything), deny) is not hit
        assert not permits(ByFilter((site,)), allow(workflowUrl=anything), deny)
        asked = filter_with({MEMBERS[condition.field]: (value,)})
        assert permits(asked, looked_up(**{condition.field: ANY[condition.field]}), deny) is not hit
        resolved = looked_up(workflowUrl=anything)
        permit = judge(ByFilter((site,)), resolved, deny)
        assert isinstance(permit, Permit)
        listing = Listing((replace(RUN, workflow_url=url),))
        end = choose(policies(resolved, deny), TEAM, permit.effective, permit, listing, NOW_MS)
        assert isinstance(end, Denial) is hit
    assert not permits(ByFilter(labels=("x",)), allow(label=ValueCondition("label", any=True, optional=True)), deny)


ANY: dict[str, ValueCondition] = {
    "host": ValueCondition("host", any=True, optional=True),
    "path": PathCondition("path", any=True, optional=True),
}


def test_a_require_on_a_host_is_judged_on_the_runs_that_ids_name() -> None:
    """An ID carries no host; its run does."""
    rules = (looked_up(workflowRunIds=RunIdCondition(5), workflowUrl=BELOW), rule(Effect.REQUIRE, "q", host=HOST))
    permit = judge(ByIds(("wfr_1",)), *rules)
    assert isinstance(permit, Permit)
    for url, covered in ((RUN.workflow_url, True), (RUN.workflow_url.replace("a.example", "a.example:8443"), False)):
        listing = Listing((replace(RUN, workflow_url=url),))
        end = choose(policies(*rules), TEAM, permit.effective, permit, listing, NOW_MS)
        assert isinstance(end, Resolved) is covered


def test_every_pool_of_these_tests_is_canonical() -> None:
    """Otherwise the laws above would speak of requests that nobody can make."""
    for field in HERE:
        assert filter_with({MEMBERS[field]: POOLS[field][:3]}).carried == {field}
