"""What the official clients' accidents do to an account that nothing stands in front of.

Every request line is as recorded from the client whose call it names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator

Send = Callable[..., Any]

BARE = "/v2/workflows/runs?count=100"


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(BARE, id="cancel({all:false})"),
        pytest.param(BARE, id='cancel({all:undefined,filter:{label:"x"}})'),
        pytest.param(BARE, id='cancel({all:true,filter:{label:"x"}})'),
        pytest.param(BARE, id="cancel({filter:{}})"),
        pytest.param(BARE, id="cancel({filter:{label:undefined}})"),
        pytest.param(BARE, id='cancel({filter:{workflowUrl:""}})'),
        pytest.param("/v2/workflows/runs?workflowRunId=wfr_1&count=100", id='cancel({filter:{workflowRunId:"wfr_1"}})'),
    ],
)
def test_an_intent_that_got_lost_on_the_way_cancels_every_run(
    send: Send, target: str, everything: frozenset[str]
) -> None:
    """The client drops what its author wrote, or sends a name nobody knows, and what is left selects every run."""
    assert send("DELETE", target).cancelled == everything


@pytest.mark.parametrize(
    ("target", "body"),
    [
        pytest.param("/v2/workflows/runs?label=&count=100", "", id='cancel({filter:{label:""}})'),
        pytest.param("/v2/workflows/runs?workflowRunIds=", "", id='cancel([""])'),
        pytest.param("/v2/workflows/runs?count=0", "", id="cancel({all:true,count:0})"),
        pytest.param("/v2/workflows/runs", "{}", id="cancel({all:true,count:50}) in the body dialect"),
        pytest.param("/v2/workflows/runs", '{"workflowRunIds":[]}', id="no IDs in the body dialect"),
        pytest.param("/v2/workflows/runs", "", id="neither query nor body"),
    ],
)
def test_a_value_that_says_nothing_cancels_every_run(
    send: Send, target: str, body: str, everything: frozenset[str]
) -> None:
    """Empty values and empty bodies select everything too."""
    assert send("DELETE", target, body).cancelled == everything


@pytest.mark.parametrize("contract", [Contract.V2025], indirect=True)
def test_a_filter_of_the_newer_contract_cancels_every_run_under_the_older(
    send: Send, everything: frozenset[str]
) -> None:
    """`cancel({filter: {host: "h", async: true}})` selects by a filter that 2025 does not know."""
    assert send("DELETE", "/v2/workflows/runs?host=h&async=true&count=100").cancelled == everything


def test_a_url_prefix_reaches_its_neighbours(send: Send) -> None:
    """`cancel({urlStartingWith: U})` has no boundary: it also cancels the workflow whose name goes on after U."""
    target = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&count=100"
    assert send("DELETE", target).cancelled == {"wfr_invoice_1", "wfr_invoice_2", "wfr_invoice_v2"}


def test_a_host_as_prefix_reaches_somebody_elses_host(send: Send, everything: frozenset[str]) -> None:
    """A prefix without a path also cancels the runs of a host whose name begins with it."""
    target = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fbilling.example.com&count=100"
    assert send("DELETE", target).cancelled == everything - {"wfr_reindex"}


@pytest.mark.parametrize("contract", [Contract.V2025], indirect=True)
def test_the_documented_loop_cancels_the_next_runs_each_time(simulator: Simulator, send: Send) -> None:
    """`do { cancel({all: true, count: 2}) } while (cancelled > 0)` ends only when nothing runs any more."""
    sizes = []
    while hit := send("DELETE", "/v2/workflows/runs?count=2").cancelled:
        sizes.append(len(hit))
    assert sizes == [2, 2, 2]
    assert not any(run.running for run in simulator.runs)


def test_the_oldest_client_cancels_nothing(send: Send) -> None:
    """Version 0.1.2 answers every bulk call with the run ID `undefined`, which is not found."""
    sent = send("DELETE", "/v2/workflows/runs/undefined?cancel=true")
    assert (sent.status, sent.cancelled) == (404, frozenset())


def test_the_end_of_a_run_is_no_cancel(simulator: Simulator, send: Send) -> None:
    """Ordinary traffic with `cancel=false` ends its run without cancelling it; `cancel=true` cancels that one."""
    assert send("DELETE", "/v2/workflows/runs/wfr_reindex?cancel=false").cancelled == frozenset()
    assert send("DELETE", "/v2/workflows/runs/wfr_reminder?cancel=true").cancelled == {"wfr_reminder"}
    assert [entry.kind for entry in simulator.ledger] == ["finish", "cancel-one"]


@pytest.mark.parametrize("contract", [Contract.V2026_09], indirect=True)
def test_the_older_clients_url_is_rejected_today(send: Send) -> None:
    """`cancel({urlStartingWith: U})` of 1.1.1 sends a string where today's server wants a list."""
    sent = send("DELETE", "/v2/workflows/runs", '{"workflowUrl":"https://app.example.com/api"}')
    assert (sent.status, sent.cancelled) == (400, frozenset())


@pytest.mark.parametrize("contract", [Contract.V2025], indirect=True)
def test_the_older_clients_url_is_a_prefix_under_the_older_contract(send: Send) -> None:
    """The same body was a prefix, without a boundary."""
    sent = send("DELETE", "/v2/workflows/runs", '{"workflowUrl":"https://billing.example.com/api/invoice"}')
    assert sent.cancelled == {"wfr_invoice_1", "wfr_invoice_2", "wfr_invoice_v2"}
