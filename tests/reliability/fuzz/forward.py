"""What must hold of a request that was read: it renders back to itself, and what is sent stays inside the rule.

The pure path is bytes -> read -> decide -> `Order.query`. The query is then read again by models of upstream that
share no code with the gateway, against runs that lie beside the values that were asked for.
"""

from __future__ import annotations

import re
from dataclasses import replace

from gateway.core.parse import Body
from gateway.core.plan import Denial, Permit, order_of
from gateway.core.request import ActionRequest, ByFilterHere, ByIds, Everything, Filter, Principal, Selection
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.conditions import (
    Condition,
    CountCondition,
    CreatedCondition,
    RunIdCondition,
    UrlCondition,
    ValueCondition,
)
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.laws.models import MODELS, Model, bad_for_go, split_at_commas
from tests.laws.reference import Run, condition_holds

NOW_MS = 1_790_000_000_000
TEAM = Principal("billing", "ci")
MOST_NEAR = 4
"""How many values of a request get runs beside them; the models cost time for each."""

OURS = "https://a.example/api/invoice"
FROZEN = "frozen"
EVERYONE = frozenset(("*",))
LABELS = ValueCondition("label", frozenset(("nightly", "batch")))

GO = Model("as Go reads it", values=split_at_commas, bad_pairs=bad_for_go)

_UNRESERVED_PAIR = re.compile(r"(?P<name>[A-Za-z]+)=(?:[A-Za-z0-9_.~-]|%[0-9A-F]{2})+")
_ORDER_OF_NAMES = (
    "workflowRunIds", "workflowUrl", "workflowUrlExactMatch", "fromDate", "toDate", "callerIp", "flowControlKey",
    "label", "count",
)  # fmt: skip


def fixed_policies() -> Policies:
    """One narrow `allow` for each field, each with a cap."""
    allows: tuple[tuple[str, dict[str, Condition]], ...] = (
        ("exact", {"workflowUrl": UrlCondition(exact=frozenset((OURS, "https://billing.example.com/api/invoice")))}),
        ("prefix", {"workflowUrl": UrlCondition(prefix=("https://a.example/api", "http://b.example:8080/"))}),
        ("labelled", {"workflowUrl": UrlCondition(prefix=("https://c.example",)), "label": LABELS}),
        ("label", {"label": LABELS}),
        ("key", {"flowControlKey": ValueCondition("flowControlKey", frozenset(("k", "K.1")))}),
        ("ip", {"callerIp": ValueCondition("callerIp", frozenset(("10.0.0.1", "2001:db8::1")))}),
        ("created", {"created": CreatedCondition(within_last_ms=86_400_000)}),
        ("ids", {"workflowRunIds": RunIdCondition(prefix=("wfr_a_", "wfr_billing_"))}),
    )
    cap = CountCondition(cap=50)
    rules = [Rule("p", name, Effect.ALLOW, bounds, cap, teams=EVERYONE) for name, bounds in allows]
    return Policies(tuple(rules), "0" * 64)


def guarded_policies() -> Policies:
    """The same under a `deny` on one label."""
    frozen = Rule("p", "frozen", Effect.DENY, {"label": ValueCondition("label", frozenset((FROZEN,)))}, teams=EVERYONE)
    return Policies((*fixed_policies().rules, frozen), "0" * 64)


def check_read(request: ActionRequest) -> None:
    """A readable request renders to a canonical query that reads back to it, and Go would read the same runs."""
    selection = request.selection
    if isinstance(selection, Everything):
        assert isinstance(decide(fixed_policies(), TEAM, request, NOW_MS), Denial)
        return
    if isinstance(selection, ByFilterHere):
        check_never_sent(request)
        return
    query = order_of(request).query
    check_canonical(query)
    again, _, count = query.rpartition("&") if isinstance(selection, ByIds) else (query, "", "")
    assert parse_cancel(again.encode("ascii"), Body()) == request
    assert count in ("", f"count={request.count}")
    account = near(selection)
    assert GO.selected(query, account) == [run for run in account if matches(selection, run)]


def check_never_sent(request: ActionRequest) -> None:
    """No order can be made of it, and no rule that has no look-up admits it."""
    assert isinstance(decide(fixed_policies(), TEAM, request, NOW_MS), Denial)
    try:
        order_of(request)
    except TypeError:
        return
    raise AssertionError(request)


def check_forward(request: ActionRequest, policies: Policies) -> None:
    """What policy lets through selects the same runs and no more of them, and none outside the permitting rule."""
    decision = decide(policies, TEAM, request, NOW_MS)
    if not isinstance(decision, Permit):
        return
    sent = decision.effective
    assert sent.selection == request.selection
    assert sent.count <= request.count
    assert not isinstance(sent.selection, Everything)
    query = order_of(sent).query
    check_canonical(query)
    rule = next(rule for rule in policies.rules if rule.name == decision.rule)
    assert rule.effect is Effect.ALLOW
    assert not rule.shadow
    account = near(sent.selection)
    for model in MODELS:
        assert [run for run in model.selected(query, account) if not allowed(rule, sent.selection, run)] == [], model


def check_denied(request: ActionRequest) -> None:
    """A `deny` holds wherever a run that it is about could be selected, whatever the request leaves out."""
    if isinstance(request.selection, Everything):
        return
    frozen = [replace(run, label=FROZEN) for run in near(request.selection)]
    if any(matches(request.selection, run) for run in frozen):
        assert isinstance(decide(guarded_policies(), TEAM, request, NOW_MS), Denial)


def check_canonical(query: str) -> None:
    """Names known and in upstream's order, `count` once and last, and nothing in a value that separates or decodes."""
    pairs = [_UNRESERVED_PAIR.fullmatch(pair) for pair in query.split("&")]
    names = [_ORDER_OF_NAMES.index(pair["name"]) for pair in pairs if pair is not None]
    assert len(names) == len(pairs), query
    assert names == sorted(names), query
    assert names.count(len(_ORDER_OF_NAMES) - 1) == 1, query
    assert len(names) > 1, query


def near(selection: Selection) -> list[Run]:
    """Runs that differ from what was asked for in one value at most, and by as little as an attacker could wish."""
    first = Run("wfr_a_1", OURS, "nightly", "k", "10.0.0.1", NOW_MS)
    runs = [first, replace(first, label=FROZEN), replace(first, url="https://other.example/")]
    if isinstance(selection, ByIds):
        named = [name + tail for name in selection.ids[:MOST_NEAR] for tail in ("", "x")]
        return runs + [replace(first, run_id=name) for name in named]
    assert isinstance(selection, Filter)
    urls, labels = selection.workflow_urls[:MOST_NEAR], selection.labels[:MOST_NEAR]
    keys, addresses = selection.flow_control_keys[:MOST_NEAR], selection.caller_ips[:MOST_NEAR]
    start, end = selection.from_date, selection.to_date
    base = Run(
        "wfr_z", (*urls, first.url)[0], (*labels, first.label)[0], (*keys, "k")[0], (*addresses, "10.0.0.1")[0],
        start if start is not None else end if end is not None else NOW_MS,
    )  # fmt: skip
    runs.append(base)
    runs += [replace(base, url=url + tail) for url in urls for tail in ("", "x", "/x", "-v2", "?x", ",h")]
    runs += [replace(base, label=label + tail) for label in labels for tail in ("", "x")]
    runs += [replace(base, flow_control_key=key + tail) for key in keys for tail in ("", "x")]
    runs += [replace(base, caller_ip=address + tail) for address in addresses for tail in ("", "0")]
    runs += [replace(base, created_ms=date + step) for date in (start, end) if date is not None for step in (-1, 0, 1)]
    return runs


def matches(selection: Selection, run: Run) -> bool:
    """Whether the contract says that the selection names this run."""
    if isinstance(selection, ByIds):
        return run.run_id in selection.ids
    assert isinstance(selection, Filter)
    urls = selection.workflow_urls
    return (
        (not urls or any(run.url == url if selection.exact else run.url.startswith(url) for url in urls))
        and run.label in (selection.labels or (run.label,))
        and run.flow_control_key in (selection.flow_control_keys or (run.flow_control_key,))
        and run.caller_ip in (selection.caller_ips or (run.caller_ip,))
        and (selection.from_date is None or run.created_ms >= selection.from_date)
        and (selection.to_date is None or run.created_ms <= selection.to_date)
    )


def allowed(rule: Rule, selection: Selection, run: Run) -> bool:
    """Inside what the rule's filter names; an optional field bounds only the requests that carry it."""
    return all(
        condition_holds(field, condition, run, NOW_MS)
        for field, condition in rule.conditions.items()
        if field in selection.carried or not condition.optional
    )
