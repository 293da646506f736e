"""Waiting for a condition, and what verification says of an audit directory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.audit.evidence.verify import verify

PATIENCE_S = 60
"""How long a busy machine is waited for before something never comes about."""


def until(holds: Callable[[], object], *, within_s: float = PATIENCE_S) -> None:
    """Waits until it holds; fails where it never will."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, "it never came about"
        time.sleep(0.01)


async def soon(holds: Callable[[], object]) -> None:
    """Waits on the loop until it holds; raises TimeoutError where it never will."""
    async with asyncio.timeout(PATIENCE_S):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event of its own, or happens elsewhere
            await asyncio.sleep(0.001)


def findings(directory: Path) -> set[str]:
    """What verification says of the chains."""
    return {report.finding.name for report in verify(sorted(directory.iterdir()), checkpoints={}, whole=True)}


async def eventually(holds: Callable[[], Awaitable[object]], *, within_s: float = PATIENCE_S) -> None:
    """Asks until the answer is true, as somebody else's clock decides when."""
    ends_s = time.monotonic() + within_s
    while not await holds():
        assert time.monotonic() < ends_s, "it never came to hold"
        await asyncio.sleep(0.01)
