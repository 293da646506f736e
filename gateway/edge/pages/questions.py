"""The answers to questions: what a caller may do, how a request would be decided, and which calls there are."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from functools import partial
from itertools import islice
from typing import Any

from gateway.audit.record import explained_members
from gateway.authoring.explain import explain
from gateway.authoring.offers import offered, offers
from gateway.authoring.question import Question, from_line
from gateway.core.errors import MalformedRequest, Throttled
from gateway.core.forms.times import credential_time
from gateway.core.parse import Body, json_members
from gateway.core.plan import Owner
from gateway.core.ports import Clock
from gateway.core.request import CANCEL_RUNS, Action, ActionRequest, Principal
from gateway.execution.judging import RULES_AT_ONCE
from gateway.execution.ports import AuditPort, Call
from gateway.operations.table import OPERATIONS
from gateway.policy.rules import Policies
from gateway.upstream.shares import Desk

MOST_PARTS = 200
"""The most rules that an explanation shows; further ones are counted in `left_out`."""

_SHAPE = (
    'Send a body: {"request": "DELETE /v2/workflows/runs?…"}, and "body", "headers" or "reason" where the request has '
    'one; "action" says what a query alone asks for.'
)


class Questions:
    """The answers to callers' questions, made on a thread if they take long."""

    def __init__(self, audit: AuditPort, clock: Clock) -> None:
        self._audit = audit
        self._clock = clock
        self._desk = Desk("explaining", 1)
        self._asking: set[Principal] = set()
        self._described: Mapping[str, object] | None = None

    async def whoami(self, policies: Policies, principal: Principal) -> dict[str, Any]:
        """Return who the caller is and what it may do now."""
        page = partial(whoami, principal, policies, self._clock.now_ms())
        if policies.number(principal.team) <= RULES_AT_ONCE:
            return page()
        return await self._desk.done(principal, lambda: page)

    async def explain(self, call: Call) -> dict[str, Any]:
        """Return how the request would be decided now, and why; record that this was asked.

        The caller sees the decision, and the names and words of the rules about its own team.

        Raises: Throttled: another explanation for the principal is being made.
        """
        principal = call.principal
        if principal in self._asking:
            sentence = "Another explanation of yours is being made, and one at a time is the most. Wait for it to end."
            raise Throttled("explanations", sentence, limit=1, retry_after_s=1)
        self._asking.add(principal)
        try:
            question = Question(principal, call.request, self._clock.now_ms())
            explanation = await self._desk.done(principal, lambda: partial(explain, call.policies, question))
        finally:
            self._asking.discard(principal)
        members = explained_members(
            call.decision_id,
            principal=principal,
            asked=call.request,
            decision=explanation.decision,
            remote=call.remote,
            policy_digest=explanation.policy_digest,
        )
        await self._audit.note("explained", members)
        return explanation.members(most=MOST_PARTS)

    async def description(self, principal: Principal) -> Mapping[str, object]:
        """Return the OpenAPI document of the gateway's own calls, made when it is first asked for."""
        if self._described is None:
            self._described = await self._desk.done(principal, lambda: _description)
        return self._described

    def close(self) -> None:
        """Start no more work on the thread."""
        self._desk.close()


def _description() -> Mapping[str, object]:
    # Nothing else needs it, so nothing of it is loaded before.
    from gateway.edge.described.document import document

    return document()


def question_in(body: Body) -> ActionRequest:
    """Return the request that a caller asks about.

    The body is JSON: `request` is a request line or query, `body` the request's own body, `reason` its reason, and
    `headers` those that say more of it. `action` is what a query alone asks for, a cancel of runs without it.

    Raises: Refusal: the body has another shape, or the request itself would be refused before any policy.
    """
    if body.content_encodings:
        raise MalformedRequest("content_encoding", "The body must not be compressed: leave Content-Encoding out.")
    if not body.content:
        raise MalformedRequest("explain_shape", _SHAPE)
    match json_members(body):
        case {"request": str(line), **others} if others.keys() <= {"body", "reason", "action", "headers"}:
            reason = others.get("reason")
        case _:
            raise MalformedRequest("explain_shape", _SHAPE)
    if not (reason is None or isinstance(reason, str)):
        raise MalformedRequest("explain_shape", _SHAPE)
    action, headers, content = _action(others.get("action")), _headers(others.get("headers")), others.get("body")
    try:
        return from_line(line, body=_content(content), reason=reason, action=action, headers=headers)
    except UnicodeEncodeError:
        sentence = "The request in question has half of a surrogate pair in it, which no request can carry."
        raise MalformedRequest("explain_request", sentence) from None
    except ValueError as exc:
        raise MalformedRequest("explain_request", f"The request in question cannot be read: {exc}.") from None


def _action(name: object) -> Action | None:
    """Return the action that is asked about. Raises: MalformedRequest: it is none that this gateway passes."""
    if name is None:
        return None
    if not isinstance(name, str) or name not in OPERATIONS:
        raise MalformedRequest("explain_request", f"'action' is one of {', '.join(OPERATIONS)}.")
    return Action(name)


def _headers(members: object) -> list[tuple[str, str]]:
    match members:
        case None:
            return []
        case Mapping() if all(isinstance(value, str) for value in members.values()):
            return [*members.items()]
    raise MalformedRequest("explain_shape", _SHAPE)


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


MOST_OFFERS = 50
"""The most rules that the page shows, and as many of all other actions; further ones are counted in `left_out`."""


def whoami(principal: Principal, policies: Policies, now_ms: int) -> dict[str, object]:
    """Return team, principal, the credential's end, and each rule's words with a request that it would allow now.

    `rules` are those about cancels of runs; `actions` has those about each other action that some rule allows.
    """
    rules, left_out = _allowed(policies, principal.team, now_ms, CANCEL_RUNS)
    actions, most = [], MOST_OFFERS
    for action in OPERATIONS:
        if action is not CANCEL_RUNS:
            shown, further = _allowed(policies, principal.team, now_ms, action, most=most)
            actions += [{"action": action.value, "rules": shown, "left_out": further}] if shown or further else []
            most -= len(shown)
    return {
        "team": principal.team,
        "principal": principal.name,
        "expires": None if principal.expires_ms is None else credential_time(principal.expires_ms),
        "claims": dict(principal.claims),
        "rules": rules,
        "left_out": left_out,
        "actions": actions,
    }


def _allowed(
    policies: Policies, team: str, now_ms: int, action: Action, *, most: int = MOST_OFFERS
) -> tuple[list[dict[str, object]], int]:
    """Return the rules that allow the team this action, at most so many, and the number of those left out."""
    shown: list[dict[str, object]] = [
        {
            "rule": offer.rule,
            "words": offer.words,
            "example": offer.example,
            "request": offer.line,
            "owner": _owner(offer.owner),
        }
        for offer in islice(offers(policies, team, now_ms, action), most)
    ]
    return shown, len(offered(policies, team, now_ms, action)) - len(shown)


def _owner(owner: Owner | None) -> dict[str, object] | None:
    return None if owner is None else owner.members()
