"""The records of plans, decisions and outcomes: the members that `audit/events` declares, filled from typed values.

Pure: no event holds a credential, a raw target or bytes of a request, as only typed values and fixed words come in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Unpack

from gateway.audit.events import catalogue
from gateway.audit.events.declare import ABSENT, Absent, Members, maker
from gateway.audit.events.values import MadeThing, MoreOfAnOutcome, Remains, Taken
from gateway.core.forms.correlation import NOT_GIVEN, Correlation, trace_id_of
from gateway.core.outcome import Accepted, Cancelled, Closing, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Decision, Denial, Order, Permit, Plan, Reserved, Verdict
from gateway.core.request import ActionRequest, Dialect, Principal
from gateway.core.run import Resolved, Skipped

_intent = maker(catalogue.Intent)
_outcome = maker(catalogue.Outcome)
_denied = maker(catalogue.Denied)
_planned = maker(catalogue.Planned)
_explained = maker(catalogue.Explained)


def _written(dialect: Dialect) -> Literal["query", "body"]:
    """Return a dialect as the record has it; the `value` of an Enum is two calls in Python, and each request asks."""
    return "query" if dialect is Dialect.QUERY else "body"


def intent_members(plan: Plan, *, upstream: str) -> Members:
    """Return the members of `intent`: what is about to be sent, and why it may be sent."""
    principal, asked, permit, resolved = plan.principal, plan.asked.wire(), plan.permit, plan.resolved
    return _intent(
        decision_id=plan.decision_id,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=plan.remote,
        dialect=_written(plan.asked.dialect),
        asked=asked,
        effective=asked if permit.effective is plan.asked else permit.effective.wire(),
        selects=plan.asked.selection.kind,
        decision=permit.decided,
        enforced="permit",
        rule=permit.rule,
        narrowed=plan.narrowed,
        shadow=permit.shadow,
        policy_digest=plan.policy_digest,
        upstream=upstream,
        orders=[order.query for order in plan.orders],
        exceptions=list(permit.exceptions),
        reason=plan.asked.reason,
        action=str(plan.asked.action),
        trace_id=plan.correlation.trace_id or trace_id_of(plan.decision_id),
        request_id=plan.correlation.request_id,
        plan=plan.plan_id if resolved is not None else ABSENT,
        digest=resolved.digest if resolved is not None else ABSENT,
        owner="unchecked" if permit.owner_unchecked else ABSENT,
        reserved=_taken(plan.reserved),
        idempotency=ABSENT if plan.idempotency is None else plan.idempotency,
        approved_by=list(plan.approved_by) or ABSENT,
        ends=ABSENT if plan.ends is None else plan.ends,
    )


def _taken(reserved: Reserved | None) -> Taken | Absent:
    return ABSENT if reserved is None else {"rule": reserved.rule, "scope": reserved.scope, "runs": reserved.runs}


def plan_members(plan: Plan, resolved: Resolved, *, upstream: str) -> Members:
    """Return the members of `plan`: the runs that a look-up found to cancel, and the runs that were left out."""
    return _judged(
        _planned,
        plan.decision_id,
        principal=plan.principal,
        request=plan.asked,
        verdict=plan.permit,
        remote=plan.remote,
        asked=plan.asked.wire(),
        effective=plan.permit.effective.wire(),
        enforced="permit",
        policy_digest=plan.policy_digest,
        upstream=upstream,
        digest=resolved.digest,
        runs=[[run.run_id, run.workflow_url, run.created_ms] for run in resolved.runs],
        skipped=skipped_members(resolved.skipped),
        action=str(plan.asked.action),
        trace_id=plan.correlation.trace_id or trace_id_of(plan.decision_id),
        request_id=plan.correlation.request_id,
    )


def denied_members(  # noqa: PLR0913 - what a record says
    decision_id: str,
    *,
    principal: Principal,
    asked: ActionRequest,
    denial: Denial,
    remote: str | None,
    policy_digest: str,
    upstream: str,
    correlation: Correlation = NOT_GIVEN,
    ends: str | None = None,
) -> Members:
    """Return the members of `denied`: those of an intent, with nothing effective, narrowed or ordered."""
    return _denied(
        decision_id=decision_id,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=remote,
        dialect=_written(asked.dialect),
        asked=asked.wire(),
        effective={},
        selects=asked.selection.kind,
        decision=denial.decided,
        enforced="deny",
        rule=denial.rule,
        narrowed=None,
        shadow=denial.shadow,
        policy_digest=policy_digest,
        upstream=upstream,
        orders=[],
        exceptions=list(denial.exceptions),
        reason=asked.reason,
        action=str(asked.action),
        trace_id=correlation.trace_id or trace_id_of(decision_id),
        request_id=correlation.request_id,
        cause=denial.barrier.code if denial.barrier is not None else ABSENT,
        ends=ABSENT if ends is None else ends,
    )


def explained_members(
    decision_id: str,
    *,
    principal: Principal,
    asked: ActionRequest,
    decision: Decision,
    remote: str | None,
    policy_digest: str,
) -> Members:
    """Return the members of `explained`: a decision that a caller only asked about; upstream has no part in it."""
    permitted = isinstance(decision, Permit)
    return _judged(
        _explained,
        decision_id,
        principal=principal,
        request=asked,
        verdict=decision,
        remote=remote,
        asked=asked.wire(),
        effective=decision.effective.wire() if isinstance(decision, Permit) else {},
        enforced="permit" if permitted else "deny",
        policy_digest=policy_digest,
        action=str(asked.action),
    )


def _judged(
    event: Callable[..., Members],
    decision_id: str,
    *,
    principal: Principal,
    request: ActionRequest,
    verdict: Verdict,
    remote: str | None,
    **more: object,
) -> Members:
    """Return the members of an event that records a decision; `more` are those that differ between such events."""
    return event(
        decision_id=decision_id,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=remote,
        dialect=_written(request.dialect),
        selects=request.selection.kind,
        decision=verdict.decided,
        rule=verdict.rule,
        shadow=verdict.shadow,
        exceptions=list(verdict.exceptions),
        reason=request.reason,
        **more,
    )


def _claims(principal: Principal) -> dict[str, str] | Absent:
    return dict(principal.claims) if principal.claims else ABSENT


def skipped_members(skipped: Skipped) -> dict[str, list[str]]:
    """Return the IDs of the runs that were left out, by reason."""
    return {why.value: list(run_ids) for why, run_ids in skipped.items()}


def chunk_members(
    decision_id: str,
    *,
    number: int,
    orders: int,
    order: Order,
    outcome: Outcome,
    skipped: Skipped,
    attempt: int | None = None,
) -> Members:
    """Return the members of `chunk`: the outcome of one order of several.

    `skipped` are the runs that a second look left out. `attempt` (from 1) is for an order that may be sent again.
    """
    cancelled, carried_out, action_id, cause, progress = _particulars(outcome)
    return catalogue.Chunk(
        decision_id=decision_id,
        number=number,
        of=orders,
        order=order.query,
        outcome=outcome.name,
        upstream_status=outcome.upstream_status,
        cancelled=cancelled,
        skipped=skipped_members(skipped),
        carried_out=ABSENT if carried_out is None else carried_out,
        action_id=action_id,
        cause=cause,
        progress=progress,
        attempt=ABSENT if attempt is None else attempt,
        made=_made(outcome) if isinstance(outcome, Cancelled) and outcome.made else ABSENT,
    ).members()


def outcome_members(decision_id: str, closing: Closing) -> Members:
    """Return the members of `outcome`, which closes an intent. `carried_out` is null if nobody knows."""
    return _closed(
        decision_id,
        closing.outcome,
        over_cancelled=closing.over_cancelled,
        duration_ms=closing.duration_ms,
        caller_gone=closing.caller_gone,
        skipped=skipped_members(closing.skipped) if closing.skipped else ABSENT,
        joins_left_out=closing.joins_left_out or ABSENT,
        stopped_by=ABSENT if closing.stopped_by is None else closing.stopped_by,
        made=_made(closing.outcome) if isinstance(closing.outcome, Cancelled) and closing.outcome.made else ABSENT,
    )


def recovered_members(decision_id: str, progress: Progress | None = None) -> Members:
    """Return the `outcome` of an intent whose process died: only how far its orders had come is known, if anything."""
    return _closed(decision_id, Unknown("recovered", None, progress))


def unsent_members(decision_id: str, cause: str) -> Members:
    """Return the `outcome` of an intent that was refused before anything was sent; `cause` is a fixed word."""
    return _closed(decision_id, NotSent(cause), duration_ms=0)


def _closed(
    decision_id: str,
    outcome: Outcome,
    *,
    over_cancelled: int = 0,
    duration_ms: int | None = None,
    caller_gone: bool | None = None,
    **more: Unpack[MoreOfAnOutcome],
) -> Members:
    cancelled, carried_out, action_id, cause, progress = _particulars(outcome)
    return _outcome(
        decision_id=decision_id,
        outcome=outcome.name,
        upstream_status=outcome.upstream_status,
        cancelled=cancelled,
        over_cancelled=over_cancelled,
        duration_ms=duration_ms,
        caller_gone=caller_gone,
        carried_out=carried_out,
        action_id=action_id,
        cause=cause,
        progress=progress,
        **more,
    )


def _particulars(
    outcome: Outcome,
) -> tuple[int | None, bool | None, str | Absent, str | Absent, Remains | Absent]:
    """Return the members in which outcomes differ: `cancelled, carried_out, action_id, cause, progress`."""
    match outcome:
        case Cancelled():
            return outcome.cancelled, True, ABSENT if outcome.action_id is None else outcome.action_id, ABSENT, ABSENT
        case Accepted():
            return None, True, outcome.action_id, ABSENT, ABSENT
        case Refused():
            return None, False, ABSENT, ABSENT, ABSENT
        case NotSent():
            return None, False, ABSENT, outcome.cause, ABSENT
        case Unknown():
            return None, None, ABSENT, outcome.cause, _remains(outcome.progress)


def _made(outcome: Cancelled) -> list[MadeThing]:
    return [[one.made_id, one.created_ms] for one in outcome.made]


def _remains(progress: Progress | None) -> Remains | Absent:
    if progress is None:
        return ABSENT
    return {"cancelled": progress.cancelled, "unsent": progress.unsent, "unknown": progress.unknown}


def refused_members(  # noqa: PLR0913 - what a record says
    decision_id: str,
    *,
    status: int,
    code: str,
    cause: str,
    remote: str | None,
    action: str | None = None,
    correlation: Correlation = NOT_GIVEN,
    principal: Principal | None = None,
    left_out: int = 0,
) -> Members:
    """Return the members of `refused`: an answer of 4xx or 503 before policy.

    `action` is what was to be done, if that was read. `left_out` counts the refusals of the same kind before it that
    were not recorded.
    """
    return catalogue.Refused(
        decision_id=decision_id,
        status=status,
        code=code,
        cause=cause,
        remote=remote,
        action=action,
        trace_id=correlation.trace_id or trace_id_of(decision_id),
        request_id=correlation.request_id,
        principal=principal.name if principal is not None else ABSENT,
        key_id=principal.key_id if principal is not None else ABSENT,
        left_out=left_out or ABSENT,
    ).members()


def throttled_members(
    decision_id: str,
    *,
    principal: Principal,
    remote: str | None,
    cause: str,
    limit: int,
    retry_after_s: int,
    left_out: int = 0,
) -> Members:
    """Return the members of `throttled`: a request above a limit of its principal or its team.

    `left_out` counts those of the same team before it that were not recorded.
    """
    return catalogue.Throttled(
        decision_id=decision_id,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=remote,
        cause=cause,
        limit=limit,
        retry_after_s=retry_after_s,
        left_out=left_out or ABSENT,
    ).members()


def joined_members(decision_id: str, *, joins: str, principal: Principal, remote: str | None) -> Members:
    """Return the members of `joined`: a repeat that waits for the outcome of the intent `joins` and sends nothing."""
    return catalogue.Joined(
        decision_id=decision_id,
        joins=joins,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=remote,
    ).members()


def withdrawn_members(decision_id: str, *, plan: str, principal: Principal, remote: str | None) -> Members:
    """Return the members of `withdrawn`: a plan that its caller stopped before it was applied."""
    return catalogue.Withdrawn(
        decision_id=decision_id,
        team=principal.team,
        principal=principal.name,
        key_id=principal.key_id,
        claims=_claims(principal),
        remote=remote,
        plan=plan,
    ).members()
