"""The members of each event in the record. This module is pure, and the only place that names them.

No event holds a credential, a raw target or bytes of a request, because only typed values and fixed words come in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

from gateway.audit.chain import MacKey
from gateway.core.outcome import Accepted, Cancelled, Closing, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Decision, Denial, Order, Permit, Plan, Verdict
from gateway.core.request import CancelRequest, Principal
from gateway.core.run import Resolved, Skipped

Members = dict[str, object]

MOST_PROBLEMS = 20
MOST_PROBLEM_CHARS = 500
"""A `reload` records at most MOST_PROBLEMS problems, each cut to this many characters; `check` prints all of them."""

CHANGES = (
    *("keys_added", "keys_removed", "keys_changed"),
    *("issuers_added", "issuers_removed", "issuers_changed"),
    "settings_changed",
)
"""The lists in a `reload`: keys as `team/id`, issuers as their tokens name them, and keys of the configuration."""

MOST_NAMES = 100
"""The most names in one of these lists; `names_left_out` counts the others, over all lists."""


def start_members(
    start: Mapping[str, object],
    key: MacKey | None,
    *,
    origin: Members | None = None,
    intents: Iterable[str] = (),
    recovered: Members | None = None,
) -> Members:
    """Return the members of `start`, a chain's first record: its seal, the chain it continues, and the heads of others.

    `origin` is the chain before it, with the head at which that chain ended, and `intents` are those left open there.
    `recovered` holds the heads and the damage found in the directory.
    """
    sealed = {"chain": "sha256" if key is None else "hmac-sha256", "key_id": key.key_id if key else None}
    continues: Members = {"continues": origin} | ({"intents": list(intents)} if origin is not None else {})
    return {**start, **sealed, **continues, **(recovered or {"heads": {}, "damaged": []})}


def retired_members(chain: str, *, seq: int, head: str | None, files: Mapping[str, str], to: str | None) -> Members:
    """Return the members of `retired`: a chain that may be missing from now on, and its head.

    `files` gives the SHA-256 of each of its files, and `to` is the directory to which they were moved.
    """
    return {"retired": chain, "at": {"seq": seq, "head": head}, "files": dict(files), "to": to}


def intent_members(plan: Plan, *, upstream: str) -> Members:
    """Return the members of `intent`: what is about to be sent, and why it may be sent."""
    members = _judged(
        plan.decision_id, principal=plan.principal, asked=plan.asked, verdict=plan.permit, remote=plan.remote
    )
    if plan.permit.effective is not plan.asked:
        members["effective"] = plan.permit.effective.wire()
    members["enforced"] = "permit"
    members["narrowed"] = plan.narrowed
    members["policy_digest"] = plan.policy_digest
    members["upstream"] = upstream
    members["orders"] = [order.query for order in plan.orders]
    if plan.resolved is not None:
        members |= {"plan": plan.plan_id, "digest": plan.resolved.digest}
    if plan.permit.owner_unchecked:
        members["owner"] = "unchecked"
    return members


def plan_members(plan: Plan, resolved: Resolved, *, upstream: str) -> Members:
    """Return the members of `plan`: the runs that a look-up found to cancel, and the runs that were left out.

    A run to cancel is `[ID, URL, creation time in Unix milliseconds]`.
    """
    members = _judged(
        plan.decision_id, principal=plan.principal, asked=plan.asked, verdict=plan.permit, remote=plan.remote
    )
    members |= {"effective": plan.permit.effective.wire(), "enforced": "permit"}
    members |= {"policy_digest": plan.policy_digest, "upstream": upstream, "digest": resolved.digest}
    members["runs"] = [[run.run_id, run.workflow_url, run.created_ms] for run in resolved.runs]
    members["skipped"] = skipped_members(resolved.skipped)
    return {name: value for name, value in members.items() if name not in ("narrowed", "orders")}


def skipped_members(skipped: Skipped) -> Members:
    """Return the IDs of the runs that were left out, by reason."""
    return {why.value: list(run_ids) for why, run_ids in skipped.items()}


def chunk_members(
    decision_id: str, *, number: int, orders: int, order: Order, outcome: Outcome, skipped: Skipped
) -> Members:
    """Return the members of `chunk`: the outcome of one order of several.

    `skipped` are the runs that were left out of the order after a second look.
    """
    members: Members = {"decision_id": decision_id, "number": number, "of": orders, "order": order.query}
    members |= {"outcome": outcome.name, "upstream_status": outcome.upstream_status, "cancelled": None}
    members |= {"skipped": skipped_members(skipped)}
    return members | _particulars(outcome)


def denied_members(
    decision_id: str,
    *,
    principal: Principal,
    asked: CancelRequest,
    denial: Denial,
    remote: str | None,
    policy_digest: str,
    upstream: str,
) -> Members:
    """Return the members of `denied`: those of an intent, with nothing effective, narrowed or ordered."""
    members = _judged(decision_id, principal=principal, asked=asked, verdict=denial, remote=remote)
    members |= {"effective": {}, "policy_digest": policy_digest, "upstream": upstream}
    return members


def explained_members(
    decision_id: str,
    *,
    principal: Principal,
    asked: CancelRequest,
    decision: Decision,
    remote: str | None,
    policy_digest: str,
) -> Members:
    """Return the members of `explained`: a decision that a caller only asked about.

    Nothing is sent, so they do not mention upstream.
    """
    members = _judged(decision_id, principal=principal, asked=asked, verdict=decision, remote=remote)
    members["effective"] = {}
    if isinstance(decision, Permit):
        members |= {"effective": decision.effective.wire(), "enforced": "permit"}
    members["policy_digest"] = policy_digest
    return {name: value for name, value in members.items() if name not in ("narrowed", "upstream", "orders")}


def _judged(
    decision_id: str, *, principal: Principal, asked: CancelRequest, verdict: Verdict, remote: str | None
) -> Members:
    # The order of members is fixed here, once for all events that record a decision.
    wire = asked.wire()
    return {
        "decision_id": decision_id,
        **_who(principal, remote),
        "dialect": asked.dialect.value,
        "asked": wire,
        "effective": wire,
        "selects": asked.selection.kind,
        "decision": verdict.decided,
        "enforced": "deny",
        "rule": verdict.rule,
        "narrowed": None,
        "shadow": verdict.shadow,
        "policy_digest": None,
        "upstream": None,
        "orders": [],
        "exceptions": list(verdict.exceptions),
        "reason": asked.reason,
    }


def _who(principal: Principal, remote: str | None) -> Members:
    members: Members = {"team": principal.team, "principal": principal.name, "key_id": principal.key_id}
    if principal.claims:
        members["claims"] = dict(principal.claims)
    return members | {"remote": remote}


def outcome_members(decision_id: str, closing: Closing) -> Members:
    """Return the members of `outcome`, which closes an intent. `carried_out` is null if nobody knows."""
    members = _closed(decision_id, closing.outcome)
    members |= {"over_cancelled": closing.over_cancelled, "duration_ms": closing.duration_ms}
    members["caller_gone"] = closing.caller_gone
    members |= {"skipped": skipped_members(closing.skipped)} if closing.skipped else {}
    return members | ({"joins_left_out": closing.joins_left_out} if closing.joins_left_out else {})


def recovered_members(decision_id: str) -> Members:
    """Return the `outcome` of an intent whose process died: neither what came of it nor its duration is known."""
    return _closed(decision_id, Unknown("recovered"))


def unsent_members(decision_id: str, cause: str) -> Members:
    """Return the `outcome` of an intent that was refused before anything was sent; `cause` is a fixed word."""
    return _closed(decision_id, NotSent(cause)) | {"duration_ms": 0}


def _closed(decision_id: str, outcome: Outcome) -> Members:
    members: Members = {
        "decision_id": decision_id,
        "outcome": outcome.name,
        "upstream_status": outcome.upstream_status,
        "cancelled": None,
        "over_cancelled": 0,
        "duration_ms": None,
        "caller_gone": None,
        "carried_out": None,
    }
    return members | _particulars(outcome)


def _particulars(outcome: Outcome) -> Members:
    match outcome:
        case Cancelled(action_id=None):
            return {"cancelled": outcome.cancelled, "carried_out": True}
        case Cancelled():
            return {"cancelled": outcome.cancelled, "carried_out": True, "action_id": outcome.action_id}
        case Accepted():
            return {"carried_out": True, "action_id": outcome.action_id}
        case Refused():
            return {"carried_out": False}
        case NotSent():
            return {"carried_out": False, "cause": outcome.cause}
        case Unknown(progress=progress):
            return {"cause": outcome.cause} | ({"progress": asdict(progress)} if progress is not None else {})


def refused_members(
    decision_id: str,
    *,
    status: int,
    code: str,
    cause: str,
    remote: str | None,
    principal: Principal | None = None,
    left_out: int = 0,
) -> Members:
    """Return the members of `refused`: an answer of 4xx or 503 before policy.

    `left_out` counts the refusals of the same kind before it that were not recorded.
    """
    members: Members = {"decision_id": decision_id, "status": status, "code": code, "cause": cause, "remote": remote}
    if principal is not None:
        members |= {"principal": principal.name, "key_id": principal.key_id}
    if left_out:
        members["left_out"] = left_out
    return members


def throttled_members(
    decision_id: str, *, principal: Principal, remote: str | None, cause: str, limit: int, retry_after_s: int
) -> Members:
    """Return the members of `throttled`: a request above a limit of its principal or its team."""
    return {
        "decision_id": decision_id,
        **_who(principal, remote),
        "cause": cause,
        "limit": limit,
        "retry_after_s": retry_after_s,
    }


def joined_members(decision_id: str, *, joins: str, principal: Principal, remote: str | None) -> Members:
    """Return the members of `joined`: a repeat that waits for the outcome of the intent `joins` and sends nothing."""
    return {"decision_id": decision_id, "joins": joins, **_who(principal, remote)}


def reload_members(
    cause: str,
    *,
    old_digest: str,
    new_digest: str | None,
    problems: Sequence[str],
    changed: Mapping[str, Sequence[str]] | None = None,
) -> Members:
    """Return the members of `reload`: policies, callers and limits were read again.

    If there are `problems`, they were refused and nothing changed. `new_digest` is None if there were no readable
    policies. `changed` has names for any of CHANGES.
    """
    names = {what: (changed or {}).get(what, ()) for what in CHANGES}
    left_out = sum(max(0, len(some) - MOST_NAMES) for some in names.values())
    return {
        "outcome": "refused" if problems else "applied",
        "cause": cause,
        "old_digest": old_digest,
        "new_digest": new_digest,
        "problems": [problem[:MOST_PROBLEM_CHARS] for problem in problems[:MOST_PROBLEMS]],
        **{what: list(some[:MOST_NAMES]) for what, some in names.items()},
        **({"names_left_out": left_out} if left_out else {}),
    }


def continued_members(reason: str, *, open_intents: int, left_out: int, found: Mapping[str, object]) -> Members:
    """Return the members of `recovery`: the log continues after `reason`.

    `left_out` notes were not written, and `found` holds further members about what was found.
    """
    return {"reason": reason, "open": open_intents, "left_out": left_out, **found}


def settled_members(
    decision_id: str, *, source: str, cancelled: int | None, cause: str | None, found: Mapping[str, object]
) -> Members:
    """Return the members of `settled`: what a `bulk_action` or a `read_back` showed after the outcome.

    `cancelled` is None if the number is still unknown. `cause` says why the follow-up ended early. `found` holds
    further members.
    """
    members: Members = {"decision_id": decision_id, "source": source, "cancelled": cancelled, **found}
    return members | ({"cause": cause} if cause is not None else {})
