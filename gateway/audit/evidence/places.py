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


def verifies(directory: Path, chain: str, keys: Sequence[MacKey] = ()) -> bool | None:
    """Return whether nothing in a chain was changed, by the chain alone; None if it cannot be read any more.

    `audit verify` also compares it with what other chains say of it. It takes a tenth of a second: never call it on the
    event loop.
    """
    read = 0

    def rest(_: int) -> None:
        """Count a line."""
        nonlocal read
        read += 1
        if read % _AT_ONCE == 0:
            time.sleep(0)

    try:
        files = [path for _, path in chains_in(directory.glob(f"{chain}.*.jsonl")).get(chain, ())]
        if not files:
            return None
        return not ChainReader(chain, keys=keys, on_read=rest).read(files).problems
    except (OSError, NotAFile):
        return None
