"""The keys that check the tokens of pinned issuers: one set for each file or address, kept across reloads.

The code that reads tokens and key sets is large, so it is loaded with the first issuer. A process without one never
loads it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.callers.settings import JwtIssuer
from gateway.files.watch import WatchedFile

if TYPE_CHECKING:
    from gateway.callers.key_sources import Algorithms, FetchedKeySet, KeyFile
    from gateway.callers.tokens import PinnedIssuer, TokenVerifier


@dataclass(frozen=True, slots=True)
class Pins:
    """The issuers of a configuration with their keys, and the files and addresses that keep the keys current."""

    issuers: tuple[PinnedIssuer, ...] = ()
    files: Mapping[tuple[Path, Algorithms], KeyFile] = field(default_factory=dict)
    fetched: Mapping[tuple[str, Algorithms], FetchedKeySet] = field(default_factory=dict)

    @property
    def watched(self) -> list[WatchedFile]:
        """The key files that are watched."""
        return [file.watched for file in self.files.values()]

    def notices(self) -> list[str]:
        """Return what is wrong now with the keys of each address. A watched file has a notice of its own."""
        return [f"the keys at {url}: {one.notice}" for (url, _), one in self.fetched.items() if one.notice]

    def verifier(self) -> TokenVerifier | None:
        """Return the verifier, or None if no issuer is configured; then every token is refused."""
        if not self.issuers:
            return None
        from gateway.callers.tokens import TokenVerifier

        return TokenVerifier(self.issuers)


def pin(issuers: Sequence[JwtIssuer], before: Pins) -> Pins:
    """Return the issuers with their keys. The key set of a file or address that `before` has is used again.

    Raises: InvalidConfiguration: a key file cannot be used; the problem is placed where the file is named.
    """
    if not issuers:
        return Pins()
    from gateway.callers.key_sources import Found

    found = Found(before.files, before.fetched)
    return Pins(found.pinned(issuers), found.files, found.fetched)


class Fetches:
    """The tasks that fetch keys, one for each address in use."""

    def __init__(self) -> None:
        self._tasks: dict[FetchedKeySet, asyncio.Task[None]] = {}

    def follow(self, wanted: Iterable[FetchedKeySet]) -> None:
        """Fetch exactly these from now on. Those that are fetched already go on undisturbed."""
        kept = set(wanted)
        for keys in self._tasks.keys() - kept:
            self._tasks.pop(keys).cancel()
        for keys in kept - self._tasks.keys():
            self._tasks[keys] = asyncio.create_task(keys.run())
