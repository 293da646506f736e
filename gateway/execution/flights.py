"""Cancels in flight: an identical one joins instead of being sent again, and all of them end before the process does.

In flight is what has begun and whose outcome was not yet written to a caller still connected. Where the caller had
gone, the outcome can be joined for a while longer: clients repeat a dropped connection within about 4 s.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field

from gateway.core.errors import Throttled
from gateway.core.outcome import Outcome
from gateway.core.plan import Denial, Plan
from gateway.core.run import Skipped

JOINABLE_S = 10.0
"""How long an outcome can still be joined, unless it was written to a caller still connected before."""

MOST_JOINS = 16
"""How many identical requests join one cancel, each on record; clients repeat a dropped connection up to five times."""

Key = tuple[Hashable, Hashable]
"""What a flight is known by: whose it is, or that it is a plan's, and what it does."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A plan that was carried out, what came of it, and the runs it did not cancel, with why.

    `over_cancelled` is how many runs upstream cancelled above those that were ordered.
    """

    plan: Plan
    outcome: Outcome
    skipped: Skipped = field(default_factory=dict)
    over_cancelled: int = 0


Result = Carried | Denial
"""What a flight ends in; it also may raise a Refusal, and then nothing was sent."""


@dataclass(slots=True, eq=False)
class Flight:
    """One cancel under way, known by its `key`. `sending` is true while upstream may be working for it.

    `joined` counts those who have joined it, `turned_away` those who came after as many as may.
    """

    key: Key
    decision_id: str
    task: asyncio.Task[Result] | None = None
    sending: bool = False
    release: asyncio.TimerHandle | None = None
    joined: int = 0
    turned_away: int = 0

    def join(self) -> None:
        """Counts one who joins. Raises: Throttled: as many have joined as may; this one is counted, not recorded."""
        if self.joined >= MOST_JOINS:
            self.turned_away += 1
            raise Throttled(
                "joins",
                f"The same cancel is under way and {self.joined} repeats of it have joined, the most that may; nothing "
                f"more was sent. Its outcome is under decision {self.decision_id}: look there before you try again.",
                limit=MOST_JOINS,
                retry_after_s=5,
            )
        self.joined += 1

    async def result(self) -> Result:
        """Its end; who waits for it and goes away does not end it."""
        assert self.task is not None
        return await asyncio.shield(self.task)


Carry = Callable[[Flight], Coroutine[None, None, Result]]
"""The work of a flight; it notes in it while upstream may be working."""


class Flights:
    """Every cancel in flight, each in a task of its own, so that it ends and is recorded when its caller goes away."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Flight] = {}
        self._of: Counter[Hashable] = Counter()
        self._tasks: dict[asyncio.Task[Result], Flight] = {}
        self.stopping = False

    def get(self, key: Key) -> Flight | None:
        """The one of that key, to be joined."""
        return self._by_key.get(key)

    def any_of(self, owner: Hashable) -> bool:
        """Whether there is one to be joined whose key begins with `owner`."""
        return owner in self._of

    def start(self, key: Key, decision_id: str, carry: Carry) -> Flight:
        """Begins one; `carry` does the work."""
        flight = Flight(key, decision_id)
        flight.task = asyncio.create_task(carry(flight))
        self._by_key[key] = flight
        self._of[key[0]] += 1
        self._tasks[flight.task] = flight
        flight.task.add_done_callback(self._ended)
        return flight

    def answered(self, flight: Flight, *, caller_gone: bool) -> None:
        """The answer was written to a caller still connected, or the caller had gone and may repeat the request."""
        if not caller_gone:
            self._land(flight)

    async def stop(self, grace_s: float) -> None:
        """Lets what is under way finish; calls upstream that do not end in time are given up as unknown."""
        self.stopping = True
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        for task, flight in list(self._tasks.items()):
            if flight.sending:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    def _ended(self, task: asyncio.Task[Result]) -> None:
        flight = self._tasks.pop(task)
        # Without a receipt there is nothing to join. Reading the exception also marks it as seen, should all be gone.
        if task.cancelled() or task.exception() is not None or isinstance(task.result(), Denial):
            self._land(flight)
        else:
            # Begun here and nowhere else, so that no way of a caller's end can leave a flight joinable for ever.
            flight.release = task.get_loop().call_later(JOINABLE_S, self._land, flight)

    def _land(self, flight: Flight) -> None:
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
            owner = flight.key[0]
            self._of[owner] -= 1
            if not self._of[owner]:
                del self._of[owner]
        if flight.release is not None:
            flight.release.cancel()
            flight.release = None
