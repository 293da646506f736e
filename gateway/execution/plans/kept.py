"""A plan as the store keeps it, written and read: one JSON object, and beside it what the store is asked by.

Nothing that is read is believed: every value is checked as it was when it first came, the owner has to be the one that
the store names beside it, and the runs have to hash to the digest there. No secret is in it, because what holds one is
neither a request nor a run, and no monotonic time, which means nothing to another process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson

from gateway.core import grammar
from gateway.core.errors import Conflict
from gateway.core.forms.strict_json import json_object
from gateway.core.plan import Denial, Narrowing, NotAdmitted, Owner, Permit
from gateway.core.request import (
    CANCEL_RUNS,
    IDS,
    RUN_IDS,
    Action,
    ActionRequest,
    ByFilterHere,
    ByIds,
    Everything,
    FailedFilter,
    Filter,
    Principal,
    Selection,
    filter_with,
    wires_of,
)
from gateway.core.run import Resolved, Run, Skip
from gateway.execution.plans.draft import NO_RUNS, Draft, Learnt, State, Times
from gateway.execution.ports import Call
from gateway.policy.rules import Policies
from gateway.state.plans import KeptPlan
from gateway.upstream.runs.entries import read_entry

VERSION = 1

_ABOUT = "failedWorkflowRunId"

Members = Mapping[str, Any]


def damaged(plan_id: str) -> Conflict:
    """Return the refusal of a plan that cannot be believed as the store has it."""
    sentence = (
        "The shared state does not hold this plan as it was made, so nothing of it is sent. Plan again, and tell the "
        "gateway's operators: somebody may have changed it."
    )
    return Conflict("plan_damaged", sentence, members={"plan": plan_id, "state": State.FAILED.value})


def row_of(draft: Draft) -> KeptPlan:
    """Return a plan as it is to be kept now."""
    principal = draft.call.principal
    return KeptPlan(
        plan_id=draft.plan_id,
        team=principal.team,
        principal=principal.name,
        state=draft.state.value,
        digest=draft.resolved.digest if draft.has_runs else "",
        document=orjson.dumps(_members(draft)),
        made_ms=draft.times.made_ms,
        expires_ms=draft.times.shown_until_ms,
    )


def _members(draft: Draft) -> Members:
    call, permit, resolved = draft.call, draft.permit, draft.resolved
    found = draft.settled
    return {
        "v": VERSION,
        "plan": draft.plan_id,
        "team": call.principal.team,
        "subject": call.principal.subject,
        "request": _request(call.request),
        "times": [*draft.times],
        "state": draft.state.value,
        "permit": {
            "rule": permit.rule,
            "count": permit.effective.count,
            "narrowing": None if permit.narrowing is None else [*permit.narrowing],
            "owner_unchecked": permit.owner_unchecked,
        },
        "runs": [_entry(run) for run in resolved.runs] if draft.has_runs else None,
        "skipped": {why.value: run_ids for why, run_ids in resolved.skipped.items()},
        "more": resolved.more,
        "read_to_end": draft.read_to_end,
        "as_of_ms": draft.as_of_ms,
        "denial": None if draft.denial is None else _refusal(draft.denial),
        "failure": None if draft.failure is None else draft.failure.sentence,
        "orders": draft.orders,
        "orders_sent": draft.orders_sent,
        "cancelled": draft.cancelled,
        "outcome": draft.outcome,
        "settled": None if found is None else [found.at_ms, found.source, found.cancelled],
        "approval": draft.approval,
    }


def _request(request: ActionRequest) -> Members:
    members = {**_selection(request.selection), "count": request.count, "reason": request.reason}
    if request.action is not CANCEL_RUNS:
        members |= {"action": request.action, "overrides": request.overrides}
    return members


def _selection(selection: Selection) -> Members:
    match selection:
        case ByIds(ids, name):
            return {"run_ids": ids} if name == RUN_IDS else {"ids": ids, "of": name}
        case Everything():
            return {"everything": True}
        case Filter() as chosen:
            given = {name: getattr(chosen, name) for name in wires_of(type(chosen))}
            kind = "failed" if isinstance(chosen, FailedFilter) else "filter"
            return {kind: {name: value for name, value in given.items() if value not in ((), None, False)}}


def _entry(run: Run) -> Members:
    """Return a run in the form in which upstream's log shows one, so that one reader reads both.

    An entry of the dead letter queue has the run that it is about beside it.
    """
    return {
        "workflowRunId": run.run_id,
        "workflowUrl": run.workflow_url,
        "workflowState": run.state,
        "workflowRunCreatedAt": run.created_ms,
        **({} if run.caller_ip is None else {"workflowRunCallerIp": run.caller_ip}),
        **({} if run.flow_control_key is None else {"flowControlKey": run.flow_control_key}),
        "labels": run.labels,
        **({} if run.failed_run_id is None else {_ABOUT: run.failed_run_id}),
    }


def _refusal(denial: Denial) -> Members:
    return {"reason": denial.reason, "rule": denial.rule, **denial.particulars()}


def draft_of(row: KeptPlan, *, now_ms: int, monotonic_s: float) -> Draft:
    """Return the plan that a row of the store holds, as of now. Its `call` has no standing: nobody made it here.

    It is never fresh: each of its orders, the first too, has its runs looked up by ID.

    Raises: Conflict: the row is not a plan as it was made (`damaged`).
    """
    try:
        members = json_object(row.document)
        draft = _read(row, members, lambda times: monotonic_s - (now_ms - times.made_ms) / 1000)
    except (ValueError, TypeError, LookupError, AttributeError) as exc:
        raise damaged(row.plan_id) from exc
    draft.state = _state_now(draft, row, now_ms)
    if draft.state is State.EXPIRED:
        draft.resolved = NO_RUNS
    if draft.state is State.FAILED and draft.failure is None:
        draft.failure = Conflict("plan_refused", _LOOK_UP_GONE)
    return draft


_LOOK_UP_GONE = "The gateway that looked the runs up ended before it had found them; nothing was sent. Plan again."


def _state_now(draft: Draft, row: KeptPlan, now_ms: int) -> State:
    """Return what the state is by now: that of the document, but for what happened since it was written."""
    if row.claimed_by is not None and draft.state in (State.LOOKING, State.READY, State.AWAITING, State.APPLYING):
        # Nobody takes a claim over, so nobody will say what came of it.
        return State.UNKNOWN if row.claimant_gone else State.APPLYING
    if draft.state is State.APPLYING:
        # Its claim was given back: nothing was sent.
        draft.not_applied()
    if draft.state not in (State.LOOKING, State.READY, State.AWAITING):
        return draft.state
    if draft.approval and row.state in (State.REJECTED, State.EXPIRED):
        return State(row.state)
    if row.stopped_by is not None:
        return State.STOPPED
    if draft.state is State.LOOKING:
        return State.LOOKING if now_ms < draft.times.looked_until_ms else State.FAILED
    return draft.state if now_ms < draft.times.applied_until_ms else State.EXPIRED


def _read(row: KeptPlan, members: Members, made_s: Callable[[Times], float]) -> Draft:
    principal = Principal(_text(members["team"]), _text(members["subject"]))
    times = _times_in(members["times"])
    owner = (row.plan_id, row.team, row.principal)
    if (members["v"], members["plan"], principal.team, principal.name) != (VERSION, *owner):
        raise ValueError("another version, or another's plan")
    request = _request_in(members["request"])
    call, permit = _call_of(principal, request, row.plan_id), _permit_in(members["permit"], request)
    draft = Draft(call, permit, made_s(times), State(members["state"]), times=times)
    draft.given = draft.kept = draft.narrowed = draft.much_news = True
    draft.read_to_end, draft.approval = members["read_to_end"] is True, members.get("approval") is True
    draft.as_of_ms = None if members["as_of_ms"] is None else _number(members["as_of_ms"])
    if members["runs"] is not None:
        skipped = {Skip(why): _texts(run_ids) for why, run_ids in members["skipped"].items()}
        draft.resolved = Resolved(_runs(members["runs"]), skipped, members["more"] is True).counted()
    if row.digest != (draft.resolved.digest if draft.has_runs else ""):
        raise ValueError("other runs than those that were planned")
    draft.denial = None if members["denial"] is None else _denial_in(members["denial"])
    draft.failure = None if members["failure"] is None else Conflict("plan_refused", _text(members["failure"]))
    draft.planned = _number(members["orders"])
    draft.orders_sent, draft.cancelled = _number(members["orders_sent"]), _number(members["cancelled"])
    draft.outcome = _text_or_none(members["outcome"])
    if members["settled"] is not None:
        at_ms, source, cancelled = members["settled"]
        draft.settled = Learnt(_number(at_ms), _text(source), None if cancelled is None else _number(cancelled))
    return draft


def _times_in(value: Sequence[object]) -> Times:
    made, looked, applied, shown = map(_number, value)
    return Times(made, looked, applied, shown)


async def _gone() -> bool:
    return True


def _call_of(principal: Principal, request: ActionRequest, plan_id: str) -> Call:
    return Call(Policies((), ""), principal, request, plan_id, None, _gone, lambda: None)


def _request_in(members: Members) -> ActionRequest:
    count, reason = _number(members["count"]), _text_or_none(members["reason"])
    action, overrides = Action(members.get("action", CANCEL_RUNS)), members.get("overrides", ())
    headers = tuple((_text(name), _text(value)) for name, value in overrides)
    return ActionRequest(_selection_in(members), count, reason=reason, action=action, overrides=headers)


def _selection_in(members: Members) -> Selection:
    match members:
        case {"run_ids": ids}:
            return ByIds(_texts(ids))
        case {"ids": ids, "of": str(name)} if name in IDS:
            return ByIds(_texts(ids), name)
        case {"filter": dict(chosen)}:
            return _filter_in(chosen)
        case {"failed": dict(chosen)}:
            return _filter_in(chosen, failed=True)
        case {"everything": True}:
            return Everything()
    raise ValueError("no selection")


def _filter_in(chosen: Members, *, failed: bool = False) -> Filter:
    known, given = wires_of(FailedFilter if failed else ByFilterHere), dict(chosen)
    for name, value in chosen.items():
        if known[name].checks is not None:
            given[name] = _texts(value)
        elif name == "exact" and value is not True:
            raise ValueError("exact is a flag")
        elif name != "exact":
            _number(value)
    return filter_with(given, failed=failed)


def _permit_in(members: Members, request: ActionRequest) -> Permit:
    narrowing = members["narrowing"]
    if narrowing is not None:
        key, by = narrowing
        if key not in ("count", "runs"):
            raise ValueError("no narrowing")
        narrowing = Narrowing(key, _text(by))
    return Permit(
        _text_or_none(members["rule"]),
        "permit",
        None,
        replace(request, count=_number(members["count"])),
        narrowing=narrowing,
        owner_unchecked=members["owner_unchecked"] is True,
    )


def _runs(entries: Sequence[object]) -> tuple[Run, ...]:
    found = tuple(run for entry in entries if (run := _run_in(entry)) is not None)
    if len(found) != len(entries):
        raise ValueError("a run cannot be read")
    return found


def _run_in(entry: object) -> Run | None:
    run = read_entry(entry)
    about = entry.get(_ABOUT) if isinstance(entry, dict) else None
    return run if run is None or about is None else replace(run, failed_run_id=grammar.run_id(_text(about)))


def _denial_in(members: Members) -> Denial:
    owner, part = members.get("owner"), members.get("not_admitted")
    return Denial(
        _text_or_none(members["rule"]),
        "deny",
        None,
        _text(members["reason"]),
        None,
        owner=None if owner is None else Owner(_text(owner["team"]), _text(owner["contact"])),
        not_admitted=None
        if part is None
        else NotAdmitted(_text(part["rule"]), _text(part["field"]), _text_or_none(part["value"])),
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("no text")  # noqa: TRY004 - one kind of error for every unreadable document
    return value


def _text_or_none(value: object) -> str | None:
    return None if value is None else _text(value)


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("no list")  # noqa: TRY004 - as above
    return tuple(_text(one) for one in value)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no number")
    return value
