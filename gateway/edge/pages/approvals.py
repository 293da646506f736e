"""The pages of approvals: the plans that wait for a team, and what its people say of them. Reading approves nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, Protocol

import orjson

from gateway.core import grammar
from gateway.core.errors import MalformedRequest
from gateway.core.parse import json_members
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.edge.pages.plans import approvals_members, every_run
from gateway.execution.gates.approving import Said
from gateway.execution.plans.draft import Draft, State
from gateway.state.approvals import Waiting

_SHAPE = (
    'Send a body: {"digest": "of the plan that you were shown", "decision": "approve"}, or "reject", and a "reason" if '
    "you like."
)
_DIGEST_CHARS = 64

MOST_KEPT_BYTES = 4_000_000
"""The most bytes of plans as they are listed that are kept; above it the oldest is read again when it is listed."""


class ApprovingPort(Protocol):
    """The port at which people see what waits for them, and say what they think of it."""

    async def say(self, plan_id: str, said: Said) -> tuple[Draft, Waiting]:
        """Take, record and count it. Raises: NotFound, NotAnApprover, Conflict, StateUnavailable, AuditUnavailable."""

    async def waiting_for(self, team: str | None) -> Sequence[Waiting]:
        """Return what is known of the plans that wait for people of a team (None: of any). Raises: StateUnavailable."""

    async def read(self, waiting: Waiting) -> Draft | None:
        """Return a plan that waits, with its runs; None if it is over or damaged. Raises: StateUnavailable."""

    async def seen_by(self, team: str, plan_id: str) -> tuple[Draft, Waiting]:
        """Return a plan that waits for people of a team. Raises: NotFound, StateUnavailable."""

    async def of(self, draft: Draft) -> Waiting | None:
        """Return what is known of the approvals of a plan. Raises: StateUnavailable."""


class ApprovalPages:
    """The calls about approvals. Each raises Refusal. `shown` returns a plan with its approvals as JSON."""

    def __init__(
        self, intake: Intake, approving: ApprovingPort, shown: Callable[[Draft, Waiting], Mapping[str, object]]
    ) -> None:
        self._intake = intake
        self._approving = approving
        self._shown = shown
        self._kept: dict[str, bytes] = {}
        self._reading = asyncio.Lock()

    async def listed(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/approvals`: return the plans that wait for the caller's team, the newest first."""
        no_query(inbound)
        plans = await self.waiting_for(caller_of(inbound).team)
        return answers.status_page(200, {"approvals": plans}, inbound.decision_id)

    async def waiting_for(self, team: str) -> Sequence[Mapping[str, object]]:
        """Return the plans that wait for people of a team as they are listed, the newest first.

        Raises: StateUnavailable.
        """
        found = [await self._listed(waiting) for waiting in await self._approving.waiting_for(team)]
        return [members for members in found if members is not None]

    async def everybodys(self) -> Sequence[Draft]:
        """Return the plans that wait for anybody: no gateway has those in memory."""
        found = [await self._approving.read(waiting) for waiting in await self._approving.waiting_for(None)]
        return [draft for draft in found if draft is not None]

    async def say(self, inbound: Inbound, plan_id: str) -> Answer:
        """Handle `POST /gateway/v1/plans/{plan}/approvals`: approve or reject exactly the runs of that digest."""
        body = await self._intake.own_body(inbound)
        if body.content_encodings or not body.content:
            raise MalformedRequest("approval_shape", _SHAPE)
        digest, word, reason = _read(json_members(body))
        self._intake.refuse_secrets(inbound, [digest, reason or ""])
        caller, live = caller_of(inbound), inbound.live
        said = Said(
            principal=caller,
            credential=live.credential_of(caller),
            word=word,
            reason=reason,
            digest=digest,
            policy_digest=live.policies.digest,
            decision_id=inbound.decision_id,
            remote=inbound.remote,
        )
        draft, waiting = await self._approving.say(plan_id, said)
        return answers.status_page(201, {**self._shown(draft, waiting), **_about(draft)}, inbound.decision_id)

    async def seen(self, inbound: Inbound, plan_id: str) -> Mapping[str, object]:
        """Return a plan that waits for the caller's team, with every run of it."""
        return self._whole(*await self._approving.seen_by(caller_of(inbound).team, plan_id))

    async def with_approvals(self, inbound: Inbound, draft: Draft) -> Mapping[str, object] | None:
        """Return a plan that the caller may see, with its approvals; None if it needs none."""
        waiting = await self._approving.of(draft)
        if waiting is None:
            return None
        to_say = draft.state is State.AWAITING and caller_of(inbound).team in waiting.by
        return self._whole(draft, waiting) if to_say else self._shown(draft, waiting)

    async def _listed(self, waiting: Waiting) -> Mapping[str, object] | None:
        """Return a plan as it is listed; None if it is over meanwhile or damaged.

        The runs of a plan that waits stay as they are, so they are read once, and of one plan at a time.
        """
        name = waiting.plan_id
        kept = self._kept.get(name)
        if kept is None:
            async with self._reading:
                kept = self._kept.get(name) or await self._read(waiting)
        if kept is None:
            return None
        left = {"expires_in_s": max(0, waiting.until_ms - waiting.now_ms) // 1000}
        return {**orjson.loads(kept), **left, "approvals": approvals_members(waiting)}

    async def _read(self, waiting: Waiting) -> bytes | None:
        """Read a plan, and keep what is listed of it: its runs by number and sample."""
        draft = await self._approving.read(waiting)
        if draft is None:
            return None
        listed = orjson.dumps({**self._shown(draft, waiting), **_about(draft)})
        self._kept[waiting.plan_id] = listed
        while len(self._kept) > 1 and sum(map(len, self._kept.values())) > MOST_KEPT_BYTES:
            del self._kept[next(iter(self._kept))]
        return listed

    def _whole(self, draft: Draft, waiting: Waiting) -> Mapping[str, object]:
        return {**self._shown(draft, waiting), **_about(draft), "listed": every_run(draft)}


def _about(draft: Draft) -> Mapping[str, object]:
    """Return whose plan it is, what was asked, and why."""
    call = draft.call
    return {"principal": call.principal.name, "reason": call.request.reason, "request": call.request.wire()}


def _read(members: Mapping[str, object]) -> tuple[str, Literal["approve", "reject"], str | None]:
    """Return the digest, the word and the reason. Raises: MalformedRequest."""
    match members:
        case {"digest": str(digest), "decision": "approve" | "reject" as word, **others} if others.keys() <= {"reason"}:
            reason = others.get("reason")
        case _:
            raise MalformedRequest("approval_shape", _SHAPE)
    if len(digest) != _DIGEST_CHARS or not (reason is None or isinstance(reason, str)):
        raise MalformedRequest("approval_shape", _SHAPE)
    try:
        return digest, "approve" if word == "approve" else "reject", None if reason is None else grammar.reason(reason)
    except ValueError as exc:
        raise MalformedRequest("reason", f"The reason cannot be taken: {exc}.") from None
