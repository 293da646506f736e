"""The keys that check the tokens of pinned issuers: one set for a file or an address, kept over a reload."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gateway.identity.settings import JwtIssuer
from gateway.identity.sources import FetchedKeySet, FileKeySet, key_file
from gateway.identity.tokens import KeySetPort, PinnedIssuer
from gateway.outbound import make_transport
from gateway.watch import WatchedFile, fingerprint

Algorithms = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A key set in a file, and the file as it is watched."""

    keys: FileKeySet
    watched: WatchedFile


@dataclass(frozen=True, slots=True)
class Pins:
    """The issuers of a configuration with their keys, and what is watched and fetched to keep the keys current."""

    issuers: tuple[PinnedIssuer, ...] = ()
    files: Mapping[tuple[Path, Algorithms], KeyFile] = field(default_factory=dict)
    fetched: Mapping[tuple[str, Algorithms], FetchedKeySet] = field(default_factory=dict)

    @property
    def watched(self) -> list[WatchedFile]:
        """The key files."""
        return [file.watched for file in self.files.values()]

    def notices(self) -> list[str]:
        """What is wrong now with the keys at an address; a file has its own notice."""
        return [f"the keys at {url}: {one.notice}" for (url, _), one in self.fetched.items() if one.notice]


def pin(issuers: Sequence[JwtIssuer], before: Pins) -> Pins:
    """The issuers with their keys; what `before` has of a file or an address is used again, the rest is new.

    Raises: InvalidConfiguration at the place of a key file that cannot be used.
    """
    found = _Found(before)
    pinned = tuple(PinnedIssuer(issuer, found.keys(issuer, issuers)) for issuer in issuers)
    return Pins(pinned, found.files, found.fetched)


class _Found:
    """The key sets of one configuration while they are being found."""

    def __init__(self, before: Pins) -> None:
        self._before = before
        self.files: dict[tuple[Path, Algorithms], KeyFile] = {}
        self.fetched: dict[tuple[str, Algorithms], FetchedKeySet] = {}

    def keys(self, issuer: JwtIssuer, issuers: Sequence[JwtIssuer]) -> KeySetPort:
        """The keys of one issuer: those of its file, or what is fetched from its address for all that name it."""
        file, url = issuer.jwks.file, issuer.jwks.url
        if file is not None:
            name = file, tuple(sorted(issuer.algorithms))
            self.files[name] = self.files.get(name) or self._before.files.get(name) or _read(issuer, file)
            return self.files[name].keys
        assert url is not None
        # One for all entries with this address, so that it is asked once a minute and not once for each.
        address = url, tuple(sorted({name for other in issuers if other.jwks.url == url for name in other.algorithms}))
        known = self.fetched.get(address) or self._before.fetched.get(address)
        self.fetched[address] = known or FetchedKeySet(*address, make_transport(max_connections=1))
        return self.fetched[address]


def _read(issuer: JwtIssuer, file: Path) -> KeyFile:
    seen = fingerprint(file)
    keys = key_file(issuer, file)
    return KeyFile(keys, WatchedFile(file, keys.load, seen=seen))


class Fetches:
    """The tasks that fetch keys: one for each address in use."""

    def __init__(self) -> None:
        self._tasks: dict[FetchedKeySet, asyncio.Task[None]] = {}

    def follow(self, wanted: Iterable[FetchedKeySet]) -> None:
        """Fetches exactly these from now on; those that it fetches already go on undisturbed."""
        kept = set(wanted)
        for keys in self._tasks.keys() - kept:
            self._tasks.pop(keys).cancel()
        for keys in kept - self._tasks.keys():
            self._tasks[keys] = asyncio.create_task(keys.run())
