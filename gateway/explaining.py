"""`GET /gateway/v1/whoami` and `POST /gateway/v1/explain`: a caller's questions about policy; nothing is ever sent.

The request in question is read as strictly as a cancel.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import partial

from gateway.audit.record import explained_members
from gateway.authoring.explain import explain
from gateway.authoring.question import Question, from_line
from gateway.core.errors import MalformedRequest, Throttled
from gateway.core.parse import Body, json_members
from gateway.core.ports import Clock
from gateway.core.request import CancelRequest, Principal
from gateway.execution.judging import RULES_AT_ONCE
from gateway.execution.ports import Arrival, AuditPort
from gateway.policy.rules import Policies
from gateway.upstream.shares import Desk
from gateway.whoami import whoami

MOST_PARTS = 200
"""How many rules an answer shows; further ones are counted in `left_out`."""

_SHAPE = 'Send {"request": "DELETE /v2/workflows/runs?…"}, and "body" or "reason" where the request has one.'


class Questions:
    """Answers callers' questions about policy, on a thread where an answer takes long."""

    def __init__(self, audit: AuditPort, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._desk = Desk("explaining", 1)
        self._asking: set[Principal] = set()

    async def whoami(self, policies: Policies, principal: Principal) -> dict[str, object]:
        """Returns who the caller is and what it may do now."""
        page = partial(whoami, principal, policies, self._clock.now_ms())
        if policies.number(principal.team) <= RULES_AT_ONCE:
            return page()
        return await self._desk.done(principal, lambda: page)

    async def explain(
        self, policies: Policies, principal: Principal, request: CancelRequest, *, arrival: Arrival
    ) -> dict[str, object]:
        """Returns why the request would be decided as it would be now, and records that it was asked.

        The caller sees the decision, and the names and words of the rules about its own team.

        Raises: Throttled: another explanation for the principal is being made.
        """
        if principal in self._asking:
            sentence = "Another explanation of yours is being made, and one at a time is the most. Wait for it to end."
            raise Throttled("explanations", sentence, limit=1, retry_after_s=1)
        self._asking.add(principal)
        try:
            question = Question(principal, request, self._clock.now_ms())
            explanation = await self._desk.done(principal, lambda: partial(explain, policies, question))
        finally:
            self._asking.discard(principal)
        members = explained_members(
            arrival.decision_id,
            principal=principal,
            asked=request,
            decision=explanation.decision,
            remote=arrival.remote,
            policy_digest=explanation.policy_digest,
        )
        await self._audit.note("explained", members)
        return explanation.members(most=MOST_PARTS)

    def close(self) -> None:
        """Begins nothing more on the thread."""
        self._desk.close()


def question_in(body: Body) -> CancelRequest:
    """The request that a caller asks about: `request` is a request line or query, `body` its JSON, `reason` its reason.

    Raises: MalformedRequest, also where the gateway would answer 400 to the request itself.
    """
    if body.content_encodings:
        raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
    match json_members(body):
        case {"request": str(line), **others} if others.keys() <= {"body", "reason"}:
            reason = others.get("reason")
        case _:
            raise MalformedRequest("explain_shape", _SHAPE)
    if not (reason is None or isinstance(reason, str)):
        raise MalformedRequest("explain_shape", _SHAPE)
    try:
        return from_line(line, body=_content(others.get("body")), reason=reason)
    except ValueError as exc:
        raise MalformedRequest("explain_request", f"The request in question cannot be read: {exc}.") from None


def _content(body: object) -> bytes:
    match body:
        case None:
            return b""
        case str():
            return body.encode()
        case Mapping():
            with contextlib.suppress(RecursionError):
                return json.dumps(body).encode()
    raise MalformedRequest("explain_shape", _SHAPE)
