"""Gateways that take of a budget, with a real store and real chains, and may die at any step of a request."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from uuid import UUID

from gateway.audit.journal import new_chain_name
from gateway.audit.log import AuditLog
from gateway.core.errors import AuditUnavailable, Refusal
from gateway.core.outcome import Outcome, Unknown
from gateway.core.plan import Budget, Plan, Receipt
from gateway.execution.gates.left import scope_of
from gateway.execution.in_flight import Done
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import Call
from gateway.fleet.taken import recover
from gateway.state.admissions import Admission, Bound, Closed, Left, Open, Reservation, Verdict
from gateway.state.once import binding
from gateway.store.opened import SqlStore
from tests.audit.faults import UPSTREAM, open_log
from tests.execution.fakes import MemoryLog, PromptUpstream, StillClock
from tests.execution.gates.keeping import ANN, BOB, CAT, NAME, Gate, policies, runs, shown

WHO = (ANN, BOB, CAT)


@dataclass(frozen=True)
class Step:
    """One request to one of the gateways, and what comes of it; `told` says whether the store learns of it.

    Without an `outcome` there is no intent. `settled` is the number that a look at the runs finds afterwards.
    """

    gateway: int
    who: int
    number: int
    outcome: Outcome | None
    told: bool = True
    key: str | None = None
    settled: int | None = None


@dataclass(frozen=True)
class Restart:
    """The end of one gateway, and its next start; with `settled` a look at the runs of an unknown outcome follows."""

    gateway: int
    settled: int | None = None


@dataclass(frozen=True)
class Backup:
    """A copy of the store as it is now."""


Event = Step | Restart | Backup


@dataclass
class DeafStore:
    """A store to which the end of some decisions is not told, because their process has died by then."""

    store: SqlStore
    dead: set[str] = field(default_factory=set)

    async def admit(self, admission: Admission) -> Verdict:
        return await self.store.admit(admission)

    async def withdraw(self, decision_id: str) -> None:
        if decision_id not in self.dead:
            await self.store.withdraw(decision_id)

    async def close(self, decision_id: str, closed: Closed) -> None:
        if decision_id not in self.dead:
            await self.store.close(decision_id, closed)

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left]:
        return await self.store.left(drawn)

    async def bound(self, key_sha256: str) -> Bound | None:
        return await self.store.bound(key_sha256)

    async def open_of(self, instances: Collection[str]) -> Sequence[Open]:
        return await self.store.open_of(instances)


class FullLog(MemoryLog):
    """The log on disk, but that it takes no intent of some decisions."""

    def __init__(self, log: AuditLog) -> None:
        super().__init__()
        self.log = log
        self.full_for: set[str] = set()
        self.close, self.note, self.note_soon = log.close, log.note, log.note_soon  # type: ignore[method-assign]

    async def intent(self, plan: Plan) -> Receipt:
        if plan.decision_id in self.full_for:
            raise AuditUnavailable("full")
        return await self.log.intent(plan)


class Process:
    """One life of a gateway, from its start to its end."""

    def __init__(self, instance: str, store: SqlStore, budget: Budget, log: AuditLog) -> None:
        self._rules = policies(budget)
        self._store, self._log = DeafStore(store), FullLog(log)
        self._upstream, clock = PromptUpstream(), StillClock()
        self._takes = Gate(self._store, instance, clock, shown=shown)
        self._pipeline = Pipeline(
            upstream=self._upstream, upstream_url=UPSTREAM, audit=self._log, clock=clock, gate=self._takes
        )

    async def take(self, step: Step, decision_id: str, first_run: int) -> bool:
        """Carries out one step; whether something was sent whose outcome left a question."""
        if step.outcome is None:
            self._log.full_for.add(decision_id)
        else:
            self._upstream.outcomes[:] = [step.outcome]
        if not step.told:
            self._store.dead.add(decision_id)
        who, request = WHO[step.who], runs(step.number, first=first_run)
        call = Call(self._rules, who, request, decision_id, None, _there, lambda: self._rules)
        if step.key is not None:
            call = replace(call, once=binding(who, step.key, request.wire()))
        with suppress(Refusal):
            told = await self._pipeline.run(call)
            if isinstance(told, Done):
                self._pipeline.answered(told, caller_gone=False)
                return told.outcome.name in ("unknown", "accepted")
        return False

    async def settle(self, decision_id: str, cancelled: int, *, certain: int) -> None:
        """Learns how many runs were cancelled, and has it on record; upstream had said `certain` of them before."""
        members = {"decision_id": decision_id, "source": "read_back", "cancelled": cancelled, "ordered": cancelled}
        await self._log.log.note("settled", members)
        self._takes.learnt({**members, "cancelled": max(certain, cancelled)})

    async def end(self) -> None:
        """Ends in order; what the store is not told by then it never is."""
        await self._takes.stop(30)
        await self._pipeline.stop(0)
        await self._log.log.stop({"reason": "SIGTERM", "open": 0})


async def _there() -> bool:
    return False


class History:
    """Two gateways with a record each, over one store, and what happens to them."""

    def __init__(self, directory: Path, store: SqlStore, file: Path, budget: Budget) -> None:
        self.records = [directory / name for name in ("audit-1", "audit-2")]
        self.backups: list[Path] = []
        self._directory, self._store, self._file, self._budget = directory, store, file, budget
        self._numbers = itertools.count(1)
        self._open: list[list[tuple[str, int]]] = [[], []]

    async def live(self, events: Sequence[Event]) -> None:
        """Lets all of it happen; at the end each gateway has started once more, and ended."""
        self._processes = [await self._start(record) for record in self.records]
        for event in (*events, Restart(0), Restart(1)):
            match event:
                case Step():
                    await self._take(event)
                case Restart(gateway=number, settled=settled):
                    await self._processes[number].end()
                    self._processes[number] = await self._start(self.records[number])
                    if settled is not None and self._open[number]:
                        decision_id, certain = self._open[number].pop()
                        await self._processes[number].settle(decision_id, settled, certain=certain)
                case Backup():
                    self._back_up()
        for process in self._processes:
            await process.end()

    async def _take(self, step: Step) -> None:
        number = next(self._numbers)
        decision_id, process = str(UUID(int=number)), self._processes[step.gateway]
        if not await process.take(step, decision_id, 100 * number):
            return
        progress = step.outcome.progress if isinstance(step.outcome, Unknown) else None
        certain = 0 if progress is None else progress.cancelled
        if step.settled is None:
            self._open[step.gateway].append((decision_id, certain))
        else:
            await process.settle(decision_id, min(step.settled, step.number), certain=certain)

    async def _start(self, record: Path) -> Process:
        instance = new_chain_name()
        log = await open_log(record, instance)
        await recover(self._store, record, instance)
        return Process(instance, self._store, self._budget, log)

    def _back_up(self) -> None:
        path = self._directory / f"backup-{len(self.backups)}.db"
        with closing(sqlite3.connect(self._file)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        path.chmod(0o600)
        self.backups.append(path)


def scopes(budget: Budget) -> Iterator[str]:
    """Whose budgets there are."""
    yield from dict.fromkeys(scope_of(NAME, budget, who) for who in WHO)


async def left(store: SqlStore, budget: Budget) -> list[tuple[int | None, int | None]]:
    """What is left of each budget: runs, and requests."""
    found = await store.left([Reservation(NAME, scope, 0, budget) for scope in scopes(budget)])
    return [(one.runs, one.requests) for one in found]
