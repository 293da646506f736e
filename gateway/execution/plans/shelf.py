"""The plans that the store keeps, so that any gateway of a fleet shows, applies and stops them.

A claim is asked for once, just before the intent. It never lapses and is never taken over: whoever holds it sends, and
nobody else does, however long the holder sleeps. Only where the plan came to no intent does its holder give it back.
What becomes of a plan is written behind: that never delays an order, and what is written last is what is true.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

from gateway.core.errors import Conflict, StateUnavailable
from gateway.core.ports import Clock
from gateway.core.request import Principal
from gateway.execution.plans.draft import Draft, State, applied, no_such_plan, stopped
from gateway.execution.plans.kept import draft_of, row_of
from gateway.process import Net, report
from gateway.state.plans import KeptPlan
from gateway.state.port import Plans
from gateway.upstream.shares import Desk

MOST_WAITING = 256
"""The most plans that wait to be written behind; above it the one that waits longest is left as the store has it."""

AGAIN_S = 0.5
"""How long after one write behind the next is tried, in seconds, if the store could not be reached."""

LARGE, LARGE_BYTES = 500, 100_000
"""A plan of more runs is written, and a longer one read, on a thread: on the loop it would take milliseconds."""

MOST_CLAIMS = 100_000
"""The most claims that this process remembers, each about 100 bytes; a plan is shown for a far shorter time."""


class Shelf:
    """The plans in the store, as one gateway (`instance`) reads and writes them."""

    def __init__(self, store: Plans, *, instance: str, clock: Clock) -> None:
        self._store = store
        self._instance = instance
        self._clock = clock
        self._claimed: dict[str, None] = {}
        self._waiting: dict[str, Draft] = {}
        self._writer: asyncio.Task[None] | None = None
        self._desk = Desk("plans", 1)

    async def keep(self, draft: Draft) -> None:
        """Keep a plan whose ID is about to be told. Raises: StateUnavailable: no other gateway will know it."""
        state = draft.state
        await self._write(draft)
        draft.kept = True
        if draft.state is not state:
            # What became of it meanwhile may have been written before.
            self.keep_soon(draft)

    def keep_soon(self, draft: Draft) -> None:
        """Write what has become of a plan, as soon as possible. Returns at once, never raises."""
        self._waiting[draft.plan_id] = draft
        if len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_behind())

    async def end(self, most_s: float) -> None:
        """Wait up to `most_s` seconds until everything is written."""
        if self._writer is not None and not self._writer.done():
            await asyncio.wait([self._writer], timeout=most_s)
            self._writer.cancel()

    async def find(self, principal: Principal | None, plan_id: str) -> Draft | None:
        """Return a plan of this principal (None: of any) as the store has it; None if there is none, or no longer.

        Raises:
            Conflict: it is not there as it was made.
            StateUnavailable: nobody can say.
        """
        row = await self._row(principal, plan_id)
        return None if row is None else await self._draft(row)

    async def of(self, principal: Principal | None, most: int) -> list[Draft]:
        """Return the newest plans of this principal (None: of any) that can be read. Raises: StateUnavailable."""
        found: list[Draft] = []
        for row in await self._store.plans_of(None if principal is None else principal.name, most):
            if principal is not None and row.team != principal.team:
                continue
            try:
                found.append(await self._draft(row))
            except Conflict:
                continue  # asked for by its ID, it says what is wrong
        return found

    async def stop(self, principal: Principal | None, plan_id: str, by: str) -> tuple[Draft | None, bool]:
        """Have a plan of this principal (None: of any) stopped, whoever applies it; return it as it is then.

        The second value says that nothing of it was under way, and nobody had stopped it before. None: there is no such
        plan, or no longer. Raises: Conflict, StateUnavailable.
        """
        before = await self._row(principal, plan_id)
        if before is None:
            return None, False
        row = await self._store.stop_plan(plan_id, by)
        draft = None if row is None else await self._draft(row)
        at_rest = before.stopped_by is None and before.claimed_by is None
        return draft, at_rest and draft is not None and draft.state is State.STOPPED

    async def claim(self, draft: Draft) -> None:
        """Claim a plan for this gateway: from now on no other can send anything of it.

        Raises:
            Conflict: it was applied or stopped, here or elsewhere.
            NotFound: it is not kept any more.
            StateUnavailable: it is not known whether the claim holds; nothing may be sent.
        """
        if draft.plan_id in self._claimed:
            raise applied(draft.plan_id)
        if not draft.kept:
            await self.keep(draft)
        if not await self._store.claim(draft.plan_id, self._instance):
            await self._check_own(draft)
        self._claimed[draft.plan_id] = None
        if len(self._claimed) > MOST_CLAIMS:
            del self._claimed[next(iter(self._claimed))]

    async def give_back(self, draft: Draft) -> None:
        """Give a claim back: nothing was sent, and no intent stands in the record. Never raises.

        Where the store does not say that it took it back, nobody applies the plan any more.
        """
        with Net() as net:
            await self._store.give_back(draft.plan_id, self._instance)
            del self._claimed[draft.plan_id]
        if net.fault is None:
            return
        if not isinstance(net.fault, StateUnavailable):
            report(net.fault, "a claim was not given back")
        if draft.state in (State.READY, State.AWAITING):
            draft.state, draft.failure = State.FAILED, Conflict("plan_refused", _NOT_GIVEN_BACK)

    async def _check_own(self, draft: Draft) -> None:
        """Raise unless the claim that was refused is this gateway's: an answer to an earlier one may have been lost."""
        row = await self._store.plan(draft.plan_id)
        if row is None:
            raise no_such_plan()
        if row.stopped_by is not None and row.claimed_by in (None, self._instance):
            draft.stop(row.stopped_by)
            raise stopped(draft.plan_id)
        if row.claimed_by != self._instance:
            raise applied(draft.plan_id)

    async def _row(self, principal: Principal | None, plan_id: str) -> KeptPlan | None:
        row = await self._store.plan(plan_id)
        if row is None or principal is None or (row.team, row.principal) == (principal.team, principal.name):
            return row
        return None

    async def _draft(self, row: KeptPlan) -> Draft:
        now_ms, now_s = self._clock.now_ms(), self._clock.monotonic_s()
        if row.claimed_by == self._instance and row.plan_id not in self._claimed:
            # The answer to the claim was lost, so nothing was sent: nobody else can, and this gateway still may.
            row = replace(row, claimed_by=None)
        read = partial(draft_of, row, now_ms=now_ms, monotonic_s=now_s)
        return read() if len(row.document) <= LARGE_BYTES else await self._desk.done(row.principal, lambda: read)

    async def _write(self, draft: Draft) -> None:
        write = partial(row_of, draft)
        large = len(draft.resolved.runs) > LARGE
        row = await self._desk.done(draft.call.principal.name, lambda: write) if large else write()
        await self._store.keep_plan(row)

    async def _write_behind(self) -> None:
        """Write the plans that wait, one by one, until none does."""
        while self._waiting:
            plan_id = next(iter(self._waiting))
            draft = self._waiting.pop(plan_id)
            with Net() as net:
                await self._write(draft)
                draft.kept = True
            if isinstance(net.fault, StateUnavailable):
                if self._clock.now_ms() < draft.times.shown_until_ms:
                    self._waiting.setdefault(plan_id, draft)
                await asyncio.sleep(AGAIN_S)
            elif net.fault is not None:
                report(net.fault, "what became of a plan is not kept")


_NOT_GIVEN_BACK = (
    "Nothing of this plan was sent, but the shared state could not be told so, and nobody applies it any more. Plan "
    "again."
)
