"""Judging that takes long, on threads of its own, so that no request holds up the event loop or a reload.

Nearly every judgement is made at once, by whoever needs it. If a team has many rules and a request many values, or if
many runs are judged, the work goes to a desk (a small pool of threads).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from gateway.core.errors import Unauthenticated
from gateway.core.plan import Decision, Denial, Permit
from gateway.core.ports import Clock
from gateway.core.request import Principal
from gateway.core.run import Listing, Resolved
from gateway.execution.ports import Call
from gateway.policy.choose import choose
from gateway.policy.decide import decide
from gateway.policy.rules import Policies
from gateway.upstream.shares import Desk

AT_ONCE = 2_000
"""The most rules to try, times values or runs, that are judged on the loop; this takes a few milliseconds at most."""

MOST_FOUND_AT_ONCE = 50_000
"""The most rules in all, times values, among which the rules to try are found on the loop; this takes less time."""

RULES_AT_ONCE = 200
"""The most rules of a team that are found and sorted, or put into words, on the loop; this is as fast."""

RUNS_AT_ONCE = 100
"""The most runs that are judged on the loop; this is as fast."""

_Done = TypeVar("_Done")


class Judging:
    """The threads for long judgements of requests, and the judge of runs, on the event loop or on a thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._judging = Desk("judging", 2)

    def decide(self, call: Call) -> Decision:
        """Decide a call at once, by its own policies, as of now."""
        decision = decide(call.policies, call.principal, call.request, self._clock.now_ms())
        if call.under is not None:
            call.under.judged(decision, call.principal)
        return decision

    async def judged(self, call: Call) -> tuple[Call, Decision]:
        """Decide a call that takes long on a thread; return the call with the policies that it was judged by, too.

        These are the policies in force when its turn comes.

        Raises: Unauthenticated: the credential is no longer accepted.
        """

        def work() -> Callable[[], tuple[Call, Decision]]:
            """Take the call under the policies of the moment its turn comes."""
            return partial(self._decided, _as_of_now(call))

        found = await self._judging.done(call.principal, work)
        _as_of_now(call)
        return found

    async def chosen(self, call: Call, permit: Permit, listing: Listing) -> Denial | Resolved:
        """Judge the runs that were looked up for a permitted call, and count those chosen."""

        def judge(now_ms: int) -> Denial | Resolved:
            """Judge the listing as of one moment."""
            chosen = choose(call.policies, call.principal, call.request, permit, listing, now_ms)
            return chosen if isinstance(chosen, Denial) else chosen.counted()

        return await self.done(call.policies, call.principal, judge, runs=len(listing.runs))

    async def done(
        self, policies: Policies, principal: Principal, judge: Callable[[int], _Done], *, runs: int
    ) -> _Done:
        """Return `judge(now)`, `now` in Unix milliseconds; it is called on a thread if rules or `runs` are many."""
        short = _is_ready(policies, principal) and policies.number(principal.team) * (1 + runs) <= AT_ONCE
        if runs <= RUNS_AT_ONCE and short:
            return judge(self._clock.now_ms())

        def work() -> _Done:
            """Sort the team's rules where that was not done yet, then judge."""
            policies.prepare(principal.team)
            return judge(self._clock.now_ms())

        return await self._judging.done(principal, lambda: work)

    def _decided(self, call: Call) -> tuple[Call, Decision]:
        call.policies.prepare(call.principal.team)
        decision = decide(call.policies, call.principal, call.request, self._clock.now_ms())
        if call.under is not None:
            call.under.judged(decision, call.principal)
        return call, decision

    async def prepared(self, policies: Policies, principal: Principal) -> None:
        """Find and sort the team's rules on a thread, if they are many and not yet prepared."""
        if not _is_ready(policies, principal):
            await self._judging.done(principal, lambda: partial(policies.prepare, principal.team))

    def close(self) -> None:
        """Start no more work on threads."""
        self._judging.close()


def _is_ready(policies: Policies, principal: Principal) -> bool:
    return policies.number(principal.team) <= RULES_AT_ONCE or policies.is_prepared(principal.team)


def takes_long(call: Call) -> bool:
    """Return whether a request must be judged on a thread; almost none must."""
    policies, team, selection = call.policies, call.principal.team, call.request.selection
    values, number = 1 + len(selection.pairs()), policies.number(team)
    in_all = number * values
    if in_all <= AT_ONCE and number <= RULES_AT_ONCE:  # as nearly always
        return False
    if not _is_ready(policies, call.principal) or in_all > MOST_FOUND_AT_ONCE:
        return True
    return in_all > AT_ONCE and policies.for_team(team, call.request.action).tried(selection) * values > AT_ONCE


def _as_of_now(call: Call) -> Call:
    policies = call.standing()
    if policies is None:
        raise Unauthenticated("other_principal")
    return replace(call, policies=policies)
