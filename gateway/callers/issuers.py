"""The keys that check the tokens of pinned issuers: one set for a file or an address, kept over a reload.

What reads tokens and key sets is large, so it is loaded with the first issuer: a process without one never holds it.
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

    def verifier(self) -> TokenVerifier | None:
        """What reads tokens of these issuers; None where there is none, so that no token can be anyone's."""
        if not self.issuers:
            return None
        from gateway.callers.tokens import TokenVerifier

        return TokenVerifier(self.issuers)


def pin(issuers: Sequence[JwtIssuer], before: Pins) -> Pins:
    """The issuers with their keys; what `before` has of a file or an address is used again, the rest is new.

    Raises: InvalidConfiguration at the place of a key file that cannot be used.
    """
    if not issuers:
        return Pins()
    from gateway.callers.key_sources import Found

    found = Found(before.files, before.fetched)
    return Pins(found.pinned(issuers), found.files, found.fetched)


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
