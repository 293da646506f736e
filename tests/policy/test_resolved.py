"""The resolved reading, case by case: what is judged at the request, what on the runs, and what is said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.plan import Denial, Narrowing, Permit
from gateway.core.request import ByFilter, ByIds, Everything, Selection
from gateway.core.run import CANCELLED, Listing, Resolution, Resolved, Run, Skip
from gateway.policy.choose import choose
from gateway.policy.conditions import Condition, CountCondition, CreatedCondition, RunIdCondition, UrlCondition
from gateway.policy.model import Effect, Rule, TeamException
from tests.core.populations import everything
from tests.core.rules import API, allow, judge, label, rule, urls
from tests.core.strategies import HOUR_MS, NOW_MS, TEAM, counted, policies

BELOW_API = UrlCondition(prefix=(API,))
OLD_MS = NOW_MS - 2 * HOUR_MS


def looked_up(which: Rule, most: int | None = 100, older_than_ms: int = 0) -> Rule:
    return replace(which, resolution=Resolution(most, older_than_ms))


def run(run_id: str, url: str = API, created_ms: int = OLD_MS, **others: object) -> Run:
    return Run(run_id, url, created_ms, **others)  # type: ignore[arg-type]


def end(selection: Selection, found: list[Run], *rules: Rule, count: int = 100) -> Resolved | Denial:
    """What comes of a request whose look-up found these runs."""
    judged = judge(selection, *rules, count=count)
    if isinstance(judged, Denial):
        return judged
    request = counted(selection, count)
    return choose(policies(*rules), TEAM, request, judged, Listing(tuple(found)), NOW_MS)


def ids(ended: Resolved | Denial) -> list[str]:
    assert isinstance(ended, Resolved), ended
    return [run.run_id for run in ended.runs]


@pytest.mark.parametrize(
    ("rule_prefix", "asked", "permitted"),
    [
        ("/api", "/api", True),
        ("/api", "/api/", True),
        ("/api/", "/api", True),
        ("/api/", "/api/", True),
        ("/api", "/api/x", True),
        ("/api/", "/api/x/", True),
        ("/api", "/", False),
        ("/api", "/ap", False),
        ("/api", "/api-v2", False),
        ("/api/x", "/api", False),
        ("", "/", True),
    ],
)
def test_a_prefix_means_its_segment_subtree_and_a_wider_one_is_refused(
    rule_prefix: str, asked: str, permitted: bool
) -> None:
    """With or without the final slash, in the rule and in the request; never intersected."""
    own = looked_up(allow(workflowUrl=UrlCondition(prefix=(f"https://a.example{rule_prefix}",))))
    decision = judge(urls(f"https://a.example{asked}", exact=False), own)
    assert isinstance(decision, Permit) is permitted


def test_a_prefix_cancels_the_page_and_what_lies_below_and_no_neighbour() -> None:
    """The neighbour, the same page with a query and another host stay."""
    below = ["/api", "/api/", "/api/x", "/api/x/y?z=1"]
    beside = ["/api-v2", "/api?q=1", "/ap", "/"]
    found = [run(f"wfr_{number}", f"https://a.example{path}") for number, path in enumerate(below + beside)]
    found.append(run("wfr_evil", "https://a.example.evil/api"))
    own = looked_up(allow(workflowUrl=BELOW_API))
    for asked in (API, f"{API}/"):
        assert ids(end(urls(asked, exact=False), found, own)) == ["wfr_0", "wfr_1", "wfr_2", "wfr_3"]


def test_the_same_request_is_still_refused_where_it_would_be_forwarded() -> None:
    """Without resolve a prefix has no boundary, so it needs the final slash."""
    assert isinstance(judge(urls(API, exact=False), allow(workflowUrl=BELOW_API)), Denial)


def test_of_both_readings_the_larger_count_counts_and_then_the_name() -> None:
    """A direct and a resolving rule compete as any two."""
    direct = allow("a", CountCondition(cap=5), workflowUrl=BELOW_API)
    resolving = looked_up(allow("b", CountCondition(cap=9), workflowUrl=BELOW_API))
    decisions = [
        judge(urls(API), direct, resolving),
        judge(urls(API), replace(direct, count=None), replace(resolving, count=None)),
    ]
    assert [(decision.rule, getattr(decision, "resolution", None) is not None) for decision in decisions] == [
        ("p/b", True),
        ("p/a", False),
    ]


def test_a_require_of_resolve_joins_its_bounds_and_forces_direct_rules() -> None:
    """The smallest maximum and the longest age of all count; an excepted team goes on as before and it is recorded."""
    own = allow(workflowUrl=BELOW_API)
    forced = [
        looked_up(rule(Effect.REQUIRE, "a"), 50, HOUR_MS),
        looked_up(rule(Effect.REQUIRE, "b"), 80, 2 * HOUR_MS),
    ]
    decision = judge(urls(API), own, *forced)
    assert isinstance(decision, Permit)
    assert decision.resolution == Resolution(50, 2 * HOUR_MS)
    excepted = [replace(one, excepted=(TeamException(TEAM.team, ticket="OPS-1"),)) for one in forced]
    decision = judge(urls(API), own, *excepted)
    assert isinstance(decision, Permit)
    assert decision.resolution is None
    assert decision.exceptions == ("p/a: billing (ticket OPS-1)", "p/b: billing (ticket OPS-1)")


def test_a_deny_on_what_the_request_does_not_say_is_judged_on_the_runs() -> None:
    """Run IDs and other fields no longer overlap everything; one run that it is about refuses all, by name."""
    own = looked_up(allow(workflowUrl=BELOW_API))
    deny = rule(Effect.DENY, "d", label=label("prod"))
    harmless, prod = run("wfr_1", labels=("night",)), run("wfr_2", labels=("night", "prod"))
    assert ids(end(urls(API), [harmless, run("wfr_3")], own, deny)) == ["wfr_1", "wfr_3"]
    refused = end(urls(API), [harmless, prod], own, deny)
    assert isinstance(refused, Denial)
    assert (refused.rule, "wfr_2" in refused.reason, "Nothing was sent" in refused.reason) == ("p/d", True, True)
    said = end(urls(API), [prod], own, replace(deny, message="Production stays."))
    assert isinstance(said, Denial)
    assert said.reason.startswith("Production stays.")


@pytest.mark.parametrize(
    ("condition", "denied"),
    [
        ({"workflowUrl": UrlCondition(prefix=(f"{API}/x/",))}, True),
        ({"workflowUrl": UrlCondition(frozenset((f"{API}/x",)))}, True),
        ({"workflowUrl": UrlCondition(prefix=(f"{API}/y",))}, False),
        ({"workflowRunIds": RunIdCondition(prefix=("wfr_p_",))}, True),
        ({"created": CreatedCondition(HOUR_MS)}, False),
        ({"created": CreatedCondition(3 * HOUR_MS)}, True),
        ({"callerIp": replace(label("10.0.0.1"), field="callerIp")}, False),
        ({"label": label("prod"), "created": CreatedCondition(HOUR_MS)}, False),
        ({}, True),
    ],
)
def test_a_deny_is_judged_by_the_runs_own_fields(condition: dict[str, Condition], denied: bool) -> None:
    """A field that the run does not have does not match; a final slash does not save it; all conditions must match."""
    own = looked_up(allow(label=label("prod")))
    found = [run("wfr_p_1", f"{API}/x", labels=("prod",))]
    ended = end(ByFilter(labels=("prod",)), found, own, rule(Effect.DENY, "d", None, **condition))
    assert isinstance(ended, Denial) is denied


def test_a_deny_of_another_kind_of_request_says_nothing_about_the_runs() -> None:
    """`selects` is about how was asked; the runs cannot be blamed for it."""
    own = looked_up(allow(workflowUrl=BELOW_API))
    deny = replace(rule(Effect.DENY, "d"), selects=frozenset(("everything",)))
    assert ids(end(urls(API), [run("wfr_1")], own, deny)) == ["wfr_1"]
    assert isinstance(judge(Everything(), everything(Resolution(9)), deny), Denial)


@pytest.mark.parametrize(("ahead_ms", "inside"), [(0, True), (60_000, True), (60_001, False), (10**12, False)])
def test_a_run_of_the_future_is_none_of_the_last_while(ahead_ms: int, inside: bool) -> None:
    """It may be as far ahead as a `toDate` may, and no farther; a deny of recent runs is about it all the same."""
    recent = CreatedCondition(HOUR_MS)
    asked = ByFilter(labels=("prod",), from_date=NOW_MS - HOUR_MS)
    found = [run("wfr_1", created_ms=NOW_MS + ahead_ms, labels=("prod",))]
    assert isinstance(end(asked, found, looked_up(allow(label=label("prod"), created=recent))), Resolved) is inside
    own = looked_up(allow(label=label("prod"), created=CreatedCondition(any=True, optional=True)))
    require = rule(Effect.REQUIRE, "q", created=recent)
    assert isinstance(end(asked, found, own, require), Resolved) is inside
    without_date = ByFilter(labels=("prod",))
    assert isinstance(end(without_date, found, own, rule(Effect.DENY, "d", created=recent)), Denial)


BY_ID = looked_up(allow("own", workflowRunIds=RunIdCondition(5), workflowUrl=BELOW_API))


STRANGE = "wfr_2: there is no such run that rule p/own covers. Nothing was sent."


def test_run_ids_must_lie_in_the_url_of_the_rule() -> None:
    """Whose run an ID names is looked up; one outside refuses all and is named."""
    assert ids(end(ByIds(("wfr_2", "wfr_1")), [run("wfr_2"), run("wfr_1")], BY_ID)) == ["wfr_1", "wfr_2"]
    refused = end(ByIds(("wfr_1", "wfr_2")), [run("wfr_1"), run("wfr_2", f"{API}-v2")], BY_ID)
    assert isinstance(refused, Denial)
    assert (refused.rule, refused.reason) == ("p/own", STRANGE)


OTHERS = run("wfr_2", f"{API}-v2")


@pytest.mark.parametrize(
    "others",
    [
        [],
        [OTHERS],
        [replace(OTHERS, state=CANCELLED)],
        [replace(OTHERS, created_ms=NOW_MS)],
        [replace(OTHERS, labels=("prod",))],
        [replace(OTHERS, created_ms=NOW_MS, labels=("prod",), state=CANCELLED)],
    ],
    ids=["none", "running", "finished", "young", "denied", "all of it"],
)
def test_nobody_learns_which_ids_others_have(others: list[Run]) -> None:
    """An ID of nobody, and one of others in whatever state and of whatever age, are refused alike."""
    own = looked_up(BY_ID, older_than_ms=HOUR_MS)
    rules = (own, rule(Effect.DENY, "d", label=label("prod")), rule(Effect.REQUIRE, "q", label=label("night")))
    refused = end(ByIds(("wfr_1", "wfr_2")), [run("wfr_1", labels=("night",)), *others], *rules)
    assert isinstance(refused, Denial)
    assert (refused.rule, refused.reason) == ("p/own", STRANGE)


KEPT = run("wfr_2", labels=("prod",))


@pytest.mark.parametrize(
    "kept",
    [replace(KEPT, state=CANCELLED), replace(KEPT, created_ms=NOW_MS), KEPT],
    ids=["finished", "young", "due"],
)
def test_a_deny_about_a_run_that_is_named_refuses_whatever_its_state_and_age(kept: Run) -> None:
    """It is judged before anything is told of the run."""
    found = [run("wfr_1"), kept]
    which = looked_up(BY_ID, older_than_ms=HOUR_MS)
    refused = end(ByIds(("wfr_1", "wfr_2")), found, which, rule(Effect.DENY, "d", label=label("prod")))
    assert isinstance(refused, Denial)
    assert refused.rule == "p/d"


def test_finished_runs_are_skipped_and_named_and_unknown_ones_refuse() -> None:
    """Nothing is left to stop of the first; of the second nobody knows whose they are."""
    found = [run("wfr_1"), run("wfr_2", state=CANCELLED)]
    ended = end(ByIds(("wfr_1", "wfr_2")), found, BY_ID)
    assert (ids(ended), getattr(ended, "skipped", None)) == (["wfr_1"], {Skip.FINISHED: ("wfr_2",)})
    refused = end(ByIds(("wfr_1", "wfr_9")), found, BY_ID)
    assert isinstance(refused, Denial)
    assert refused.reason == STRANGE.replace("wfr_2", "wfr_9")


def test_a_require_on_other_fields_is_judged_on_the_runs_that_ids_name() -> None:
    """It was refused for being absent when IDs could not be looked up; an optional one asks nothing of IDs."""
    require = rule(Effect.REQUIRE, "q", label=label("night"))
    night, day = run("wfr_1", labels=("night",)), run("wfr_2", labels=("day",))
    assert ids(end(ByIds(("wfr_1",)), [night], BY_ID, require)) == ["wfr_1"]
    refused = end(ByIds(("wfr_1", "wfr_2")), [night, day], BY_ID, require)
    assert isinstance(refused, Denial)
    assert (refused.rule, "wfr_2" in refused.reason) == ("p/q", True)
    optional = rule(Effect.REQUIRE, "q", label=label("night", optional=True))
    assert ids(end(ByIds(("wfr_2",)), [day], BY_ID, optional)) == ["wfr_2"]


def test_a_span_of_two_dates_cannot_be_left_to_runs() -> None:
    """A run has one date; so the require refuses IDs as before."""
    require = rule(Effect.REQUIRE, "q", created=CreatedCondition(max_span_ms=HOUR_MS))
    assert isinstance(judge(ByIds(("wfr_1",)), BY_ID, require), Denial)


def test_a_rule_on_ids_admits_no_filter_by_its_url() -> None:
    """`workflowUrl` beside run IDs says what their runs must have, and nothing else."""
    open_ids = replace(
        BY_ID, conditions={"workflowRunIds": RunIdCondition(any=True, optional=True), "workflowUrl": BELOW_API}
    )
    assert isinstance(judge(urls(API), open_ids), Denial)


def test_the_maximum_is_compared_before_the_count() -> None:
    """Three left and a count of one: refused where two may be left, the oldest where three may."""
    found = [run(f"wfr_{number}", created_ms=OLD_MS - number) for number in range(3)]
    refused = end(urls(API), found, looked_up(allow("own", workflowUrl=BELOW_API), 2), count=1)
    assert isinstance(refused, Denial)
    assert refused.rule == "p/own"
    assert "3 runs (wfr_2, wfr_1, wfr_0)" in refused.reason
    ended = end(urls(API), found, looked_up(allow(workflowUrl=BELOW_API), 3), count=1)
    assert ids(ended) == ["wfr_2"]
    assert isinstance(ended, Resolved)
    assert ended.skipped == {Skip.BEYOND_COUNT: ("wfr_1", "wfr_0")}


def test_young_runs_are_left_out_before_anything_refuses() -> None:
    """A run that has just begun is neither denied nor counted; it is named."""
    deny = rule(Effect.DENY, "d", label=label("prod"))
    young = run("wfr_young", created_ms=NOW_MS - HOUR_MS + 1, labels=("prod",))
    due = run("wfr_due", created_ms=NOW_MS - HOUR_MS)
    ended = end(urls(API), [young, due], looked_up(allow(workflowUrl=BELOW_API), 1, HOUR_MS), deny)
    assert ids(ended) == ["wfr_due"]
    assert isinstance(ended, Resolved)
    assert ended.skipped == {Skip.YOUNG: ("wfr_young",)}


def test_rules_in_shadow_mode_are_judged_at_the_request_and_not_on_the_runs() -> None:
    """A shadow require that would look runs up is named; a shadow deny refuses no run."""
    own, forced = allow(workflowUrl=BELOW_API), looked_up(rule(Effect.REQUIRE, "look"))
    decision = judge(urls(API), own, replace(forced, shadow=True))
    assert isinstance(decision, Permit)
    assert (decision.resolution, decision.shadow, decision.decided) == (None, "p/look", "permit")
    deny = replace(rule(Effect.DENY, "d", label=label("prod")), shadow=True)
    assert ids(end(urls(API), [run("wfr_1", labels=("prod",))], looked_up(own), deny)) == ["wfr_1"]


def test_a_rule_that_is_gone_refuses_the_runs() -> None:
    """A permit of policies that were replaced is worth nothing."""
    own = looked_up(allow("own", workflowUrl=BELOW_API))
    permit = judge(urls(API), own)
    assert isinstance(permit, Permit)
    found = Listing((run("wfr_1"),))
    other = policies(looked_up(allow("other", workflowUrl=BELOW_API)))
    assert isinstance(choose(other, TEAM, counted(urls(API), 1), permit, found, NOW_MS), Denial)
    assert isinstance(choose(policies(own), TEAM, counted(urls(API), 1), permit, found, NOW_MS), Resolved)


def capped(which: Rule, most: int) -> Rule:
    return replace(which, resolution=Resolution(cap=most))


def test_a_cap_on_runs_takes_as_many_and_leaves_the_rest() -> None:
    """Where `max` would refuse, `cap` narrows, and the decision says which key of which rule did it."""
    own = capped(allow(workflowUrl=BELOW_API), 2)
    found = [run(f"wfr_{number}", created_ms=OLD_MS + number) for number in range(5)]
    decision = judge(urls(API), own)
    assert isinstance(decision, Permit)
    assert (decision.effective.count, decision.narrowing) == (2, Narrowing("runs", "p/r"))
    ended = end(urls(API), found, own)
    assert ids(ended) == ["wfr_0", "wfr_1"]
    assert isinstance(ended, Resolved)
    assert ended.skipped == {Skip.BEYOND_COUNT: ("wfr_2", "wfr_3", "wfr_4")}
    assert ended.more


def test_a_list_of_run_ids_is_never_cut_by_a_cap_on_runs() -> None:
    """Above it the list is refused."""
    own = capped(allow(workflowRunIds=RunIdCondition(), workflowUrl=BELOW_API), 2)
    assert isinstance(judge(ByIds(("wfr_1", "wfr_2")), own), Permit)
    refused = judge(ByIds(("wfr_1", "wfr_2", "wfr_3")), own)
    assert isinstance(refused, Denial)
    assert "at most 2 run IDs" in refused.reason


def test_of_several_rules_with_a_cap_the_largest_wins_and_a_require_lowers_it() -> None:
    """The smallest cap of a `require` counts beside the largest of the `allow` rules."""
    small, large = (capped(allow(name, workflowUrl=BELOW_API), most) for name, most in (("a", 5), ("b", 9)))
    decision = judge(urls(API), small, large)
    assert isinstance(decision, Permit)
    assert (decision.rule, decision.effective.count) == ("p/b", 9)
    decision = judge(urls(API), small, large, capped(rule(Effect.REQUIRE, "q"), 7))
    assert isinstance(decision, Permit)
    assert (decision.rule, decision.effective.count, decision.narrowing) == ("p/b", 7, Narrowing("runs", "p/q"))


def test_beside_a_cap_a_maximum_of_another_rule_still_refuses() -> None:
    """`max` speaks of every run that matches, whatever another rule would take of them."""
    own = capped(allow(workflowUrl=BELOW_API), 2)
    guard = looked_up(rule(Effect.REQUIRE, "q"), 3)
    found = [run(f"wfr_{number}") for number in range(4)]
    assert ids(end(urls(API), found[:3], own, guard)) == ["wfr_0", "wfr_1"]
    assert isinstance(end(urls(API), found, own, guard), Denial)
