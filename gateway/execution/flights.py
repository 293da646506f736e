"""Cancels in flight: an identical request joins one instead of sending it again. Each ends before the process does.

A cancel is in flight from its start until its outcome is written to a connected caller. If the caller has disconnected,
the outcome can be joined for a while longer: clients repeat a request within about 4 s of a dropped connection.
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
"""How long an outcome can still be joined, unless it is written to a connected caller before that."""

MOST_JOINS = 16
"""How many identical requests may join one cancel; each is recorded. Clients repeat a request up to five times."""

Key = tuple[Hashable, Hashable]
"""The key of a flight: its owner (a principal, or "plan"), and what it does (a request, or a plan id)."""


@dataclass(frozen=True, slots=True)
class Carried:
    """A plan that was carried out, its outcome, and the runs it skipped, by reason.

    `over_cancelled` is how many more runs upstream cancelled than were ordered.
    """

    plan: Plan
    outcome: Outcome
    skipped: Skipped = field(default_factory=dict)
    over_cancelled: int = 0


Result = Carried | Denial
"""The result of a flight. A flight may also raise a Refusal; then nothing was sent."""


@dataclass(slots=True, eq=False)
class Flight:
    """One cancel under way, identified by its `key`. `sending` is true while a call to upstream may be running.

    `joined` counts the requests that joined it, `turned_away` those refused because MOST_JOINS had joined already.
    """

    key: Key
    decision_id: str
    task: asyncio.Task[Result] | None = None
    sending: bool = False
    release: asyncio.TimerHandle | None = None
    joined: int = 0
    turned_away: int = 0

    def join(self) -> None:
        """Count a request that joins. Raises: Throttled: MOST_JOINS have joined; this one is counted, not recorded."""
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
        """Wait for the result. Cancelling the waiter does not cancel the flight."""
        assert self.task is not None
        return await asyncio.shield(self.task)


Carry = Callable[[Flight], Coroutine[None, None, Result]]
"""The work of a flight. It sets `flight.sending` while a call to upstream may be running."""


class Flights:
    """All cancels in flight. Each has its own task, so it ends and is recorded even if its caller disconnects."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Flight] = {}
        self._of: Counter[Hashable] = Counter()
        self._tasks: dict[asyncio.Task[Result], Flight] = {}
        self.stopping = False

    def get(self, key: Key) -> Flight | None:
        """Return the flight with that key, if one can be joined."""
        return self._by_key.get(key)

    def any_of(self, owner: Hashable) -> bool:
        """Return whether a flight whose key begins with `owner` can be joined."""
        return owner in self._of

    def start(self, key: Key, decision_id: str, carry: Carry) -> Flight:
        """Start a flight; `carry` does its work."""
        flight = Flight(key, decision_id)
        flight.task = asyncio.create_task(carry(flight))
        self._by_key[key] = flight
        self._of[key[0]] += 1
        self._tasks[flight.task] = flight
        flight.task.add_done_callback(self._ended)
        return flight

    def answered(self, flight: Flight, *, caller_gone: bool) -> None:
        """Release a flight whose answer was written; if the caller had gone (`caller_gone`), keep it joinable."""
        if not caller_gone:
            self._land(flight)

    async def stop(self, grace_s: float) -> None:
        """Wait for all flights to end; after `grace_s` seconds, give up the calls still at upstream as unknown."""
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
        # Without a receipt there is nothing to join. Reading the exception marks it as retrieved even if nobody waits.
        if task.cancelled() or task.exception() is not None or isinstance(task.result(), Denial):
            self._land(flight)
        else:
            # The timer starts here and nowhere else, so however a caller ends, no flight stays joinable for ever.
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
