"""Judging, at once or on threads of its own: what one caller asks holds up neither the loop nor a reload.

Nearly every judgement is made at once. Where a team has many rules and a request many values, and where many runs are
judged, it goes to a desk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import TypeVar
from weakref import WeakValueDictionary

from gateway.cancel import Decision, Denial, Permit, Principal
from gateway.errors import Unauthenticated
from gateway.policy.decide import decide
from gateway.policy.rules import Policies
from gateway.policy.runs import choose
from gateway.ports import Call, Clock
from gateway.run import Listing, Resolved

AT_ONCE = 50_000
"""Rules times values up to which a judgement takes a few milliseconds at most, whatever both say."""

RULES_AT_ONCE = 200
"""Rules up to which a team's are found and sorted, or put into words, as fast."""

RUNS_AT_ONCE = 100
"""Runs up to which they are judged as fast."""

_Done = TypeVar("_Done")


class Desk:
    """A few threads for work of callers. One principal, and one team, has one piece of work there at a time.

    So teams take turns, and within a team its principals: who asks much waits for itself.
    """

    def __init__(self, name: str, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._turns: WeakValueDictionary[Principal | str, asyncio.Lock] = WeakValueDictionary()

    async def done(self, principal: Principal, work: Callable[[], Callable[[], _Done]]) -> _Done:
        """Calls `work` when it is the principal's turn, and what that returns on a thread; returns its result."""
        async with self._turn(principal):
            turn = self._turn(principal.team)
            await turn.acquire()
            job = self._begun(work, turn)
            # A thread cannot be stopped: whoever does not wait any more leaves the turn to it until it has ended.
            return await asyncio.shield(job)

    def close(self) -> None:
        """Begins nothing more that waits for a thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _turn(self, whose: Principal | str) -> asyncio.Lock:
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


class Judging:
    """Every judgement that a request asks for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._judging = Desk("judging", 2)

    async def judged(self, call: Call) -> tuple[Call, Decision]:
        """The decision on a call, and the call under the policies that it was judged by.

        Whoever had to wait is judged by the policies of then.

        Raises: Unauthenticated: the credential is not accepted any more.
        """
        if not _is_long(call.policies, call.principal, len(call.request.selection.pairs())):
            return call, decide(call.policies, call.principal, call.request, self._clock.now_ms())

        def work() -> Callable[[], tuple[Call, Decision]]:
            return partial(self._decided, _as_of_now(call))

        found = await self._judging.done(call.principal, work)
        _as_of_now(call)
        return found

    async def chosen(self, call: Call, permit: Permit, listing: Listing) -> Denial | Resolved:
        """Judges the runs that were looked up for a permitted call."""
        return await self.done(
            call.policies,
            call.principal,
            partial(choose, call.policies, call.principal, call.request, permit, listing),
            runs=len(listing.runs),
        )

    async def done(
        self, policies: Policies, principal: Principal, judge: Callable[[int], _Done], *, runs: int
    ) -> _Done:
        """Judges that many runs by the policies; `judge` takes the time, Unix milliseconds."""
        if runs <= RUNS_AT_ONCE and not _is_long(policies, principal, runs):
            return judge(self._clock.now_ms())

        def work() -> _Done:
            policies.prepare(principal.team)
            return judge(self._clock.now_ms())

        return await self._judging.done(principal, lambda: work)

    def _decided(self, call: Call) -> tuple[Call, Decision]:
        call.policies.prepare(call.principal.team)
        return call, decide(call.policies, call.principal, call.request, self._clock.now_ms())

    async def prepared(self, policies: Policies, principal: Principal) -> None:
        """Finds the team's rules and sorts them, where that takes long and was not done yet."""
        if not _is_ready(policies, principal):
            await self._judging.done(principal, lambda: partial(policies.prepare, principal.team))

    def close(self) -> None:
        """Begins nothing more on a thread."""
        self._judging.close()


def _is_ready(policies: Policies, principal: Principal) -> bool:
    return policies.number(principal.team) <= RULES_AT_ONCE or policies.is_prepared(principal.team)


def _is_long(policies: Policies, principal: Principal, values: int) -> bool:
    return not _is_ready(policies, principal) or policies.number(principal.team) * (1 + values) > AT_ONCE


def _as_of_now(call: Call) -> Call:
    standing = call.arrival.standing()
    if standing is None:
        raise Unauthenticated("other_principal")
    return replace(call, policies=standing.policies)
