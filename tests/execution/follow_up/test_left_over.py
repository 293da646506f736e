"""What another process sent is followed as its records say: the same subject as if it had been sent here."""

from __future__ import annotations

import orjson
import pytest

from gateway.audit.decisions.left_open import Left
from gateway.audit.record import intent_members, outcome_members, plan_members
from gateway.core.outcome import Accepted, Cancelled, Closing, Outcome, Progress, Unknown
from gateway.core.plan import Plan
from gateway.execution.follow_up import _subject
from gateway.execution.left_over import LeftOver, left_over
from tests.execution.follow_up.fakes import a_run, by_filter, plan_of

RUNS = [a_run("wfr_1"), a_run("wfr_2", created_ms=1_795_000_000_500)]


@pytest.mark.parametrize(
    ("plan", "outcome"),
    [
        (by_filter(), Accepted(202, "act_1")),
        (by_filter(), Cancelled(200, 7, "act_2")),
        (plan_of(runs=RUNS), Unknown("timeout")),
        (plan_of(runs=RUNS), Unknown("partial_audit", None, Progress(0, ("wfr_1",), ("wfr_2",)))),
    ],
)
def test_a_subject_from_the_record_is_that_of_the_process_that_sent_it(plan: Plan, outcome: Outcome) -> None:
    """Orders, action, creation times, and what was certainly not sent."""
    closing = Closing(outcome, over_cancelled=0, duration_ms=1, caller_gone=False)
    runs = plan_members(plan, plan.resolved, upstream="u") if plan.resolved is not None else None
    records = intent_members(plan, upstream="u"), outcome_members(plan.decision_id, closing), runs
    found = left_over(Left(*orjson.loads(orjson.dumps(records))))
    assert found is not None
    created_ms = {run.run_id: run.created_ms for run in plan.runs}
    sent_here = LeftOver(plan.decision_id, plan.principal, plan.orders, created_ms, outcome)
    assert _subject(found, reads_back=True) == _subject(sent_here, reads_back=True) is not None
    assert found.principal == plan.principal
