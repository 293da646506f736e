"""A deadline of our own round every call to the store.

A driver's time limits do not hold when the server hangs: asyncpg waits for its own cancel request to be answered, which
took 4 s. So the work is a task that is waited for and then left alone; how many may be left alone is bounded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from gateway.core.errors import StateUnavailable

CALL_S = 1.5
"""The seconds that a call may take."""

MOST_ABANDONED = 64
"""How many calls that ran out of time may still be at work; beyond them no new one is begun."""

T = TypeVar("T")


class Deadline:
    """The time limit of the calls of one store, and those that it has cut off."""

    def __init__(self, seconds: float = CALL_S, most_abandoned: int = MOST_ABANDONED) -> None:
        self._seconds = seconds
        self._most = most_abandoned
        self._abandoned: set[asyncio.Task[Any]] = set()

    async def within(self, work: Coroutine[Any, Any, T], cut: Callable[[], bool]) -> T:
        """Return what the work returns, and raise what it raises, within the time.

        `cut` is called when it has to end: it closes the connection and returns True, or there is none yet. Raises:
        StateUnavailable: the time is over, or too many calls before this one have not ended yet.
        """
        if len(self._abandoned) >= self._most:
            work.close()
            raise StateUnavailable("timeout")
        task = asyncio.get_running_loop().create_task(work)
        # Who waits may be cancelled just when it ends; its exception is read all the same.
        task.add_done_callback(self._ended)
        try:
            await asyncio.wait({task}, timeout=self._seconds)
        finally:
            if not task.done():
                self._abandon(task, cut)
        if not task.done() or task.cancelled():
            raise StateUnavailable("timeout")
        return task.result()

    def _abandon(self, task: asyncio.Task[Any], cut: Callable[[], bool]) -> None:
        self._abandoned.add(task)
        if not cut():
            task.cancel()

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._abandoned.discard(task)
        if not task.cancelled():
            # Perhaps nobody waits for it any more. It is read so that asyncio does not report it as lost.
            task.exception()

    async def ended(self) -> None:
        """Wait for the abandoned calls, as long as a call may take; then leave them."""
        if self._abandoned:
            await asyncio.wait(self._abandoned, timeout=self._seconds)
