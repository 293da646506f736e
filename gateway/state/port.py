"""The port of the store. SQLite and PostgreSQL implement it (`gateway/store`), and one suite tests both.

Every method ends within 1.5 s, raises StateUnavailable whatever goes wrong, and is one transaction: it happened wholly
or not at all. A method that raised may have happened, so each can be repeated.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from gateway.state.admissions import Admission, Bound, Closed, Left, Open, Reservation, Verdict
from gateway.state.approvals import End, Full, Unheard, Voice, Waiting
from gateway.state.freezes import Freeze, Snapshot
from gateway.state.notices import KeptNotice, TakenNotice
from gateway.state.plans import KeptDecision, KeptPlan
from gateway.state.timed.timers import Switched, Timer, Timers


class Freezes(Protocol):
    """Freezes, and the beats of the gateways that have to know of them."""

    async def beat(self, instance: str, number: int) -> Snapshot:
        """Say that this gateway is there and has the freezes up to `number` in force; return what it has to know."""

    async def leave(self, instances: Collection[str]) -> None:
        """Say that these gateways have ended: nobody waits for them, and none is named as silent."""

    async def changed(self, most_s: float) -> None:
        """Wait until something may have changed, at most so long. Never raises."""

    async def freeze(self, freeze: Freeze) -> Freeze:
        """Keep a freeze; return it with its number. One whose ID is there already is left as it is."""

    async def thaw(self, freeze_id: str, by: str) -> Freeze | None:
        """End a freeze; return it, or None if there is none in force with that ID."""

    async def recorded(self, freeze_id: str, what: str) -> None:
        """Note that its beginning (`freeze`) or its end (`thaw`) is on record."""


class Admissions(Protocol):
    """Budgets and Idempotency-Keys, taken before an intent."""

    async def admit(self, admission: Admission) -> Verdict:
        """Take the reservation and the key, both or neither. The same admission again is the same one."""

    async def withdraw(self, decision_id: str) -> None:
        """Give back what a decision took: nothing was sent, and no intent stands in the record."""

    async def close(self, decision_id: str, closed: Closed) -> None:
        """Settle a decision by what is certain now. A later call may know more; what was certain stays."""

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left]:
        """Return what is left of the budget that each of these reservations would take from, in turn."""

    async def bound(self, key_sha256: str) -> Bound | None:
        """Return who has the key, if it is taken."""

    async def open_of(self, instances: Collection[str]) -> Sequence[Open]:
        """Return the admissions of these gateways that are neither closed nor withdrawn."""


class Approvals(Protocol):
    """Plans that wait for approval, and what people say of them."""

    async def wait_for_approval(self, waiting: Waiting, plan: KeptPlan) -> Waiting | Full:
        """Take a plan that is to wait from now on, or return the one that waits already for an identical cancel."""

    async def confirm_wait(self, plan_id: str) -> None:
        """Let a plan wait, because that is on record: from now on it is listed, and what people say of it is taken."""

    async def waiting(self, plan_id: str) -> Waiting | None:
        """Return what is known of a plan that waits or has waited."""

    async def waiting_like(self, requester: str, request_sha256: str, instance: str) -> Waiting | None:
        """Return the newest plan of an identical cancel that waits in time, or was rejected and would still wait.

        One that this gateway has claimed is among them: it alone knows whether the answer to the claim was lost.
        """

    async def waiting_for(self, team: str | None) -> Sequence[Waiting]:
        """Return the plans that wait for people of this team (None: of any), the newest first."""

    async def hear(self, voice: Voice) -> Waiting | Unheard:
        """Take what somebody says of a plan; it counts once it is confirmed. Said again it changes nothing."""

    async def confirm(self, voice_id: str) -> Waiting | None:
        """Let it count, because it is on record; return the plan as it is then. A rejection ends a plan that waits."""

    async def end_waiting(self, plan_id: str, end: End, instance: str) -> bool:
        """End the wait of a plan for good, so that nobody applies it; return whether it has not ended before.

        A plan that another gateway than this one has claimed does not wait. Of a claim of its own the caller knows that
        its answer was lost.
        """

    async def expired(self, instance: str) -> Sequence[Waiting]:
        """Return the plans whose time is up, for this gateway to record: its own, and those of dead ones."""


class Plans(Protocol):
    """Plans that any gateway may show, apply or stop, and the cursors of listings."""

    async def keep_plan(self, plan: KeptPlan) -> None:
        """Keep a plan, or what became of it; `claimed_by` and `stopped_by` are left as the store has them."""

    async def plan(self, plan_id: str) -> KeptPlan | None:
        """Return a plan that is still shown."""

    async def plans_of(self, principal: str | None, most: int) -> Sequence[KeptPlan]:
        """Return the principal's plans (None: anybody's) that are still shown, the newest first, up to some MB."""

    async def claim(self, plan_id: str, instance: str) -> bool:
        """Return whether this gateway may apply the plan: it alone, once, unless somebody stopped it."""

    async def give_back(self, plan_id: str, instance: str) -> None:
        """Give the claim back, before the intent; only its holder can."""

    async def stop_plan(self, plan_id: str, by: str) -> KeptPlan | None:
        """Note that the plan is to be stopped; return it as it is then."""

    async def keep_cursor(self, cursor: str, owner: str, value: bytes, lives_s: int) -> None:
        """Keep what a cursor stands for."""

    async def cursor(self, cursor: str, owner: str) -> bytes | None:
        """Return what a cursor of this owner stands for, if it still lives."""


class DecisionsKept(Protocol):
    """Closed decisions of the whole fleet."""

    async def keep_decisions(self, decisions: Sequence[KeptDecision]) -> None:
        """Keep decisions, or what is known of them by now."""

    async def decision(self, decision_id: str) -> KeptDecision | None:
        """Return one decision."""

    async def decisions(self, team: str | None, most: int, before: tuple[int, str] | None) -> Sequence[KeptDecision]:
        """Return decisions of a team (None: any), the newest first, older than `before` (`at_ms`, ID)."""


class Notices(Protocol):
    """Notices on their way to receivers: kept until delivered, by one gateway at a time, in order per subject."""

    async def keep_notices(self, notices: Sequence[KeptNotice], most: int) -> Mapping[str, int]:
        """Keep notices; one that is known for its receiver is left as it is.

        At most so many wait for one receiver: the oldest beyond them are dropped. Return how many, by receiver.
        """

    async def take_notices(self, receiver: str, holder: str, *, most: int, lease_ms: int) -> Sequence[TakenNotice]:
        """Return notices that are due, for this holder alone for so long: of each subject the first that waits.

        What has been due for longest comes first.
        """

    async def notice_delivered(self, notice: TakenNotice) -> None:
        """Note that the receiver has taken it."""

    async def notice_postponed(self, notice: TakenNotice, holder: str, wait_ms: int) -> None:
        """Give the notice back after an attempt that failed; it is due again after so long."""


class TimersKept(Protocol):
    """Pauses that end by themselves: each is resumed by one gateway, once."""

    async def prepare_timer(self, timer: Timer) -> None:
        """Keep a timer before its pause is sent."""

    async def switched(self, switched: Switched) -> None:
        """Note what came of a pause or resume: its own timer waits from now on, or is over; so are those it replaces.

        A pause of which nobody knows whether it was done leaves a timer that is stuck.
        """

    async def timers(self) -> Timers:
        """Return the timers, the first due first."""

    async def take_timer(self, decision_id: str, resume_id: str, instance: str) -> bool:
        """Return whether this gateway alone may resume what is due, under this decision."""

    async def give_back_timer(self, decision_id: str, resume_id: str, wait_ms: int) -> None:
        """Give a timer back, because nothing was sent for it; it is due again after so long."""

    async def end_timer(self, decision_id: str, resume_id: str, why: str | None) -> None:
        """End a timer that was taken: what it is about was resumed, or it is stuck, and `why`."""


class Store(Freezes, Admissions, Approvals, Plans, DecisionsKept, Notices, TimersKept, Protocol):
    """All of it. `shared` says whether other gateways may be there: decisions are kept only then."""

    @property
    def shared(self) -> bool:
        """Whether the store is one that a fleet shares."""

    async def aclose(self) -> None:
        """Close its connections. Never raises."""
