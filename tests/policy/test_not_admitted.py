"""A refusal names the field or value that was not admitted, of the rule that came nearest, and whom to ask."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given

from gateway.core.plan import Denial, NotAdmitted, Owner
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Selection
from gateway.core.run import Resolution
from gateway.policy.conditions import CountCondition, CreatedCondition, RunIdCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.nearest import MOST
from gateway.policy.window import Window
from tests.core.rules import API, allow, judge, label, urls
from tests.core.strategies import HOUR_MS, NOW_MS, TEAM, counted, policies
from tests.policy.test_judgement_laws import judged
from tests.support.steps import steps

URL = UrlCondition(exact=frozenset((API,)))
BELOW = UrlCondition(prefix=("https://a.example/api",))
IDS = RunIdCondition(2, ("wfr_a_",))
DAY = CreatedCondition(24 * HOUR_MS)
SPAN = CreatedCondition(max_span_ms=6 * HOUR_MS)
NOW = CreatedCondition(24 * HOUR_MS, 6 * HOUR_MS)


def denied(selection: Selection, *rules: Rule, count: int = 9, now_ms: int = NOW_MS) -> Denial:
    decision = decide(policies(*rules), TEAM, counted(selection, count), now_ms)
    assert isinstance(decision, Denial)
    return decision


def since(start: int | None, end: int | None = None) -> ByFilter:
    return ByFilter(from_date=start, to_date=end)


REASONS: dict[str, tuple[Selection, int, Rule, str, str | None, str]] = {
    "another URL": (urls("https://b.example/x"), 9, allow(workflowUrl=URL), "workflowUrl", "https://b.example/x",
                    f"it wants workflowUrl: exactly {API}, but 'https://b.example/x' is not among them"),
    "the second URL": (urls(API, "https://b.example/x"), 9, allow(workflowUrl=URL), "workflowUrl",
                       "https://b.example/x", "'https://b.example/x' is not among them"),
    "not exact": (urls(API, exact=False), 9, allow(workflowUrl=URL), "workflowUrl", API,
                  f"'{API}' is asked as a prefix: add workflowUrlExactMatch=true."),
    "wrong prefix": (urls("https://b.example/api/", exact=False), 9, allow(workflowUrl=BELOW), "workflowUrl",
                     "https://b.example/api/", "'https://b.example/api/' as a prefix is not among them"),
    "no boundary": (urls(API, exact=False), 9, allow(workflowUrl=BELOW), "workflowUrl", API,
                    "add workflowUrlExactMatch=true, or end it with '/'"),
    "label": (ByFilter(labels=("nightly", "weekly")), 9, allow(label=label("nightly", "batch")), "label", "weekly",
              "it wants label: batch or nightly, but label 'weekly' is not among them"),
    "address": (ByFilter(caller_ips=("10.0.0.1",)), 9,
                allow(callerIp=ValueCondition("callerIp", frozenset(("10.0.0.2",)))), "callerIp", "10.0.0.1",
                "callerIp '10.0.0.1' is not among them"),
    "missing": (urls(API), 9, allow(workflowUrl=URL, label=label("nightly")), "label", None,
                "it wants label: nightly, but the request names no label"),
    "no URL": (ByFilter(labels=("nightly",)), 9, allow(workflowUrl=URL, label=label("nightly")), "workflowUrl", None,
               "but the request names no workflowUrl"),
    "not mentioned": (ByFilter((API,), exact=True, labels=("x",)), 9, allow(workflowUrl=URL), "label", "x",
                      "it says nothing of label, and the request names 'x'"),
    "date not mentioned": (ByFilter((API,), exact=True, to_date=NOW_MS), 9, allow(workflowUrl=URL), "toDate",
                           str(NOW_MS), "it says nothing of toDate, and the request names '"),
    "count": (urls(API), 51, allow(count=CountCondition(max=50), workflowUrl=URL), "count", "51",
              "it wants count at most 50, but the request asks for 51."),
    "count left out": (urls(API), 100, allow(count=CountCondition(max=50), workflowUrl=URL), "count", "100",
                       "but the request asks for 100, as one without a count does"),
    "no date": (urls(API), 9, allow(workflowUrl=URL, created=DAY), "fromDate", None, "names no fromDate or toDate"),
    "only toDate": (since(None, NOW_MS), 9, allow(created=DAY), "fromDate", None, "the request names no fromDate"),
    "too early": (since(NOW_MS - 25 * HOUR_MS), 9, allow(created=DAY), "fromDate", str(NOW_MS - 25 * HOUR_MS),
                  f"fromDate within the last 1d, but fromDate {NOW_MS - 25 * HOUR_MS} is earlier"),
    "in the future": (since(NOW_MS, NOW_MS + HOUR_MS), 9, allow(created=DAY), "toDate", str(NOW_MS + HOUR_MS),
                      "lies in the future"),
    "no end": (since(NOW_MS), 9, allow(created=NOW), "toDate", None, "the request names no toDate"),
    "too long": (since(NOW_MS - 7 * HOUR_MS, NOW_MS), 9, allow(created=SPAN), "toDate", str(NOW_MS),
                 "are further apart"),
    "run ID prefix": (ByIds(("wfr_a_1", "wfr_b_1")), 2, allow(workflowRunIds=IDS), "workflowRunIds", "wfr_b_1",
                      "at most 2 IDs beginning with wfr_a_, but 'wfr_b_1' begins otherwise"),
    "too many IDs": (ByIds(("wfr_a_1", "wfr_a_2", "wfr_a_3")), 3, allow(workflowRunIds=IDS), "workflowRunIds", "3",
                     "but the request names 3"),
    "IDs above the cap": (ByIds(("wfr_a_1", "wfr_a_2")), 2,
                          allow(count=CountCondition(cap=1), workflowRunIds=IDS), "workflowRunIds", "2",
                          "it wants at most 1 run IDs, but the request names 2"),
    "IDs under a filter": (ByIds(("wfr_a_1",)), 1, allow(workflowUrl=URL), "workflowRunIds", "wfr_a_1",
                           "it says nothing of workflowRunIds, and the request names 'wfr_a_1'"),
    "a filter under IDs": (urls(API), 9, allow(workflowRunIds=IDS), "workflowRunIds", None,
                           "it wants runs named by ID (workflowRunIds: at most 2 IDs beginning with wfr_a_)"),
}  # fmt: skip


@pytest.mark.parametrize(("selection", "count", "rule", "field", "value", "said"), REASONS.values(), ids=REASONS)
def test_every_reason_names_the_field_and_the_value(
    selection: Selection, count: int, rule: Rule, field: str, value: str | None, said: str
) -> None:
    """As words for a person, and as `not_admitted` for a program."""
    refused = denied(selection, rule, count=count)
    assert refused.rule is None
    assert refused.reason.startswith(f"No rule of your team allows this request. Rule {rule.name} comes nearest: ")
    assert said in refused.reason
    assert refused.not_admitted == NotAdmitted(rule.name, field, value)


@pytest.mark.parametrize(("selection", "count", "rule", "field", "value", "said"), REASONS.values(), ids=REASONS)
def test_a_require_names_them_too(
    selection: Selection, count: int, rule: Rule, field: str, value: str | None, said: str
) -> None:
    """What a `require` does not let through is said with what the request has instead."""
    del said
    require = replace(rule, effect=Effect.REQUIRE, policy="g")
    if field in ("label", "toDate") and set(rule.conditions) == {"workflowUrl"}:
        return
    refused = denied(selection, require, count=count)
    assert refused.not_admitted is not None
    if selection.kind == ("run_ids" if "workflowRunIds" in rule.conditions else "filter"):
        assert refused.not_admitted == NotAdmitted(require.name, field, value)
    assert refused.reason.startswith(f"Rule {require.name} requires ")
    assert value is None or value in refused.reason or require.conditions.keys().isdisjoint(selection.carried)


def test_a_missing_reason_and_an_inexact_url_are_named() -> None:
    """The two conditions that only a `require` has."""
    why = Rule("g", "why", Effect.REQUIRE, {}, reason_required=True)
    refused = denied(urls(API), why, allow(workflowUrl=URL))
    assert refused.not_admitted == NotAdmitted("g/why", "Gateway-Reason", None)
    assert "Gateway-Reason" in refused.reason
    exact = Rule("g", "exact", Effect.REQUIRE, {}, exact_match=True)
    refused = denied(urls(API, exact=False), exact, allow(workflowUrl=URL))
    assert refused.not_admitted == NotAdmitted("g/exact", "workflowUrlExactMatch", None)
    assert f"'{API}' is asked as a prefix" in refused.reason


def test_a_closed_window_is_named_with_what_else_does_not_fit() -> None:
    """The rule that is about these runs comes nearer than an open one about others."""
    closed = replace(allow("later", workflowUrl=URL), during=Window(from_ms=NOW_MS + 1))
    other = allow("other", workflowUrl=UrlCondition(exact=frozenset(("https://b.example/x",))))
    assert denied(urls(API), closed, other).not_admitted == NotAdmitted("p/later", "during", None)
    refused = denied(ByFilter((API,), exact=True, labels=("x",)), closed, other)
    assert "Rule p/later comes nearest: it says nothing of label" in refused.reason
    assert "it holds only during from" in refused.reason


def test_a_deny_says_what_it_is_about() -> None:
    """Which runs are meant, and that a request which leaves the field open may reach them."""
    deny = Rule("g", "pay", Effect.DENY, {"workflowUrl": UrlCondition(prefix=("https://a.example/pay",))})
    refused = denied(ByFilter(labels=("x",)), deny, allow(label=label("x")))
    assert "workflowUrl: https://a.example/pay/ or below" in refused.reason
    assert "the request does not say workflowUrl, so it may" in refused.reason


def test_the_rule_with_the_least_in_the_way_comes_nearest() -> None:
    """Of two rules about the URL the one that only the label keeps from admitting is named."""
    near = allow("z-near", workflowUrl=URL, label=label("a"))
    far = allow("a-far", count=CountCondition(max=1), workflowUrl=URL, label=label("b"), created=DAY)
    request = ByFilter((API,), exact=True, labels=("x",))
    assert denied(request, near, far).not_admitted == NotAdmitted("p/z-near", "label", "x")


def test_a_rule_about_another_kind_of_request_is_the_farthest() -> None:
    """Who filters is not sent to a rule on run IDs while there is one on filters, however much of it does not fit."""
    ids = allow("a-ids", workflowRunIds=IDS)
    filtered = allow("filtered", workflowUrl=URL, label=label("b"), created=DAY)
    assert denied(ByFilter(labels=("x",)), ids, filtered).not_admitted == NotAdmitted("p/filtered", "workflowUrl", None)
    refused = denied(ByIds(("wfr_b_1",)), ids, filtered, count=1)
    assert refused.not_admitted == NotAdmitted("p/a-ids", "workflowRunIds", "wfr_b_1")


def test_a_team_without_a_rule_reads_that_it_has_none() -> None:
    """There is no rule to name."""
    refused = denied(urls(API))
    assert (refused.not_admitted, refused.owner) == (None, None)
    assert refused.reason == "No rule of your team allows this request. None allows your team anything now."


def test_where_the_gateway_looks_runs_up_the_sentence_speaks_of_that_reading() -> None:
    """A prefix without its slash is no fault there, another tree is."""
    resolving = replace(allow(workflowUrl=BELOW), resolution=Resolution(5))
    assert not isinstance(judge(urls(API, exact=False), resolving), Denial)
    refused = denied(urls("https://a.example/apis", exact=False), resolving)
    assert refused.not_admitted == NotAdmitted("p/r", "workflowUrl", "https://a.example/apis")


OWNER = Owner("Billing platform", "#billing-oncall")


@pytest.mark.parametrize("effect", list(Effect))
def test_a_refusal_sends_to_the_owner_of_the_rules(effect: Effect) -> None:
    """Whatever refused: a deny, a require, or an allow that came nearest and did not admit."""
    owned = Rule("p", "r", effect, {"label": label("a")}, owner=OWNER)
    refused = denied(ByFilter(labels=("a" if effect is Effect.DENY else "b",)), owned)
    assert refused.owner == OWNER
    assert refused.reason.endswith("Ask Billing platform: #billing-oncall.")


@given(judged())
def test_what_is_named_is_the_requests_own(case: tuple[tuple[Rule, ...], ActionRequest]) -> None:
    """A value that was not admitted is one of the request, or how many it asks for; a field is one of its names."""
    rules, request = case
    decision = decide(policies(*rules), TEAM, request, NOW_MS)
    if not isinstance(decision, Denial) or decision.not_admitted is None:
        return
    named = decision.not_admitted
    values = {value for _, value in request.selection.pairs()} | {str(request.count), request.selection.kind}
    assert named.value is None or named.value in values
    assert named.rule in {rule.name for rule in rules}
    assert isinstance(request.selection, Everything) or "comes nearest" in decision.reason or decision.rule is not None


def test_naming_costs_the_same_with_any_number_of_rules() -> None:
    """With ten times the rules, of which none admits, a refusal takes at most a tenth more instructions."""
    counted_steps = []
    for rules in (2 * MOST, 20 * MOST):
        several = policies(*(allow(f"r{number}", label=label(f"l{number}")) for number in range(rules)))
        refused = partial(decide, several, TEAM, counted(ByFilter(labels=("x",)), 100), NOW_MS)
        assert isinstance(refused(), Denial)
        counted_steps.append(steps(refused))
    few, many = counted_steps
    assert 0 < many <= 1.1 * few
