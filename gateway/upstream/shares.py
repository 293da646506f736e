"""What teams share: what one may hold of places, connections and threads, and who gives way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Hashable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar
from weakref import WeakValueDictionary

from gateway.core.request import Principal


class TeamShare:
    """How much of a bound one team may take: half where `several` teams are configured, so that none takes it whole."""

    def __init__(self, *, several: bool = False) -> None:
        self.several = several

    def of(self, most: int) -> int:
        """Returns the share of a bound; at least one."""
        return max(1, most // 2) if self.several else most


class Lanes:
    """The connections to upstream as teams share them: slow orders of one team keep no other team's waiting.

    An order above its team's share waits for one of its own team, for `wait_s` seconds at most.
    """

    def __init__(self, most: int, share: TeamShare, *, wait_s: float) -> None:
        self.share = share
        self._most = most
        self._wait_s = wait_s
        self._of: dict[str, asyncio.Semaphore] = {}

    async def enter(self, team: str) -> Lane | None:
        """Takes a place for one order, to be given back by `leave`; None where none came free in time."""
        if not self.share.several:
            return Lane(None)
        places = self._of.get(team)
        if places is None:
            places = self._of[team] = asyncio.Semaphore(self.share.of(self._most))
        try:
            async with asyncio.timeout(self._wait_s if places.locked() else None):
                await places.acquire()
        except TimeoutError:
            return None
        return Lane(places)


@dataclass(frozen=True, slots=True)
class Lane:
    """One place of a team for an order on its way; without `places` nothing was taken."""

    places: asyncio.Semaphore | None

    def __enter__(self) -> None:
        """It was taken already."""

    def __exit__(self, *error: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Gives the place back."""
        if self.places is not None:
            self.places.release()


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept of one kind of thing: of one principal, of one team and in all."""

    of_one: int
    of_team: int
    overall: int

    def gives_way(self, held: Iterable[tuple[Principal, int]], among: Collection[Principal]) -> Principal | None:
        """Returns who of `among` has to let something go; None where every bound holds.

        That is the largest holder in the largest team of those above their bounds, so that what few hold is safe from
        what many take; of equal ones the first in `held`.
        """
        of_one: Counter[Principal] = Counter()
        of_team: Counter[str] = Counter()
        for principal, amount in held:
            of_one[principal] += amount
            of_team[principal.team] += amount
        everyone = of_one.total() > self.overall

        def above(one: Principal) -> bool:
            """Whether what it holds counts towards a bound that is passed."""
            return everyone or of_one[one] > self.of_one or of_team[one.team] > self.of_team

        found = [one for one in of_one if one in among and above(one)]
        return max(found, key=lambda one: (of_team[one.team], of_one[one]), default=None)


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
