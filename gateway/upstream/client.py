"""One HTTP exchange with QStash: bounded, held to a deadline, undecoded. The only place where the token is applied.

The port is closed: what goes wrong is a `Failed` that says whether bytes may have left. No redirect is followed and
nothing is tried again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from gateway.core.strict_json import json_object
from gateway.process import NO_THREAD, Net, word
from gateway.upstream.token import UpstreamToken


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """Deadlines in seconds: until there is a connection, and over the whole call."""

    connect_timeout_s: float
    total_timeout_s: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer: its header names in lower case; `body` is None where it was longer than asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def members(self, read: Callable[[bytes], dict[str, object]] = json_object) -> dict[str, object] | None:
        """The JSON object in the body; None where there is none that can be trusted, and `read` raises ValueError."""
        if self.body is None or self.headers.get("content-encoding", "identity").lower() != "identity":
            return None
        try:
            return read(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Failed:
    """No whole answer came. `sent` is False only where certainly no byte left; `cause` is a fixed word."""

    sent: bool
    cause: str
    status: int | None = None


class Exchange:
    """Exchanges with one base URL, pinned at start; only its scheme, host and port are used."""

    def __init__(self, base_url: str, *, limits: UpstreamLimits, transport: httpx.AsyncBaseTransport) -> None:
        self._url = httpx.URL(base_url).copy_with(path="/", query=None)
        self._total_s = limits.total_timeout_s
        self._transport = transport
        wait_s, total_s = limits.connect_timeout_s, limits.total_timeout_s
        self._timeout = {"connect": wait_s, "pool": wait_s, "read": total_s, "write": total_s, "total": total_s}
        self._signed: tuple[UpstreamToken, httpx.Headers] | None = None

    async def send(
        self, method: str, target: bytes, token: UpstreamToken, *, max_answer_bytes: int, body: bytes = b""
    ) -> Reply | Failed:
        """Sends one request, once, within the total deadline; never raises. A `body` is JSON; orders have none."""
        status: int | None = None
        with Net() as net:
            async with asyncio.timeout(self._total_s):
                response = await self._transport.handle_async_request(self._request(method, target, token, body))
                status = response.status_code
                return Reply(status, response.headers, await _bounded(response, max_answer_bytes))
        # Whatever failed is a value: after a receipt nothing raises.
        match net.caught:
            case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.PoolTimeout() as fault:
                return Failed(sent=False, cause=_no_connection(fault))
            case fault:
                return Failed(sent=True, cause=word(fault), status=status)

    async def aclose(self) -> None:
        """Closes the idle connections."""
        await self._transport.aclose()

    def _request(self, method: str, target: bytes, token: UpstreamToken, body: bytes) -> httpx.Request:
        # The target is given as bytes: httpx.URL refuses more than 65,536 characters, and 1,000 run IDs may need more.
        extensions = {"timeout": self._timeout, "target": target}
        headers = self._headers(token)
        if body:
            headers = httpx.Headers([*headers.raw, (b"Content-Type", b"application/json")])
            return httpx.Request(method, self._url, headers=headers, content=body, extensions=extensions)
        return httpx.Request(method, self._url, headers=headers, stream=httpx.ByteStream(b""), extensions=extensions)

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


async def _bounded(response: httpx.Response, max_bytes: int) -> bytes | None:
    """The raw body, undecoded; None where it is longer than `max_bytes`."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave a synchronous stream")
    chunks = bytearray()
    try:
        async for chunk in stream:
            chunks += chunk
            if len(chunks) > max_bytes:
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
            case RuntimeError() if word(reason) == NO_THREAD:
                return NO_THREAD
        reason = reason.__cause__ or reason.__context__
    return word(exc)
