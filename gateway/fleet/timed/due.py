"""The task that ends pauses whose time is up: one gateway of the fleet takes each, and resumes it on record, once.

The resume goes the way of every request, under the policies now in force, as whoever paused: it is judged, recorded and
sent. Of one that may have been sent nobody knows more than its record says, so it stands as a notice and is never
repeated. One that was certainly not sent is tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import uuid_utils

from gateway.core.errors import Refusal, StateUnavailable
from gateway.core.forms.times import run_time
from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.plan import Denial
from gateway.core.ports import Clock
from gateway.core.request import Action, ActionRequest, ByIds, Principal
from gateway.execution.gates.freezes import FROZEN, FreezesInForce
from gateway.execution.in_flight import Done, Told
from gateway.execution.ports import Call
from gateway.policy.decide import decide
from gateway.policy.rules import Policies
from gateway.process import Net, report
from gateway.state.port import TimersKept
from gateway.state.timed.timers import Stage, Timer, Timers

EVERY_S = 1.0
"""How often the timers are looked at, in seconds."""

SOON_MS, LATER_MS = 2_000, 60_000
"""After how many milliseconds a resume that was not sent is tried again: at once, and while QStash wants a rest."""

DENIED, UNKNOWN, REFUSED = "denied", "unknown", "refused"
"""Why a timer is stuck, as the store keeps it; beside these there is `pause_unknown`."""

_WHY = {
    DENIED: "policy does not allow the resume any more",
    UNKNOWN: "whether it was resumed is not known, and it is not tried again",
    REFUSED: "QStash refused the resume",
    "pause_unknown": "whether it was paused at all is not known, so it is not resumed",
}
_HELD_NOW = "nobody knows yet what is frozen"
_KINDS = {"flowControlKey": "flow-control key", "queue": "queue", "schedule": "schedule"}


class Runs(Protocol):
    """The part of the pipeline that is used."""

    async def run(self, call: Call) -> Told:
        """Judge a request and send it once. Raises: Refusal: nothing was sent."""

    def answered(self, done: Done, *, caller_gone: bool) -> None:
        """Let go of what was sent: nobody is to be told of it."""


@dataclass(slots=True)
class Due:
    """The timers of the fleet, as one gateway, `instance`, looks after them. `policies` are those now in force."""

    store: TimersKept
    pipeline: Runs
    freezes: FreezesInForce
    instance: str
    clock: Clock
    policies: Callable[[], Policies]
    _seen: Timers = field(default_factory=lambda: Timers(0, ()))
    _owed: dict[str, tuple[str, int | None, str | None]] = field(default_factory=dict)

    async def run(self) -> None:
        """Look after them until cancelled."""
        while True:
            with Net() as net:
                await self.look()
            if net.fault is not None and not isinstance(net.fault, StateUnavailable):
                report(net.fault, "the pauses that are over were not looked at")
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Resume all that is due, one after the other. Raises: StateUnavailable: the rest is due as before."""
        for decision_id in list(self._owed):
            await self._tell(decision_id)
        self._seen = seen = await self.store.timers()
        for timer in seen.timers:
            if _is_due(timer, seen.now_ms) and self._held(timer) is None:
                await self._end(timer)

    def notices(self) -> list[str]:
        """Return the notices for operators: what is not resumed though its time is up, and why."""
        found = [(timer, self._why(timer)) for timer in self._seen.timers]
        return [f"{_what(timer)}: {why}" for timer, why in found if why is not None]

    def _why(self, timer: Timer) -> str | None:
        match timer.stage:
            case Stage.STUCK:
                return f"{_WHY.get(timer.why or '', timer.why)}; pause or resume it anew"
            case Stage.PREPARED | Stage.TAKEN if timer.gone:
                said = _WHY["pause_unknown"] if timer.stage is Stage.PREPARED else _WHY[UNKNOWN]
                return f"{said}, because gateway {timer.instance} has gone; pause or resume it anew"
            case Stage.WAITING if _is_due(timer, self._seen.now_ms):
                return self._held(timer)
        return None

    def _held(self, timer: Timer) -> str | None:
        """Return what holds back a resume that is due; None if nothing does. Nothing is recorded of it."""
        permit = decide(self.policies(), _principal(timer), _resume(timer), self.clock.now_ms())
        if isinstance(permit, Denial):
            return None  # once it is taken, that is on record
        freeze = self.freezes.about(timer.team, permit.rule)
        if freeze is not None:
            return f"the resume is held back by freeze {freeze.freeze_id}, and comes when that has ended"
        return None if self.freezes.read else _HELD_NOW

    async def _end(self, timer: Timer) -> None:
        """Take one timer and resume what it is about. Raises: StateUnavailable: the store is told later."""
        resume_id = str(uuid_utils.uuid7())
        # The answer may be lost: then it is given back, because nothing was sent.
        self._owed[timer.decision_id] = (resume_id, SOON_MS, None)
        if not await self.store.take_timer(timer.decision_id, resume_id, self.instance):
            del self._owed[timer.decision_id]
            return
        # Until it is known better: whatever fails in our own code, nothing is resumed twice.
        self._owed[timer.decision_id] = (resume_id, None, UNKNOWN)
        try:
            told = await self.pipeline.run(self._call(timer, resume_id))
        except Refusal:
            self._owed[timer.decision_id] = (resume_id, SOON_MS, None)
        else:
            self._owed[timer.decision_id] = (resume_id, *_came_to(told))
            # The resume of a caller that it joined waits for that caller.
            if isinstance(told, Done) and told.in_flight.decision_id == resume_id:
                self.pipeline.answered(told, caller_gone=False)
        await self._tell(timer.decision_id)

    def _call(self, timer: Timer, resume_id: str) -> Call:
        return Call(
            self.policies(),
            _principal(timer),
            _resume(timer),
            resume_id,
            None,
            _never_gone,
            self.policies,
            ends=timer.decision_id,
        )

    async def _tell(self, decision_id: str) -> None:
        """Tell the store what came of a resume; until then nobody takes its timer. Raises: StateUnavailable."""
        resume_id, wait_ms, why = self._owed[decision_id]
        if wait_ms is not None:
            await self.store.give_back_timer(decision_id, resume_id, wait_ms)
        else:
            await self.store.end_timer(decision_id, resume_id, why)
        del self._owed[decision_id]


def _came_to(told: Told) -> tuple[int | None, str | None]:
    """Return after how long a resume is tried again, if it is; else why it is stuck, if it was not done."""
    match told:
        case Done():
            return came_of(told.outcome)
        case Denial(barrier=barrier) if barrier is not None:
            return (SOON_MS if barrier.code == FROZEN else LATER_MS), None
    return None, DENIED


def came_of(outcome: Outcome) -> tuple[int | None, str | None]:
    """Return after how many milliseconds a resume with this outcome is tried again; else why it is stuck, if it is."""
    match outcome:
        case Cancelled():
            return None, None
        case NotSent():
            return SOON_MS, None
        case Refused(upstream_status=429):
            return LATER_MS, None
        case Refused():
            return None, REFUSED
    return None, UNKNOWN


def _is_due(timer: Timer, now_ms: int) -> bool:
    return timer.stage is Stage.WAITING and timer.due_ms is not None and timer.due_ms <= now_ms


def _what(timer: Timer) -> str:
    until = "" if timer.due_ms is None else f" until {run_time(timer.due_ms)}"
    kind = _KINDS[timer.field]
    return f"{kind} {timer.name}, paused{until} by {timer.team}/{timer.subject} (decision {timer.decision_id})"


def _principal(timer: Timer) -> Principal:
    return Principal(timer.team, timer.subject, timer.key_id)


def _resume(timer: Timer) -> ActionRequest:
    return ActionRequest(ByIds((timer.name,), timer.field), 1, action=Action.RESUME, in_path=True)


async def _never_gone() -> bool:
    return False
