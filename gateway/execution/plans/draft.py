"""A plan: one look-up, and the runs it found, with the states that it passes through."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.core.errors import Conflict, NotFound, Refusal
from gateway.core.plan import Denial, Permit
from gateway.core.run import LookUp, Resolved
from gateway.execution.ports import Call


class State(StrEnum):
    """The states of a plan."""

    LOOKING = "looking"
    READY = "ready"
    REFUSED = "refused"
    FAILED = "failed"
    APPLYING = "applying"
    APPLIED = "applied"


def no_such_plan() -> NotFound:
    """Return the refusal for a plan ID that is not, or no longer, a plan of the caller."""
    return NotFound("plan", "There is no such plan of yours any more; plan again (POST /gateway/v1/plans).")


@dataclass(slots=True, eq=False)
class Draft:
    """One look-up and the plan it becomes, identified by the decision id of the call that asked for it."""

    call: Call
    permit: Permit
    made_s: float
    state: State = State.LOOKING
    looked_at_s: float = 0.0
    narrowed: bool = False
    as_of_ms: int | None = None
    much_news: bool = False
    look: LookUp = field(default_factory=LookUp)
    resolved: Resolved = field(default_factory=lambda: Resolved(()))
    denial: Denial | None = None
    failure: Refusal | None = None
    orders_sent: int = 0
    cancelled: int = 0
    task: asyncio.Task[None] | None = None
    waiting: int = 0

    @property
    def plan_id(self) -> str:
        """The ID of the plan: the decision id of its call."""
        return self.call.decision_id

    @property
    def at_work(self) -> bool:
        """Whether the plan is being looked up or applied."""
        return self.state in (State.LOOKING, State.APPLYING)

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
    name = draft.plan_id
    code, sentence = "plan_refused", "The look-up came to no plan, so there is nothing to apply. Plan again."
    if draft.state is State.LOOKING:
        code = "plan_pending"
        sentence = (
            "Looking the runs up takes longer than a request may wait; nothing was sent. "
            f"See the plan: GET /gateway/v1/plans/{name}; apply it: POST /gateway/v1/plans/{name}/apply."
        )
    if draft.state in (State.APPLYING, State.APPLIED):
        code, sentence = "plan_applied", "This plan was applied, and a plan is applied once. Plan again."
    raise Conflict(code, sentence, members={"plan": name, "state": draft.state.value})
