"""The event of approvals: a cancel waits for other people, and what came of that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from gateway.audit.events.declare import ABSENT, Absent, Event, Keywords, Members
from gateway.audit.events.values import Cause, DecisionId, KeyId, PolicyDigest, PrincipalName, Remote, RuleName, Uuid
from gateway.core.forms.times import run_time
from gateway.core.request import Principal
from gateway.state.approvals import End, Voice, Waiting

_TEXT = Keywords(maxLength=200)


class Approving(Event, name="approval"):
    """A plan waits for approval, somebody has approved or rejected it, or it is over without being applied.

    `decision_id` is that of the request that the plan began with, whoever acts; the intent of a cancel that was
    approved names the plan.
    """

    decision_id: DecisionId
    state: Annotated[
        Literal["asked", "approved", "rejected", "expired", "void"],
        "What happened. One `approved` may not be enough; `void`: what it was bound to has changed (`cause`).",
    ]
    team: Annotated[str, "The team of the caller whose cancel it is."]
    principal: Annotated[PrincipalName, "The caller whose cancel it is."]
    rule: Annotated[RuleName, "The rule that asks for approval."]
    needed: Annotated[int, "How many principals have to approve.", Keywords(minimum=1)]
    approvers: Annotated[Sequence[str], "The teams whose principals may."]
    digest: Annotated[str, "The SHA-256 of the runs that it is about."]
    policy_digest: PolicyDigest
    until: Annotated[str, "When it expires, by the clock that the gateways share."]
    by: Annotated[PrincipalName | None, "Who did it; null for the gateway itself."]
    key_id: Annotated[KeyId | None, "The id of that principal's key or token."]
    remote: Remote
    call: Annotated[Uuid | Absent, "The decision id of the call that approved or rejected it."] = ABSENT
    reason: Annotated[str | Absent | None, "Why, in the words of whoever did it.", _TEXT] = ABSENT
    cause: Annotated[Cause | Absent, "What has changed: `policy`, `runs`, `approver`."] = ABSENT


def asked_members(waiting: Waiting, principal: Principal, *, remote: str | None, reason: str | None) -> Members:
    """Return the members of `approval` for a plan that waits from now on."""
    return _approving(
        waiting, "asked", by=principal.name, key_id=principal.key_id, remote=remote, reason=reason
    ).members()


def said_members(waiting: Waiting, voice: Voice, principal: Principal, *, remote: str | None) -> Members:
    """Return the members of `approval` for what somebody says of a plan."""
    return _approving(
        waiting,
        "approved" if voice.word == "approve" else "rejected",
        by=principal.name,
        key_id=principal.key_id,
        remote=remote,
        call=voice.voice_id,
        reason=voice.reason,
    ).members()


def ended_members(waiting: Waiting, end: End, cause: str | None = None) -> Members:
    """Return the members of `approval` for a plan that is over without anybody's word."""
    state: Literal["expired", "void"] = "expired" if end is End.EXPIRED else "void"
    return _approving(waiting, state, cause=ABSENT if cause is None else cause).members()


def _approving(  # noqa: PLR0913 - what a record says
    waiting: Waiting,
    state: Literal["asked", "approved", "rejected", "expired", "void"],
    *,
    by: str | None = None,
    key_id: str | None = None,
    remote: str | None = None,
    call: str | Absent = ABSENT,
    reason: str | Absent | None = ABSENT,
    cause: str | Absent = ABSENT,
) -> Approving:
    return Approving(
        decision_id=waiting.plan_id,
        state=state,
        team=waiting.team,
        principal=waiting.requester,
        rule=waiting.rule,
        needed=waiting.needed,
        approvers=list(waiting.by),
        digest=waiting.plan_digest,
        policy_digest=waiting.policy_digest,
        until=run_time(waiting.until_ms),
        by=by,
        key_id=key_id,
        remote=remote,
        call=call,
        reason=reason,
        cause=cause,
    )
