"""An upstream that reports what a script says, a record in memory, and plans to follow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from gateway.core.errors import Refusal
from gateway.core.outcome import Excess, Outcome
from gateway.core.plan import Order, Permit, Plan, orders_of
from gateway.core.request import ActionRequest, ByFilter, ByIds, Principal
from gateway.core.run import CANCELLED, Listing, Resolved, Run
from gateway.execution.follow_up import Settler
from gateway.upstream.runs.log import ActionReport
from tests.callers.virtual_time import run

URL = "https://billing.example.com/api/invoice"
BY_URL = ByFilter((URL,), exact=True)
CREATED_MS = 1_795_000_000_000


State = Literal["IN_PROGRESS", "FINISHED"]


def report(total: int, *, state: State = "FINISHED", shown: Mapping[str, object] | None = None) -> ActionReport:
    """A report about the filter `BY_URL`, unless another is shown."""
    told = {"workflowUrl": [URL], "workflowUrlExactMatch": True} if shown is None else shown
    return ActionReport(state=state, total=total, processed=total, filter=told)


def a_run(run_id: str, state: str = CANCELLED, *, created_ms: int = CREATED_MS) -> Run:
    """A run as the log shows it."""
    return Run(run_id, URL, created_ms, state)


@dataclass
class ScriptedLog:
    """Reports from `reports` in turn, the last one for ever; `look` answers look-ups, by the seconds passed."""

    reports: Sequence[ActionReport | Refusal | None] = ()
    look: Callable[[Sequence[str], float], Listing] = lambda run_ids, at_s: Listing(())
    asked_s: list[float] = field(default_factory=list)
    looked_up: list[tuple[str, ...]] = field(default_factory=list)

    async def action(self, action_id: str) -> ActionReport | None:
        said = self.reports[min(len(self.asked_s), len(self.reports) - 1)]
        self.asked_s.append(asyncio.get_running_loop().time())
        if isinstance(said, Refusal):
            raise said
        return said

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        self.asked_s.append(asyncio.get_running_loop().time())
        self.looked_up.append(tuple(run_ids))
        return self.look(run_ids, self.asked_s[-1])


@dataclass
class Told:
    """What was recorded, and what operators were told."""

    settled: list[Mapping[str, object]] = field(default_factory=list)
    alarms: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)
    wider: list[tuple[str, str | None, str]] = field(default_factory=list)
    exceeded: list[Excess] = field(default_factory=list)
    learnt: list[object] = field(default_factory=list)

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        self.note_soon(event, members)

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        assert event == "settled"
        self.settled.append(members)

    def error(self, event: str, **members: object) -> None:
        self.alarms.append((event, members))


def plan_of(*orders: Order, runs: Sequence[Run] = (), number: int = 1, key: str = "ci") -> Plan:
    """A plan of orders by a key of billing; with `runs`, one whose runs were looked up."""
    orders = orders_of(runs) if runs else orders
    request = ActionRequest(orders[0].selection, orders[0].count)
    permit = Permit("billing/own", "permit", None, effective=request)
    resolved = Resolved(tuple(runs)) if runs else None
    return Plan(f"d{number}", Principal("billing", key), request, permit, orders, "0" * 64, None, resolved)


def by_filter(count: int = 10, *, key: str = "ci") -> Plan:
    """A direct order of a filter."""
    return plan_of(Order(BY_URL, count), key=key)


def by_ids(*run_ids: str, key: str = "ci") -> Plan:
    """A direct order of run IDs."""
    return plan_of(Order(ByIds(run_ids), len(run_ids)), key=key)


def followed(plan: Plan, outcome: Outcome, log: ScriptedLog, *, reads_back: bool = True, after_s: float = 3600) -> Told:
    """What is told of one outcome when so many seconds have passed."""

    async def scenario() -> Told:
        told = Told()
        settler = Settler(log, told, operators_log=told, reads_back=reads_back)
        settler.learnt = lambda members: told.learnt.append(members["cancelled"])
        settler.wider = lambda *seen: told.wider.append(seen)
        settler.exceeded = told.exceeded.append
        settler.follow(plan, outcome)
        await asyncio.sleep(after_s)
        return told

    return run(scenario())
