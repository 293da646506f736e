"""Outgoing connections that take nothing from the environment: no proxy, no .netrc, no key log, no other roots."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import certifi
import httpx

from gateway.process import Net, client_context

IMPORTED_LATE = ("anyio._backends._asyncio", "httpcore._backends.anyio")
"""Modules that libraries would import during the first request, which fails there if no descriptor is free."""


def make_transport(
    *, max_connections: int, roots: Path | None = None, unix: Path | None = None
) -> httpx.AsyncHTTPTransport:
    """Return a transport that verifies against certifi's or the given roots, follows nothing and repeats nothing.

    With `unix`, every connection goes to that socket in the file system.

    No connection is kept. Otherwise bytes after an answer would stay in its parser, where no check of the socket sees
    them, and would be read as the answer to the next request.
    """
    for module in IMPORTED_LATE:
        import_module(module)
    context = client_context(roots or Path(certifi.where()))
    pool = httpx.Limits(max_connections=max_connections, max_keepalive_connections=0)
    path = str(unix) if unix is not None else None
    return httpx.AsyncHTTPTransport(verify=context, trust_env=False, retries=0, limits=pool, uds=path)


class FixedHeaders(httpx.Headers):
    """Headers that never change once they are made, so a transport may keep the form in which it sends them."""

    def __setitem__(self, key: str, value: str) -> None:
        raise TypeError("these headers do not change")

    def __delitem__(self, key: str) -> None:
        raise TypeError("these headers do not change")


class Asked(httpx.Request):
    """A request as a transport takes it. httpx's own constructor copies every part, which costs more than sending."""

    def __init__(self, method: str, url: httpx.URL, headers: FixedHeaders, extensions: dict[str, object]) -> None:
        self.method, self.url, self.headers, self.extensions = method, url, headers, extensions
        self.stream = _EMPTY


_EMPTY = httpx.ByteStream(b"")


class Answered(httpx.Response):
    """An answer whose headers are kept as they came, in `texts`; their names are in lower case already.

    The rest of httpx's response is made when it is asked for.
    """

    def __init__(self, status: int, pairs: Sequence[tuple[str, str]], stream: httpx.AsyncByteStream) -> None:
        self.status_code, self.stream, self._pairs = status, stream, pairs

    @property
    def texts(self) -> dict[str, str]:
        """The headers by name; several values of one are joined by a comma."""
        found: dict[str, str] = dict(self._pairs)
        if len(found) < len(self._pairs):
            found = {name: ", ".join(value for other, value in self._pairs if other == name) for name in found}
        return found

    def __getattr__(self, name: str) -> object:
        if "headers" in self.__dict__:
            raise AttributeError(name)
        super().__init__(self.status_code, headers=self._pairs, stream=self.stream)
        return getattr(self, name)


class EndingStream(httpx.AsyncByteStream):
    """A body that knows its last piece when it gives it: from then on it is `ended`, and need not be asked again."""

    ended = False


async def bounded(response: httpx.Response, max_bytes: int) -> bytes | None:
    """Read and close the raw, undecoded body of an answer; return None if it is longer than `max_bytes`."""
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError("the transport gave a synchronous stream")
    content = bytearray()
    ending = stream if isinstance(stream, EndingStream) else None
    try:
        async for chunk in stream:
            content += chunk
            if len(content) > max_bytes:
                return None
            if ending is not None and ending.ended:
                break
    finally:
        await stream.aclose()
    return bytes(content)


class LateTransport(httpx.AsyncBaseTransport):
    """A transport like that of `make_transport`, made at the first request.

    Loading it takes a quarter of a start, and few processes need it.
    """

    def __init__(self, *, max_connections: int, roots: Path | None = None) -> None:
        self._max_connections = max_connections
        self._roots = roots
        self._made: httpx.AsyncHTTPTransport | None = None
        self._making = asyncio.Lock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request.

        Raises: httpx.ConnectError: also if no transport can be made; certainly nothing was sent.
        """
        transport = await self._transport()
        return await transport.handle_async_request(request)

    async def aclose(self) -> None:
        """Close the transport if it was made."""
        if self._made is not None:
            await self._made.aclose()

    async def _transport(self) -> httpx.AsyncHTTPTransport:
        async with self._making:
            if self._made is not None:
                return self._made
            with Net() as net:
                # On a thread: it takes long, and others are waiting for their answers.
                self._made = await asyncio.to_thread(self._make)
                return self._made
            # Whatever failed, no connection had been asked for yet.
            raise httpx.ConnectError("no connection") from net.caught

    def _make(self) -> httpx.AsyncHTTPTransport:
        return make_transport(max_connections=self._max_connections, roots=self._roots)
