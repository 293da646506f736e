"""Cancels in flight: an identical request joins one instead of sending it again. Each ends before the process does.

A cancel is in flight from its start until its outcome is written to a connected caller. If the caller has disconnected,
the outcome can be joined for a while longer: clients repeat a request within about 4 s of a dropped connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.core.errors import Throttled
from gateway.core.outcome import NOTHING_SKIPPED, Outcome
from gateway.core.plan import Denial, Plan
from gateway.core.run import Skipped, merged
from gateway.state.admissions import Answered

JOINABLE_S = 10.0
"""How long an outcome can still be joined, unless it is written to a connected caller before that."""

MOST_JOINS = 16
"""How many identical requests may join one cancel; each is recorded. Clients repeat a request up to five times."""

Key = tuple[Hashable, Hashable]
"""The key of a cancel in flight: its owner (a principal, or "plan"), and what it does.

That is a request, a request with its Idempotency-Key, or a plan id.
"""


MOST_KEYED_JOINS = 1024
"""The same for a cancel with an Idempotency-Key: its caller asks for a repeat to be told what came of the first."""


class Replay(NamedTuple):
    """The answer that an earlier decision was given, for a repeat with its Idempotency-Key. Nothing was sent for it.

    `budget` is the value of `Gateway-Budget`, if the rule has a budget and the store says what is left of it.
    """

    decision_id: str
    answer: Answered
    budget: str | None = None


class Stopped(NamedTuple):
    """The stop of a plan before all of its orders were sent: who asked for it, and how far the plan had come.

    Every order that was sent is certain. `came_to` is the word for what came of it all: `cancelled` if upstream carried
    out an order, else that of the last order, and `not_sent` without any.
    """

    by: str
    plan_id: str
    orders_sent: int
    unsent: tuple[str, ...]
    came_to: str = "cancelled"


class Result(NamedTuple):
    """A plan that was sent, and its outcome.

    `left_out` holds the runs that a second look left out, by reason. `over_cancelled` is how many more runs upstream
    cancelled than were ordered. `stop` is set if somebody stopped the plan; its outcome is then what it had cancelled.
    """

    plan: Plan
    outcome: Outcome
    left_out: Skipped = NOTHING_SKIPPED
    over_cancelled: int = 0
    stop: Stopped | None = None

    @property
    def skipped(self) -> Skipped:
        """The runs that the request selects but that were not cancelled, by reason."""
        resolved = self.plan.resolved
        return self.left_out if resolved is None else merged(resolved.skipped, self.left_out)

    @property
    def more(self) -> bool:
        """Whether more runs match than were to be cancelled, or may: the list was not read to its end."""
        return self.plan.resolved is not None and self.plan.resolved.more


@dataclass(slots=True, eq=False)
class InFlight:
    """One cancel in flight, identified by its `key`. `sending` is true while a call to upstream may be running.

    `joined` counts the requests that joined it, `turned_away` those refused because MOST_JOINS had joined already.
    """

    key: Key
    decision_id: str
    task: asyncio.Task[Ended] | None = None
    sending: bool = False
    release: asyncio.TimerHandle | None = None
    joined: int = 0
    turned_away: int = 0
    waiters: list[asyncio.Future[None]] = field(default_factory=list)

    def join(self, most: int = MOST_JOINS, *, act: str = "cancel") -> None:
        """Count a request that joins. Raises: Throttled: `most` have joined; this one is counted, not recorded.

        `act` names what the request does in a word.
        """
        if self.joined >= most:
            self.turned_away += 1
            raise Throttled(
                "joins",
                f"The same {act} is under way and {self.joined} repeats of it have joined, the most that may; nothing "
                f"more was sent. Its outcome is under decision {self.decision_id}: look there before you try again.",
                limit=most,
                retry_after_s=5,
            )
        self.joined += 1

    async def told(self) -> Told:
        """Wait for the result, and return what a request is answered by it. Raises: Refusal: nothing was sent.

        Cancelling the waiter does not cancel the work.
        """
        assert self.task is not None
        if not self.task.done():
            waiter: asyncio.Future[None] = self.task.get_loop().create_future()
            self.waiters.append(waiter)
            await waiter
        # A cancel that was given up ends with a cancellation too.
        result = self.task.result()
        return Done(result, self) if isinstance(result, Result) else result

    def wake(self) -> None:
        """Let the waiters go on; they do so after the task has ended."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


Ended = Result | Denial | Replay
"""How a cancel in flight ends: it was sent, policy or a barrier refuses it, or it was answered before."""

Work = Callable[[InFlight], Coroutine[None, None, Ended]]
"""The work of a cancel. It sets `sending` while a call to upstream may be running."""


class InFlightCancels:
    """All cancels in flight. Each has its own task, so it ends and is recorded even if its caller disconnects."""

    def __init__(self) -> None:
        self._of: dict[Hashable, dict[Hashable, InFlight]] = {}
        self._tasks: dict[asyncio.Task[Ended], InFlight] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.stopping = False

    def get(self, key: Key) -> InFlight | None:
        """Return the cancel with that key, if one can be joined."""
        own = self._of.get(key[0])
        return None if own is None else own.get(key[1])

    def any_of(self, owner: Hashable) -> bool:
        """Return whether a cancel whose key begins with `owner` can be joined."""
        return owner in self._of

    def start(self, key: Key, decision_id: str, work: Work) -> InFlight:
        """Start a cancel; `work` does it."""
        loop = self._loop = self._loop or asyncio.get_running_loop()  # asking each time is a system call
        started = InFlight(key, decision_id)
        started.task = loop.create_task(self._carried_out(work, started))
        owner, what = key
        self._of.setdefault(owner, {})[what] = started
        self._tasks[started.task] = started
        started.task.add_done_callback(self._ended)
        return started

    def answered(self, in_flight: InFlight, *, caller_gone: bool) -> None:
        """Release a cancel whose answer was written; if the caller had gone (`caller_gone`), keep it joinable."""
        if not caller_gone:
            self._release(in_flight)

    async def stop(self, grace_s: float) -> None:
        """Wait for all cancels to end; after `grace_s` seconds, give up the calls still at upstream as unknown."""
        self.stopping = True
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=grace_s)
        for task, in_flight in list(self._tasks.items()):
            if in_flight.sending:
                task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))

    async def _carried_out(self, work: Work, in_flight: InFlight) -> Ended:
        joinable = False
        try:
            result = await work(in_flight)
            joinable = isinstance(result, Result)
            return result
        finally:
            self._end(in_flight, joinable=joinable)

    def _end(self, in_flight: InFlight, *, joinable: bool) -> None:
        """Let the waiters go on, which they do after the task has ended. Without a receipt there is nothing to join."""
        if not joinable:
            self._release(in_flight)
        elif in_flight.task is not None:
            # The timer starts here and nowhere else, so however a caller ends, nothing stays joinable for ever.
            in_flight.release = in_flight.task.get_loop().call_later(JOINABLE_S, self._release, in_flight)
        in_flight.wake()

    def _ended(self, task: asyncio.Task[Ended]) -> None:
        in_flight = self._tasks.pop(task)
        # Reading the exception marks it as retrieved even if nobody waits.
        if task.cancelled() or task.exception() is not None:
            self._end(in_flight, joinable=False)  # a task that was cancelled before it began has not done so

    def _release(self, in_flight: InFlight) -> None:
        owner, what = in_flight.key
        own = self._of.get(owner)
        if own is not None and own.get(what) is in_flight:
            if len(own) == 1:
                del self._of[owner]
            else:
                del own[what]
        if in_flight.release is not None:
            in_flight.release.cancel()
            in_flight.release = None


class WaitEnded(asyncio.CancelledError):
    """The caller's task was cancelled while its cancel, or the one that it repeats, was in flight.

    The cancel goes on and is recorded. A cancellation of any other class means that the request has sent nothing.
    """


class _Waiting:
    """A context that turns every cancellation inside into WaitEnded: a cancel is in flight, its outcome not known."""

    __slots__ = ()

    def __enter__(self) -> None:
        """Do nothing: only the end matters."""

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and issubclass(kind, asyncio.CancelledError):
            raise WaitEnded from None


WAITING = _Waiting()


class Done(NamedTuple):
    """A request that was sent or joined another; pass it to `Pipeline.answered` after writing the answer."""

    result: Result
    in_flight: InFlight

    @property
    def plan(self) -> Plan:
        """The plan that was sent."""
        return self.result.plan

    @property
    def outcome(self) -> Outcome:
        """The outcome of the plan."""
        return self.result.outcome

    @property
    def skipped(self) -> Skipped:
        """The runs that the request selects but that were not cancelled, by reason."""
        return self.result.skipped


Told = Denial | Done | Replay
"""How a request is answered: refused, by what came of sending or joining it, or as it was before."""
