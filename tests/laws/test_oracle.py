"""Whatever upstream makes of the query that we send, it cancels no run outside what the permitting rule allows."""

from __future__ import annotations

import os
from collections import Counter
from urllib.parse import quote_plus

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core.parse import Body
from gateway.core.plan import Denial, Permit, order_of, orders_of
from gateway.core.request import ActionRequest, ByFilter, ByIds, Everything, Filter
from gateway.core.run import Run as ListedRun
from gateway.operations.calls.cancel_runs import parse_cancel
from gateway.policy.conditions import CreatedCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.populations import Case as LookedUp
from tests.core.populations import cases as looked_up
from tests.core.strategies import (
    EXACT_URLS,
    HOUR_MS,
    NOW_MS,
    POOLS,
    RUN_IDS,
    SPANS_MS,
    TEAM,
    fitting,
    policies,
    requests,
    rule_sets,
)
from tests.laws.models import MODELS
from tests.laws.reference import Run, condition_holds

DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
LEAST_PERMITTED = 0.30

Case = tuple[tuple[Rule, ...], ActionRequest, list[Run]]


ODD_URLS = ("https://a.example/api/%2e%2e/other", "h", "https://a.example.evil/")
"""Run URLs beside the canonical ones. An accepted URL with an escape of a reserved sign (`%26`) is in no pool: a server
that decodes twice would take it for another URL, and only a policy that lists such a URL would meet that."""


@st.composite
def runs(draw: st.DrawFn, asked: ActionRequest) -> Run:
    """One run: each of its values is one that was asked for, near to one, or any."""
    chosen = asked.selection

    def near(named: tuple[str, ...], pool: tuple[str, ...], tails: tuple[str, ...]) -> str:
        as_asked: int = draw(st.integers(0, 4))
        if named and as_asked:
            tail: str = draw(st.sampled_from(["", "", "", *tails]))
            return draw(st.sampled_from(named)) + tail
        return draw(st.sampled_from(pool))

    fields = chosen if isinstance(chosen, Filter) else ByFilter(labels=("x",))
    end = fields.to_date or fields.from_date or NOW_MS
    age_ms: int = draw(st.sampled_from([0, 0, 0, 1, *SPANS_MS, 48 * HOUR_MS]))
    return Run(
        near(chosen.ids if isinstance(chosen, ByIds) else (), RUN_IDS, ("0", "_b")),
        near(fields.workflow_urls, (*EXACT_URLS, *ODD_URLS), ("-v2", "/below", "x")),
        near(fields.labels, (*POOLS["label"], ""), ("er", ",batch")),
        near(fields.flow_control_keys, (*POOLS["flowControlKey"], ""), ("2",)),
        near(fields.caller_ips, POOLS["callerIp"], ("0",)),
        min(NOW_MS, end) - age_ms,
    )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Rules, a request that mostly fits one of their allows, and the account's running runs."""
    rules = draw(rule_sets())
    made_for = draw(st.sampled_from([rule for rule in rules if rule.effect is Effect.ALLOW]))
    request = draw(st.one_of(fitting(made_for), fitting(made_for), fitting(made_for), requests()))
    return rules, request, draw(st.lists(runs(request), min_size=6, max_size=12))


def as_client_sends(request: ActionRequest) -> bytes:
    """The request the way a client writes it: `+` for spaces, no count beside IDs."""
    pairs = request.selection.pairs()
    if "workflowRunIds" not in request.selection.carried:
        pairs = [*pairs, ("count", str(request.count))]
    return "&".join(f"{name}={quote_plus(value)}" for name, value in pairs).encode("ascii")


def allowed(rule: Rule, carried: frozenset[str], run: Run) -> bool:
    """Inside the rule's filter; an optional field bounds only the requests that carry it. `count` is not looked at."""
    return all(
        condition_holds(field, condition, run, NOW_MS)
        for field, condition in rule.conditions.items()
        if field in carried or not condition.optional
    )


def path_of(request: ActionRequest) -> str:
    """Which way led to the permit: the kind of field that the request carried, `+` where others stand beside it."""
    carried = request.selection.carried
    kinds = {"workflowRunIds": "ids", "created": "created"}
    if "workflowUrl" in carried:
        kind = "exact" if getattr(request.selection, "exact", False) else "prefix"
        return kind if len(carried) == 1 else f"{kind}+"
    found = {kinds.get(field, "value") for field in carried}
    return found.pop() if len(found) == 1 else "mixed"


def span_holds(rule: Rule, carried: frozenset[str], found: list[Run]) -> bool:
    """Under a `max_span`, the selected runs' creation lies in a window of that length."""
    created = rule.conditions.get("created")
    if (
        not isinstance(created, CreatedCondition)
        or created.max_span_ms is None
        or "created" not in carried
        or not found
    ):
        return True
    times = [run.created_ms for run in found]
    return max(times) - min(times) <= created.max_span_ms


def outside(rule: Rule, carried: frozenset[str], found: list[Run]) -> list[Run]:
    """Those of the runs that an upstream would cancel which the rule does not allow."""
    return [run for run in found if not allowed(rule, carried, run)]


def test_under_every_model_the_selected_runs_lie_inside_the_permitting_rule(table: Counter[tuple[str, str]]) -> None:
    """For generated policies, requests and runs, no reading of the sent query reaches a run that was not allowed."""
    tried = Counter[str]()

    @settings(max_examples=10_000 if DEEP else 800, deadline=None, derandomize=not DEEP, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(cases())
    def judge(case: Case) -> None:
        rules, asked, account = case
        request = parse_cancel(as_client_sends(asked), Body())
        assert request == asked
        decision = decide(policies(*rules), TEAM, request, NOW_MS)
        tried[type(decision).__name__] += 1
        if not isinstance(decision, Permit):
            return
        rule = next(rule for rule in rules if rule.name == decision.rule)
        effective = decision.effective
        assert not isinstance(effective.selection, Everything)
        query, carried = order_of(effective).query, effective.selection.carried
        for model in MODELS:
            found = model.selected(query, account)
            assert span_holds(rule, carried, found), (model.name, query)
            assert outside(rule, carried, found) == [], (model.name, query)
            table[model.name, path_of(effective)] += bool(found)

    judge()
    assert tried["Permit"] >= LEAST_PERMITTED * tried.total(), tried
    assert all(any(table[model.name, path] for _, path in table) for model in MODELS)


def as_upstream_knows(run: ListedRun) -> Run:
    """A run of the account with the one label that the models look at."""
    label, key, address = (run.labels or ("",))[0], run.flow_control_key or "", run.caller_ip or ""
    return Run(run.run_id, run.workflow_url, label, key, address, run.created_ms)


def test_under_every_model_the_orders_of_a_look_up_reach_only_the_chosen_runs() -> None:
    """No reading of a list of IDs reaches another run, or one twice; where nothing was chosen nothing is sent."""
    tried = Counter[str]()

    @settings(max_examples=3_000 if DEEP else 800, deadline=None, derandomize=not DEEP, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(looked_up())
    def judge(case: LookedUp) -> None:
        permit, resolved = case.decision(), case.judged()
        if isinstance(permit, Denial) or isinstance(resolved, Denial) or permit.resolution is None:
            return
        tried["resolved"] += bool(resolved.runs)
        account = [as_upstream_knows(run) for run in case.listing.runs]
        orders, chosen = orders_of(resolved.runs), {run.run_id for run in resolved.runs}
        assert bool(orders) is bool(resolved.runs)
        for model in MODELS:
            reached = [run.run_id for order in orders for run in model.selected(order.query, account)]
            assert len(set(reached)) == len(reached), model.name
            assert set(reached) <= chosen, model.name
            assert set(reached) == chosen or model.name in ("first value only", "last value only"), model.name
        again = [parse_cancel(order.query.encode("ascii").partition(b"&count=")[0], Body()) for order in orders]
        assert [request.selection for request in again] == [order.selection for order in orders]

    judge()
    assert tried["resolved"] >= 50, tried
