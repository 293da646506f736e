"""One HTTP exchange with QStash: bounded, held to a deadline, undecoded. The only place where the token is applied.

The port is closed: what goes wrong is a `Failed` that says whether bytes may have left. No redirect is followed,
nothing is tried again, and no connection is used twice, so that no request can be given the answer of another.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterable, Mapping
from dataclasses import dataclass

import httpx

from gateway.credential import UpstreamToken
from gateway.strict_json import json_object


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: its header names in lower case; `body` is None where it was longer than asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def members(self) -> dict[str, object] | None:
        """The JSON object in the body; None where there is none that can be trusted."""
        if self.body is None or self.headers.get("content-encoding", "identity").lower() != "identity":
            return None
        try:
            return json_object(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Failed:
    """No whole answer came. `sent` is False only where certainly no byte left; `cause` is a fixed word."""

    sent: bool
    cause: str
    status: int | None = None


class Exchange:
    """Exchanges with one base URL, pinned at start; a deadline until there is a connection, and one over the whole."""

    def __init__(
        self,
        base_url: str,
        *,
        connect_timeout_s: float,
        total_timeout_s: float,
        transport: httpx.AsyncBaseTransport,
    ) -> None:
        self._url = httpx.URL(base_url).copy_with(path="/")
        self._total_timeout_s = total_timeout_s
        self._transport = transport
        wait, total = connect_timeout_s, total_timeout_s
        self._timeout = {"connect": wait, "pool": wait, "read": total, "write": total}

    async def send(
        self, method: str, target: bytes, token: UpstreamToken, *, max_answer_bytes: int, body: bytes = b""
    ) -> Reply | Failed:
        """Sends one request, once, within the total deadline; never raises. A `body` is JSON; orders have none."""
        response: httpx.Response | None = None
        try:
            async with asyncio.timeout(self._total_timeout_s):
                response = await self._transport.handle_async_request(self._request(method, target, token, body))
                try:
                    answer = await _bounded(response, max_answer_bytes)
                finally:
                    await response.aclose()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            return Failed(sent=False, cause=_no_connection(exc))
        except Exception as exc:  # noqa: BLE001 - whatever failed is a value: after a receipt nothing raises
            return Failed(sent=True, cause=_word(exc), status=None if response is None else response.status_code)
        return Reply(response.status_code, dict(response.headers.items()), answer)

    async def aclose(self) -> None:
        """Closes what is open."""
        await self._transport.aclose()

    def _request(self, method: str, target: bytes, token: UpstreamToken, body: bytes) -> httpx.Request:
        headers = {
            "Authorization": token.authorization(),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "qstash-gateway",
            **({"Content-Type": "application/json"} if body else {}),
        }
        # The target is given as bytes: httpx.URL refuses more than 65,536 characters, and 1,000 run IDs may need more.
        extensions = {"timeout": self._timeout, "target": target}
        return httpx.Request(method, self._url, headers=headers, content=body or None, extensions=extensions)


async def _bounded(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The raw body, undecoded; None where it is longer than `max_bytes`."""
    chunks = bytearray()
    stream = response.stream
    if not isinstance(stream, AsyncIterable):
        raise TypeError("the transport gave a synchronous stream")
    async for chunk in stream:
        chunks += chunk
        if len(chunks) > max_bytes:
            return None
    return bytes(chunks)


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
