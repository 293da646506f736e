"""Connections to upstream that are kept and used again. Only this module knows pyreqwest (reqwest, hyper, rustls).

A connection is used again only if its answer was read to its end and nothing was seen after it. Nothing is written
twice: the library moves a request to another connection only if it was never handed to the first. A failure means that
there was no connection only if the library itself says so; after every other failure, bytes may have been sent.
docs/adr/0009-kept-connections.md has the proofs, and what they cannot cover.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import NoReturn

import certifi
import httpx
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    DecodeError,
    DetailedPyreqwestError,
    PyreqwestError,
    RequestPanicError,
    RequestTimeoutError,
)
from pyreqwest.http import HeaderMap
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

from gateway.process import Net, giving_way
from gateway.upstream.direct import Answered, EndingStream, FixedHeaders, LateTransport
from gateway.upstream.shares import Places

IDLE_S = 4
"""Seconds after which an idle connection is not used again: something on the way may have forgotten it silently."""

MAX_URL_BYTES = 65_534
"""The longest URL that the `http` crate takes; a longer one goes over a connection of its own."""

READ_BYTES = 65_536
LEAD_S = 0.02
"""The library gives up this long before the caller's deadline, so that a late call leaves nothing behind."""

_WITH_CONTENT = frozenset(("PATCH", "POST"))
"""The methods of which a request without content says so: some servers want that (RFC 9110, 8.6); orders have none."""

NO_CONNECTION = "client error (Connect)"
"""hyper's words for a failure before there was a connection, the TLS handshake included."""

NO_THREAD = "OS can't spawn worker thread"
"""tokio's words if there is no thread on which to resolve the name, which comes before every connection."""

_ROOTS_FROM = ("SSL_CERT_FILE", "SSL_CERT_DIR")


class PooledTransport(httpx.AsyncBaseTransport):
    """A transport that follows nothing, repeats nothing, decodes nothing and trusts only the given roots.

    `extensions["timeout"]` names `pool`, the seconds to wait for a place, and `total`, the seconds for the whole
    exchange. If an exchange is given up before the head of its answer, the library goes on with it. So that there are
    never more exchanges than places, a reading keeps its place until it has ended, and an order, of which nobody would
    know, until its deadline.
    """

    def __init__(self, *, max_connections: int, connect_timeout_s: float, roots: Path | None = None) -> None:
        """Read the roots, which takes a moment. Without `roots` they are certifi's.

        Raises:
            OSError: there is no root that can be used.
        """
        self._client: Client | None = _client(max_connections, connect_timeout_s, roots or Path(certifi.where()))
        self._long = LateTransport(max_connections=max_connections, roots=roots)
        self._places = Places(max_connections)
        self._kept: tuple[httpx.Headers, HeaderMap] | None = None
        self._origin: tuple[httpx.URL, str] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request once, and return the head of the answer; the body is read from its stream.

        Raises:
            httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout: certainly nothing was sent.
            httpx.TransportError, TimeoutError: the exchange was cut or late; something may have been sent.
        """
        loop = self._loop = self._loop or asyncio.get_running_loop()  # asking each time is a system call
        limits: Mapping[str, float] = request.extensions["timeout"]
        deadline_s = loop.time() + limits["total"]
        if not self._places.took():
            await self._wait_for_place(limits["pool"])
        left_s = deadline_s - loop.time() - LEAD_S
        if request.method == "GET" and len(self._url(request)) <= MAX_URL_BYTES:
            return await self._read_on(loop.create_task(self._sent(request, left_s=left_s)), loop)
        try:
            return await self._sent(request, left_s=left_s)
        except asyncio.CancelledError:
            loop.call_at(deadline_s, self._places.release)
            raise

    async def _read_on(self, reading: asyncio.Task[httpx.Response], loop: asyncio.AbstractEventLoop) -> httpx.Response:
        """Wait for a reading. If it is given up, it ends by itself, and gives its place back then."""
        try:
            return await asyncio.shield(reading)
        except asyncio.CancelledError:
            ending = loop.create_task(_ended(reading))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            raise

    async def _sent(self, request: httpx.Request, *, left_s: float) -> httpx.Response:
        """Send the request in the place that was taken; the answer's body gives the place back."""
        try:
            url = self._url(request)
            if len(url) > MAX_URL_BYTES:
                return await self._sent_long(request)
            try:
                exchange = self._exchange(request, url, left_s=left_s)
                response = await exchange.__aenter__()
            except PyreqwestError as exc:
                _fail(exc)
            return Answered(response.status, _headers(response), _Body(exchange, response, self._places.release))
        except asyncio.CancelledError:
            raise  # the library goes on with it
        except BaseException:
            self._places.release()
            raise

    async def _sent_long(self, request: httpx.Request) -> httpx.Response:
        long = await self._long.handle_async_request(request)
        assert isinstance(long.stream, httpx.AsyncByteStream)
        return httpx.Response(long.status_code, headers=long.headers, stream=_Held(long.stream, self._places.release))

    def _url(self, request: httpx.Request) -> str:
        """Return scheme, host and port of the URL, followed by the target as it is to be sent."""
        url = request.url
        if self._origin is None or self._origin[0] is not url:
            self._origin = url, f"{url.scheme}://{url.netloc.decode('ascii')}"
        target: bytes = request.extensions.get("target") or url.raw_path
        return f"{self._origin[1]}{target.decode('ascii')}"

    def _exchange(self, request: httpx.Request, url: str, *, left_s: float) -> StreamRequest:
        if self._client is None:
            raise httpx.PoolTimeout("the transport is closed")
        builder = self._client.request(request.method, url).timeout(timedelta(seconds=max(left_s, 0.001)))
        builder = builder.headers(self._sent_as(request.headers))
        if request.method in _WITH_CONTENT:
            builder = builder.header("Content-Length", "0")
        # Nothing is read ahead: the head comes alone, so that its status is known even if the body is cut.
        return builder.streamed_read_buffer_limit(0).build_streamed()

    def _sent_as(self, headers: httpx.Headers) -> HeaderMap:
        """Return the headers in the library's form, which is kept for those of the token in use."""
        if self._kept is not None and self._kept[0] is headers:
            return self._kept[1]
        made = HeaderMap()
        for name, value in headers.raw:
            made.append(name.decode("ascii"), value.decode("ascii"), is_sensitive=name.lower() == b"authorization")
        if isinstance(headers, FixedHeaders):
            self._kept = headers, made
        return made

    async def aclose(self) -> None:
        """Close the idle connections."""
        client, self._client = self._client, None
        for ending in self._ending:
            ending.cancel()
        if client is not None:
            await client.close()
        await self._long.aclose()

    async def _wait_for_place(self, wait_s: float) -> None:
        try:
            await self._places.wait(wait_s)
        except TimeoutError as exc:
            raise httpx.PoolTimeout("all connections are in use") from exc


async def _ended(reading: asyncio.Task[httpx.Response]) -> None:
    """Wait for a reading that was given up, and close it."""
    with Net():
        stream = (await reading).stream
        assert isinstance(stream, httpx.AsyncByteStream)
        await stream.aclose()


class _Held(httpx.AsyncByteStream):
    """A body whose exchange keeps its place until the body is closed."""

    def __init__(self, body: httpx.AsyncByteStream, leave: Callable[[], None]) -> None:
        self._body = body
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    async def aclose(self) -> None:
        """Close the body, and give the place back."""
        leave, self._leave = self._leave, None
        try:
            await self._body.aclose()
        finally:
            if leave is not None:
                leave()


class _Body(EndingStream):
    """The raw body, which keeps its exchange's place until it is closed. Closing it early closes the connection.

    It is its own iterator: an asynchronous generator would cost more than what it reads.
    """

    def __init__(self, exchange: StreamRequest, response: Response, leave: Callable[[], None]) -> None:
        self._exchange: StreamRequest | None = exchange
        self._reader = response.body_reader
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> _Body:
        return self

    async def __anext__(self) -> bytes:
        if self._exchange is None:
            raise StopAsyncIteration
        try:
            part = await self._reader.read(READ_BYTES)
        except PyreqwestError as exc:
            _fail(exc)
        # A read returns fewer bytes only at the end of the body.
        if part is None or len(part) < READ_BYTES:
            self._exchange, self.ended = None, True
        if part is None:
            raise StopAsyncIteration
        return bytes(part)

    async def aclose(self) -> None:
        """End the exchange, unless its body was read to the end, and give the place back."""
        exchange, self._exchange = self._exchange, None
        leave, self._leave = self._leave, None
        try:
            if exchange is not None:
                await exchange.__aexit__(None, None, None)
        finally:
            if leave is not None:
                leave()


def _client(max_connections: int, connect_timeout_s: float, roots: Path) -> Client:
    builder = ClientBuilder().http1_only().no_proxy().follow_redirects(enable=False).referer(enable=False)
    builder = builder.gzip(enable=False).brotli(enable=False).zstd(enable=False).deflate(enable=False)
    builder = builder.min_tls_version("TLSv1.2").connect_timeout(timedelta(seconds=connect_timeout_s))
    builder = builder.pool_max_idle_per_host(max_connections).pool_idle_timeout(timedelta(seconds=IDLE_S))
    try:
        with _only(roots), giving_way():
            return builder.build()
    except BuilderError as exc:
        raise OSError(f"the roots in {roots} cannot be used") from exc


@contextlib.contextmanager
def _only(roots: Path) -> Iterator[None]:
    """Make the library trust only these roots.

    While a client is built, the library takes its roots from the variables in _ROOTS_FROM, or else from the machine.
    """
    before = {name: os.environ.pop(name, None) for name in _ROOTS_FROM}
    os.environ["SSL_CERT_FILE"] = str(roots)
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        os.environ.update({name: value for name, value in before.items() if value is not None})


def _headers(response: Response) -> list[tuple[str, str]]:
    """Return the headers. A value that is not ASCII becomes `?`, which means nothing in any header that we read."""
    try:
        return list(response.headers.items())
    except ValueError:
        return [(name, _text(response, name)) for name in response.headers]


def _text(response: Response, name: str) -> str:
    try:
        return ", ".join(response.get_header_all(name))
    except ValueError:
        return "?"


def _fail(exc: PyreqwestError) -> NoReturn:
    """Raise the error in httpx's words, without the library's text, because that holds the target."""
    if isinstance(exc, RequestPanicError):
        # Unlike the other errors, this one gives its causes only as text.
        if NO_THREAD in str(exc):
            raise httpx.ConnectError("no connection") from RuntimeError("can't start new thread")
        raise httpx.ReadError("the library failed") from exc
    causes = exc.details["causes"] if isinstance(exc, DetailedPyreqwestError) else None
    words = [cause["message"] for cause in causes or ()]
    late = isinstance(exc, RequestTimeoutError)
    if NO_CONNECTION in words and late:
        raise httpx.ConnectTimeout("no connection in time") from exc
    if NO_CONNECTION in words:
        raise httpx.ConnectError("no connection") from _reason(words[words.index(NO_CONNECTION) + 1 :], exc)
    if late:
        raise TimeoutError("no whole answer in time") from exc
    if isinstance(exc, DecodeError):
        raise httpx.RemoteProtocolError("the answer is not HTTP") from exc
    raise httpx.ReadError("the exchange was cut") from exc


def _reason(words: list[str], exc: PyreqwestError) -> Exception:
    """Return why there was no connection, as Python's exception for it."""
    match words:
        case ["dns error", *_]:
            return socket.gaierror()
        case ["tcp connect error", *more] if any("(os error 111)" in word for word in more):
            return ConnectionRefusedError()
        case ["tcp connect error", *_]:
            return exc
    # After the TCP connection only the TLS handshake is left.
    return ssl.SSLError()
