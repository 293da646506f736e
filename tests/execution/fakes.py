"""The pipeline's ports, in memory: an upstream that waits to be told, a log that can be full, a clock that stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.core.errors import AuditUnavailable
from gateway.core.outcome import Cancelled, Closing, NotSent, Outcome
from gateway.core.plan import Order, Plan, Receipt
from gateway.core.request import Everything, Filter
from gateway.core.run import Listing, LookUp, Run
from tests.support import stand_ins


@dataclass
class HeldUpstream:
    """Answers when `answer` is set; remembers every order."""

    orders: list[Order] = field(default_factory=list)
    answer: asyncio.Future[Outcome] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    called: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        self.orders.append(order)
        self.called.set()
        return await asyncio.shield(self.answer)


@dataclass
class PromptUpstream:
    """Answers at once with the next of `outcomes`, or as many cancelled as ordered."""

    outcomes: list[Outcome] = field(default_factory=list)
    orders: list[Order] = field(default_factory=list)

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        self.orders.append(order)
        return self.outcomes.pop(0) if self.outcomes else Cancelled(200, order.count)


class BrokenUpstream:
    """A port with an error of our own code in it."""

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        raise ZeroDivisionError


@dataclass
class MemoryLog:
    """An audit log; `refuses` makes intents fail, `gate` holds them back until it is set.

    `durable` is what it says of the record of an order, which `chunk_gate` holds back; `note_gate` holds back notes.
    """

    refuses: str | None = None
    gate: asyncio.Event | None = None
    durable: bool = True
    chunk_gate: asyncio.Event | None = None
    note_gate: asyncio.Event | None = None
    events: list[tuple[str, str, object]] = field(default_factory=list)

    async def intent(self, plan: Plan) -> Receipt:
        if self.gate is not None:
            await self.gate.wait()
        if self.refuses is not None:
            raise AuditUnavailable(self.refuses)
        self.events.append(("intent", plan.decision_id, plan))
        return Receipt(plan.decision_id, len(self.events))

    async def close(self, receipt: Receipt, closing: Closing) -> None:
        self.events.append(("outcome", receipt.decision_id, closing))

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        self.events.append((event, str(members.get("decision_id")), members))
        if self.note_gate is not None:
            await self.note_gate.wait()

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        self.events.append((event, str(members.get("decision_id")), members))

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        if self.refuses is not None:
            raise AuditUnavailable(self.refuses)
        await self.note(event, members)

    async def chunk(self, members: Mapping[str, object]) -> bool:
        if self.chunk_gate is not None:
            await self.chunk_gate.wait()
        await self.note("chunk", members)
        return self.durable

    def named(self, event: str) -> list[object]:
        """What was recorded under one event."""
        return [what for name, _, what in self.events if name == event]

    def closings(self) -> list[Closing]:
        """Every closing record."""
        return [what for what in self.named("outcome") if isinstance(what, Closing)]


@dataclass
class MemoryRuns:
    """An account's log in memory; `before` happens at the start of each look, `held` keeps it until it is set.

    A look that may end early ends with the last run that it needs. `as_of_ms` and `narrowed` are said of each listing;
    `again` are the second looks, with the time since when.
    """

    runs: Sequence[Run] = ()
    before: Callable[[], object] = lambda: None
    held: asyncio.Event | None = None
    looks: list[Sequence[str] | Filter | Everything] = field(default_factory=list)
    as_of_ms: int | None = None
    narrowed: bool = False
    again: list[tuple[list[str], int]] = field(default_factory=list)

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        await self._begun(selection)
        running = [run for run in self.runs if run.running]
        counted = [at for at, run in enumerate(running) if look.counts(run)]
        early = look.enough is not None and len(counted) > look.enough
        listed = running[: counted[look.enough - 1] + 1] if early and look.enough is not None else running
        return Listing(tuple(listed), narrowed=self.narrowed, as_of_ms=self.as_of_ms, ended_early=early)

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        await self._begun(run_ids)
        return Listing(tuple(run for run in self.runs if run.run_id in run_ids))

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        self.again.append(([run.run_id for run in runs], since_ms))
        return await self.look_up([run.run_id for run in runs])

    async def _begun(self, look: Sequence[str] | Filter | Everything) -> None:
        self.looks.append(look)
        self.before()
        if self.held is not None:
            await self.held.wait()


Lines = stand_ins.Lines
StillClock = stand_ins.StillClock


NOTHING_SENT = NotSent("connect_error")
