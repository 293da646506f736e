"""Traps between two parsers: each widens a cancel upstream without a word, so the gateway must refuse its form."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Call

Cancel = Callable[..., frozenset[str]]

NIGHTLY = frozenset(("wfr_invoice_1", "wfr_reminder"))


@pytest.mark.parametrize(
    "query",
    [
        "label=nightly;",
        "label=nightly;count=1",
        "label=%zznightly",
        "label=nightly%",
        "label=nightly%2",
        "%zz&label%=nightly",
    ],
)
def test_a_pair_that_go_cannot_read_vanishes(
    cancel: Cancel, contract: Contract, query: str, everything: frozenset[str]
) -> None:
    """A `;` or a bad escape drops the whole pair, and the call hits every run."""
    assert cancel(contract, query) == everything


@pytest.mark.parametrize("query", ["Label=nightly", "LABEL=nightly", "label[]=nightly", "labels=nightly", "=nightly"])
def test_a_name_that_is_not_exact_is_ignored(
    cancel: Cancel, contract: Contract, query: str, everything: frozenset[str]
) -> None:
    """Query names are case-sensitive and unknown ones mean nothing."""
    assert cancel(contract, query) == everything


def test_an_escaped_name_is_the_name(cancel: Cancel, contract: Contract) -> None:
    """`l%61bel` is `label`, for whoever looks only at the bytes."""
    assert cancel(contract, "l%61bel=nightly") == NIGHTLY


def test_run_ids_override_every_other_filter(cancel: Cancel, contract: Contract) -> None:
    """Beside an ID the other filters and `count` mean nothing."""
    query = "workflowRunIds=wfr_evil&workflowRunIds=wfr_reindex&label=nightly&count=1"
    assert cancel(contract, query) == {"wfr_evil", "wfr_reindex"}


@pytest.mark.parametrize(
    ("body", "hit"),
    [
        ('{"LABEL": ["nightly"]}', NIGHTLY),
        ('{"label": ["no-run-has-it"], "Label": ["nightly"]}', NIGHTLY),
        ('{"label": ["no-run-has-it"], "label": ["nightly"]}', NIGHTLY),
        ('{"label": ["nightly"], "filter": {"label": ["no-run-has-it"]}}', NIGHTLY),
        ('{"label": ["nightly"]} {"label": ["no-run-has-it"]}', NIGHTLY),
        ('{"wor\\u212aflowRunIds": ["wfr_evil"], "wor\u212aflowRunIds": ["wfr_reindex"]}', {"wfr_reindex"}),
    ],
)
def test_json_is_read_leniently(cancel: Cancel, body: str, hit: frozenset[str]) -> None:
    """Keys fold their case, the last duplicate wins, unknown keys and what follows the object are ignored."""
    assert cancel(Contract.V2026_09, body=body) == hit


@pytest.mark.parametrize("body", ["null", " null ", "{}", '{"label": null}', '{"label": [], "unknown": 1}', "\n"])
def test_a_body_that_names_nothing_is_everything(
    cancel: Cancel, contract: Contract, body: str, everything: frozenset[str]
) -> None:
    """`null` and empty members set no filter."""
    if contract is Contract.V2025:
        body = body.replace("[]", '""')
    assert cancel(contract, body=body) == everything


@pytest.mark.parametrize(
    "body", ["[]", "1", '"label"', "{", '{"label": 1}', '{"count": true}', '{"count": 1.5}', "NaN"]
)
def test_a_body_of_the_wrong_shape_cancels_nothing(cancel: Cancel, contract: Contract, body: str) -> None:
    """What Go cannot decode is answered 400."""
    assert cancel(contract, body=body) == frozenset()


def test_a_body_erases_the_querys_filter(cancel: Cancel, contract: Contract, everything: frozenset[str]) -> None:
    """With both at once a list in the body replaces the query's, and an empty one takes it away."""
    assert cancel(contract, "workflowRunIds=wfr_evil", '{"workflowRunIds": []}') == everything
    assert cancel(contract, "workflowRunIds=wfr_evil", '{"workflowRunIds": ["wfr_reindex"]}') == {"wfr_reindex"}


def test_a_comma_ends_a_value_under_the_newer_contract(cancel: Cancel, everything: frozenset[str]) -> None:
    """`workflowUrl=…invoice,h` becomes two prefixes, of which `h` is the beginning of every URL."""
    url = "workflowUrl=https://billing.example.com/api/invoice"
    assert cancel(Contract.V2026_09, f"{url}%2Ch") == everything
    assert cancel(Contract.V2025, f"{url}%2Ch") == frozenset()


def test_an_empty_first_value_hides_the_second_under_the_older_contract(
    cancel: Cancel, everything: frozenset[str]
) -> None:
    """Where the first value counts, `label=&label=nightly` carries no label."""
    assert cancel(Contract.V2025, "label=&label=nightly") == everything
    assert cancel(Contract.V2026_09, "label=&label=nightly") == NIGHTLY


@pytest.mark.parametrize("date", ["fromDate=1700000000", "fromDate=yesterday", "fromDate=", "fromDate=1_790"])
def test_a_date_that_is_no_millisecond_bounds_nothing(
    cancel: Cancel, contract: Contract, date: str, everything: frozenset[str]
) -> None:
    """Seconds mean January 1970, and what is no number is no filter."""
    assert cancel(contract, date) == everything


@pytest.mark.parametrize("value", ["True", "TRUE", "t", "1", "true"])
def test_exactness_has_many_spellings(cancel: Cancel, contract: Contract, value: str) -> None:
    """Every spelling of Go's ParseBool makes the match exact."""
    query = f"workflowUrl=https://billing.example.com/api/invoice&workflowUrlExactMatch={value}"
    assert cancel(contract, query) == {"wfr_invoice_1", "wfr_invoice_2"}


@pytest.mark.parametrize("value", ["yes", "on", "tRUE", "", "true%20", "2"])
def test_an_exactness_that_cannot_be_read_is_a_prefix(cancel: Cancel, contract: Contract, value: str) -> None:
    """Any other word leaves the match a prefix."""
    query = f"workflowUrl=https://billing.example.com/api/invoice&workflowUrlExactMatch={value}"
    assert "wfr_invoice_v2" in cancel(contract, query)


@pytest.mark.parametrize(
    "path", ["/v2/workflows/runs/", "//v2/workflows//runs", "/v2/workflows/%72uns", "/v2%2Fworkflows/runs"]
)
def test_other_spellings_of_the_path_cancel_too(simulator: Simulator, path: str, everything: frozenset[str]) -> None:
    """A trailing, doubled or escaped slash and an escaped letter lead to the same call."""
    simulator.answer(Call("DELETE", path), 0)
    assert frozenset(simulator.cancelled) == everything
