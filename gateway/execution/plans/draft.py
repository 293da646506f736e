"""A plan: one look-up, and the runs it found, with the states that it passes through."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from gateway.core.errors import Conflict, NotFound, Refusal
from gateway.core.outcome import Accepted, Cancelled, Outcome, Unknown
from gateway.core.plan import Denial, Permit, Plan
from gateway.core.request import Action, Principal
from gateway.core.run import LookUp, Resolution, Resolved
from gateway.execution.plans.waiting import Halt
from gateway.execution.ports import Call
from gateway.operations.table import OPERATIONS
from gateway.operations.words import WORDS


class State(StrEnum):
    """The states of a plan. In the first four it can still be applied or stopped; the others are its end."""

    LOOKING = "looking"
    READY = "ready"
    AWAITING = "awaiting_approval"
    APPLYING = "applying"
    REJECTED = "rejected"
    REFUSED = "refused"
    FAILED = "failed"
    APPLIED = "applied"
    STOPPED = "stopped"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


NO_RUNS = Resolved(())
"""The runs of a plan that were not looked up, or are not kept any more."""


def no_such_plan() -> NotFound:
    """Return the refusal for a plan ID that is not, or no longer, a plan of the caller."""
    return NotFound("plan", "There is no such plan of yours any more; plan again (POST /gateway/v1/plans).")


def no_read_token(action: Action) -> NotFound:
    """Return the refusal of a request whose things cannot be looked up, because nothing may be read."""
    words = WORDS[action]
    return NotFound(
        "no_read_token",
        f"This gateway cannot look {words.things} up, because it has no read-only token (upstream.read_token): ask its "
        f"operators for one, or send the {words.act} itself.",
    )


def not_listed(action: Action) -> NotFound:
    """Return the refusal of a plan for an action whose things nothing lists."""
    sentence = f"Nothing is looked up for {action.value}, so there is no plan or preview of it: send the call itself."
    return NotFound("no_look_up", sentence)


class Withdrawal(NamedTuple):
    """The wish to stop a plan: whose it is, the decision id of the call, and the caller's address."""

    principal: Principal
    decision_id: str
    remote: str | None


class Learnt(NamedTuple):
    """The finding of the follow-up of a plan: when it ended (Unix milliseconds), what was read, how many runs."""

    at_ms: int
    source: str
    cancelled: int | None


class Times(NamedTuple):
    """The times of a plan, in Unix milliseconds: when it was asked for, and until when the rest holds.

    Its look-up has ended at `looked_until_ms`, it can be applied until `applied_until_ms`, and is shown until
    `shown_until_ms`.
    """

    made_ms: int = 0
    looked_until_ms: int = 0
    applied_until_ms: int = 0
    shown_until_ms: int = 0


NO_TIMES = Times()


@dataclass(slots=True, eq=False)
class Draft:
    """One look-up and the plan it becomes, identified by the decision id of the call that asked for it.

    `sent` is the plan as it was applied, `outcome` the word for what came of it, and `settled` what was learnt later.
    Where a store is shared, `given` says that somebody was told the ID, so that another gateway may be asked for the
    plan, and `kept` that the store has it. Of a plan that was read there, `planned` is how many orders it has.

    With `approval` others have to approve its runs; `approved_by` names them once they have, for as long as this
    request goes on.
    """

    call: Call
    permit: Permit
    made_s: float
    state: State = State.LOOKING
    looked_at_s: float = 0.0
    narrowed: bool = False
    read_to_end: bool = False
    as_of_ms: int | None = None
    much_news: bool = False
    look: LookUp = field(default_factory=LookUp)
    resolved: Resolved = NO_RUNS
    denial: Denial | None = None
    failure: Refusal | None = None
    sent: Plan | None = None
    orders_sent: int = 0
    cancelled: int = 0
    outcome: str | None = None
    settled: Learnt | None = None
    halt: Halt = field(default_factory=Halt)
    task: asyncio.Task[None] | None = None
    waiting: int = 0
    times: Times = NO_TIMES
    given: bool = False
    kept: bool = False
    planned: int | None = None
    approval: bool = False
    approved_by: tuple[str, ...] = ()

    @property
    def plan_id(self) -> str:
        """The ID of the plan: the decision id of its call."""
        return self.call.decision_id

    @property
    def act(self) -> str:
        """What the plan is to do, in a word: a cancel, a deletion."""
        return WORDS[self.call.request.action].act

    @property
    def at_work(self) -> bool:
        """Whether the plan is being looked up or applied."""
        return self.state in (State.LOOKING, State.APPLYING)

    @property
    def may_be_elsewhere(self) -> bool:
        """Whether another gateway may have applied or stopped the plan without this one knowing."""
        return self.given and self.state in (State.READY, State.AWAITING)

    @property
    def has_runs(self) -> bool:
        """Whether the runs were looked up, and are still known; they may be none."""
        return self.resolved is not NO_RUNS

    @property
    def orders(self) -> int:
        """How many orders the plan has, or would have if it were applied now."""
        if self.sent is not None:
            return len(self.sent.orders)
        if self.planned is not None:
            return self.planned
        return -(-len(self.resolved.runs) // OPERATIONS[self.call.request.action].most_ids)

    def stop(self, by: str) -> None:
        """Stop the plan for good: end its look-up, take what is ready, or let nothing more of it be sent.

        A plan that is being applied is still at work until the order that is out has ended. One that has ended stays
        as it is.
        """
        if self.state in (State.LOOKING, State.READY, State.AWAITING):
            self.state = State.STOPPED
        elif self.state is not State.APPLYING:
            return
        self.halt.ask(by)
        if self.task is not None:
            self.task.cancel()

    def not_applied(self) -> None:
        """Note that nothing of the plan was sent, so that it can still be applied unless somebody stopped it."""
        before = State.AWAITING if self.approval else State.READY
        self.state, self.sent = before if self.halt.by is None else State.STOPPED, None

    def await_approval(self, now_ms: int, *, within_ms: int, shown_ms: int) -> None:
        """Have the plan wait for other people from now on (Unix milliseconds), and be shown a while longer."""
        until_ms = now_ms + within_ms
        self.state, self.approval, self.given = State.AWAITING, True, True
        self.times = self.times._replace(applied_until_ms=until_ms, shown_until_ms=until_ms + shown_ms)

    def ended(self, outcome: Outcome, *, stopped: str | None) -> None:
        """Note what came of applying the plan; `stopped` is the word for that if somebody stopped it."""
        self.outcome = stopped or outcome.name
        match outcome:
            case Cancelled():
                self.cancelled = outcome.cancelled
                self.state = State.APPLIED if stopped is None else State.STOPPED
            case Unknown() | Accepted():
                self.state = State.UNKNOWN
            case _:
                self.state = State.APPLIED

    async def wait(self, most_s: float) -> State:
        """Wait up to `most_s` seconds for the look-up; return the state. Cancelling the waiter does not cancel it."""
        assert self.task is not None
        self.waiting += 1
        try:
            await asyncio.wait([self.task], timeout=most_s)
        finally:
            self.waiting -= 1
        return self.state

    def told(self, orders_sent: int, cancelled: int) -> None:
        """Note the progress: how many orders were sent, and how many runs are certainly cancelled."""
        self.orders_sent, self.cancelled = orders_sent, cancelled


def check_ready(draft: Draft) -> None:
    """Raise Conflict unless the plan can be applied now."""
    if draft.state is State.READY:
        return
    if draft.state is State.AWAITING and draft.approved_by:
        return
    if draft.state is State.EXPIRED:
        raise void(draft.plan_id, act=draft.act) if draft.approval else no_such_plan()
    if draft.state is State.REJECTED:
        raise rejected(draft.plan_id, act=draft.act)
    if draft.state is State.STOPPED:
        raise stopped(draft.plan_id)
    if draft.state in (State.APPLYING, State.APPLIED, State.UNKNOWN):
        raise applied(draft.plan_id, draft.state)
    name = draft.plan_id
    if draft.state is State.AWAITING:
        raise _conflict("approval_required", "This plan waits for approval; nothing was sent.", name, draft.state)
    if draft.state is not State.LOOKING:
        sentence = "The look-up came to no plan, so there is nothing to apply. Plan again."
        raise _conflict("plan_refused", sentence, name, draft.state)
    sentence = (
        f"Looking the {WORDS[draft.call.request.action].things} up takes longer than a request may wait; "
        "nothing was sent. "
        f"See the plan: GET /gateway/v1/plans/{name}; apply it: POST /gateway/v1/plans/{name}/apply."
    )
    raise _conflict("plan_pending", sentence, name, draft.state)


def applied(plan_id: str, state: State = State.APPLYING) -> Conflict:
    """Return the refusal of a plan that somebody applies, or has applied."""
    sentence = "This plan was applied, and a plan is applied once. Plan again."
    return _conflict("plan_applied", sentence, plan_id, state)


def stopped(plan_id: str) -> Conflict:
    """Return the refusal of a plan that was stopped before it was applied."""
    sentence = "This plan was stopped, and nothing more of it is sent. Plan again."
    return _conflict("plan_stopped", sentence, plan_id, State.STOPPED)


def rejected(
    plan_id: str, by: str | None = None, *, act: str = "cancel", members: Mapping[str, object] | None = None
) -> Conflict:
    """Return the refusal of a plan that somebody has rejected; `by` says who, and why, and `act` what it is to do."""
    sentence = f"This {act} was rejected{f' by {by}' if by is not None else ''}; nothing was sent."
    return _conflict("plan_rejected", sentence, plan_id, State.REJECTED, members)


VOID = {
    None: "its time is up",
    "policy": "the policies have changed since",
    "runs": "it is about other runs",
    "approver": "the key or token of an approver is not in force any more",
}
"""Why an approval does not hold, by the fixed word for it."""


def void(plan_id: str, why: str | None = None, *, act: str = "cancel") -> Conflict:
    """Return the refusal of a plan, which is to do `act`, whose approval does not hold (any more)."""
    sentence = f"This approval does not hold: {VOID[why]}. Nothing was sent. Ask anew with the same {act}."
    return _conflict("approval_void", sentence, plan_id, State.EXPIRED, {"cause": why or "expired"})


def _conflict(
    code: str, sentence: str, plan_id: str, state: State, more: Mapping[str, object] | None = None
) -> Conflict:
    return Conflict(code, sentence, members={"plan": plan_id, "state": state.value, **(more or {})})


def look_up_of(permit: Permit, now_ms: int, handled: Container[tuple[str, int]]) -> LookUp:
    """Return the look-up for a permitted request: a rule with `runs.max` has to know of all runs that match."""
    bounds = permit.resolution or Resolution()
    latest_ms = now_ms - bounds.older_than_ms if bounds.older_than_ms else None
    return LookUp(permit.effective.count if bounds.max_runs is None else None, latest_ms, handled)
