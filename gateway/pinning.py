"""Issuers to the sets of keys that check their tokens. Loaded with the first issuer of a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.files.watch import WatchedFile, fingerprint
from gateway.identity.settings import JwtIssuer
from gateway.identity.sources import FetchedKeySet, FileKeySet, key_file
from gateway.identity.tokens import KeySetPort, PinnedIssuer
from gateway.upstream.direct import make_transport

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
