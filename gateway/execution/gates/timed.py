"""The part of the gate that has pauses end by themselves: a timer is kept before the pause, and counts once it is done.

The timer is the promise, so without it nothing is sent. Once the pause is certain it waits; a later pause or resume of
the same name replaces it. The store is told behind the answer, as often as it takes; what a process leaves untold
because it dies, the next start finds on record (`fleet/timed/recovered`).
"""

from __future__ import annotations

import asyncio

from gateway.core.errors import StateUnavailable
from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.plan import Denial, Permit, Plan
from gateway.core.ports import Clock
from gateway.core.request import Action, ActionRequest, ByIds
from gateway.execution.gates.settling import MOST_RETRY_S, RETRY_S
from gateway.execution.in_flight import Result
from gateway.execution.ports import Call
from gateway.policy.decide import refused_end
from gateway.process import Net, report
from gateway.state.port import TimersKept
from gateway.state.timed.timers import Switched, Timer

DURABLE_S = 2.0
"""The longest, in seconds, that an answer waits until the store knows what came of a pause that ends by itself."""


class PauseTimers:
    """The timers of the pauses that this gateway, `instance` in the store, sends."""

    def __init__(self, store: TimersKept, instance: str, clock: Clock) -> None:
        self._store = store
        self._instance = instance
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def enter(self, call: Call, permit: Permit) -> Denial | None:
        """Return the refusal of a pause that ends by itself where policy does not permit the resume as well."""
        return refused_end(call.policies, call.principal, call.request, permit, self._clock.now_ms())

    async def admit(self, plan: Plan) -> None:
        """Keep the timer before its pause is sent. Raises: StateUnavailable: it may not be kept; nothing is sent."""
        field, name = named_in(plan.asked)
        assert plan.asked.lasts_ms is not None
        principal = plan.principal
        timer = Timer(
            decision_id=plan.decision_id,
            field=field,
            name=name,
            team=principal.team,
            subject=principal.subject,
            key_id=principal.token_id,
            lasts_ms=plan.asked.lasts_ms,
            instance=self._instance,
        )
        try:
            await self._store.prepare_timer(timer)
        except BaseException:
            self.withdraw(plan)
            raise

    def withdraw(self, plan: Plan) -> None:
        """Let the timer of a pause go that has no intent. Never raises."""
        self._tell(switched(plan, NotSent("withdrawn")))

    async def close(self, plan: Plan, result: Result) -> None:
        """Tell the store what came of a pause or resume; one that ends by itself is waited for. Never raises.

        What the gateway itself resumes is no later word of anybody: `fleet/timed/due` says what came of it.
        """
        if plan.ends is not None:
            return
        told = self._tell(switched(plan, result.outcome))
        if plan.asked.lasts_ms is not None:
            await asyncio.wait((told,), timeout=DURABLE_S)

    async def stop(self, within_s: float) -> None:
        """Wait for what the store is still to be told; what it is not told the next start finds on record."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within_s)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _tell(self, came: Switched) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._told(came))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _told(self, came: Switched) -> None:
        """Tell the store until it knows."""
        with Net() as net:
            wait_s = RETRY_S
            while not await self._known(came):
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, MOST_RETRY_S)
        if net.fault is not None:
            report(net.fault, "the store was not told what came of a pause")

    async def _known(self, came: Switched) -> bool:
        try:
            await self._store.switched(came)
        except StateUnavailable:
            return False
        return True


def named_in(request: ActionRequest) -> tuple[str, str]:
    """Return the field and the name of what a pause or resume is about."""
    assert isinstance(request.selection, ByIds)
    [name] = request.selection.ids
    return request.selection.name, name


def switched(plan: Plan, outcome: Outcome) -> Switched:
    """Return what the store is to know of a pause or resume with this outcome.

    One that may have been done replaces earlier timers if it is a pause: whoever paused anew means something else. A
    resume has to be certain, because a timer that is left resumes as well.
    """
    certain = certainly(outcome)
    replaces = certain is True or (certain is None and plan.asked.action is Action.PAUSE)
    return Switched(plan.decision_id, *named_in(plan.asked), certain=certain, replaces=replaces)


def certainly(outcome: Outcome) -> bool | None:
    """Return whether it was done; None if nobody knows."""
    match outcome:
        case Cancelled():
            return True
        case NotSent() | Refused():
            return False
        case _:
            return None
