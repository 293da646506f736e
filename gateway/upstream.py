"""Order -> canonical request -> Outcome.

The port is closed: every failure is one of the outcomes. What may have reached upstream is never `NotSent`, and
nothing is ever sent twice.
"""

from __future__ import annotations

import re
from typing import Protocol

import httpx

from gateway.cancel import Order, Receipt
from gateway.credential import TokenHolder, UpstreamToken
from gateway.exchange import Answer, Cut, Exchanges, NoConnection, UpstreamLimits
from gateway.outcome import Accepted, Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.strict_json import json_object

MAX_RETRY_AFTER_S = 3600
DEFAULT_RETRY_AFTER_S = 60
PATH = "/v2/workflows/runs"

_BURST = ("Burst-RateLimit-Limit", "Burst-RateLimit-Remaining", "Burst-RateLimit-Reset")
_ACTION_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class CancelPort(Protocol):
    """What the pipeline needs of upstream."""

    async def cancel(self, order: Order, receipt: Receipt) -> Outcome:
        """Sends the order once; never raises."""


class Upstream:
    """The upstream at one base URL, pinned at start."""

    def __init__(
        self, base_url: str, token: TokenHolder, *, limits: UpstreamLimits, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._holder = token
        self._exchanges = Exchanges(base_url, limits=limits, transport=transport)

    async def cancel(self, order: Order, receipt: Receipt) -> Outcome:
        """Sends one order, once, within the total deadline. Needs the receipt of its durable intent; never raises."""
        if not receipt.decision_id:
            return NotSent("no_receipt")
        token = self._holder.current
        match await self._exchanges.send("DELETE", f"{PATH}?{order.query}".encode("ascii"), token):
            case Answer() as answer:
                return _outcome(answer, token)
            case NoConnection(reason):
                return NotSent(reason)
            case Cut(reason, status):
                return Unknown(reason, status)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        await self._exchanges.aclose()


def _outcome(answer: Answer, token: UpstreamToken) -> Outcome:
    status, members = answer.status, _members(answer)
    if status == 429:
        return Refused(status, _text(members, token), _retry_after(answer), _burst(answer))
    if status in (401, 403, 412):
        return Refused(status, _text(members, token))
    if not 200 <= status < 300:
        return Unknown("status", status)
    match members:
        case {"cancelled": int(number)} if type(number) is int and 0 <= number < 2**63:
            return Cancelled(status, number)
        # A redaction's brackets are no action ID: what is shown and recorded as it is holds nothing of the token.
        case {"actionId": str(name)} if "cancelled" not in members and _ACTION_ID.fullmatch(token.scrub(name)):
            return Accepted(status, name)
    return Unknown("no_cancelled", status)


def _text(members: dict[str, object], token: UpstreamToken) -> str:
    error = members.get("error")
    return token.scrub(error) if isinstance(error, str) else ""


def _members(answer: Answer) -> dict[str, object]:
    """The JSON object in the answer; empty where there is none that can be trusted."""
    if answer.body is None or not _is_plain(answer):
        return {}
    try:
        return json_object(answer.body)
    except ValueError:
        return {}


def _is_plain(answer: Answer) -> bool:
    """Whether the body was not coded; we asked for identity."""
    found = (value for name, value in answer.headers.raw if name.lower() == b"content-encoding")
    return all(value.lower() == b"identity" for value in found)


def _retry_after(answer: Answer) -> int:
    """Upstream's wait in whole seconds, 1 to 3600; a date, a sign or nonsense gives the default."""
    text = answer.headers.get("retry-after", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return DEFAULT_RETRY_AFTER_S
    return max(1, min(int(text), MAX_RETRY_AFTER_S))


def _burst(answer: Answer) -> tuple[tuple[str, str], ...]:
    found = ((name, answer.headers.get(name, "")) for name in _BURST)
    return tuple((name, value) for name, value in found if re.fullmatch(r"[0-9]{1,15}", value))
