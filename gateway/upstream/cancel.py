"""The cancel: it sends an order as a canonical request, and reads the answer as an outcome.

The only module of `serve` that cancels; `cli/probe_upstream` sends cancels that match no run, outside the record.

The port is closed: every failure is one of the outcomes. An order that may have reached upstream is never `NotSent`,
and a call sends its order once. Whether an order that was refused with 429 may be sent again is decided elsewhere
(`execution/plans/waiting`).
"""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx

from gateway.core.forms.times import http_date_s
from gateway.core.outcome import Cancelled, NotSent, Outcome, Pace, Refused, Unknown
from gateway.core.plan import Order, Receipt
from gateway.operations.operation import Operation, Said
from gateway.operations.table import OPERATIONS
from gateway.upstream.client import Exchange, Failed, Reach, Reply, UpstreamLimits
from gateway.upstream.token import AccountTokens, TokenHolder

MAX_ANSWER_BYTES = 65_536
MAX_RETRY_AFTER_S = 3600
DEFAULT_RETRY_AFTER_S = 60

Scrub = Callable[[str], str]
"""A function that returns a text as it may be shown, with nothing of a token in it."""

_BURST = ("Burst-RateLimit-Limit", "Burst-RateLimit-Remaining", "Burst-RateLimit-Reset")
_ACTION_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Upstream:
    """The upstream at one base URL, pinned at the start. The `reading` token is only kept out of shown texts."""

    def __init__(
        self,
        base_url: str,
        token: TokenHolder,
        *,
        limits: UpstreamLimits,
        transport: httpx.AsyncBaseTransport,
        reading: TokenHolder | None = None,
        reach: Reach | None = None,
    ) -> None:
        self._holder = token
        self._tokens = AccountTokens(token, reading)
        self._exchange = Exchange(base_url, limits=limits, transport=transport, reach=reach)

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        """Send one order, once, within the total deadline, and return the outcome; never raise.

        `receipt` proves that the order's intent is durable.
        """
        if not receipt.decision_id:
            return NotSent("no_receipt")
        operation, token = OPERATIONS[order.action], self._holder.current
        method, target = operation.target(order)
        reply = await self._exchange.send(
            method, target.encode("ascii"), token, max_answer_bytes=MAX_ANSWER_BYTES, headers=order.headers
        )
        if isinstance(reply, Failed):
            return Unknown(reply.cause, reply.status) if reply.sent else NotSent(reply.cause)
        self._holder.answered(reply.status)
        return _outcome(operation, reply, reply.members() or {}, self._tokens.scrub)

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._exchange.aclose()


def _outcome(operation: Operation, reply: Reply, members: dict[str, object], scrub: Scrub) -> Outcome:
    status = reply.status
    if status == 429:
        return Refused(status, _text(members, scrub), _retry_after(reply), _burst(reply), _pace(reply))
    if status in (401, 403, 412):
        return Refused(status, _text(members, scrub))
    if not 200 <= status < 300:
        return Unknown("status", status)
    found = operation.came_of(Said(status, members, reply.body == b"", _action_id(members, scrub)))
    # What was made is shown and recorded by its ID, as it is.
    made = found.made if isinstance(found, Cancelled) else ()
    if found is None or (made and any(scrub(one.made_id) != one.made_id for one in made)):
        return Unknown("no_cancelled", status)
    return found


def _action_id(members: dict[str, object], scrub: Scrub) -> str | None:
    """Return the ID of the bulk action; None if it is not one, or contains anything of a token.

    It is shown and recorded as it is.
    """
    name = members.get("actionId")
    # A redacted text has brackets, so it does not match.
    return name if isinstance(name, str) and _ACTION_ID.fullmatch(scrub(name)) else None


def _text(members: dict[str, object], scrub: Scrub) -> str:
    error = members.get("error")
    return scrub(error) if isinstance(error, str) else ""


def _retry_after(reply: Reply) -> int:
    """Return upstream's wait in whole seconds, 1 to 3600; the default for a date, a sign or nonsense."""
    text = reply.headers.get("retry-after", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return DEFAULT_RETRY_AFTER_S
    return max(1, min(int(text), MAX_RETRY_AFTER_S))


def _burst(reply: Reply) -> tuple[tuple[str, str], ...]:
    found = ((name, reply.headers.get(name.lower(), "")) for name in _BURST)
    return tuple((name, value) for name, value in found if re.fullmatch(r"[0-9]{1,15}", value))


def _pace(reply: Reply) -> Pace:
    """Return what upstream says of when to come again; a date in `Retry-After` says nothing here."""
    headers = reply.headers
    reset_s, retry_after_s = (_whole(headers.get(name, "")) for name in ("burst-ratelimit-reset", "retry-after"))
    return Pace(http_date_s(headers.get("date", "")), reset_s, retry_after_s)


def _whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None
