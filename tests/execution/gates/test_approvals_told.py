"""Whoever wants to know learns each step of an approval, once it is on record, and never which runs it is about."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import AuditUnavailable, Conflict
from gateway.state.notices import ApprovalStep
from tests.execution.bench import ANN, REQUEST, runs
from tests.execution.gates.waiting import ASKS, ROB, SUE, Fleet, asking, plan_of

MINUTE = 60_000


def told(fleet: Fleet) -> list[ApprovalStep]:
    """What is told from now on, by either gateway."""
    steps: list[ApprovalStep] = []
    fleet.a.approving.told = fleet.b.approving.told = steps.append
    return steps


async def test_a_plan_that_waits_is_told_with_the_number_of_its_runs() -> None:
    """Who asked and why, who may approve, and until when; an identical cancel tells nothing again."""
    fleet = Fleet()
    steps = told(fleet)
    plan = plan_of(await fleet.a.refused(replace(REQUEST, reason="they loop")))
    await fleet.b.refused(replace(REQUEST, reason="they loop"))
    [step] = steps
    assert (step.plan_id, step.state, step.runs, step.by, step.given) == (
        plan,
        "awaiting_approval",
        5,
        ("platform",),
        (),
    )
    assert (step.principal, step.decided_by, step.reason) == (ANN.name, ANN.name, "they loop")
    assert step.until_ms - step.at_ms == ASKS.within_ms
    assert not any(run.run_id in str(step) for run in runs(5))


async def test_each_approval_is_told_and_the_last_one_ends_the_wait() -> None:
    """With those who have approved so far, by whichever gateway they did."""
    fleet = Fleet()
    fleet.policies = asking(replace(ASKS, count=2))
    steps = told(fleet)
    plan = plan_of(await fleet.a.refused())
    await fleet.a.says(plan, ROB)
    await fleet.b.says(plan, SUE)
    assert [(step.state, len(step.given)) for step in steps] == [
        ("awaiting_approval", 0),
        ("awaiting_approval", 1),
        ("approved", 2),
    ]
    assert [step.decided_by for step in steps[1:]] == [ROB.name, SUE.name]


async def test_a_rejection_and_an_end_are_told() -> None:
    """With who and why; of an end what has changed."""
    fleet = Fleet()
    steps = told(fleet)
    plan = plan_of(await fleet.a.refused())
    await fleet.b.says(plan, ROB, "reject")
    assert (steps[-1].state, steps[-1].decided_by) == ("rejected", ROB.name)
    other = plan_of(await fleet.a.refused(replace(REQUEST, reason="again")))
    fleet.pass_time(ASKS.within_ms + MINUTE)
    await fleet.a.approving.record_ends()
    assert (steps[-1].plan_id, steps[-1].state, steps[-1].decided_by) == (other, "expired", None)


async def test_what_is_not_on_record_is_not_told() -> None:
    """It did not happen."""
    fleet = Fleet()
    steps = told(fleet)
    fleet.a.log.refuses = "full"
    with pytest.raises((AuditUnavailable, Conflict)):
        await fleet.a.cancel()
    assert steps == []
