"""The place of records in their chains, and whether a chain verifies from its beginning to where it is now."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from gateway.audit.chain import MacKey
from gateway.audit.reader import ChainReader
from gateway.audit.segment import NotAFile, chains_in

_AT_ONCE = 64
"""After so many lines, about a millisecond, the reading lets the event loop have the interpreter if it waits."""


WITHIN_S = 0.8
"""How long a chain is read, in seconds: one thread reads for the pages of all teams, and chains have any length."""


class _TooLong(Exception):
    """The chain is not read to its end in time."""


def verifies(directory: Path, chain: str, keys: Sequence[MacKey] = (), *, within_s: float = WITHIN_S) -> bool | None:
    """Return whether nothing in a chain was changed, by the chain alone; None if it cannot be read, or not in time.

    `audit verify` also compares it with what other chains say of it. It takes up to `within_s` seconds: never call it
    on the event loop.
    """
    read, until_s = 0, time.monotonic() + within_s

    def rest(_: int) -> None:
        """Count a line."""
        nonlocal read
        read += 1
        if read % _AT_ONCE == 0:
            time.sleep(0)
            if time.monotonic() >= until_s:
                raise _TooLong

    try:
        files = [path for _, path in chains_in(directory.glob(f"{chain}.*.jsonl")).get(chain, ())]
        if not files:
            return None
        return not ChainReader(chain, keys=keys, on_read=rest).read(files).problems
    except (OSError, NotAFile, _TooLong):
        return None
