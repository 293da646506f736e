"""A plan as people and programs see it: how many runs, which, how old, of which workflows, and until when.

Under a rule with `owner: unchecked` any run can be named, so of its runs no more is shown than their IDs and ages.
"""

from __future__ import annotations

from datetime import UTC, datetime

from gateway.core.run import Run, Skipped
from gateway.execution.plans import Draft, State

SAMPLE = 10


def plan_members(draft: Draft, *, expires_in_s: int) -> dict[str, object]:
    """Everything about a plan that its caller may see; before its look-up has ended, only where that stands."""
    members: dict[str, object] = {"plan": draft.plan_id, "state": draft.state.value, "expires_in_s": expires_in_s}
    if draft.failure is not None:
        return members | {"error": draft.failure.sentence}
    if draft.denial is not None:
        return members | {"error": draft.denial.reason, "rule": draft.denial.rule, **draft.denial.particulars()}
    if draft.state is State.LOOKING:
        return members
    resolved, unchecked = draft.resolved, draft.permit.owner_unchecked
    members |= {
        "digest": resolved.digest,
        "runs": len(resolved.runs),
        "sample": [_run(run, unchecked=unchecked) for run in resolved.runs[:SAMPLE]],
        "oldest": _created(resolved.runs[0]) if resolved.runs else None,
        "newest": _created(resolved.runs[-1]) if resolved.runs else None,
        "by_workflow": {} if unchecked else resolved.by_workflow,
        "by_label": {} if unchecked else resolved.by_label,
        "skipped": _skipped(resolved.skipped),
        "rule": draft.permit.rule,
        "count": draft.permit.effective.count,
        "narrowed": _narrowed(draft),
        "apply": f"POST /gateway/v1/plans/{draft.plan_id}/apply",
    }
    return members | {"orders_sent": draft.orders_sent, "cancelled": draft.cancelled}


def _narrowed(draft: Draft) -> dict[str, object] | None:
    """The count that was asked and the one that policy lowered it to, with the rule that did; None where none did."""
    asked, permit = draft.call.request.count, draft.permit
    return None if permit.narrowed_by is None else {"count": [asked, permit.effective.count], "by": permit.narrowed_by}


def _run(run: Run, *, unchecked: bool) -> dict[str, object]:
    members: dict[str, object] = {"workflowRunId": run.run_id, "created": _created(run)}
    return members if unchecked else members | {"workflowUrl": run.workflow_url, "labels": list(run.labels)}


def _skipped(skipped: Skipped) -> dict[str, object]:
    return {why.value: {"runs": len(run_ids), "sample": list(run_ids[:SAMPLE])} for why, run_ids in skipped.items()}


def _created(run: Run) -> str:
    return datetime.fromtimestamp(run.created_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
