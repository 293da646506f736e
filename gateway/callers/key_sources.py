"""The sources of an issuer's keys: a file that is read again when it changes, or an address that is fetched.

The last good set is kept whatever happens. An address is asked at most once a minute, whatever callers send.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from gateway.callers.keysets import MAX_BYTES, KeySet, UnusableKeySet, parse_key_set
from gateway.callers.settings import JwtIssuer
from gateway.callers.tokens import KeySetPort, PinnedIssuer
from gateway.core.errors import InvalidConfiguration
from gateway.files.source import named, read_file, sentence
from gateway.files.watch import WatchedFile, fingerprint
from gateway.process import Net
from gateway.upstream.direct import bounded, make_transport

FETCH_TIMEOUT_S = 2.0
LEAST_PAUSE_S = 60.0
REFRESH_S = 600.0


class FetchedKeySet:
    """The keys at an https address. `run` fetches them at once, every ten minutes, and soon after a miss or failure."""

    def __init__(self, url: str, algorithms: Iterable[str], transport: httpx.AsyncBaseTransport) -> None:
        self.current: KeySet | None = None
        self.notice: str | None = "not fetched yet"
        self.url = httpx.URL(url)
        self._algorithms = tuple(algorithms)
        self._transport = transport
        self._missed = asyncio.Event()

    def miss(self) -> None:
        """Ask for a fetch, without waiting for it."""
        self._missed.set()

    async def run(self) -> None:
        """Run until cancelled, and fetch the keys when they are due."""
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
        """Fetch once. A failure keeps the last good set and leaves a notice; never raise."""
        with Net() as net:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                content = await self._content()
            self.current = parse_key_set(content, self._algorithms)
        # Whatever fails, the last good set is kept and the next fetch will come.
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
            # Following a redirect would let this address choose another one.
            if response.status_code != 200:
                raise UnusableKeySet(f"the address answered {response.status_code}")
            content = await bounded(response, MAX_BYTES)
        finally:
            await response.aclose()
        if content is None:
            raise UnusableKeySet(f"more than {MAX_BYTES} bytes")
        return content


class FileKeySet:
    """The keys in a file. `load` is called at the start, and whenever the file has changed."""

    def __init__(self, path: Path, algorithms: Iterable[str]) -> None:
        self.path = path
        self.current: KeySet | None = None
        self._algorithms = tuple(algorithms)

    def miss(self) -> None:
        """Do nothing: the file is watched anyway."""

    def load(self) -> None:
        """Read the file. Raises: UnusableKeySet: it cannot be used, and the last good set is kept."""
        try:
            content = read_file(self.path, max_bytes=MAX_BYTES).content
        except InvalidConfiguration as exc:
            raise UnusableKeySet(sentence("it", exc).removeprefix("it: ")) from exc
        self.current = parse_key_set(content, self._algorithms)


def key_file(issuer: JwtIssuer, path: Path) -> FileKeySet:
    """Read an issuer's key file for the first time.

    Raises:
        InvalidConfiguration: it cannot be used; the problem is placed where the file is named.
    """
    keys = FileKeySet(path, issuer.algorithms)
    try:
        keys.load()
    except UnusableKeySet as exc:
        raise InvalidConfiguration(
            [issuer.jwks.at.problem(f"the key file {named(path)} cannot be used: {exc}")]
        ) from exc
    return keys


Algorithms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key set in a file, and the file as it is watched."""

    keys: FileKeySet
    watched: WatchedFile


class Found:
    """The key sets of one configuration while they are collected. Those that are given are used again."""

    def __init__(
        self, files: Mapping[tuple[Path, Algorithms], KeyFile], fetched: Mapping[tuple[str, Algorithms], FetchedKeySet]
    ) -> None:
        self._known_files = files
        self._known_fetched = fetched
        self.files: dict[tuple[Path, Algorithms], KeyFile] = {}
        self.fetched: dict[tuple[str, Algorithms], FetchedKeySet] = {}

    def pinned(self, issuers: Sequence[JwtIssuer]) -> tuple[PinnedIssuer, ...]:
        """Return every issuer with its keys.

        Raises: InvalidConfiguration: a key file cannot be used; the problem is placed where the file is named.
        """
        return tuple(PinnedIssuer(issuer, self._keys(issuer, issuers)) for issuer in issuers)

    def _keys(self, issuer: JwtIssuer, issuers: Sequence[JwtIssuer]) -> KeySetPort:
        """Return the keys of one issuer: those in its file, or those fetched from its address for all that name it."""
        file, url = issuer.jwks.file, issuer.jwks.url
        if file is not None:
            name = file, tuple(sorted(issuer.algorithms))
            self.files[name] = self.files.get(name) or self._known_files.get(name) or _read(issuer, file)
            return self.files[name].keys
        assert url is not None
        # One set for all entries with this address, so that it is asked once a minute, and not once for each entry.
        address = url, tuple(sorted({name for other in issuers if other.jwks.url == url for name in other.algorithms}))
        known = self.fetched.get(address) or self._known_fetched.get(address)
        self.fetched[address] = known or FetchedKeySet(*address, make_transport(max_connections=1))
        return self.fetched[address]


def _read(issuer: JwtIssuer, file: Path) -> KeyFile:
    seen = fingerprint(file)
    keys = key_file(issuer, file)
    return KeyFile(keys, WatchedFile(file, keys.load, seen=seen))
