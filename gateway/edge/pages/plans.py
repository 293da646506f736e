"""A plan as its caller sees it."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from gateway.core.forms.budgets import ShownBudget
from gateway.core.forms.shown import SAMPLE, Found, Listed, Narrowed, ShownPlan, left_out
from gateway.core.forms.times import run_time
from gateway.execution.plans.draft import Draft, State
from gateway.operations.table import OPERATIONS

if TYPE_CHECKING:  # only with shared state there are any
    from gateway.state.approvals import Voice, Waiting

_TO_COME = frozenset((State.LOOKING, State.READY, State.AWAITING, State.APPLYING))
"""The states of a plan whose runs may still be taken of a budget."""


def budgeted_rule(draft: Draft) -> str | None:
    """Return the rule whose budget a plan would take of; None if it will take of none any more."""
    return draft.permit.rule if draft.state in _TO_COME else None


def plan_members(
    draft: Draft, *, expires_in_s: int, budget: ShownBudget | None = None, waiting: Waiting | None = None
) -> dict[str, object]:
    """Return all of a plan that its caller may see; where it has no runs, or not yet, that is only its state.

    With `waiting` that includes its approvals.
    """
    approvals = {} if waiting is None else {"approvals": approvals_members(waiting)}
    return replace(_shown(draft, expires_in_s), budget=budget).to_json() | approvals


def approvals_members(waiting: Waiting) -> dict[str, object]:
    """Return what is known of the approvals of a plan as JSON."""
    against = waiting.rejected()
    return {
        "needed": waiting.needed,
        "by": list(waiting.by),
        "given": [_voice_members(one) for one in waiting.given()],
        "rejected": None if against is None else _voice_members(against),
        "until": run_time(waiting.until_ms),
    }


def _voice_members(voice: Voice) -> dict[str, object]:
    return {"principal": voice.principal, "at": run_time(voice.at_ms), "reason": voice.reason}


def every_run(draft: Draft) -> list[dict[str, object]]:
    """Return every run of a plan, for those who are to approve it: by ID, URL and age."""
    return [Listed.of(run, unchecked=False, name=_name(draft)).to_json() for run in draft.resolved.runs]


def _name(draft: Draft) -> str:
    """Return the member under which the ID of a thing of this plan is shown: the name of the field, for one of them."""
    return OPERATIONS[draft.call.request.action].fields[0].removesuffix("s")


def _shown(draft: Draft, expires_in_s: int) -> ShownPlan:
    begun = partial(ShownPlan, draft.plan_id, draft.state.value, expires_in_s, draft.call.request.action.value)
    if draft.failure is not None:
        return begun(failure=draft.failure.sentence)
    if (denial := draft.denial) is not None:
        return begun(failure=denial.reason, refused={"rule": denial.rule, **denial.particulars()})
    if draft.state is State.LOOKING:
        return begun(pages=draft.look.pages, matched=draft.look.matched)
    if not draft.has_runs:
        return begun()
    resolved, permit, unchecked = draft.resolved, draft.permit, draft.permit.owner_unchecked
    return begun(
        digest=resolved.digest,
        runs=len(resolved.runs),
        sample=tuple(Listed.of(run, unchecked=unchecked, name=_name(draft)) for run in resolved.runs[:SAMPLE]),
        oldest=run_time(resolved.runs[0].created_ms) if resolved.runs else None,
        newest=run_time(resolved.runs[-1].created_ms) if resolved.runs else None,
        by_workflow={} if unchecked else resolved.by_workflow,
        by_label={} if unchecked else resolved.by_label,
        skipped=left_out(resolved.skipped),
        rule=permit.rule,
        count=permit.effective.count,
        narrowed=_narrowed(draft),
        orders=draft.orders,
        orders_sent=draft.orders_sent,
        cancelled=draft.cancelled,
        outcome=draft.outcome,
        settled=_found(draft),
        more=resolved.more,
        read_to_end=draft.read_to_end,
        as_of=None if draft.as_of_ms is None else run_time(draft.as_of_ms),
    )


def _found(draft: Draft) -> Found | None:
    found = draft.settled
    return None if found is None else Found(run_time(found.at_ms), found.source, found.cancelled)


def _narrowed(draft: Draft) -> Narrowed | None:
    asked, permit = draft.call.request.count, draft.permit
    if permit.narrowing is None:
        return None
    return Narrowed(asked, permit.effective.count, permit.narrowing.by, permit.narrowing.key)
