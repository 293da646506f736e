"""One request, one answer: sent once, within one deadline, the answer bounded and undecoded. Never raises.

What may have reached upstream is never `NoConnection`. No redirect is followed and no status is retried.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from dataclasses import dataclass

import httpx

from gateway.credential import UpstreamToken

MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Deadlines in seconds: until there is a connection, and over the whole call."""

    connect_timeout_s: float
    total_timeout_s: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer as it came. `body` is None where it is longer than `MAX_ANSWER_BYTES`."""

    status: int
    headers: httpx.Headers
    body: bytes | None


@dataclass(frozen=True, slots=True)
class NoConnection:
    """Certainly nothing was sent; `reason` is a fixed word."""

    reason: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Something may have been sent, and no whole answer came; `status` where its head did."""

    reason: str
    status: int | None


class Exchanges:
    """Requests to one base URL, pinned at start; only its scheme, host and port are used."""

    def __init__(self, base_url: str, *, limits: UpstreamLimits, transport: httpx.AsyncBaseTransport) -> None:
        self._url = httpx.URL(base_url).copy_with(path="/", query=None)
        self._total_s = limits.total_timeout_s
        self._transport = transport
        wait_s, total_s = limits.connect_timeout_s, limits.total_timeout_s
        self._timeout = {"connect": wait_s, "pool": wait_s, "read": total_s, "write": total_s, "total": total_s}
        self._signed: tuple[UpstreamToken, httpx.Headers] | None = None

    async def send(self, method: str, target: bytes, token: UpstreamToken) -> Answer | NoConnection | Cut:
        """Sends one request without a body, once. The target goes out as it is."""
        status: int | None = None
        try:
            async with asyncio.timeout(self._total_s):
                response = await self._transport.handle_async_request(self._request(method, target, token))
                status = response.status_code
                return Answer(status, response.headers, await _bounded(response))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            return NoConnection(_no_connection(exc))
        except Exception as exc:  # noqa: BLE001 - whatever failed, bytes may be out
            return Cut(_word(exc), status)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        await self._transport.aclose()

    def _request(self, method: str, target: bytes, token: UpstreamToken) -> httpx.Request:
        # The target is given as bytes: httpx.URL refuses more than 65,536 characters, and 1,000 run IDs may need more.
        extensions = {"timeout": self._timeout, "target": target}
        body = httpx.ByteStream(b"")
        return httpx.Request(method, self._url, headers=self._headers(token), stream=body, extensions=extensions)

    def _headers(self, token: UpstreamToken) -> httpx.Headers:
        """Our five headers. Making them costs more than sending them, so those of the token in use are kept."""
        if self._signed is None or self._signed[0] is not token:
            headers = {
                "Host": self._url.netloc.decode("ascii"),
                "Authorization": token.authorization(),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "qstash-gateway",
            }
            self._signed = token, httpx.Headers(headers)
        return self._signed[1]


async def _bounded(response: httpx.Response) -> bytes | None:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave a synchronous stream")
    chunks = bytearray()
    try:
        async for chunk in stream:
            chunks += chunk
            if len(chunks) > MAX_ANSWER_BYTES:
                return None
    finally:
        await stream.aclose()
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
