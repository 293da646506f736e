"""The runs that a process ordered before it was killed, as the next one reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway.audit.decisions.joined import RecordedDecision
from gateway.audit.decisions.ordered import ordered_since
from gateway.audit.record import chunk_members, plan_members
from gateway.core.outcome import Cancelled, Closing, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Permit, Plan, orders_of
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.core.run import Resolved, Run
from tests.audit.faults import opened, segments

DECISION = "01890000-0000-7000-8000-000000000000"
RUNS = tuple(Run(f"wfr_{number:03}", "https://a.example/x", 1_794_000_000_000 + number) for number in range(250))


def looked_up() -> Plan:
    """A plan of three orders."""
    asked = ActionRequest(ByFilter(("https://a.example/x",), exact=True), 250)
    permit = Permit("a/r", "permit", None, asked)
    resolved = Resolved(RUNS)
    return Plan(DECISION, Principal("a", "k"), asked, permit, orders_of(RUNS), "0" * 64, None, resolved=resolved)


async def recorded(directory: Path, *outcomes: Outcome, closing: Outcome | None = None) -> set[str]:
    """The runs that were ordered, where so many orders came to this before the process ended, or closed the intent."""
    plan = looked_up()
    async with opened(directory) as log:
        assert plan.resolved is not None
        await log.keep("plan", plan_members(plan, plan.resolved, upstream="https://up.example"))
        receipt = await log.intent(plan)
        for number, outcome in enumerate(outcomes, 1):
            order = plan.orders[number - 1]
            await log.chunk(chunk_members(DECISION, number=number, orders=3, order=order, outcome=outcome, skipped={}))
        if closing is not None:
            await log.close(receipt, Closing(closing, 0, 5, caller_gone=False))
    found = ordered_since(directory, 0)
    assert {(one.run_id, one.created_ms) for one in found} <= {(run.run_id, run.created_ms) for run in RUNS}
    return {one.run_id for one in found}


def ids(first: int, last: int) -> set[str]:
    """The IDs of some of the runs."""
    return {run.run_id for run in RUNS[first:last]}


DONE = Cancelled(200, 100)


async def killed(directory: Path, *outcomes: Outcome, attempt: int | None = None) -> dict[str, object]:
    """What recovery says of a plan whose process was killed after so many orders; `attempt` is that of the last one."""
    plan = looked_up()
    async with opened(directory, "dead") as log:
        await log.intent(plan)
        for number, outcome in enumerate(outcomes, 1):
            order, tried = plan.orders[number - 1], attempt if number == len(outcomes) else None
            await log.chunk(
                chunk_members(
                    DECISION, number=number, orders=3, order=order, outcome=outcome, skipped={}, attempt=tried
                )
            )
    (path,) = segments(directory, "dead")
    path.write_bytes(b"".join(line for line in path.read_bytes().splitlines(True) if b'"event":"stop"' not in line))
    async with opened(directory, "next"):
        pass
    found = [json.loads(line) for line in path.read_bytes().splitlines()]
    decision = RecordedDecision(DECISION)
    for members in found:
        decision.take(members)
    [end] = [members for members in found if members["event"] == "outcome"]
    assert (end["outcome"], end["cause"]) == ("unknown", "recovered")
    # Nothing is certain of a plan of which nothing is known to be cancelled, and may be.
    assert decision.members()["cancelled"] == (end["progress"]["cancelled"] or None)
    progress: dict[str, object] = end["progress"]
    return progress


@pytest.mark.parametrize(
    ("outcomes", "attempt", "says"),
    [
        ((), None, (0, 0)),
        ((DONE,), None, (100, 0)),
        ((DONE, Cancelled(200, 99)), None, (199, 0)),
        ((DONE, Refused(429, "slow")), 1, (100, 0)),
        ((DONE, Refused(403, "no")), None, (100, 150)),
        ((DONE, NotSent("dns")), None, (100, 150)),
        ((DONE, Unknown("read_timeout")), None, (100, 50)),
    ],
)
async def test_recovery_says_what_is_certain_of_a_plan_that_was_cut_off(
    tmp_path: Path, outcomes: tuple[Outcome, ...], attempt: int | None, says: tuple[int, int]
) -> None:
    """The number of its chunks and the runs that were not sent; the decision says the same number.

    An order that may have been on its way is unknown, and so is every later one.
    """
    progress = await killed(tmp_path, *outcomes, attempt=attempt)
    unsent, unknown = progress["unsent"], progress["unknown"]
    assert isinstance(unsent, list)
    assert isinstance(unknown, list)
    assert (progress["cancelled"], len(unsent)) == says
    carried_out = ids(0, 100 * sum(isinstance(one, Cancelled) for one in outcomes))
    assert carried_out | set(unsent) | set(unknown) == ids(0, 250)
    assert len(carried_out) + len(unsent) + len(unknown) == 250


async def test_an_order_that_waits_to_be_sent_again_may_be_on_its_way(tmp_path: Path) -> None:
    """The next order is not sent before it."""
    await killed(tmp_path, DONE, Refused(429, "slow"), attempt=1)
    plan = looked_up()
    assert plan.resolved is not None
    async with opened(tmp_path, "more") as log:
        await log.keep("plan", plan_members(plan, plan.resolved, upstream="https://up.example"))
    assert {one.run_id for one in ordered_since(tmp_path, 0)} == ids(0, 200)


@pytest.mark.parametrize(
    ("outcomes", "closing", "found"),
    [
        ((), None, ids(0, 100)),
        ((DONE,), None, ids(0, 200)),
        ((Cancelled(200, 99),), None, ids(100, 200)),
        ((DONE, DONE, DONE), None, ids(0, 250)),
        ((DONE, Unknown("read_timeout")), Unknown("read_timeout"), ids(0, 200)),
        ((DONE, Refused(403, "no")), Unknown("partial_refused"), ids(0, 100)),
        ((NotSent("connect_error"),), NotSent("connect_error"), set()),
        ((), NotSent("stopping"), set()),
    ],
)
async def test_an_order_counts_unless_it_was_certainly_not_carried_out(
    tmp_path: Path, outcomes: tuple[Outcome, ...], closing: Outcome | None, found: set[str]
) -> None:
    """Where the process ended in the middle, the order after the last one on record may have been on its way."""
    assert await recorded(tmp_path / "audit", *outcomes, closing=closing) == found


async def test_only_what_was_cancelled_as_ordered_is_certain(tmp_path: Path) -> None:
    """The order that was on its way when the process ended is not."""
    await recorded(tmp_path / "audit", DONE)
    found = ordered_since(tmp_path / "audit", 0)
    assert {one.run_id for one in found if one.certain} == ids(0, 100)
    assert {one.decision_id for one in found} == {DECISION}


async def test_what_was_read_back_is_left_to_the_list(tmp_path: Path) -> None:
    """It says which of the runs still run."""
    await recorded(tmp_path / "audit", DONE)
    async with opened(tmp_path / "audit", "next") as log:
        await log.note("settled", {"decision_id": DECISION, "source": "read_back", "cancelled": 100})
    assert ordered_since(tmp_path / "audit", 0) == []


async def test_what_is_older_is_left_alone(tmp_path: Path) -> None:
    """Upstream's index has caught up with it."""
    await recorded(tmp_path / "audit", DONE)
    assert ordered_since(tmp_path / "audit", 10**10) == []
