"""`cancel --until-none`: one question, then plan after plan until there is nothing left to cancel.

The first plan fixes the moment up to which runs are meant, so that runs which begin meanwhile are not cancelled. No
later plan is asked about, so each must be the same request up to that moment.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gateway.cli.cancel.answers import ENDED, Done, Lost, Refusal, left_by, left_in_words, runs_in_words
from gateway.cli.cancel.client import Gateway
from gateway.cli.cancel.flow import (
    NONE_NOW,
    UNSENT,
    Asked,
    End,
    Ending,
    Manner,
    Screen,
    agreed,
    ending_of,
    planned,
)
from gateway.cli.cancel.follow import Carried, carry_out
from gateway.core.errors import counted
from gateway.core.forms.shown import Left, ShownPlan
from gateway.core.forms.times import instant_ms, run_time

PATIENCE_S = 60.0
"""The most time spent on a gateway that refuses for the moment, between two plans that cancelled something."""
PAUSE_S = 5
"""The wait after a refusal that names none, in seconds."""
BREATH_S = 2.0
"""The pause after a plan that cancelled nothing: QStash's index lags."""
IDLE_PLANS = 2
"""So many plans in a row that cancel nothing end the command, if another look shows that runs are left."""
_IDLE = f"{IDLE_PLANS} plans in a row cancelled nothing, although runs are left."
NAMED = 3
"""The most decisions that the last sentence names; the lines above it name all."""

GONE = 404
"""The status for a plan that the gateway does not know any more, as after a restart."""


@dataclass(frozen=True, slots=True)
class _Part:
    """What one plan came to: the runs cancelled for certain, and those not; `certain` says that this is all."""

    plan_id: str
    decision_id: str
    cancelled: int
    rest: int = 0
    certain: bool = True

    def to_json(self) -> dict[str, object]:
        """Return the part as JSON."""
        return {"plan": self.plan_id, "decision_id": self.decision_id, "cancelled": self.cancelled}


@dataclass(slots=True)
class UntilNone:
    """One incident: what was asked and agreed, and what has come of it so far. `clock` gives seconds."""

    gateway: Gateway
    asked: Asked
    screen: Screen
    manner: Manner
    parts: list[_Part] = field(default_factory=list)
    last: ShownPlan | None = None
    until_ms: int | None = None
    idle: int = 0
    waited_s: float = 0.0
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def end(self) -> Ending:
        """Cancel until nothing is left; return how that ended."""
        try:
            return self._end()
        except KeyboardInterrupt:
            return self._sum(End.STOPPED, "Stopped.")

    def _end(self) -> Ending:
        first = self._first()
        if isinstance(first, Ending):
            return first
        until = run_time(self._fix(first))
        self.screen.shows(first, until=until)
        if not first.runs and not first.more and not left_by(first):
            return self._sum(End.NOTHING_FOUND, "No run to cancel was found.")
        if self.manner.dry_run:
            return Ending(End.DRY_RUN, f"Only a dry run. {UNSENT}", first)
        if not first.runs:
            return self._sum(End.INCOMPLETE, _IDLE if first.more else NONE_NOW)
        if self.manner.ask and not agreed(self.screen, first, until=until):
            return Ending(End.DECLINED, UNSENT, first)
        later = replace(self.asked, to_date=self.until_ms)
        plan: ShownPlan | Ending = first
        while isinstance(plan, ShownPlan):
            plan = (self._cancel(plan) if plan.runs else None) or self._next(later)
        return plan

    def _first(self) -> ShownPlan | Ending:
        """Return the plan to ask about: the second one if the first has no runs although some are left."""
        first = self._plan(self.asked)
        if isinstance(first, Ending) or first.runs or not first.more or self.manner.dry_run:
            return first
        self.sleep(BREATH_S)
        return self._plan(self.asked)

    def _fix(self, first: ShownPlan) -> int:
        """Fix the moment up to which runs are meant: that of the look-up, on QStash's clock, or an earlier one."""
        try:
            looked_ms = instant_ms(first.as_of or "")
        except ValueError:
            looked_ms = time.time_ns() // 1_000_000
            self.screen.says("QStash's time of the look-up is not known: this machine's clock says up to when.")
        self.until_ms = min(looked_ms, self.asked.to_date or looked_ms)
        return self.until_ms

    def _next(self, later: Asked) -> ShownPlan | Ending:
        """Return the next plan that has something to cancel, or is to be looked at again; or the ending."""
        if self.idle:
            self.sleep(BREATH_S)
        plan = self._plan(later)
        if isinstance(plan, Ending):
            return plan
        assert self.until_ms is not None
        if plan.newest is not None and not _within(plan.newest, self.until_ms):
            return self._sum(
                End.FAILED, f"Plan {plan.plan_id} holds newer runs than were agreed to, and is not applied."
            )
        if not plan.runs and not plan.more:
            return self._all_done()
        self.idle += not plan.runs
        if self.idle >= IDLE_PLANS:
            return self._sum(End.INCOMPLETE, _IDLE)
        return plan

    def _all_done(self) -> Ending:
        """Return the ending after a plan that had nothing to cancel."""
        if not self._left(begun=False):
            return self._sum(End.CANCELLED, "Nothing is left to cancel.")
        if not any(part.cancelled for part in self.parts):
            return self._sum(End.INCOMPLETE, NONE_NOW)
        return self._sum(End.CANCELLED, "Nothing more may be cancelled now.")

    def _plan(self, asked: Asked) -> ShownPlan | Ending:
        """Return a plan; where the gateway refuses for the moment, wait and ask again. No plan cancels anything."""
        while True:
            began_s = self.clock()
            found = planned(self.gateway, asked, self.screen)
            if isinstance(found, ShownPlan):
                self.last = found
                return found
            if found.how is End.DECLINED:
                return self._sum(End.STOPPED, "Stopped.") if self.parts else found
            # A look-up that fails after a minute has used up the patience.
            self.waited_s += self.clock() - began_s
            lost = found.how is End.FAILED and bool(self.parts)
            passing = found.refusal is not None and found.refusal.passing
            if not ((lost or passing) and self._waits(found)):
                return self._after(found)

    def _cancel(self, plan: ShownPlan) -> Ending | None:
        """Apply the plan; return the ending, or None if it goes on."""
        try:
            with self.screen.applying(plan) as told:
                carried = carry_out(self.gateway, plan, told, self.screen.says, wait_s=self.manner.wait_s)
        except KeyboardInterrupt:
            carried = Carried(None, interrupted=True)
        if (part := _part(plan, carried)) is not None:
            self._count(part)
        if part is not None and part.certain and (warning := carried.warning):
            return self._sum(End.INCOMPLETE, warning)
        match carried.answer:
            case Refusal(code="plan_stopped", sentence=sentence):
                return self._sum(End.STOPPED, "Stopped." if carried.interrupted else sentence)
            case Refusal() | Lost() as answer if part is None and not carried.interrupted and not carried.unclear:
                return self._refused(answer, ending_of(self.gateway, plan, carried))
            case Done() | Refusal() | Lost() if part is not None and part.certain and not _refused_after_all(carried):
                return self._sum(End.STOPPED, "Stopped.") if carried.interrupted else None
        return self._after(ending_of(self.gateway, plan, carried))

    def _refused(self, answer: Refusal | Lost, ending: Ending) -> Ending | None:
        """Return the ending after a plan that was certainly not begun; None if another may be."""
        if isinstance(answer, Refusal) and answer.status == GONE:
            self.idle += 1
            return None
        passing = not answer.sent if isinstance(answer, Lost) else answer.passing
        return None if passing and self._waits(ending) else self._after(ending)

    def _count(self, part: _Part) -> None:
        self.parts.append(part)
        under = f", under decision {part.decision_id}" if part.decision_id else f", by plan {part.plan_id}"
        how = "cancelled" if part.certain else "cancelled for certain"
        self.screen.says(f"Plan {len(self.parts)}: {runs_in_words(part.cancelled)} {how}{under}.")
        self.idle, self.waited_s = (0, 0.0) if part.cancelled else (self.idle + 1, self.waited_s)

    def _waits(self, ending: Ending) -> bool:
        """Wait for as long as the gateway asks; return False if that is too long."""
        asked_s = None if ending.refusal is None else ending.refusal.retry_after_s
        pause_s = max(1, PAUSE_S if asked_s is None else asked_s)
        if self.waited_s + pause_s > PATIENCE_S:
            return False
        self.screen.says(f"{ending.sentence} Asking again in {pause_s} s.")
        self.sleep(pause_s)
        self.waited_s += pause_s
        return True

    def _after(self, ending: Ending) -> Ending:
        """Return an ending of one plan as that of all."""
        if not self.parts:
            return ending
        whole = self._sum(ending.how, ending.sentence.removesuffix(UNSENT).strip())
        return replace(whole, refusal=ending.refusal, sums=(*whole.sums, *ending.sums))

    def _sum(self, how: End, sentence: str) -> Ending:
        """Return the ending with the sum of all plans, and what is left."""
        cancelled = sum(part.cancelled for part in self.parts)
        left = self._left(begun=how not in (End.CANCELLED, End.NOTHING_FOUND))
        done = f"{runs_in_words(cancelled)} cancelled in {counted(len(self.parts), 'plan')}{self._decisions()}."
        sums = (done if self.parts else UNSENT, *([f"Left: {left_in_words(left)}."] if left else []))
        total: dict[str, object] = {
            "cancelled": cancelled,
            "plans": [part.to_json() for part in self.parts],
            "left": left,
            "to_date": None if self.until_ms is None else run_time(self.until_ms),
        }
        return Ending(how, sentence, self.last, total=total, sums=sums)

    def _left(self, *, begun: bool) -> dict[str, int]:
        """Return how many runs are left, by reason; with those of the last plan if that was `begun`."""
        if self.last is None:
            return {}
        left = left_by(self.last)
        part = self.parts[-1] if self.parts and self.parts[-1].plan_id == self.last.plan_id else None
        rest = self.last.runs if part is None else part.rest
        if begun and rest:
            left = {"planned" if part is None or part.certain else "unknown": rest, **left}
        return left

    def _decisions(self) -> str:
        named = [part.decision_id for part in self.parts if part.decision_id]
        if not named:
            return ""
        if len(named) > NAMED:
            return f", under {len(named)} decisions, {named[0]} to {named[-1]}"
        *before, last = named
        return f", under decision {last}" if not before else f", under decisions {', '.join(before)} and {last}"


def _part(plan: ShownPlan, carried: Carried) -> _Part | None:
    """Return what a plan came to, if it was begun."""
    match carried.answer:
        case Done(cancelled=cancelled, decision_id=decision_id, skipped=skipped):
            ended = sum(skipped[why].runs - plan.skipped.get(why, Left(0)).runs for why in ENDED if why in skipped)
            ours = cancelled - carried.over_cancelled
            return _Part(plan.plan_id, decision_id, cancelled, max(0, plan.runs - ours - ended))
        case Refusal(code="plan_stopped" | "nothing_cancelled") as refusal:
            return _Part(plan.plan_id, refusal.decision_id or "", refusal.cancelled, plan.runs - refusal.cancelled)
        case Refusal() | Lost() as answer if carried.unclear:
            if (known := carried.known) is not None:
                return _Part(plan.plan_id, known.decision_id, known.cancelled, known.rest(plan.runs))
            if isinstance(answer, Refusal):
                cancelled, decision_id = answer.cancelled, answer.decision_id or ""
                return _Part(plan.plan_id, decision_id, cancelled, plan.runs - cancelled, certain=False)
        case Refusal() | Lost():
            return None
    # No answer came, or the person did not wait for it.
    cancelled = 0 if carried.seen is None else carried.seen.cancelled
    return _Part(plan.plan_id, "", cancelled, max(0, plan.runs - cancelled), certain=False)


def _refused_after_all(carried: Carried) -> bool:
    """Return whether a plan whose answer was lost was refused or not sent, so that another would be in vain."""
    return carried.known is not None and bool(carried.known.nothing)


def _within(newest: str, until_ms: int) -> bool:
    try:
        return instant_ms(newest) <= until_ms
    except ValueError:
        return False
