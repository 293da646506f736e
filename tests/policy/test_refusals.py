"""What a refused person reads: what was wrong, and the nearest that would have been allowed."""

from __future__ import annotations

import pytest

from gateway.core.plan import Decision, Denial, Permit
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Selection
from gateway.policy.conditions import CountCondition, RunIdCondition, UrlCondition
from gateway.policy.model import Effect, Rule
from tests.core.rules import API, allow, judge, label, permits, urls


def denial(decision: Decision) -> Denial:
    assert isinstance(decision, Denial)
    return decision


def test_a_refused_everything_is_told_what_it_would_have_done_and_what_to_name() -> None:
    """By default the runs or the workflow; with a message of the rule, the message."""
    plain = denial(judge(Everything(), allow(label=label("a"))))
    assert "every run of the account" in plain.reason
    assert "workflowRunIds" in plain.reason
    deny = Rule("g", "everything", Effect.DENY, {}, selects=frozenset(("everything",)), message="Name the runs.")
    told = denial(judge(Everything(), allow(workflowUrl=UrlCondition(exact=frozenset((API,)))), deny))
    assert "every run of the account" in told.reason
    assert "Name the runs." in told.reason
    assert told.rule == "g/everything"
    assert told.nearest == {"workflowUrl": [API], "workflowUrlExactMatch": True, "count": 100}
    assert API in told.reason


@pytest.mark.parametrize(
    ("selection", "count", "nearest"),
    [
        (urls(API, exact=False), 100, {"workflowUrl": [API], "workflowUrlExactMatch": True, "count": 50}),
        (urls(API, "https://b.example/"), 9, {"workflowUrl": [API], "workflowUrlExactMatch": True, "count": 9}),
        (ByFilter((API,), exact=True, labels=("nightly", "x")), 9,
         {"workflowUrl": [API], "workflowUrlExactMatch": True, "label": ["nightly"], "count": 9}),
        (ByIds(("wfr_a", "y", "wfr_b", "wfr_c")), 4, {"workflowRunIds": ["wfr_a", "wfr_b"]}),
    ],
)  # fmt: skip
def test_the_nearest_is_the_request_bent_as_little_as_possible(selection: Selection, count: int, nearest: dict) -> None:
    """What fits stays; what does not is left out or replaced; the count is one that would be sent."""
    rules = (
        allow("url", CountCondition(cap=50), workflowUrl=UrlCondition(exact=frozenset((API,))),
              label=label("nightly", optional=True)),
        allow("ids", workflowRunIds=RunIdCondition(2, ("wfr_",))),
    )  # fmt: skip
    assert denial(judge(selection, *rules, count=count)).nearest == nearest


def test_the_nearest_of_an_exact_url_that_ends_in_a_slash_is_exact() -> None:
    """An exact rule for `…/api/` proposes that URL with the exact flag."""
    refused = denial(
        judge(urls(f"{API}/", exact=False), allow(workflowUrl=UrlCondition(exact=frozenset((f"{API}/",)))))
    )
    assert refused.nearest == {"workflowUrl": [f"{API}/"], "workflowUrlExactMatch": True, "count": 100}


def test_a_request_is_judged_as_asked_and_not_as_the_rules_would_like_it() -> None:
    """A wider request is refused, never intersected with what is allowed."""
    listed = allow(workflowUrl=UrlCondition(exact=frozenset((API,))), label=label("a", optional=True))
    assert not permits(ByFilter(labels=("a",)), listed)
    assert not permits(urls("https://a.example/", exact=False), listed)
    permit = judge(urls(API), listed)
    assert isinstance(permit, Permit)
    assert permit.effective == ActionRequest(urls(API), 100)


def test_a_prefix_without_its_slash_is_offered_with_it() -> None:
    """A client that can only ask by prefix is told the prefix that would be allowed."""
    below = allow(workflowUrl=UrlCondition(prefix=(API,)))
    denied = denial(judge(urls(API, exact=False), below, count=5))
    assert denied.nearest == {"workflowUrl": [f"{API}/"], "count": 5}


def test_who_named_single_runs_is_not_sent_to_a_filter() -> None:
    """Under 2026-09 a filter's count bounds nothing: the proposal for one foreign ID may not be all runs of a URL."""
    own = allow("ids", workflowRunIds=RunIdCondition(prefix=("wfr_own_",)))
    filtered = allow("url", workflowUrl=UrlCondition(exact=frozenset((API,))))
    assert denial(judge(ByIds(("wfr_other",)), own, filtered, count=1)).nearest is None


def test_a_proposal_of_run_ids_can_be_sent_as_it_is_shown() -> None:
    """Nothing may stand beside run IDs, so nothing does in the proposal."""
    own = allow("ids", workflowRunIds=RunIdCondition(max=1, prefix=("wfr_",)))
    assert denial(judge(ByIds(("wfr_a", "wfr_b")), own, count=2)).nearest == {"workflowRunIds": ["wfr_a"]}
