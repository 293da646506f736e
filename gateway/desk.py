"""Threads for work that would hold up the loop, given out in turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from weakref import WeakValueDictionary

from gateway.core.request import Principal

_Done = TypeVar("_Done")


class Desk:
    """A few threads for work of callers. One principal, and one team, has one piece of work there at a time.

    So teams take turns, and within a team its principals: who asks much waits for itself. Work that belongs to no
    principal is that of a look-up, which has one piece of work there at a time as well.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def done(self, whose: Principal | Hashable, work: Callable[[], Callable[[], _Done]]) -> _Done:
        """Calls `work` when it is `whose` turn, and what that returns on a thread; returns its result."""
        if not isinstance(whose, Principal):
            return await self._in_turn(whose, work)
        async with self._turn(whose):
            return await self._in_turn(whose.team, work)

    def close(self) -> None:
        """Begins nothing more that waits for a thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, whose: Hashable, work: Callable[[], Callable[[], _Done]]) -> _Done:
        turn = self._turn(whose)
        await turn.acquire()
        job = self._begun(work, turn)
        # A thread cannot be stopped: whoever does not wait any more leaves the turn to it until it has ended.
        return await asyncio.shield(job)

    def _turn(self, whose: Hashable) -> asyncio.Lock:
        turn = self._turns.get(whose)
        if turn is None:
            turn = self._turns[whose] = asyncio.Lock()
        return turn

    def _begun(self, work: Callable[[], Callable[[], _Done]], turn: asyncio.Lock) -> asyncio.Future[_Done]:
        loop = asyncio.get_running_loop()
        job: asyncio.Future[_Done] = loop.create_future()
        try:
            task = work()
            try:
                job = loop.run_in_executor(self._threads, task)
            except RuntimeError:
                # No thread is to be had. The work is bounded, and a late answer is better than none.
                job.set_result(task())
        except BaseException:
            turn.release()
            raise
        job.add_done_callback(lambda _: turn.release())
        return job
