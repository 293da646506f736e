"""The page of freezes: operators set and release them; other callers see those that stop their team."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from gateway.core import grammar
from gateway.core.errors import MalformedRequest, NoSuchScope, NotAnOperator, NotFound
from gateway.core.forms.times import instant_ms, run_time
from gateway.core.parse import json_members
from gateway.core.request import Principal
from gateway.edge import answers
from gateway.edge.answers import Answer
from gateway.edge.inbound import Inbound, Intake, caller_of, no_query
from gateway.policy.model import Effect
from gateway.state.freezes import Freeze, Scope

FREEZE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_SCOPE_CHARS = 200

_SHAPE = (
    'Send a body: {"reason": "why"}, and where it is not about everything "team" or "rule" (an allow, as FILE/ID), and '
    '"until" where it ends by itself (a time with its offset).'
)
_OPERATORS_ONLY = (
    "Only principals of a team under 'operators' in the gateway's configuration may do this. Ask them; if this is an "
    "emergency, whoever has the gateway's machine can freeze with 'qstash-gateway freeze --state URL'."
)


class ReachedPort(Protocol):
    """Who has a freeze in force, and of whom nobody knows."""

    @property
    def in_force(self) -> Sequence[str]:
        """The instances that have it in force."""

    @property
    def silent(self) -> Sequence[str]:
        """The instances that may not."""


class SwitchPort(Protocol):
    """The port at which freezes are set, released and seen."""

    def in_force(self) -> Sequence[Freeze]:
        """Return the freezes in force, the oldest first."""

    def now_ms(self) -> int:
        """Return the time by which freezes end, in Unix milliseconds."""

    async def freeze(self, scope: Scope, *, reason: str, until_ms: int | None, by: str) -> tuple[Freeze, ReachedPort]:
        """Freeze. Raises: FreezeUnsure: it is in force in this gateway, and perhaps in no other."""

    async def thaw(self, freeze_id: str, by: str) -> Freeze | None:
        """End a freeze, if there is one with that ID. Raises: FreezeUnsure: it stays in force."""


class FreezePages:
    """The calls about freezes. Each raises Refusal."""

    def __init__(self, intake: Intake, switch: SwitchPort) -> None:
        self._intake = intake
        self._switch = switch

    async def freeze(self, inbound: Inbound) -> Answer:
        """Handle `POST /gateway/v1/freezes`: stop cancels, from now on."""
        body = await self._intake.own_body(inbound)
        caller = _operator(inbound)
        if body.content_encodings or not body.content:
            raise MalformedRequest("freeze_shape", _SHAPE)
        members = json_members(body)
        scope, reason, until = _read(members)
        self._intake.refuse_secrets(inbound, [reason, scope.team or "", scope.rule or ""])
        _check_scope(scope, inbound)
        until_ms = None if until is None else _until_ms(until, now_ms=self._switch.now_ms())
        freeze, reached = await self._switch.freeze(scope, reason=reason, until_ms=until_ms, by=caller.name)
        shown = {**freeze_members(freeze), "in_force": [*reached.in_force], "silent": [*reached.silent]}
        return answers.status_page(201, shown, inbound.decision_id)

    async def listed(self, inbound: Inbound) -> Answer:
        """Handle `GET /gateway/v1/freezes`: return the freezes in force, those of other teams only to operators."""
        no_query(inbound)
        caller = caller_of(inbound)
        is_operator = inbound.live.is_operator(caller)
        seen = [one for one in self._switch.in_force() if is_operator or one.scope.team in (None, caller.team)]
        return answers.status_page(200, {"freezes": [freeze_members(one) for one in seen]}, inbound.decision_id)

    async def thaw(self, inbound: Inbound) -> Answer:
        """Handle `DELETE /gateway/v1/freezes/{freeze}`: end a freeze, and return it."""
        await self._intake.no_content(inbound)
        caller, freeze_id = _operator(inbound), str(inbound.scope["path_params"]["freeze"])
        if FREEZE_ID.fullmatch(freeze_id) is None:
            raise _no_such_freeze()
        ended = await self._switch.thaw(freeze_id, caller.name)
        if ended is None:
            raise _no_such_freeze()
        return answers.status_page(200, freeze_members(ended), inbound.decision_id)


def freeze_members(freeze: Freeze) -> dict[str, object]:
    """Return a freeze as JSON."""
    members: dict[str, object] = {
        "id": freeze.freeze_id,
        "team": freeze.scope.team,
        "rule": freeze.scope.rule,
        "reason": freeze.reason,
        "until": None if freeze.until_ms is None else run_time(freeze.until_ms),
        "by": freeze.by,
        "at": run_time(freeze.at_ms),
    }
    if freeze.thawed_ms is not None:
        members |= {"thawed_at": run_time(freeze.thawed_ms), "thawed_by": freeze.thawed_by}
    return members


def _operator(inbound: Inbound) -> Principal:
    """Return the caller. Raises: NotAnOperator."""
    caller = caller_of(inbound)
    if not inbound.live.is_operator(caller):
        raise NotAnOperator("not_an_operator", _OPERATORS_ONLY)
    return caller


def _read(members: Mapping[str, object]) -> tuple[Scope, str, str | None]:
    """Return the scope, the reason, and the end as it is written. Raises: MalformedRequest."""
    match members:
        case {"reason": str(reason), **others} if others.keys() <= {"team", "rule", "until"}:
            texts = {name: others.get(name) for name in ("team", "rule", "until")}
        case _:
            raise MalformedRequest("freeze_shape", _SHAPE)
    if not all(one is None or (isinstance(one, str) and 0 < len(one) <= MOST_SCOPE_CHARS) for one in texts.values()):
        raise MalformedRequest("freeze_shape", _SHAPE)
    team, rule, until = (None if one is None else str(one) for one in texts.values())
    try:
        return Scope(team, rule), grammar.reason(reason), until
    except ValueError as exc:
        raise MalformedRequest("reason", f"The reason cannot be taken: {exc}.") from None


def _until_ms(text: str, *, now_ms: int) -> int:
    try:
        until_ms = instant_ms(text)
    except ValueError as exc:
        raise MalformedRequest("until", f"'until' cannot be read: {exc}.") from None
    if until_ms <= now_ms:
        raise MalformedRequest("until", "'until' is past, so the freeze would stop nothing.")
    return until_ms


def _check_scope(scope: Scope, inbound: Inbound) -> None:
    """Raise NoSuchScope if no request can lie inside: a name that was mistyped would stop nothing."""
    live = inbound.live
    rules = [rule for rule in live.policies.rules if rule.effect is Effect.ALLOW]
    if scope.rule is not None and all(rule.name != scope.rule for rule in rules):
        raise NoSuchScope(
            "no_such_rule", "No 'allow' in force has this name, FILE/ID: see GET /gateway/v1/whoami or the policies."
        )
    if scope.team is not None and scope.team not in live.teams():
        raise NoSuchScope("no_such_team", "No key and no issuer of the gateway's callers is of this team.")


def _no_such_freeze() -> NotFound:
    return NotFound("freeze", "No freeze in force has this ID: see GET /gateway/v1/freezes.")
