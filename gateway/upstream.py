"""Order -> canonical request -> Outcome. The only module that talks to QStash, and the only user of the token.

The port is closed: every failure is one of the outcomes. What may have reached upstream is never `NotSent`, and
nothing is ever sent twice: no redirect is followed, no status is retried, and no connection is used again, so that no
order can be given the answer of another.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterable
from dataclasses import dataclass
from typing import Protocol

import httpx

from gateway.cancel import Order, Receipt
from gateway.credential import TokenHolder, UpstreamToken
from gateway.outcome import Accepted, Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.strict_json import json_object

MAX_ANSWER_BYTES = 65_536
MAX_RETRY_AFTER_S = 3600
DEFAULT_RETRY_AFTER_S = 60
PATH = "/v2/workflows/runs"

_BURST = ("Burst-RateLimit-Limit", "Burst-RateLimit-Remaining", "Burst-RateLimit-Reset")
_ACTION_ID = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class CancelPort(Protocol):
    """What the pipeline needs of upstream."""

    async def cancel(self, order: Order, receipt: Receipt) -> Outcome:
        """Sends the order once; never raises."""


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Deadlines in seconds: until there is a connection, and over the whole call."""

    connect_timeout_s: float
    total_timeout_s: float


class Upstream:
    """The upstream at one base URL, pinned at start."""

    def __init__(
        self, base_url: str, token: TokenHolder, *, limits: UpstreamLimits, transport: httpx.AsyncBaseTransport
    ) -> None:
        self._url = httpx.URL(base_url).copy_with(path=PATH)
        self._holder = token
        self._limits = limits
        self._transport = transport
        wait = limits.connect_timeout_s
        self._timeout = {"connect": wait, "pool": wait, "read": limits.total_timeout_s, "write": limits.total_timeout_s}

    async def cancel(self, order: Order, receipt: Receipt) -> Outcome:
        """Sends one order, once, within the total deadline. Needs the receipt of its durable intent; never raises."""
        token = self._holder.current
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(self._limits.total_timeout_s):
                response = await self._transport.handle_async_request(self._request(order, receipt, token))
                try:
                    answer = await _bounded(response)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            return NotSent(_no_connection(exc))
        except Exception as exc:  # noqa: BLE001 - after the receipt nothing raises: whatever failed, bytes may be out
            return Unknown(_word(exc), response.status_code if response is not None else None)
        return _outcome(response, _members(response, answer), token)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        await self._transport.aclose()

    def _request(self, order: Order, receipt: Receipt, token: UpstreamToken) -> httpx.Request:
        if not receipt.decision_id:
            raise ValueError("an order is sent only with the receipt of its intent")
        headers = {
            "Authorization": token.authorization(),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "qstash-gateway",
        }
        # The target is given as bytes: httpx.URL refuses more than 65,536 characters, and 1,000 run IDs may need more.
        target = f"{PATH}?{order.query}".encode("ascii")
        return httpx.Request(
            "DELETE", self._url, headers=headers, extensions={"timeout": self._timeout, "target": target}
        )


def _outcome(response: httpx.Response, members: dict[str, object], token: UpstreamToken) -> Outcome:
    status = response.status_code
    if status == 429:
        return Refused(status, _text(members, token), _retry_after(response), _burst(response))
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


async def _bounded(response: httpx.Response) -> bytes | None:
    """The raw body, undecoded; None where it is longer than `MAX_ANSWER_BYTES`."""
    chunks = bytearray()
    stream = response.stream
    if not isinstance(stream, AsyncIterable):
        raise TypeError("the transport gave a synchronous stream")
    async for chunk in stream:
        chunks += chunk
        if len(chunks) > MAX_ANSWER_BYTES:
            return None
    return bytes(chunks)


def _members(response: httpx.Response, answer: bytes | None) -> dict[str, object]:
    """The JSON object in the answer; empty where there is none that can be trusted."""
    if answer is None or response.headers.get("content-encoding", "identity").lower() != "identity":
        return {}
    try:
        return json_object(answer)
    except ValueError:
        return {}


def _retry_after(response: httpx.Response) -> int:
    """Upstream's wait in whole seconds, 1 to 3600; a date, a sign or nonsense gives the default."""
    text = response.headers.get("retry-after", "")
    if not re.fullmatch(r"[0-9]{1,9}", text):
        return DEFAULT_RETRY_AFTER_S
    return max(1, min(int(text), MAX_RETRY_AFTER_S))


def _burst(response: httpx.Response) -> tuple[tuple[str, str], ...]:
    found = ((name, response.headers.get(name, "")) for name in _BURST)
    return tuple((name, value) for name, value in found if re.fullmatch(r"[0-9]{1,15}", value))


def _no_connection(exc: BaseException) -> str:
    """Why there was no connection, as a fixed word."""
    reason: BaseException | None = exc if isinstance(exc, httpx.ConnectError) else None
    while reason is not None:
        match reason:
            case socket.gaierror():
                return "dns"
            case ssl.SSLError():
                return "tls"
            case ConnectionRefusedError():
                return "refused"
        reason = reason.__cause__ or reason.__context__
    return _word(exc)


def _word(exc: BaseException) -> str:
    """A fixed word for the record: the error's class, never its text."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(exc).__name__).lower()
