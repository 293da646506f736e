"""The timers of a store in memory, which several gateways may share, by a clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from gateway.state.timed.timers import Stage, Switched, Timer, Timers
from tests.support.stand_ins import StillClock
from tests.support.state.plans import Faults


@dataclass
class MemoryTimers:
    """The port `TimersKept`; `faults` says what goes wrong, and `gone` which gateways do not beat."""

    clock: StillClock = field(default_factory=StillClock)
    faults: Faults = field(default_factory=Faults)
    gone: set[str] = field(default_factory=set)
    rows: dict[str, Timer] = field(default_factory=dict)

    async def prepare_timer(self, timer: Timer) -> None:
        async with self.faults.around("prepare_timer"):
            self.rows.setdefault(timer.decision_id, timer)

    async def switched(self, switched: Switched) -> None:
        async with self.faults.around("switched"):
            if switched.replaces:
                for name, row in list(self.rows.items()):
                    same = (row.field, row.name) == (switched.field, switched.name)
                    if same and name != switched.decision_id and row.stage is not Stage.PREPARED:
                        del self.rows[name]
            own = self.rows.get(switched.decision_id)
            if own is None or own.stage is not Stage.PREPARED:
                return
            if switched.certain is False:
                del self.rows[own.decision_id]
            elif switched.certain:
                due_ms = self.clock.now_ms() + own.lasts_ms
                self.rows[own.decision_id] = replace(own, stage=Stage.WAITING, due_ms=due_ms)
            else:
                self.rows[own.decision_id] = replace(own, stage=Stage.STUCK, why="pause_unknown")

    async def timers(self) -> Timers:
        async with self.faults.around("timers"):
            rows = sorted(self.rows.values(), key=lambda row: (row.stage is not Stage.WAITING, row.due_ms or 0))
            return Timers(self.clock.now_ms(), tuple(replace(row, gone=row.instance in self.gone) for row in rows))

    async def take_timer(self, decision_id: str, resume_id: str, instance: str) -> bool:
        async with self.faults.around("take_timer"):
            row = self.rows.get(decision_id)
            if row is None:
                return False
            due = row.stage is Stage.WAITING and (row.due_ms or 0) <= self.clock.now_ms()
            again = self._is_taken(decision_id, resume_id) and row.instance == instance
            if due or again:
                self.rows[decision_id] = replace(row, stage=Stage.TAKEN, resume_id=resume_id, instance=instance)
            return due or again

    async def give_back_timer(self, decision_id: str, resume_id: str, wait_ms: int) -> None:
        async with self.faults.around("give_back_timer"):
            if self._is_taken(decision_id, resume_id):
                row, due_ms = self.rows[decision_id], self.clock.now_ms() + wait_ms
                self.rows[decision_id] = replace(row, stage=Stage.WAITING, resume_id=None, due_ms=due_ms)

    async def end_timer(self, decision_id: str, resume_id: str, why: str | None) -> None:
        async with self.faults.around("end_timer"):
            if not self._is_taken(decision_id, resume_id):
                return
            if why is None:
                del self.rows[decision_id]
            else:
                self.rows[decision_id] = replace(self.rows[decision_id], stage=Stage.STUCK, why=why)

    def _is_taken(self, decision_id: str, resume_id: str) -> bool:
        row = self.rows.get(decision_id)
        return row is not None and row.stage is Stage.TAKEN and row.resume_id == resume_id
