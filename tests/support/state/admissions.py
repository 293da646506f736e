"""Budgets and used keys of a fleet in memory: the port of the store, with the ways in which a real one goes wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from gateway.core.errors import StateUnavailable
from gateway.core.plan import Budget
from gateway.state.admissions import (
    ONCE_MS,
    Admission,
    Admitted,
    Bound,
    Closed,
    Exhausted,
    Left,
    NeedsApproval,
    Open,
    Progress,
    Reservation,
    Verdict,
)

START_MS = 1_700_000_000_000


@dataclass
class Taken:
    """One admission that holds, since when, and how it was closed."""

    admission: Admission
    at_ms: int
    closed: Closed | None = None


@dataclass
class MemoryAdmissions:
    """A store that several gateways share, with a clock of its own, `now_ms`.

    `fails` is a cause for every call; `hangs` holds every call back until set. With `loses_answers` what is asked is
    done, and the answer lost: it raises, and happened all the same. `gone` are the gateways that do not beat.
    """

    now_ms: int = START_MS
    fails: str | None = None
    hangs: asyncio.Event | None = None
    loses_answers: bool = False
    gone: set[str] = field(default_factory=set)
    taken: dict[str, Taken] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)

    async def admit(self, admission: Admission) -> Verdict:
        await self._reached()
        verdict = self._admit(admission)
        self._answered()
        return verdict

    async def withdraw(self, decision_id: str) -> None:
        await self._reached()
        taken = self.taken.get(decision_id)
        if taken is None or taken.closed is None:
            self.withdrawn.add(decision_id)
            self.taken.pop(decision_id, None)
        self._answered()

    async def close(self, decision_id: str, closed: Closed) -> None:
        await self._reached()
        taken = self.taken.get(decision_id)
        if taken is not None:
            before = taken.closed or Closed(None)
            runs = before.runs if closed.runs is None else closed.runs
            taken.closed = replace(closed, runs=runs, answer=before.answer or closed.answer)
            if closed.free_binding:
                taken.admission = replace(taken.admission, binding=None)
        self._answered()

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left]:
        await self._reached()
        return [self._left(one) for one in drawn]

    async def bound(self, key_sha256: str) -> Bound | None:
        await self._reached()
        return self._bound(key_sha256)

    async def open_of(self, instances: Collection[str]) -> Sequence[Open]:
        await self._reached()
        return [
            Open(name, taken.admission.instance)
            for name, taken in self.taken.items()
            if taken.closed is None and taken.admission.instance in instances
        ]

    def kept(self, rule: str) -> list[int]:
        """How many runs each decision holds of the budgets of a rule."""
        return [runs for taken, runs, _ in self._holding() if taken.rule == rule]

    def _admit(self, admission: Admission) -> Verdict:
        reservation, binding = admission.reservation, admission.binding
        if admission.decision_id in self.withdrawn:
            raise StateUnavailable("refused")  # it comes too late
        if admission.decision_id in self.taken:
            return Admitted(None if reservation is None else self._left(reservation))
        if binding is not None and (bound := self._bound(binding.key_sha256)) is not None:
            return bound
        if reservation is not None:
            left = self._left(reservation)
            if not _suffices(left, reservation):
                return Exhausted(left)
            if (before := self._unapproved(reservation)) is not None:
                return NeedsApproval(before)
        self.taken[admission.decision_id] = Taken(admission, self.now_ms)
        return Admitted(None if reservation is None else self._left(reservation))

    def _bound(self, key_sha256: str) -> Bound | None:
        for name, taken in self.taken.items():
            binding = taken.admission.binding
            if binding is None or binding.key_sha256 != key_sha256 or self.now_ms - taken.at_ms >= ONCE_MS:
                continue
            progress, closed = Progress.UNDER_WAY, taken.closed
            if closed is not None:
                progress = Progress.UNKNOWN if closed.answer is None else Progress.ANSWERED
            gone = taken.admission.instance in self.gone
            answer, cancelled = (None, None) if closed is None else (closed.answer, closed.runs)
            return Bound(name, binding.request_sha256, progress, gone, answer, cancelled)
        return None

    def _left(self, reservation: Reservation) -> Left:
        budget, since = reservation.budget, self.now_ms - reservation.budget.per_ms
        held = [
            (at_ms, runs)
            for taken, runs, at_ms in self._holding()
            if taken.scope == reservation.scope and at_ms > since
        ]
        resets_ms = max((at_ms for at_ms, _ in held), default=since) + budget.per_ms
        runs = None if budget.runs is None else max(0, budget.runs - sum(runs for _, runs in held))
        requests = None if budget.requests is None else max(0, budget.requests - len(held))
        return Left(runs, requests, resets_ms)

    def _unapproved(self, reservation: Reservation) -> int | None:
        """How many runs came before it, if with those it needs approval."""
        free = reservation.unapproved
        if free is None or not reservation.runs:
            return None
        since, wanted = self.now_ms - free.within_ms, (reservation.rule, reservation.team)
        before = sum(runs for one, runs, at_ms in self._holding() if (one.rule, one.team) == wanted and at_ms > since)
        return before if before + reservation.runs > free.over else None

    def _holding(self) -> list[tuple[Reservation, int, int]]:
        """The reservations that count, the runs that each holds, and since when; what was not sent holds nothing."""
        found = []
        for taken in self.taken.values():
            reservation, closed = taken.admission.reservation, taken.closed
            if reservation is None or (closed is not None and closed.free_binding):
                continue
            runs = reservation.runs if closed is None or closed.runs is None else closed.runs
            found.append((reservation, runs, taken.at_ms))
        return found

    async def _reached(self) -> None:
        if self.hangs is not None:
            await self.hangs.wait()
        if self.fails is not None:
            raise StateUnavailable(self.fails)

    def _answered(self) -> None:
        if self.loses_answers:
            raise StateUnavailable("timeout")


def _suffices(left: Left, wanted: Reservation) -> bool:
    enough = left.runs is None or wanted.runs <= left.runs
    return enough and (left.requests is None or left.requests > 0)


def a_budget(runs: int | None = 100, *, requests: int | None = None, per_ms: int = 86_400_000) -> Budget:
    """A budget of so many runs and requests a day."""
    return Budget(per_ms, runs, requests)
