"""The two contracts: what filters select, what `count` bounds, what runs in the background and what may be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from gateway.simulator.account import LogManner
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Answer, Call, Token
from gateway.simulator.runs import CANCELED, STARTED, Run, make_runs, run_of

Cancel = Callable[..., frozenset[str]]
Read = Callable[[str], Answer]

NEW, OLD = Contract.V2026_09, Contract.V2025
DELETE = "/v2/workflows/runs"
LABELLED_BATCH = {"wfr_invoice_2", "wfr_reminder"}


def ask(simulator: Simulator, method: str, path: str, query: str = "", *, at: int) -> dict[str, Any]:
    answer = simulator.answer(Call(method, path, query), at)
    assert answer.status == 200, answer.body
    return dict(json.loads(answer.body))


# ---------------------------------------------------------------- filters


@pytest.mark.parametrize(
    ("query", "hit"),
    [
        ("label=nightly", {"wfr_invoice_1", "wfr_reminder"}),
        ("label=nightly&callerIp=203.0.113.9", set()),
        ("flowControlKey=billing", {"wfr_invoice_1"}),
        ("callerIp=203.0.113.9", {"wfr_invoice_2"}),
        ("workflowRunIds=wfr_done&workflowRunIds=wfr_no", set()),
        ("workflowUrl=https://search.example.com/api/reindex&workflowUrlExactMatch=true&label=batch", set()),
    ],
)
def test_filters_narrow_each_other(cancel: Cancel, contract: Contract, query: str, hit: set[str]) -> None:
    """A run is hit only by every filter at once, and only while it runs."""
    assert cancel(contract, query) == hit


@pytest.mark.parametrize("query", ["label=no&label=batch", "label=no,batch", "label=no%2Cbatch"])
def test_several_values_are_alternatives_only_under_the_newer_contract(cancel: Cancel, query: str) -> None:
    """Repeated or comma-separated values widen a filter; before, the first value counted as it stood."""
    assert cancel(NEW, query) == LABELLED_BATCH
    assert cancel(OLD, query) == frozenset()


def test_host_and_path_are_filters_only_under_the_newer_contract(cancel: Cancel, everything: frozenset[str]) -> None:
    """To the older contract they are unknown names."""
    assert cancel(NEW, "host=search.example.com&path=/api/reindex") == {"wfr_reindex"}
    assert cancel(OLD, "host=search.example.com&path=/api/reindex") == everything


def test_dates_bound_the_creation_inclusively(
    cancel: Cancel, contract: Contract, account: tuple[Run, ...], everything: frozenset[str]
) -> None:
    """Both ends belong to the window."""
    first, second = account[0], account[1]
    assert cancel(contract, f"toDate={first.created_ms}") == {first.run_id}
    assert cancel(contract, f"fromDate={second.created_ms}") == everything - {first.run_id}


# ---------------------------------------------------------------- count


def test_count_is_a_cap_under_the_older_contract(cancel: Cancel) -> None:
    """The oldest runs go first."""
    assert cancel(OLD, "count=2") == {"wfr_invoice_1", "wfr_invoice_2"}


def test_count_bounds_nothing_under_the_newer_contract(cancel: Cancel) -> None:
    """A filter cancel goes past its `count`."""
    assert cancel(NEW, "label=batch&count=1") == LABELLED_BATCH


def test_count_can_be_made_a_cap_under_the_newer_contract(account: tuple[Run, ...], now_ms: int) -> None:
    """The documentation is not proof, so both behaviours can be had."""
    simulator = Simulator(account, contract=NEW, count_is_ignored=False)
    assert ask(simulator, "DELETE", DELETE, "label=batch&count=1", at=now_ms)["cancelled"] == 1


@pytest.mark.parametrize("query", ["", "count=0", "count=-1", "count=many", "count="])
def test_a_missing_count_is_a_hundred(query: str, now_ms: int) -> None:
    """So is one that cannot be read."""
    simulator = Simulator(make_runs(200, now_ms, seed=1), contract=OLD)
    assert ask(simulator, "DELETE", DELETE, query, at=now_ms)["cancelled"] == 100


# ---------------------------------------------------------------- bulk actions


@pytest.mark.parametrize("always", [False, True])
def test_a_background_cancel_answers_without_a_total(account: tuple[Run, ...], always: bool, now_ms: int) -> None:
    """The answer is an action ID; how many were cancelled is learnt from its progress."""
    simulator = Simulator(account, contract=NEW, action_ms=1_000, always_in_background=always)
    answered = ask(simulator, "DELETE", DELETE, "label=batch" + ("" if always else "&async=true"), at=now_ms)
    assert set(answered) == {"actionId"}
    path = f"/v2/workflows/bulkActions/{answered['actionId']}"
    midway, done = (ask(simulator, "GET", path, at=now_ms + age_ms) for age_ms in (500, 1_000))
    assert (midway["state"], midway["processed"], "completedAt" in midway) == ("IN_PROGRESS", 1, False)
    assert done == {
        "actionId": answered["actionId"],
        "kind": "workflow.cancel",
        "state": "FINISHED",
        "total": 2,
        "processed": 2,
        "createdAt": now_ms,
        "completedAt": now_ms + 1_000,
        "filter": {"label": ["batch"]},
    }
    assert frozenset(simulator.cancelled) == LABELLED_BATCH


def test_progress_is_kept_seven_days(account: tuple[Run, ...], now_ms: int) -> None:
    """Afterwards the action is not found."""
    simulator = Simulator(account, contract=NEW, action_ms=0)
    action_id = ask(simulator, "DELETE", DELETE, "label=batch", at=now_ms)["actionId"]
    call = Call("GET", f"/v2/workflows/bulkActions/{action_id}")
    week_ms = 7 * 86_400_000
    assert [simulator.answer(call, now_ms + week_ms + late_ms).status for late_ms in (0, 1)] == [200, 404]


def test_run_ids_are_never_cancelled_in_the_background(account: tuple[Run, ...], now_ms: int) -> None:
    """A list of IDs is answered with its total at once."""
    simulator = Simulator(account, contract=NEW, always_in_background=True)
    assert ask(simulator, "DELETE", DELETE, "workflowRunIds=wfr_evil&async=true", at=now_ms) == {"cancelled": 1}


def test_the_older_contract_knows_no_background(account: tuple[Run, ...], now_ms: int) -> None:
    """Its answers are totals only."""
    simulator = Simulator(account, contract=OLD, always_in_background=True)
    assert ask(simulator, "DELETE", DELETE, "label=nightly&async=true", at=now_ms) == {"cancelled": 2}


# ---------------------------------------------------------------- the workflow log


def test_the_log_is_read_ten_runs_at_a_time(now_ms: int) -> None:
    """Following the cursor to its end finds every run once, newest first; stopping early misses the rest."""
    simulator = Simulator(make_runs(47, now_ms, seed=2))
    pages: list[list[str]] = []
    cursor = ""
    while not pages or cursor:
        page = ask(simulator, "GET", "/v2/workflows/logs", f"count=1000&cursor={cursor}", at=now_ms)
        pages.append([run["workflowRunId"] for run in page["runs"]])
        cursor = page["cursor"]
    assert [len(page) for page in pages] == [10, 10, 10, 10, 7]
    assert [run_id for page in pages for run_id in page] == [run.run_id for run in reversed(simulator.runs)]


def test_a_cancel_between_two_pages_loses_no_run(now_ms: int) -> None:
    """The cursor is a position, not a number of runs to skip."""
    simulator = Simulator(make_runs(24, now_ms, seed=2))
    first = ask(simulator, "GET", "/v2/workflows/logs", f"state={STARTED}", at=now_ms)
    ids = [run["workflowRunId"] for run in first["runs"]]
    ask(simulator, "DELETE", DELETE, "&".join(f"workflowRunIds={run_id}" for run_id in ids), at=now_ms)
    second = ask(simulator, "GET", "/v2/workflows/logs", f"state={STARTED}&cursor={first['cursor']}", at=now_ms)
    expected = [run.run_id for run in reversed(simulator.runs)][10:20]
    assert [run["workflowRunId"] for run in second["runs"]] == expected


@pytest.mark.parametrize(
    ("query", "listed"),
    [
        ("state=RUN_SUCCESS", ["wfr_done"]),
        ("workflowUrl=https://billing.example.com/api/invoice&state=RUN_STARTED", ["wfr_invoice_2", "wfr_invoice_1"]),
        ("workflowUrl=https://billing.example.com/api/inv", []),
        ("workflowRunId=wfr_evil", ["wfr_evil"]),
        ("label=nightly&flowControlKey=billing", ["wfr_invoice_1"]),
        ("callerIp=203.0.113.9", ["wfr_invoice_2"]),
        ("fromDate=1789999980000", []),
        ("toDate=1789999580000", ["wfr_invoice_1"]),
    ],
)
def test_the_log_has_filters_of_its_own(read: Read, query: str, listed: list[str]) -> None:
    """Here a URL is matched exactly, so a prefix cancel cannot be previewed by asking for its prefix."""
    assert [run["workflowRunId"] for run in json.loads(read(query).body)["runs"]] == listed


def test_bodies_can_be_left_out(read: Read) -> None:
    """`trimBody` lists the same runs without what their steps returned."""
    assert '"out"' in read("").body
    assert '"out"' not in read("trimBody=true").body


def test_a_bad_cursor_is_refused(read: Read) -> None:
    """A cursor that was never given out is answered 400."""
    assert read("cursor=next").status == 400


def test_the_log_lags(account: tuple[Run, ...], now_ms: int) -> None:
    """A run cancelled within the lag is still listed as running; one begun within it is not listed."""
    simulator = Simulator(account, log=LogManner(lag_ms=5_000))
    simulator.add_runs([Run("wfr_new", "https://a.example/x", now_ms)])
    ask(simulator, "DELETE", DELETE, "workflowRunIds=wfr_evil", at=now_ms)
    for age_ms, state, new in ((0, STARTED, []), (5_000, CANCELED, ["wfr_new"])):
        at = now_ms + age_ms
        listed = ask(simulator, "GET", "/v2/workflows/logs", "workflowRunId=wfr_evil", at=at)["runs"]
        assert [run["workflowState"] for run in listed] == [state]
        found = ask(simulator, "GET", "/v2/workflows/logs", "workflowRunId=wfr_new", at=at)["runs"]
        assert [run["workflowRunId"] for run in found] == new


# ---------------------------------------------------------------- tokens, other calls, the ledger


@pytest.mark.parametrize(
    ("token", "status"), [(Token.READ_ONLY, 403), (Token.WRONG, 401), (Token.NONE, 401), (Token.FULL, 200)]
)
def test_only_the_full_token_writes(simulator: Simulator, token: Token, status: int, now_ms: int) -> None:
    """A refused write is in the ledger, and cancelled nothing."""
    assert simulator.answer(Call("DELETE", DELETE, token=token), now_ms).status == status
    assert [(entry.status, bool(entry.run_ids)) for entry in simulator.ledger] == [(status, status == 200)]


@pytest.mark.parametrize(
    ("token", "status"), [(Token.READ_ONLY, 200), (Token.FULL, 200), (Token.WRONG, 401), (Token.NONE, 401)]
)
def test_the_read_only_token_reads(simulator: Simulator, token: Token, status: int, now_ms: int) -> None:
    """Reading leaves no entry in the ledger."""
    assert simulator.answer(Call("GET", "/v2/workflows/logs", token=token), now_ms).status == status
    assert simulator.ledger == ()


@pytest.mark.parametrize(
    "line",
    [
        "DELETE /v2/messages",
        "DELETE /v2/messages/msg_1",
        "DELETE /v2/dlq",
        "DELETE /v2/workflows/dlq",
        "POST /v2/flowControl/billing/pause",
        "POST /v2/keys/rotate",
    ],
)
def test_other_destructive_calls_are_marked(simulator: Simulator, line: str, now_ms: int) -> None:
    """A test can show that none of them was ever reached."""
    method, path = line.split(" ")
    simulator.answer(Call(method, path), now_ms)
    assert len(simulator.catastrophes) == 1


def test_an_unknown_call_is_not_found_and_recorded(simulator: Simulator, now_ms: int) -> None:
    """Whatever else arrives is in the ledger as well."""
    assert simulator.answer(Call("POST", DELETE), now_ms).status == 404
    assert [entry.kind for entry in simulator.ledger] == ["unknown"]
    assert not simulator.catastrophes


@pytest.mark.parametrize(
    ("query", "body", "dialect"),
    [("label=x", b"", "query"), ("", b"{}", "body"), ("label=x", b"{}", "both"), ("", b"", "none")],
)
def test_the_ledger_names_the_dialect(simulator: Simulator, query: str, body: bytes, dialect: str, now_ms: int) -> None:
    """Where the request said what it wants is part of the entry, beside the bytes themselves."""
    simulator.answer(Call("DELETE", DELETE, query, body), now_ms)
    wire = simulator.ledger[0].wire()
    assert (wire["dialect"], wire["query"], wire["body"]) == (dialect, query, body.decode())


# ---------------------------------------------------------------- generated runs


def test_the_same_seed_makes_the_same_runs(now_ms: int) -> None:
    """Another seed makes others."""
    assert make_runs(50, now_ms, seed=3) == make_runs(50, now_ms, seed=3) != make_runs(50, now_ms, seed=4)


def test_generated_runs_hold_every_neighbour(now_ms: int) -> None:
    """Each workflow is there, the prefix neighbour and somebody else's host included, oldest first and all distinct."""
    runs = make_runs(200, now_ms, seed=0)
    assert {run.url for run in runs} == {
        "https://billing.example.com/api/invoice",
        "https://billing.example.com/api/invoice-v2",
        "https://billing.example.com/api/reminder",
        "https://search.example.com/api/reindex",
        "https://billing.example.com.evil.example/x",
    }
    assert len({run.run_id for run in runs}) == len(runs)
    assert [run.created_ms for run in runs] == sorted(run.created_ms for run in runs)
    assert runs[-1].created_ms < now_ms


def test_a_run_survives_the_wire(now_ms: int) -> None:
    """What the log shows of a run is the whole run."""
    for run in make_runs(30, now_ms, seed=0):
        assert run_of(run.wire()) == run
