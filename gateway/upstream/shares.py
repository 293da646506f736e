"""The sharing between teams: how much of places, connections and threads one may hold, and which one gives way."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from gateway.core.request import Principal


class TeamShare:
    """The part of a bound that one team may take: half if `several` teams are configured, so that none takes all."""

    def __init__(self, *, several: bool = False) -> None:
        self.several = several

    def of(self, most: int) -> int:
        """Return the share of a bound, at least one."""
        return max(1, most // 2) if self.several else most


class Places:
    """A number of places, given out in the order in which they were asked for.

    It is a semaphore that costs nothing while places are free: asyncio's makes a generator and a coroutine for each
    question, 8,000 instructions for one call upstream.
    """

    __slots__ = ("_free", "_waiting")

    def __init__(self, most: int) -> None:
        self._free = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    def took(self) -> bool:
        """Take a place if one is free, which is while nobody waits; return whether it did."""
        if not self._free:
            return False
        self._free -= 1
        return True

    async def wait(self, seconds: float) -> None:
        """Take a place that becomes free. Raises: TimeoutError: none did in time."""
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            async with asyncio.timeout(seconds):
                await place
        except BaseException:
            if place.cancelled():
                with contextlib.suppress(ValueError):  # `release` has passed it over already
                    self._waiting.remove(place)
            else:
                self.release()  # it was given just as this wait ended
            raise

    def release(self) -> None:
        """Give a place back: to the one who has waited longest, if somebody still does."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1


class Lanes:
    """The connections to upstream as teams share them. Slow orders of one team do not keep those of another waiting.

    An order above its team's share waits for another order of its own team, for `wait_s` seconds at most.
    """

    def __init__(self, most: int, share: TeamShare, *, wait_s: float) -> None:
        self.share = share
        self._most = most
        self._wait_s = wait_s
        self._of: dict[str, Places] = {}

    async def enter(self, team: str) -> Lane | None:
        """Take a place for one order, to be given back by `leave`. Return None if none became free in time."""
        if not self.share.several:
            return NO_LANE
        places = self._of.get(team)
        if places is None:
            places = self._of[team] = Places(self.share.of(self._most))
        if not places.took():
            try:
                await places.wait(self._wait_s)
            except TimeoutError:
                return None
        return Lane(places)


@dataclass(frozen=True, slots=True)
class Lane:
    """One place of a team for an order on its way. Without `places` nothing was taken."""

    places: Places | None

    def __enter__(self) -> None:
        """Do nothing: the place was taken already."""

    def __exit__(self, *error: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the place back."""
        if self.places is not None:
            self.places.release()


NO_LANE = Lane(None)
"""The place of an order where nothing is shared."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most of one kind of thing that is kept: for one principal, for one team and in all."""

    of_one: int
    of_team: int
    overall: int

    def gives_way(self, held: Iterable[tuple[Principal, int]], among: Collection[Principal]) -> Principal | None:
        """Return which of `among` has to let something go; None if every bound holds.

        That is the largest holder in the largest team of those above their bounds. So principals that hold little are
        safe from those that take much. Of equal ones it is the first in `held`.
        """
        of_one: Counter[Principal] = Counter()
        of_team: Counter[str] = Counter()
        for principal, amount in held:
            of_one[principal] += amount
            of_team[principal.team] += amount
        everyone = of_one.total() > self.overall

        def above(one: Principal) -> bool:
            """Return whether what it holds counts towards a bound that is exceeded."""
            return everyone or of_one[one] > self.of_one or of_team[one.team] > self.of_team

        found = [one for one in of_one if one in among and above(one)]
        return max(found, key=lambda one: (of_team[one.team], of_one[one]), default=None)


_Done = TypeVar("_Done")


class Desk:
    """A few threads for the work of callers. Each principal, and each team, has one piece of work there at a time.

    So teams take turns, and within a team its principals: a principal that asks for much waits for itself. Work that
    belongs to no principal belongs to a look-up, which also has one piece of work there at a time.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    async def done(self, whose: Principal | Hashable, work: Callable[[], Callable[[], _Done]]) -> _Done:
        """Call `work` when it is `whose` turn, run the function it returns on a thread, and return its result."""
        if not isinstance(whose, Principal):
            return await self._in_turn(whose, work)
        async with self._turn(whose):
            return await self._in_turn(whose.team, work)

    def close(self) -> None:
        """Begin nothing more, not even what waits for a thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _in_turn(self, whose: Hashable, work: Callable[[], Callable[[], _Done]]) -> _Done:
        turn = self._turn(whose)
        await turn.acquire()
        job = self._begun(work, turn)
        # A thread cannot be stopped: if its caller waits no more, it still keeps the turn until it has ended.
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
                # No thread can be started, so do it here. The work is bounded, and a late answer is better than none.
                job.set_result(task())
        except BaseException:
            turn.release()
            raise
        job.add_done_callback(lambda _: turn.release())
        return job
