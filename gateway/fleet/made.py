"""The parts of a gateway with shared state, joined: freezes, the gate that asks them, the task that follows them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.audit.events.declare import Members
from gateway.core.errors import StateUnavailable
from gateway.edge import answers
from gateway.edge.inbound import Intake
from gateway.edge.pages.approvals import ApprovalPages
from gateway.edge.pages.freezes import FreezePages
from gateway.edge.pages.plans import plan_members
from gateway.execution.gates.approving import Approving
from gateway.execution.gates.freezes import FreezesInForce
from gateway.execution.gates.state_gate import StateGate
from gateway.execution.gates.takes import Takes
from gateway.execution.gates.timed import PauseTimers
from gateway.execution.in_flight import Result
from gateway.execution.plans.draft import Draft
from gateway.execution.plans.drafts import Drafts
from gateway.execution.plans.shelf import Shelf
from gateway.fleet.ends import Ends
from gateway.fleet.following import Following
from gateway.fleet.joining import Around
from gateway.fleet.recorded import Recorder
from gateway.fleet.switch import Switch
from gateway.fleet.taken import died, ended_in, recover
from gateway.fleet.timed import recovered
from gateway.fleet.timed.due import Due
from gateway.fleet.told import DecisionsTold
from gateway.process import Net, place
from gateway.state.admissions import Answered
from gateway.state.approvals import Waiting
from gateway.state.notices import ApprovalStep
from gateway.state.port import Store

RECOVERED_EVERY_S = 1.0
"""How often, in seconds, a store that was away at the start is asked what earlier processes left open in it."""
if TYPE_CHECKING:
    from gateway.fleet.noticed import Noticed
    from gateway.notices.receivers import Receiver

SETTLED_S = 2.0
"""How long, in seconds, the end waits for what the store is still to be told: a call may take 1.5."""


class Fleet:
    """The shared state as this gateway takes part in it."""

    def __init__(self, store: Store, around: Around) -> None:
        self._store, self._around = store, around
        self.freezes = FreezesInForce(around.clock)
        self._recorder = recorder = Recorder(around.audit, store, around.instance)
        self._following = Following(
            store, self.freezes, recorder, instance=around.instance, clock=around.clock, log=around.log
        )
        self.switch = Switch(
            store, self.freezes, self._following, recorder, around.log, lambda: bool(around.current.live.operators)
        )
        self.takes = Takes(store, around.instance, around.clock, shown=_kept)
        self.gate = StateGate(self.freezes, self.switch.trip, self.takes)
        self._tasks: list[asyncio.Task[None]] = []
        self._told: DecisionsTold | None = None
        self._approving: Approving | None = None
        self._timed: PauseTimers | None = None
        self._due: Due | None = None
        self.noticed: Noticed | None = None

    def notify(self, receivers: Sequence[Receiver], is_secret: Callable[[str], bool]) -> None:
        """Have these receivers told of what happens, from `begin` on."""
        from gateway.fleet.noticed import Noticed

        around = self._around
        self.noticed = noticed = Noticed(
            self._store,
            receivers,
            gateway=around.instance,
            audit=around.audit,
            now_ms=self.freezes.now_ms,
            log=around.log,
            is_secret=is_secret,
        )
        self._recorder.noticed = noticed.changed
        self.gate.exceeded = around.settler.exceeded = noticed.exceeded

    def approval(self, step: ApprovalStep) -> None:
        """Tell receivers of a step of an approval, if there are any. Returns at once, never raises."""
        if self.noticed is not None:
            self.noticed.approval(step)

    async def begin(self) -> None:
        """Read the freezes once, if the store answers, and follow them from now on."""
        await self._following.beat()
        self._tasks.append(asyncio.create_task(self._following.run()))
        if self.noticed is not None:
            self.noticed.begin()

    def share(self, store: Store, around: Around) -> None:
        """Have the fleet know plans and cursors from now on, and closed decisions, if other gateways may be there."""
        plans = around.pipeline.plans
        plans.shelf = Shelf(store, instance=around.instance, clock=around.clock)
        around.askers.shared = store
        self._following.told.append(lambda snapshot: plans.stop_asked(snapshot.stops))
        self._approving = approving = _approving(store, around)
        self.gate.approving, approving.told = approving, self.approval
        ends = Ends(approving, around.clock, lambda: around.current.live.policies)
        self.gate.timed = self._timed = PauseTimers(store, around.instance, around.clock)
        self._due = _due(store, around, self.freezes)
        self._tasks += [asyncio.create_task(ends.run()), asyncio.create_task(self._due.run())]
        if store.shared:
            around.decisions.kept = store
            self._told = told = DecisionsTold(store, around.decisions.decisions)
            self._tasks.append(asyncio.create_task(told.run()))

    async def stop(self) -> None:
        """Leave the fleet: what the store has to know is told once more, side by side, for a bounded time."""
        for task in self._tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        ends = [self._following.end(), self._recorder.wait(), self.takes.stop(SETTLED_S)]
        ends += [] if self._timed is None else [self._timed.stop(SETTLED_S)]
        # What was closed since the last look is told as well, if the store answers.
        ends += [] if self._told is None else [self._told.tell()]
        ends += [] if self.noticed is None else [self.noticed.stop()]
        await asyncio.gather(*ends)
        if self._told is not None:
            self._told.close()
        await self._following.leave([self._around.instance])

    async def recover(self, directory: Path) -> None:
        """Settle what processes of this record that have died left open in the store, as soon as it answers.

        Call before anything follows what they left open: that takes the locks by which it is seen that they ended.
        """
        own = self._around.instance
        if self.freezes.read and await self._recovered(directory, None):
            return
        with Net() as net:
            ended = await ended_in(directory, own)
            self._tasks.append(asyncio.create_task(self._recover_later(directory, ended)))
        self._tell(net)

    async def _recover_later(self, directory: Path, ended: Collection[str]) -> None:
        recovered = False
        while not recovered:
            await asyncio.sleep(RECOVERED_EVERY_S)
            recovered = self.freezes.read and await self._recovered(directory, ended)

    async def _recovered(self, directory: Path, ended: Collection[str] | None) -> bool:
        """Try it once; return false if the store does not answer. Tell if it failed otherwise: then it is left."""
        own, listed = self._around.instance, self._following.listed()
        with Net() as net:
            await recover(self._store, directory, own, ended=ended)
            await recovered.recover(self._store, directory, own, ended=ended)
            await self._following.leave(await died(directory, own, listed, ended=ended))
        if isinstance(net.fault, StateUnavailable):
            return False
        self._tell(net)
        return True

    def _tell(self, net: Net) -> None:
        if net.fault is not None:
            self._around.log.error("taken_not_recovered", error=type(net.fault).__name__, at=place(net.fault))

    def learnt(self, members: Members) -> None:
        """Settle what a follow-up has found out."""
        self.takes.learnt(members)

    def pages(self, intake: Intake) -> FreezePages:
        """Return the calls about freezes."""
        return FreezePages(intake, self.switch)

    def approvals(self, intake: Intake) -> ApprovalPages | None:
        """Return the calls about approvals."""
        if self._approving is None:
            return None
        plans = self._around.pipeline.plans
        return ApprovalPages(intake, self._approving, partial(_shown, plans))

    def notices(self) -> list[str]:
        """Return the notices for operators."""
        untaken = [] if self.noticed is None else self.noticed.notices()
        due = [] if self._due is None else self._due.notices()
        return [*self._following.notices(), *self.switch.notices(), *untaken, *due]


def _due(store: Store, around: Around, freezes: FreezesInForce) -> Due:
    policies = lambda: around.current.live.policies  # noqa: E731 - one of its parts
    return Due(store, around.pipeline, freezes, around.instance, around.clock, policies)


def _approving(store: Store, around: Around) -> Approving:
    plans, current = around.pipeline.plans, around.current
    return Approving(
        store,
        plans,
        around.audit,
        instance=around.instance,
        clock=around.clock,
        shown=partial(_shown, plans),
        in_force=lambda one: current.live.still_accepts(one.principal, one.credential, around.clock.now_ms()),
    )


def _shown(plans: Drafts, draft: Draft, waiting: Waiting) -> Mapping[str, object]:
    return plan_members(draft, expires_in_s=plans.expires_in_s(draft), waiting=waiting)


def _kept(result: Result) -> Answered:
    """Return the answer to a request as it is kept for its repeats."""
    answer = answers.outcome(result, result.plan.decision_id)
    return Answered(answer.status, answer.body)
