"""The plans, cursors and decisions of a store in memory, which several gateways may share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from gateway.core.errors import StateUnavailable
from gateway.state.freezes import Stop
from gateway.state.plans import KeptDecision, KeptPlan
from tests.support.stand_ins import StillClock

ALL = frozenset(("*",))


@dataclass
class Faults:
    """What goes wrong, for the methods named here: they fail before or after they did it, or do not come back yet.

    `*` names all of them; `hangs` is waited for by those in `held`. `asked` are the calls so far, in turn.
    """

    before: Collection[str] = ()
    after: Collection[str] = ()
    held: Collection[str] = ()
    hangs: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def around(self, name: str) -> AsyncIterator[None]:
        """One call of a method."""
        self.asked.append(name)
        if name in self.held or "*" in self.held:
            await self.hangs.wait()
        if name in self.before or "*" in self.before:
            raise StateUnavailable("unreachable")
        yield
        if name in self.after or "*" in self.after:
            raise StateUnavailable("timeout")


@dataclass
class MemoryPlans:
    """The plans and cursors of a store; `gone` are the instances that have not beaten for a while."""

    clock: StillClock = field(default_factory=StillClock)
    faults: Faults = field(default_factory=Faults)
    gone: set[str] = field(default_factory=set)
    rows: dict[str, KeptPlan] = field(default_factory=dict)
    cursors: dict[str, tuple[str, bytes, int]] = field(default_factory=dict)

    async def keep_plan(self, plan: KeptPlan) -> None:
        async with self.faults.around("keep_plan"):
            before = self.rows.get(plan.plan_id)
            if before is not None:
                plan = replace(plan, claimed_by=before.claimed_by, stopped_by=before.stopped_by)
                if before.state in ("rejected", "expired") and before.stopped_by and not before.claimed_by:
                    plan = replace(plan, state=before.state)
            self.rows[plan.plan_id] = plan

    async def plan(self, plan_id: str) -> KeptPlan | None:
        async with self.faults.around("plan"):
            return self._shown(plan_id)

    async def plans_of(self, principal: str | None, most: int) -> Sequence[KeptPlan]:
        async with self.faults.around("plans_of"):
            shown = [row for name in self.rows if (row := self._shown(name)) is not None]
            found = [row for row in shown if principal in (None, row.principal)]
            return sorted(found, key=lambda row: row.made_ms, reverse=True)[:most]

    async def claim(self, plan_id: str, instance: str) -> bool:
        async with self.faults.around("claim"):
            row = self._shown(plan_id)
            if row is None or row.stopped_by is not None or row.claimed_by is not None:
                return False
            self.rows[plan_id] = replace(row, claimed_by=instance)
            return True

    async def give_back(self, plan_id: str, instance: str) -> None:
        async with self.faults.around("give_back"):
            row = self.rows.get(plan_id)
            if row is not None and row.claimed_by == instance:
                self.rows[plan_id] = replace(row, claimed_by=None)

    async def stop_plan(self, plan_id: str, by: str) -> KeptPlan | None:
        async with self.faults.around("stop_plan"):
            row = self._shown(plan_id)
            if row is not None and row.stopped_by is None:
                self.rows[plan_id] = replace(row, stopped_by=by)
            return self._shown(plan_id)

    async def keep_cursor(self, cursor: str, owner: str, value: bytes, lives_s: int) -> None:
        async with self.faults.around("keep_cursor"):
            self.cursors[cursor] = (owner, value, self.clock.now_ms() + lives_s * 1000)

    async def cursor(self, cursor: str, owner: str) -> bytes | None:
        async with self.faults.around("cursor"):
            kept_for, value, until_ms = self.cursors.get(cursor, ("", b"", 0))
            return value if kept_for == owner and self.clock.now_ms() < until_ms else None

    def stops(self, instance: str) -> tuple[Stop, ...]:
        """What the snapshot of a beat tells the gateway that holds the claims."""
        rows = [row for row in self.rows.values() if row.claimed_by == instance and row.stopped_by is not None]
        return tuple(Stop(row.plan_id, row.stopped_by or "") for row in rows)

    def _shown(self, plan_id: str) -> KeptPlan | None:
        row = self.rows.get(plan_id)
        if row is None or self.clock.now_ms() >= row.expires_ms:
            return None
        return replace(row, claimant_gone=row.claimed_by in self.gone)


@dataclass
class MemoryDecisions:
    """The closed decisions of a fleet."""

    faults: Faults = field(default_factory=Faults)
    rows: dict[str, KeptDecision] = field(default_factory=dict)

    async def keep_decisions(self, decisions: Sequence[KeptDecision]) -> None:
        async with self.faults.around("keep_decisions"):
            self.rows.update({one.decision_id: one for one in decisions})

    async def decision(self, decision_id: str) -> KeptDecision | None:
        async with self.faults.around("decision"):
            return self.rows.get(decision_id)

    async def decisions(self, team: str | None, most: int, before: tuple[int, str] | None) -> Sequence[KeptDecision]:
        async with self.faults.around("decisions"):
            found = [one for one in self.rows.values() if team in (None, one.team)]
            found = [one for one in found if before is None or (one.at_ms, one.decision_id) < before]
            return sorted(found, key=lambda one: (one.at_ms, one.decision_id), reverse=True)[:most]
