"""What a refusal proposes is part of what was asked: no bound that the caller gave is dropped, and none is widened."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.plan import Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Filter, Selection, filter_with
from gateway.core.run import Resolution, Run
from gateway.policy.conditions import Condition, CountCondition, CreatedCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.populations import resolving_sets, runs
from tests.core.rules import API, allow, label, urls
from tests.core.strategies import ALLOW_ALL, HOUR_MS, NOW_MS, POOLS, RUN_IDS, TEAM, counted, denies, fitting, policies
from tests.core.strategies import requests as any_requests
from tests.policy.test_independent_matcher import asked_for, thorough
from tests.policy.test_judgement_laws import from_wire

URL = UrlCondition(exact=frozenset((API,)))
LOOKED_UP = Resolution(50)


def refused(request: ActionRequest, *rules: Rule) -> Denial:
    """The refusal of a request that these rules do not admit."""
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    assert isinstance(decision, Denial)
    return decision


def upstream_selects(selection: Selection, run: Run) -> bool:
    """Whether upstream would cancel the run: as the gateway matches, but a prefix is any beginning of the text."""
    if not isinstance(selection, Filter) or selection.exact or not selection.workflow_urls:
        return asked_for(selection, run)
    begins = run.workflow_url.startswith(selection.workflow_urls)
    return begins and asked_for(replace(selection, workflow_urls=(run.workflow_url,), exact=True), run)


@st.composite
def loosened(draw: st.DrawFn, rule: Rule) -> ActionRequest:
    """A request near to a rule: fields left out, added, or with one value more than the rule admits."""
    request = draw(fitting(rule))
    if not isinstance(request.selection, Filter):
        ids = tuple(dict.fromkeys((*request.selection.ids, draw(st.sampled_from(RUN_IDS)))))  # type: ignore[union-attr]
        return counted(ByIds(ids), 1)
    asked = request.selection
    kind = draw(
        st.sampled_from(("prefix", "another URL", "no URL", "label", "key", "address", "dates", "end", "start"))
    )
    changes: dict[str, object] = {
        "prefix": {"exact": False, "workflow_urls": tuple(url.partition("?")[0] for url in asked.workflow_urls)},
        "another URL": {"workflow_urls": tuple(dict.fromkeys((*asked.workflow_urls, API)))},
        "no URL": {"workflow_urls": (), "exact": False, "labels": (*asked.labels, "other")},
        "label": {"labels": tuple(dict.fromkeys((*asked.labels, draw(st.sampled_from(POOLS["label"])))))},
        "key": {"flow_control_keys": tuple(dict.fromkeys((*asked.flow_control_keys, "k")))},
        "address": {"caller_ips": tuple(dict.fromkeys((*asked.caller_ips, "10.0.0.1")))},
        "dates": {"from_date": NOW_MS - 48 * HOUR_MS, "to_date": NOW_MS - draw(st.sampled_from((0, 30 * HOUR_MS)))},
        "end": {"from_date": None, "to_date": NOW_MS - HOUR_MS},
        "start": {"from_date": NOW_MS - 30 * HOUR_MS, "to_date": None},
    }[kind]  # type: ignore[assignment]
    try:
        return replace(request, selection=filter_with(changes, of=asked))
    except ValueError:  # no URL to ask for as a prefix
        return request


@st.composite
def asked(draw: st.DrawFn) -> tuple[tuple[Rule, ...], ActionRequest]:
    """Rules, and a request that some of them nearly admit."""
    rules = (*draw(resolving_sets()), *draw(st.lists(denies(), max_size=1)))
    near = draw(st.sampled_from([rule for rule in rules if rule.effect is Effect.ALLOW]))
    if not near.conditions or draw(st.integers(0, 4)) == 0:
        return rules, draw(any_requests())
    return rules, draw(loosened(near))


@thorough
@given(asked(), st.data())
def test_a_proposal_selects_nothing_that_was_not_asked_for(
    case: tuple[tuple[Rule, ...], ActionRequest], data: st.DataObject
) -> None:
    """However a prefix is matched, upstream or here; it asks for no more runs either, and it is permitted as shown."""
    rules, request = case
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    if not isinstance(decision, Denial) or decision.nearest is None:
        return
    proposed = from_wire(dict(decision.nearest))
    assert proposed.count <= request.count
    near = [data.draw(runs(run_id, proposed.selection)) for run_id in RUN_IDS]
    for run in (*near, *(data.draw(runs(run_id, request.selection)) for run_id in RUN_IDS)):
        assert asked_for(request.selection, run) or not asked_for(proposed.selection, run)
        assert upstream_selects(request.selection, run) or not upstream_selects(proposed.selection, run)
    permit = decide(policies(*rules), TEAM, proposed, NOW_MS)
    assert isinstance(permit, Permit)
    assert permit.effective == proposed


FULL = ByFilter(
    (API,),
    exact=True,
    from_date=NOW_MS - HOUR_MS,
    to_date=NOW_MS,
    caller_ips=("10.0.0.1",),
    flow_control_keys=("k",),
    labels=("nightly",),
)
ADMITS_FULL: dict[str, Condition] = {
    "workflowUrl": URL,
    "created": CreatedCondition(any=True, optional=True),
    "callerIp": ValueCondition("callerIp", any=True, optional=True),
    "flowControlKey": ValueCondition("flowControlKey", any=True, optional=True),
    "label": ValueCondition("label", any=True, optional=True),
}


@pytest.mark.parametrize("field", sorted(ADMITS_FULL))
def test_what_no_rule_mentions_is_never_left_out(field: str) -> None:
    """A request with a bound that the rule does not know: there is no proposal, and the sentence says why."""
    said = {name: condition for name, condition in ADMITS_FULL.items() if name != field}
    decision = refused(ActionRequest(FULL, 5), Rule("p", "r", Effect.ALLOW, said))
    assert decision.nearest is None
    name = "fromDate" if field == "created" else field
    assert f"it says nothing of {name}, and the request names '" in decision.reason
    assert "without it more runs would be selected" in decision.reason


@pytest.mark.parametrize("field", sorted(ADMITS_FULL))
def test_where_runs_are_looked_up_it_stays_in_the_proposal(field: str) -> None:
    """A request that only asks for too many is told the smaller one, with the bound that the rule does not know."""
    said = {name: condition for name, condition in ADMITS_FULL.items() if name != field}
    rule = Rule("p", "r", Effect.ALLOW, said, CountCondition(max=3), resolution=LOOKED_UP)
    asked = ActionRequest(FULL, 5)
    assert refused(asked, rule).nearest == {**asked.wire(), "count": 3}


@pytest.mark.parametrize(
    ("condition", "field"),
    [
        (UrlCondition(exact=frozenset(("https://b.example/x",))), "workflowUrl"),
        (UrlCondition(prefix=("https://b.example/x",)), "workflowUrl"),
        (label("batch"), "label"),
        (ValueCondition("flowControlKey", frozenset(("other",))), "flowControlKey"),
        (ValueCondition("callerIp", frozenset(("10.0.0.2",))), "callerIp"),
        (label("batch", optional=True), "label"),
        (UrlCondition(exact=frozenset(("https://b.example/x",)), optional=True), "workflowUrl"),
    ],
)
def test_a_value_is_never_replaced_by_another(condition: UrlCondition | ValueCondition, field: str) -> None:
    """Another workflow's or label's runs are other runs: the sentence says what the rule wants, and nothing is offered.

    Nor is a value left out that the rule would let a request leave out.
    """
    decision = refused(ActionRequest(FULL, 5), Rule("p", "r", Effect.ALLOW, {**ADMITS_FULL, field: condition}))
    assert decision.nearest is None
    assert f"it wants {field}: {condition.words()}" in decision.reason


START, END = NOW_MS - 30 * HOUR_MS, NOW_MS - HOUR_MS
DAY = CreatedCondition(24 * HOUR_MS)
SPAN = CreatedCondition(max_span_ms=6 * HOUR_MS)
BOTH = CreatedCondition(24 * HOUR_MS, 6 * HOUR_MS)
LATEST_START = NOW_MS - 24 * HOUR_MS + 60_000
DATES = {
    "the start moves, the end stays": ((START, END), DAY, (LATEST_START, END)),
    "an end alone gets a start": ((None, END), DAY, (LATEST_START, END)),
    "a start alone stays open": ((START, None), DAY, (LATEST_START, None)),
    "an end ahead of the clock is now": ((END, NOW_MS + HOUR_MS), DAY, (END, NOW_MS)),
    "a long span ends earlier": ((START, END), SPAN, (START, START + 6 * HOUR_MS)),
    "a span behind an end that is given": ((None, END), SPAN, (END - 6 * HOUR_MS, END)),
    "a span from a start that is given": ((START, None), SPAN, (START, START + 6 * HOUR_MS)),
    "both bounds": ((START, END), BOTH, (LATEST_START, LATEST_START + 6 * HOUR_MS)),
    "both bounds, an end alone": ((None, END), BOTH, (END - 6 * HOUR_MS, END)),
}


@pytest.mark.parametrize(("dates", "condition", "proposed"), DATES.values(), ids=DATES)
def test_a_window_of_time_only_shrinks(
    dates: tuple[int | None, int | None],
    condition: CreatedCondition,
    proposed: tuple[int, int | None],
) -> None:
    """Both dates that were given still bound the proposal."""
    asked = ByFilter((API,), exact=True, from_date=dates[0], to_date=dates[1])
    nearest = refused(ActionRequest(asked, 5), allow(workflowUrl=URL, created=condition)).nearest
    assert nearest is not None
    assert (nearest["fromDate"], nearest.get("toDate")) == proposed


@pytest.mark.parametrize(
    ("dates", "condition", "said"),
    [
        ((NOW_MS - 90 * HOUR_MS, NOW_MS - 80 * HOUR_MS), DAY, "fromDate within the last 1d"),
        ((None, NOW_MS - 80 * HOUR_MS), DAY, "fromDate within the last 1d"),
        ((NOW_MS + HOUR_MS, NOW_MS + 2 * HOUR_MS), DAY, "toDate"),
        ((NOW_MS - 90 * HOUR_MS, NOW_MS - 80 * HOUR_MS), BOTH, "fromDate and toDate at most 6h apart"),
    ],
)
def test_a_window_outside_the_rule_gets_words_and_no_proposal(
    dates: tuple[int | None, int | None], condition: CreatedCondition, said: str
) -> None:
    """Nothing of it could be allowed, and other days are other runs."""
    asked = ByFilter((API,), exact=True, from_date=dates[0], to_date=dates[1])
    decision = refused(ActionRequest(asked, 5), allow(workflowUrl=URL, created=condition))
    assert decision.nearest is None
    assert said in decision.reason


@pytest.mark.parametrize("asked_url", ["https://a.example/", "https://a.example/api/"])
@pytest.mark.parametrize("resolution", [None, LOOKED_UP])
def test_a_wide_prefix_is_answered_with_what_of_it_is_allowed(asked_url: str, resolution: Resolution | None) -> None:
    """A workflow below the prefix that was asked for is a part of it; one beside it is not."""
    inside, beside = f"{API}/x", "https://a.example/apis"
    exact = replace(allow(workflowUrl=UrlCondition(frozenset((inside, "https://0.example/")))), resolution=resolution)
    below = replace(allow(workflowUrl=UrlCondition(prefix=("https://0.example/", inside))), resolution=resolution)
    request = ActionRequest(urls(asked_url, exact=False), 5)
    assert refused(request, exact).nearest == {"workflowUrl": [inside], "workflowUrlExactMatch": True, "count": 5}
    assert refused(request, below).nearest == {"workflowUrl": [f"{inside}/"], "count": 5}
    narrower = ActionRequest(urls(f"{API}/", exact=False), 5)
    assert refused(narrower, allow(workflowUrl=UrlCondition(frozenset((beside,))))).nearest is None


def test_who_gave_no_bound_is_shown_one() -> None:
    """Whatever a rule allows is a part of everything, and a label alone is narrowed by a URL."""
    rule = allow(workflowUrl=URL, label=label("nightly", "batch"))
    full = {"workflowUrl": [API], "workflowUrlExactMatch": True, "label": ["batch"], "count": 5}
    assert refused(ActionRequest(Everything(), 5), rule).nearest == full
    named = ActionRequest(ByFilter(labels=("nightly",)), 5)
    assert refused(named, rule).nearest == {**full, "label": ["nightly"]}


def test_a_count_is_lowered_and_everything_else_stays_as_it_was_asked() -> None:
    """Whether an allow or a require bounds it."""
    few = CountCondition(max=3)
    for rules in ((Rule("g", "few", Effect.REQUIRE, {}, few), *ALLOW_ALL), (replace(ALLOW_ALL[0], count=few),)):
        assert refused(ActionRequest(FULL, 5), *rules).nearest == ActionRequest(FULL, 3).wire()
