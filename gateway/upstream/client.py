"""One HTTP exchange with QStash: bounded, held to a deadline, undecoded. Only this module applies the token.

The port is closed: a failure is a `Failed`, which says whether bytes may have left. No redirect is followed, and
nothing is tried again.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import httpx

from gateway.core.forms.strict_json import json_object
from gateway.core.forms.times import record_time
from gateway.process import NO_THREAD, fault_of, word
from gateway.upstream.deadline import Deadline
from gateway.upstream.direct import Answered, Asked, FixedHeaders, bounded
from gateway.upstream.token import UpstreamToken

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class UpstreamLimits:
    """The deadlines in seconds: for getting a connection, and for the whole call."""

    connect_timeout_s: float
    total_timeout_s: float


class Reply(NamedTuple):
    """A whole answer. Its header names are in lower case; `body` is None if it was longer than the bound."""

    status: int
    headers: Mapping[str, str]
    body: bytes | None

    def members(self, read: Callable[[bytes], dict[str, object]] = json_object) -> dict[str, object] | None:
        """Return the body as a JSON object; None if it is missing, encoded, or not valid (`read` raised ValueError)."""
        if self.body is None or self.headers.get("content-encoding", "identity").lower() != "identity":
            return None
        try:
            return read(self.body)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Failed:
    """A failure to get a whole answer. `sent` is False only if certainly no byte left; `cause` is a fixed word."""

    sent: bool
    cause: str
    status: int | None = None


class Reach:
    """Whether QStash was there at the last call, for operators. All exchanges of a process share one.

    `clock` gives Unix nanoseconds. `watch`, if there is one, takes the method, target, status and seconds of every
    call; the status is 0 where there was no whole answer. It never raises.
    """

    def __init__(self, clock: Callable[[], int] = time.time_ns) -> None:
        self._clock = clock
        self.watch: Callable[[str, bytes, int, float], None] | None = None
        self._failed: Failed | None = None
        self._succeeded_ns: int | None = None
        self._failed_ns: int | None = None
        self._cause: str | None = None

    def note(self, result: Reply | Failed) -> None:
        """Take in how a call ended; any whole answer means that QStash is there, and one of 5xx that it failed."""
        if isinstance(result, Reply):
            self._failed = None
            if result.status < 500:
                self._succeeded_ns = self._clock()
                return
        elif result.cause == NO_THREAD:
            return
        else:
            self._failed = result
        self._failed_ns, self._cause = self._clock(), "status" if isinstance(result, Reply) else result.cause

    def members(self) -> dict[str, str | None]:
        """Return when a call last succeeded and last failed (RFC 3339), and why it failed; null if none has."""
        return {
            "last_success": None if self._succeeded_ns is None else record_time(self._succeeded_ns),
            "last_failure": None if self._failed_ns is None else record_time(self._failed_ns),
            "cause": self._cause,
        }

    def notices(self) -> list[str]:
        """Return a sentence if the last call got no answer, until one gets one."""
        if self._failed is None:
            return []
        what = "gave no whole answer to the last call" if self._failed.sent else "could not be reached by the last call"
        look = "look at the network and at QStash; this goes when a call is answered"
        return [f"QStash {what} ({self._failed.cause}): {look}"]


class Exchange:
    """The exchanges with one base URL, pinned at the start; only its scheme, host and port are used."""

    def __init__(
        self,
        base_url: str,
        *,
        limits: UpstreamLimits,
        transport: httpx.AsyncBaseTransport,
        reach: Reach | None = None,
    ) -> None:
        self._url = httpx.URL(base_url).copy_with(path="/", query=None)
        self._total_s = limits.total_timeout_s
        self._transport = transport
        wait_s, total_s = limits.connect_timeout_s, limits.total_timeout_s
        self._timeout = {"connect": wait_s, "pool": wait_s, "read": total_s, "write": total_s, "total": total_s}
        self._reach = reach or Reach()
        self._signed: tuple[UpstreamToken, FixedHeaders] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(
        self,
        method: str,
        target: bytes,
        token: UpstreamToken,
        *,
        max_answer_bytes: int,
        body: bytes = b"",
        headers: Pairs = (),
    ) -> Reply | Failed:
        """Send one request, once, within the total deadline; never raise. A `body` is JSON; orders have none.

        `headers` are those of an order, sent beside our own.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()  # asking each time is a system call
        status: int | None = None
        began_s = loop.time()
        try:
            with Deadline(loop, self._total_s):
                response = await self._transport.handle_async_request(
                    self._request(method, target, token, body, headers)
                )
                status = response.status_code
                told = response.texts if isinstance(response, Answered) else response.headers
                reply = Reply(status, told, await bounded(response, max_answer_bytes))
            self._note(reply, method, target, began_s)
        except BaseException as exc:  # noqa: BLE001 - as in a Net
            # Every failure becomes a value: after a receipt nothing raises.
            failed = _failed(fault_of(exc), status)
            self._note(failed, method, target, began_s)
            return failed
        return reply

    async def aclose(self) -> None:
        """Close the idle connections."""
        await self._transport.aclose()

    def _note(self, result: Reply | Failed, method: str, target: bytes, began_s: float) -> None:
        self._reach.note(result)
        if self._reach.watch is not None and self._loop is not None:
            status = result.status if isinstance(result, Reply) else 0
            self._reach.watch(method, target, status, self._loop.time() - began_s)

    def _request(self, method: str, target: bytes, token: UpstreamToken, body: bytes, more: Pairs) -> httpx.Request:
        # The target is passed as bytes: httpx.URL refuses more than 65,536 characters, and 1,000 run IDs may need more.
        extensions: dict[str, object] = {"timeout": self._timeout, "target": target}
        headers = self._headers(token)
        if body:
            told = [*headers.raw, (b"Content-Type", b"application/json")]
            return httpx.Request(method, self._url, headers=told, content=body, extensions=extensions)
        if more:
            # Those that are kept stay as they are: the next order has no part of these.
            headers = FixedHeaders([*headers.multi_items(), *more])
        return Asked(method, self._url, headers, extensions)

    def _headers(self, token: UpstreamToken) -> FixedHeaders:
        """Return our five headers. Making them costs more than sending them, so those of the token in use are kept."""
        if self._signed is None or self._signed[0] is not token:
            headers = {
                "Host": self._url.netloc.decode("ascii"),
                "Authorization": token.authorization(),
                "Accept": "application/json",
                "Accept-Encoding": "identity",
                "User-Agent": "qstash-gateway",
            }
            self._signed = token, FixedHeaders(headers)
        return self._signed[1]


def _failed(fault: BaseException, status: int | None) -> Failed:
    """Return a failure as a value; `status` is that of the answer, if its head had come."""
    if isinstance(fault, (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)):
        return Failed(sent=False, cause=_no_connection(fault))
    return Failed(sent=True, cause=word(fault), status=status)


def _no_connection(exc: BaseException) -> str:
    """Return why there was no connection, as a fixed word."""
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
