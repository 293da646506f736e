"""Every URL of the pools against every prefix of the pools: what random cases meet too seldom to be relied on."""

from __future__ import annotations

from itertools import product

import pytest

from gateway.core.plan import Order, Permit
from gateway.core.request import ActionRequest, ByFilter
from gateway.policy.conditions import UrlCondition
from gateway.policy.decide import decide
from gateway.policy.model import Effect, Rule
from tests.core.strategies import EXACT_URLS, NOW_MS, PREFIXES, TEAM, URLS, policies
from tests.laws.models import MODELS
from tests.laws.reference import Run, inside

ACCOUNT = [
    Run(f"wfr_{number}", url, "", "", "10.0.0.1", NOW_MS)
    for number, url in enumerate((*EXACT_URLS, "https://a.example/api/invoice", "https://a.example/api/xy"))
]


@pytest.mark.parametrize("exact", [True, False])
def test_no_url_reaches_over_the_boundary_of_a_prefix(exact: bool) -> None:
    """Whatever is permitted below a prefix selects, under every model, runs of that segment subtree only."""
    permitted = 0
    for prefix, url in product(PREFIXES, EXACT_URLS if exact else URLS):
        rule = Rule("p", "below", Effect.ALLOW, {"workflowUrl": UrlCondition(prefix=(prefix,))})
        asked = ActionRequest(ByFilter(workflow_urls=(url,), exact=exact), 100)
        if not isinstance(decide(policies(rule), TEAM, asked, NOW_MS), Permit):
            continue
        permitted += 1
        query = Order(asked.selection, 100).query  # type: ignore[arg-type]
        for model in MODELS:
            outside = [run.url for run in model.selected(query, ACCOUNT) if not inside(rule, run, NOW_MS)]
            assert outside == [], (model.name, prefix, query)
    assert permitted >= 20
