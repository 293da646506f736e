"""The follow-up: learns after the answer what an outcome could not yet say. It reads, and never sends a cancel.

    bulk_action   a filter that upstream works on under an action ID: its true total, and whether it is the filter sent
    read_back     run IDs whose order may or may not have arrived: the fate of each run

The findings are recorded once, as `settled`; the outcome itself does not change. What a process followed when it was
killed is followed by the next one, from the record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.audit.events.declare import Members
from gateway.core.errors import Refusal
from gateway.core.outcome import Accepted, Cancelled, Excess, Outcome, Unknown
from gateway.core.plan import Order, Plan
from gateway.core.ports import Alarm, NotePort
from gateway.core.request import Action, ByFilter, ByIds, Principal
from gateway.core.run import Listing
from gateway.execution.fates import OrderedRuns, TrackedAction
from gateway.execution.left_over import LeftOver
from gateway.process import Net, internal
from gateway.upstream.runs.log import ActionReport
from gateway.upstream.shares import TeamShare

MAX_FOLLOWED = 64
MAX_OF_ONE = 16
"""How many follow-ups of one kind run at once, in all and for one principal; a team has its share.

Each kind has its own places, so neither kind can crowd out the other.
"""

FOLLOW_S = 600.0
"""The longest time, in seconds, that one outcome is followed."""

POLL_S = 0.5
MAX_POLL_S = 10.0
MOST_MISSES = 5
"""A bulk action is polled at intervals that double from POLL_S to MAX_POLL_S; MOST_MISSES failures in a row end it."""

LOOKS_S = (2.0, 4.0, 6.0, 8.0, 10.0)
"""The waits, in seconds, before each look at the runs: five looks in half a minute, because upstream's index lags."""

LOOK_IDS = 100
"""The most IDs that are looked up in one call."""


class LogPort(Protocol):
    """The port that upstream is read through. Both methods raise a Refusal: LookupFailed or TooLarge."""

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the newest run of each ID that exists."""

    async def action(self, action_id: str) -> ActionReport | None:
        """Return the progress of a bulk action; None if upstream knows no action with that ID."""


Subject = TrackedAction | OrderedRuns


@dataclass(frozen=True, slots=True)
class _Followed:
    subject: Subject
    principal: Principal
    rule: str | None


class Settler:
    """The follow-ups under way, each in its own task. `reads_back` says whether a token to look runs up is set.

    `learnt` is told the members of every `settled` record, and `wider` the team, the rule and a sentence when upstream
    works on a wider filter than was sent; `exceeded` is told of that, and of more runs than were sent. Whoever wants to
    know sets them. None of them raises.
    """

    def __init__(
        self,
        log: LogPort,
        record: NotePort,
        *,
        operators_log: Alarm,
        reads_back: bool,
        share: TeamShare | None = None,
    ) -> None:
        self._log = log
        self._record = record
        self._operators_log = operators_log
        self._reads_back = reads_back
        self._share = share or TeamShare()
        self.learnt: Callable[[Members], None] = lambda _: None
        self.wider: Callable[[str, str | None, str], None] = lambda *_: None
        self.exceeded: Callable[[Excess], None] = lambda _: None
        self._followed: dict[asyncio.Task[None], _Followed] = {}
        self._stopped = False

    def follow(self, plan: Plan, outcome: Outcome) -> None:
        """Start a follow-up if the outcome left something open. Returns at once, never raises."""
        if isinstance(outcome, Cancelled) and outcome.action_id is None:
            return  # As nearly every cancel ends: nothing is left open.
        created_ms = {run.run_id: run.created_ms for run in plan.runs}
        self.go_on(LeftOver(plan.decision_id, plan.principal, plan.orders, created_ms, outcome, plan.permit.rule))

    def go_on(self, left: LeftOver) -> None:
        """Start a follow-up of what was left open, by this process or an earlier one. Returns at once, never raises."""
        subject = _subject(left, reads_back=self._reads_back)
        if subject is None:
            return
        if self._stopped or not self._has_place(subject, left.principal):
            self._tell(subject, "stopping" if self._stopped else "not_followed")
            return
        followed = _Followed(subject, left.principal, left.rule)
        task = asyncio.create_task(self._follow(followed))
        self._followed[task] = followed
        task.add_done_callback(self._followed.pop)

    async def stop(self) -> None:
        """Stop every follow-up and record what is known so far."""
        self._stopped = True
        followed = dict(self._followed)
        for task in followed:
            task.cancel()
        await asyncio.gather(*followed, return_exceptions=True)
        for task, one in followed.items():
            # A task cancelled before its first step has run none of its own code, so it cannot record this itself.
            if task.cancelled():
                self._tell(one.subject, "stopping")

    def _has_place(self, subject: Subject, principal: Principal) -> bool:
        alike = [one.principal for one in self._followed.values() if type(one.subject) is type(subject)]
        of_team = sum(one.team == principal.team for one in alike)
        return (
            len(alike) < MAX_FOLLOWED and of_team < self._share.of(MAX_FOLLOWED) and alike.count(principal) < MAX_OF_ONE
        )

    async def _follow(self, followed: _Followed) -> None:
        subject = followed.subject
        cause: str | None = "deadline"
        with Net() as net, contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_S):
                cause = await self._learn(followed)
        if net.fault is not None:
            # An error in our own code is logged and ends only this follow-up.
            cause = internal(net.fault)
            self._operators_log.error("settle_failed", decision_id=subject.decision_id, error=type(net.fault).__name__)
        self._tell(subject, cause)

    def _tell(self, subject: Subject, cause: str | None) -> None:
        members = subject.members(cause)
        self._record.note_soon("settled", members)
        self.learnt(_at_least(subject, members))

    async def _learn(self, followed: _Followed) -> str | None:
        """Follow one subject; return why that ended early, if it did."""
        match followed.subject:
            case TrackedAction() as action:
                return await self._poll(action, followed)
            case OrderedRuns() as runs:
                return await self._read_back(runs)

    async def _poll(self, action: TrackedAction, followed: _Followed) -> str | None:
        wait_s, misses = POLL_S, 0
        while True:
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, MAX_POLL_S)
            missed = await self._ask(action, followed)
            misses = 0 if missed is None else misses + 1
            if action.finished or misses == MOST_MISSES:
                return missed

    async def _ask(self, action: TrackedAction, followed: _Followed) -> str | None:
        """Ask upstream once; return why there was no report, if there was none."""
        try:
            report = await self._log.action(action.action_id)
        except Refusal as refusal:
            return refusal.cause
        if report is None:
            return "not_found"
        wider, over = action.wider, action.over_cancelled
        action.see(report)
        if action.wider and not wider:
            self._operators_log.error("filter_wider", decision_id=action.decision_id, action_id=action.action_id)
            why = f"QStash works on a wider filter than decision {action.decision_id} sent"
            self.wider(followed.principal.team, followed.rule, why)
            self.exceeded(Excess(action.decision_id, followed.principal.team, followed.rule))
        if action.over_cancelled and not over:
            self._operators_log.error(
                "over_cancelled",
                decision_id=action.decision_id,
                cancelled=action.total,
                over_cancelled=action.over_cancelled,
            )
            over_by = action.over_cancelled
            self.exceeded(Excess(action.decision_id, followed.principal.team, followed.rule, over_by))
        return None

    async def _read_back(self, runs: OrderedRuns) -> str | None:
        missed: str | None = None
        for wait_s in LOOKS_S:
            await asyncio.sleep(wait_s)
            missed = await self._look(runs)
            if not runs.pending:
                return None
        return missed

    async def _look(self, runs: OrderedRuns) -> str | None:
        """Look up every pending run once; return why that ended early, if it did."""
        pending = runs.pending
        for first in range(0, len(pending), LOOK_IDS):
            asked = pending[first : first + LOOK_IDS]
            try:
                runs.see(asked, await self._log.look_up(asked))
            except Refusal as refusal:
                return refusal.cause
        return None


def _subject(left: LeftOver, *, reads_back: bool) -> Subject | None:
    match left.orders, left.outcome:
        case (Order(selection=ByFilter()) as order,), Cancelled(action_id=str(action_id), cancelled=cancelled):
            return TrackedAction(left.decision_id, order, action_id, cancelled)
        case (Order(selection=ByFilter()) as order,), Accepted(action_id=action_id):
            return TrackedAction(left.decision_id, order, action_id)
        # For run IDs upstream keeps no total, so an action ID only says that the order may be carried out. What became
        # of an entry or a message nothing says: it may be gone by whatever it was.
        case (Order(selection=ByIds(), action=Action.CANCEL_RUNS), *_), Unknown() | Accepted() if reads_back:
            return _ordered(left, left.outcome)
    return None


def _ordered(left: LeftOver, outcome: Unknown | Accepted) -> OrderedRuns | None:
    """Return the runs of the orders except those that were certainly not sent; None if none is left."""
    progress = outcome.progress if isinstance(outcome, Unknown) else None
    unsent = frozenset(progress.unsent if progress is not None else ())
    ordered = {run_id: left.created_ms.get(run_id) for run_id in _ids(left.orders) if run_id not in unsent}
    certain = progress.cancelled if progress is not None else 0
    return OrderedRuns(left.decision_id, ordered, certain=certain) if ordered else None


def _at_least(subject: Subject, members: Members) -> Members:
    """Return what is learnt of a decision: never fewer runs than upstream had said are cancelled."""
    match subject, members["cancelled"]:
        case OrderedRuns(certain=certain), int(cancelled) if cancelled < certain:
            return {**members, "cancelled": certain}
    return members


def _ids(orders: Iterable[Order]) -> list[str]:
    return [run_id for order in orders if isinstance(order.selection, ByIds) for run_id in order.selection.ids]
