"""What the store still has to be told of decisions: each is told until the store has it, behind the answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from gateway.core.errors import StateUnavailable
from gateway.process import Net, report
from gateway.state.admissions import Closed
from gateway.state.port import Admissions

RETRY_S, MOST_RETRY_S = 0.5, 10.0
"""The waits, in seconds, before the store is told again: they double from the first to the second."""


MOST_WITHDRAWN = 10_000
"""The most admissions that wait to be withdrawn: while the store is away, each request that asked it leaves one.

Above it they are left to the recovery of the next start. Until then the budget counts too much, and never too little.
"""


class Withdrawn:
    """The wish that an admission be withdrawn, whether it is in force or still on its way."""


class Settling:
    """The decisions that the store has to be told of, each with the newest that is to be told."""

    def __init__(self, admissions: Admissions, *, most_withdrawn: int = MOST_WITHDRAWN) -> None:
        self._most = most_withdrawn
        self._admissions = admissions
        self._owed: dict[str, Closed | Withdrawn] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def owed(self, decision_id: str) -> Closed | Withdrawn | None:
        """Return what the store is still to be told of a decision, if anything."""
        return self._owed.get(decision_id)

    def withdraw(self, decision_id: str) -> None:
        """Have an admission withdrawn, unless too many wait for that. Never raises."""
        if len(self._owed) < self._most:
            self._begun(decision_id, Withdrawn())

    def close(self, decision_id: str, closed: Closed) -> asyncio.Task[None]:
        """Have an admission closed; what an earlier call had to say of the answer is not lost. Never raises."""
        before = self._owed.get(decision_id)
        if isinstance(before, Closed):
            closed = replace(
                closed,
                runs=before.runs if closed.runs is None else closed.runs,
                answer=closed.answer or before.answer,
                free_binding=closed.free_binding or before.free_binding,
            )
        return self._begun(decision_id, closed)

    async def stop(self, within_s: float) -> None:
        """Wait for what is still to be told; after `within_s` seconds leave it to the recovery of the next start."""
        if self._tasks:
            await asyncio.wait(list(self._tasks.values()), timeout=within_s)
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begun(self, decision_id: str, wish: Closed | Withdrawn) -> asyncio.Task[None]:
        self._owed[decision_id] = wish
        task = self._tasks.get(decision_id)
        if task is None:
            task = self._tasks[decision_id] = asyncio.get_running_loop().create_task(self._told(decision_id))
        return task

    async def _told(self, decision_id: str) -> None:
        """Tell the store what it has to know of one decision, until it has the newest of it."""
        try:
            with Net() as net:
                wait_s = RETRY_S
                while (wish := self._owed.get(decision_id)) is not None:
                    if await self._tell(decision_id, wish):
                        self._forget(decision_id, wish)
                        wait_s = RETRY_S
                    else:
                        await asyncio.sleep(wait_s)
                        wait_s = min(2 * wait_s, MOST_RETRY_S)
            if net.fault is not None:
                report(net.fault, "the store was not told what came of a decision")
        finally:
            del self._tasks[decision_id]

    def _forget(self, decision_id: str, told: Closed | Withdrawn) -> None:
        if self._owed.get(decision_id) is told:
            del self._owed[decision_id]

    async def _tell(self, decision_id: str, wish: Closed | Withdrawn) -> bool:
        """Tell the store once; return whether it has it."""
        try:
            if isinstance(wish, Closed):
                await self._admissions.close(decision_id, wish)
                return True
            await self._admissions.withdraw(decision_id)
        except StateUnavailable:
            return False
        return True
