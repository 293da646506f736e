"""One attempt to deliver a notice: the name is resolved once, judged, and the connection goes to that very address.

Nothing is followed, and the body of an answer is not read: its status says all. What an attempt may cost is bounded,
whatever the receiver does. The port is closed: a failure is a value with a fixed word, which says nothing of the URL.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx

from gateway.core.errors import InvalidConfiguration
from gateway.notices.address import judged
from gateway.notices.formats import formatted
from gateway.notices.receivers import Receiver
from gateway.notices.signature import signatures
from gateway.process import Net, word
from gateway.state.notices import TakenNotice
from gateway.upstream.direct import LateTransport
from gateway.upstream.shares import Desk

ATTEMPT_S = 10.0
"""The seconds that an attempt may take in all."""
CONNECT_S = 3.0
"""The seconds in which one address has to be connected to."""
MOST_TRIED = 3
"""How many addresses of a name are tried, if those before them cannot be connected to."""
MOST_WAIT_S = 3600.0
"""The longest wait, in seconds, that a receiver may ask for (`Retry-After`)."""

Resolve = Callable[[str, int], Sequence[str]]
"""Returns the addresses of a host, by a call that may block. Raises: OSError."""


class Failure(NamedTuple):
    """Why a receiver did not take a notice, as a fixed word, and how many seconds it asks to be left alone."""

    cause: str
    wait_s: float = 0.0


class RefusedAddress(Exception):
    """The name leads to an address that may not be connected to."""


def resolved(host: str, port: int) -> list[str]:
    """Return the addresses of a host, as the system resolves it. Raises: OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class Post:
    """The way to one receiver. `desk` lends the threads on which files are read and names resolved.

    `wall_s` gives Unix seconds: by the machine's clock, which receivers compare with theirs.
    """

    def __init__(
        self,
        receiver: Receiver,
        desk: Desk,
        *,
        resolve: Resolve = resolved,
        roots: Path | None = None,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self.receiver = receiver
        self._desk = desk
        self._resolve = resolve
        self._wall_s = wall_s
        self._transport = LateTransport(max_connections=1, roots=roots)

    async def deliver(self, notice: TakenNotice) -> Failure | None:
        """Send a notice once; return why it was not taken, or None if it was. Never raises."""
        with Net() as net:
            async with asyncio.timeout(ATTEMPT_S):
                return await self._attempt(notice)
        return Failure(_cause(net.caught))

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def _attempt(self, notice: TakenNotice) -> Failure | None:
        receiver, url = self.receiver, self.receiver.url
        form, content = formatted(receiver.settings.format, notice.notice_id, notice.document)
        keys = await self._desk.done(receiver.name, lambda: receiver.keys)
        found = await self._desk.done(receiver.name, lambda: partial(self._resolve, url.host, url.port))
        try:
            addresses = judged(found, receiver.settings.networks)
        except ValueError as fault:
            raise RefusedAddress from fault
        now_s = int(self._wall_s())
        headers = {
            "Host": url.origin.partition("://")[2],
            "User-Agent": "qstash-gateway",
            "Content-Type": form,
            "webhook-id": notice.notice_id,
            "webhook-timestamp": str(now_s),
        }
        if keys:
            headers["webhook-signature"] = signatures(keys, notice.notice_id, now_s, content)
        return await self._sent(addresses[:MOST_TRIED], headers, content)

    async def _sent(self, addresses: Sequence[str], headers: dict[str, str], content: bytes) -> Failure | None:
        """Send to the first address that can be connected to. Raises: httpx.TransportError."""
        *others, last = addresses
        for address in others:
            try:
                return await self._to(address, headers, content)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue  # nothing was sent
        return await self._to(last, headers, content)

    async def _to(self, address: str, headers: dict[str, str], content: bytes) -> Failure | None:
        url = self.receiver.url
        scheme = url.origin.partition(":")[0]
        pinned = f"{scheme}://[{address}]:{url.port}" if ":" in address else f"{scheme}://{address}:{url.port}"
        extensions = {
            "timeout": {"connect": CONNECT_S, "pool": ATTEMPT_S, "read": ATTEMPT_S, "write": ATTEMPT_S},
            "target": url.target.encode("ascii"),
            # The certificate is that of the name, whatever its address.
            "sni_hostname": url.host,
        }
        request = httpx.Request("POST", pinned, headers=headers, content=content, extensions=extensions)
        response = await self._transport.handle_async_request(request)
        try:
            return _failure(response)
        finally:
            # Closing a body that was not read closes the connection with it.
            await response.aclose()


def _failure(response: httpx.Response) -> Failure | None:
    status = response.status_code
    if 200 <= status < 300:
        return None
    if 300 <= status < 400:
        # Following it would let the receiver choose where signed notices go.
        return Failure("redirect")
    asked = response.headers.get("retry-after", "")
    wait_s = min(float(asked), MOST_WAIT_S) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0.0
    return Failure(f"status_{status}", wait_s)


def _cause(fault: BaseException) -> str:
    match fault:
        case InvalidConfiguration():
            return "secret"
        case RefusedAddress():
            return "address_refused"
        case socket.gaierror():
            return "dns"
        case httpx.ConnectError() | httpx.ConnectTimeout():
            return "no_connection"
        case TimeoutError():
            return "timeout"
    return word(fault)
