"""Calls that cancel every run against their author's intent end at the gateway, with a word on what to do instead.

What each does to an account that nothing stands in front of is shown in tests/simulator/test_accidents.py.
"""

from __future__ import annotations

import pytest

from tests.clients.account import INVOICE
from tests.clients.conftest import Client, Serve
from tests.clients.official import UNDEFINED

pytestmark = pytest.mark.node

WOULD_CANCEL_EVERYTHING = "it would cancel every run of the account. Name the runs, or at least the workflow."


@pytest.mark.parametrize(
    ("version", "call"),
    [
        pytest.param("latest", {"all": False}, id="latest-all-false"),
        pytest.param("latest", {"all": UNDEFINED, "filter": {"label": "x"}}, id="latest-all-undefined-and-filter"),
        pytest.param("latest", {"all": True, "filter": {"label": "x"}}, id="latest-all-and-filter"),
        pytest.param("latest", {"filter": {}}, id="latest-empty-filter"),
        pytest.param("latest", {"filter": {"label": UNDEFINED}}, id="latest-label-undefined"),
        pytest.param("latest", {"filter": {"workflowUrl": ""}}, id="latest-url-empty"),
        pytest.param("latest", {"filter": {"workflowUrlStartingWith": ""}}, id="latest-prefix-empty"),
        pytest.param("latest", {"all": True}, id="latest-all"),
        pytest.param("1.1", {"all": True, "filter": {"label": "x"}}, id="1.1-all-and-filter"),
        pytest.param("1.1", {"all": True, "count": 1}, id="1.1-all-and-count"),
        pytest.param("1.1", {"all": True}, id="1.1-all"),
    ],
)
def test_a_call_that_would_cancel_everything_is_refused_by_policy(
    serve: Serve, client: Client, version: str, call: object
) -> None:
    """The person learns what the call would have done and what to name; nothing is cancelled, the record says why."""
    simulator, gateway = serve()
    seen = client(gateway, version).cancel(call)
    assert simulator.ledger == ()
    assert (seen.problem["status"], seen.problem["code"], seen.attempts) == (403, "policy_denied", 1)
    assert WOULD_CANCEL_EVERYTHING in seen.sentence
    assert f"workflowUrl {INVOICE}; workflowUrlExactMatch=true" in seen.sentence
    assert [(record["selects"], record["rule"]) for record in gateway.records("denied")] == [
        ("everything", "guardrails/everything")
    ]


@pytest.mark.parametrize(
    ("version", "call", "said"),
    [
        pytest.param(
            "latest", {"filter": {"workflowRunId": "wfr_1"}}, "did you mean 'workflowRunIds'?", id="latest-misspelt"
        ),
        pytest.param("latest", {"filter": {"label": ""}}, "'label' has no value", id="latest-label-empty"),
        pytest.param(
            "latest",
            {"filter": {"workflowUrl": INVOICE, "async": True}},
            "'async' is not a parameter of this call",
            id="latest-async",
        ),
        pytest.param("latest", {"all": True, "count": 0}, "count", id="latest-count-zero"),
        pytest.param(
            "latest",
            {"filter": {"fromDate": 1_700_000_000, "workflowUrl": INVOICE}},
            "fromDate",
            id="latest-date-in-seconds",
        ),
        pytest.param("1.1", {"ids": []}, "not empty", id="1.1-no-ids"),
    ],
)
def test_a_call_that_upstream_would_widen_is_malformed(
    serve: Serve, client: Client, version: str, call: object, said: str
) -> None:
    """A name or value that upstream would drop is never sent without it; the sentence names what is wrong."""
    simulator, gateway = serve()
    seen = client(gateway, version).cancel(call)
    assert simulator.ledger == ()
    assert (seen.problem["status"], seen.problem["code"], seen.attempts) == (400, "malformed_request", 1)
    assert said in seen.sentence
    assert [record["code"] for record in gateway.records("refused")] == ["malformed_request"]
