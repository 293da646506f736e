"""Where an issuer's keys come from: a file that is re-read when it changes, or an address that is fetched with bounds.

The last good set is kept whatever happens, and whatever callers send, an address is asked at most once a minute.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.callers.keysets import MAX_BYTES, KeySet, UnusableKeySet, parse_key_set
from gateway.callers.settings import JwtIssuer
from gateway.callers.tokens import KeySetPort, PinnedIssuer
from gateway.core.errors import InvalidConfiguration
from gateway.files.source import read_file, sentence
from gateway.files.watch import WatchedFile, fingerprint
from gateway.process import Net
from gateway.upstream.direct import make_transport

FETCH_TIMEOUT_S = 2.0
LEAST_PAUSE_S = 60.0
REFRESH_S = 600.0


class FetchedKeySet:
    """Keys at an https address. `run` fetches at start, every ten minutes, and soon after a miss or a failure."""

    def __init__(self, url: str, algorithms: Iterable[str], transport: httpx.AsyncBaseTransport) -> None:
        self.current: KeySet | None = None
        self.notice: str | None = "not fetched yet"
        self.url = httpx.URL(url)
        self._algorithms = tuple(algorithms)
        self._transport = transport
        self._missed = asyncio.Event()

    def miss(self) -> None:
        """Asks for a fetch; nothing waits for it."""
        self._missed.set()

    async def run(self) -> None:
        """Fetches for ever; ends by being cancelled."""
        while True:
            self._missed.clear()
            await self.fetch()
            await asyncio.sleep(LEAST_PAUSE_S)
            if self.notice is None:
                await self._missed_or_old()

    async def _missed_or_old(self) -> None:
        try:
            async with asyncio.timeout(REFRESH_S - LEAST_PAUSE_S):
                await self._missed.wait()
        except TimeoutError:
            return

    async def fetch(self) -> None:
        """One fetch; a failure keeps the last good set and leaves a notice. Never raises."""
        with Net() as net:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                content = await self._content()
            self.current = parse_key_set(content, self._algorithms)
        # Whatever fails, the last good set stays and the next fetch comes.
        match net.fault:
            case None:
                self.notice = None
            case UnusableKeySet() as unusable:
                self.notice = f"cannot be used, the last good set stays: {unusable}"
            case failed:
                self.notice = f"cannot be fetched, the last good set stays: {type(failed).__name__}"

    async def _content(self) -> bytes:
        request = httpx.Request("GET", self.url, headers={"Accept": "application/json", "Accept-Encoding": "identity"})
        response = await self._transport.handle_async_request(request)
        try:
            # A redirect would let the address choose another one.
            if response.status_code != 200:
                raise UnusableKeySet(f"the address answered {response.status_code}")
            return await _bounded(response)
        finally:
            await response.aclose()


async def _bounded(response: httpx.Response) -> bytes:
    content = bytearray()
    stream = response.stream
    if not isinstance(stream, AsyncIterable):
        raise TypeError("the transport gave a synchronous stream")
    async for chunk in stream:
        content += chunk
        if len(content) > MAX_BYTES:
            raise UnusableKeySet(f"more than {MAX_BYTES} bytes")
    return bytes(content)


class FileKeySet:
    """Keys in a file; `load` is called at start and whenever the file has changed."""

    def __init__(self, path: Path, algorithms: Iterable[str]) -> None:
        self.path = path
        self.current: KeySet | None = None
        self._algorithms = tuple(algorithms)

    def miss(self) -> None:
        """Nothing to ask: the file is watched anyway."""

    def load(self) -> None:
        """Reads the file. Raises: UnusableKeySet, and the last good set is kept then."""
        try:
            content = read_file(self.path, max_bytes=MAX_BYTES).content
        except InvalidConfiguration as exc:
            raise UnusableKeySet(sentence("it", exc).removeprefix("it: ")) from exc
        self.current = parse_key_set(content, self._algorithms)


def key_file(issuer: JwtIssuer, path: Path) -> FileKeySet:
    """An issuer's key file, read for the first time.

    Raises:
        InvalidConfiguration: at the place where the file is named.
    """
    keys = FileKeySet(path, issuer.algorithms)
    try:
        keys.load()
    except UnusableKeySet as exc:
        raise InvalidConfiguration([issuer.jwks.at.problem(f"the key file {path} cannot be used: {exc}")]) from exc
    return keys


Algorithms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key set in a file, and the file as it is watched."""

    keys: FileKeySet
    watched: WatchedFile


class Found:
    """The key sets of one configuration while they are being found; those given are used again."""

    def __init__(
        self, files: Mapping[tuple[Path, Algorithms], KeyFile], fetched: Mapping[tuple[str, Algorithms], FetchedKeySet]
    ) -> None:
        self._known_files = files
        self._known_fetched = fetched
        self.files: dict[tuple[Path, Algorithms], KeyFile] = {}
        self.fetched: dict[tuple[str, Algorithms], FetchedKeySet] = {}

    def pinned(self, issuers: Sequence[JwtIssuer]) -> tuple[PinnedIssuer, ...]:
        """Every issuer with its keys. Raises: InvalidConfiguration at the place of a key file that cannot be used."""
        return tuple(PinnedIssuer(issuer, self._keys(issuer, issuers)) for issuer in issuers)

    def _keys(self, issuer: JwtIssuer, issuers: Sequence[JwtIssuer]) -> KeySetPort:
        """The keys of one issuer: those of its file, or what is fetched from its address for all that name it."""
        file, url = issuer.jwks.file, issuer.jwks.url
        if file is not None:
            name = file, tuple(sorted(issuer.algorithms))
            self.files[name] = self.files.get(name) or self._known_files.get(name) or _read(issuer, file)
            return self.files[name].keys
        assert url is not None
        # One for all entries with this address, so that it is asked once a minute and not once for each.
        address = url, tuple(sorted({name for other in issuers if other.jwks.url == url for name in other.algorithms}))
        known = self.fetched.get(address) or self._known_fetched.get(address)
        self.fetched[address] = known or FetchedKeySet(*address, make_transport(max_connections=1))
        return self.fetched[address]


def _read(issuer: JwtIssuer, file: Path) -> KeyFile:
    seen = fingerprint(file)
    keys = key_file(issuer, file)
    return KeyFile(keys, WatchedFile(file, keys.load, seen=seen))
