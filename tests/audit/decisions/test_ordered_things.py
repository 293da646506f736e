"""The entries that an earlier process ordered are read from its record, with a plan or without."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from gateway.audit.decisions.ordered import ordered_since
from gateway.audit.record import chunk_members, plan_members
from gateway.core.outcome import Cancelled, Closing, NotSent, Outcome, Unknown
from gateway.core.plan import Permit, Plan, order_of, orders_of
from gateway.core.request import Action, ActionRequest, ByIds, FailedFilter, Principal
from gateway.core.run import Resolved, Run
from tests.audit.decisions.test_ordered import DECISION
from tests.audit.faults import opened

UPSTREAM = "https://up.example"
ENTRIES = tuple(Run(f"dlq_{number}", "https://a.example/x", 1_794_000_000_000 + number) for number in range(3))
NAMED = ActionRequest(ByIds(("dlq_0", "dlq_1"), "dlqIds"), 2, action=Action.RESTART_DLQ)
PAUSED = ActionRequest(ByIds(("gpu",), "flowControlKey"), 1, action=Action.PAUSE)
FOUND = ActionRequest(FailedFilter(labels=("nightly",)), 100, action=Action.RESTART_DLQ)


def plan(asked: ActionRequest, *, resolved: Resolved | None = None) -> Plan:
    """A plan of one order."""
    orders = (order_of(asked),) if resolved is None else orders_of(resolved.runs, asked, field="dlqIds")
    return Plan(
        DECISION, Principal("a", "k"), asked, Permit("a/r", "permit", None, asked), orders, "0" * 64, None, resolved
    )


@pytest.mark.parametrize(
    ("asked", "outcome", "found"),
    [
        (NAMED, Cancelled(200, 2), {("dlq_0", True), ("dlq_1", True)}),
        (NAMED, Cancelled(200, 1), {("dlq_0", False), ("dlq_1", False)}),
        (NAMED, Unknown("timeout"), {("dlq_0", False), ("dlq_1", False)}),
        (NAMED, None, {("dlq_0", False), ("dlq_1", False)}),
        (NAMED, NotSent("dns"), set()),
        (PAUSED, Unknown("timeout"), set()),
    ],
)
async def test_what_was_named_counts_unless_it_was_certainly_not_sent(
    tmp_path: Path, asked: ActionRequest, outcome: Outcome | None, found: set[tuple[str, bool]]
) -> None:
    """Also where the process ended before it could say. When the entries were made is not known, and not needed."""
    async with opened(tmp_path) as log:
        receipt = await log.intent(plan(asked))
        if outcome is not None:
            await log.close(receipt, Closing(outcome, 0, 5, caller_gone=False))
    read = ordered_since(tmp_path, 0)
    assert {(one.run_id, one.certain) for one in read} == found
    assert all(one.created_ms is None for one in read)


@pytest.mark.parametrize("outcome", [Cancelled(200, 2), Cancelled(200, 1), Unknown("timeout")])
async def test_an_outcome_in_a_newer_chain_than_its_intent_counts_as_well(tmp_path: Path, outcome: Outcome) -> None:
    """Chains are read from the newest on, so the end of a decision is known before its begin."""
    async with opened(tmp_path, chain_bytes=1) as log:
        receipt = await log.intent(plan(NAMED))
        await log.close(receipt, Closing(outcome, 0, 5, caller_gone=False))
    begun, ended = (file_of(tmp_path, f'"event":"{event}"') for event in ("intent", "outcome"))
    assert begun.name < ended.name
    for age_s, path in ((20, begun), (10, ended)):
        os.utime(path, (time.time() - age_s,) * 2)
    assert {one.run_id for one in ordered_since(tmp_path, 0)} == {"dlq_0", "dlq_1"}


def file_of(directory: Path, text: str) -> Path:
    """The one file of the record that has the text."""
    [found] = [path for path in directory.glob("*.jsonl") if text in path.read_text()]
    return found


@pytest.mark.parametrize("restarted", [3, 2])
async def test_a_plan_that_was_carried_out_in_part_counts_as_a_whole(tmp_path: Path, restarted: int) -> None:
    """Nobody knows which entry was not restarted."""
    resolved = Resolved(ENTRIES)
    whole = plan(FOUND, resolved=resolved)
    async with opened(tmp_path) as log:
        await log.keep("plan", plan_members(whole, resolved, upstream=UPSTREAM))
        receipt = await log.intent(whole)
        outcome = Cancelled(200, restarted)
        [order] = whole.orders
        await log.chunk(chunk_members(DECISION, number=1, orders=1, order=order, outcome=outcome, skipped={}))
        await log.close(receipt, Closing(outcome, 0, 5, caller_gone=False))
    assert {(one.run_id, one.created_ms, one.certain) for one in ordered_since(tmp_path, 0)} == {
        (one.run_id, one.created_ms, restarted == 3) for one in ENTRIES
    }
