"""The part of the gate that takes something of the store for a request: runs of a budget, an Idempotency-Key.

Both are taken in one transaction before the intent, which names them. What is certain of the outcome is told to the
store behind the answer, until the store has it (`settling`). Only a request with an Idempotency-Key waits for that, a
moment: once its answer is given, a repeat at any gateway is answered with the same. If the store has to be told later,
this gateway knows the answer meanwhile, and others say that it is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.audit.events.declare import Members
from gateway.core.errors import Conflict, KeyReused, StateUnavailable, counted
from gateway.core.forms.shown import DECISIONS, budget_field
from gateway.core.forms.times import run_time
from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.plan import Barrier, Budget, Denial, Permit, Plan, Reserved
from gateway.core.ports import Clock
from gateway.core.request import Principal
from gateway.execution.gates.left import drawn_on
from gateway.execution.gates.settling import Settling
from gateway.execution.in_flight import Replay, Result
from gateway.execution.plans.draft import State
from gateway.execution.ports import Call
from gateway.operations.words import WORDS, Words
from gateway.policy.window import duration
from gateway.state.admissions import (
    Admission,
    Admitted,
    Answered,
    Binding,
    Bound,
    Closed,
    Exhausted,
    Left,
    NeedsApproval,
    Progress,
    Reservation,
    Unapproved,
)
from gateway.state.port import Admissions

POLL_S = 0.25
WAIT_S = 10.0
"""How often a request asks for the end of an identical one at another gateway, and how long in all, in seconds."""

DURABLE_S = 2.0
"""The longest, in seconds, that an answer waits until it can be repeated: longer than a call of the store may take."""

MOST_SCOPES = 1_000
"""How many budgets are remembered; nothing but a number for people depends on it."""


class _Seen(NamedTuple):
    """What was left of a budget when the store last said so."""

    rule: str
    left: Left
    budget: Budget


class Takes:
    """Budgets and Idempotency-Keys of the requests of this gateway, which is `instance` in the store.

    `shown` makes the answer that is kept for repeats. `learnt` is to be told every `settled` record.
    """

    def __init__(
        self, admissions: Admissions, instance: str, clock: Clock, *, shown: Callable[[Result], Answered]
    ) -> None:
        self._admissions = admissions
        self._instance = instance
        self._clock = clock
        self._shown = shown
        self._settling = Settling(admissions)
        self._seen: dict[str, _Seen] = {}

    async def enter(self, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return the answer to a repeat; None if the request has no Idempotency-Key, or one that is not taken.

        Raises:
            StateUnavailable: nobody knows whether the key was used.
            KeyReused: it was, with another request.
            Conflict: it was, and nobody knows what came of it, or not yet.
        """
        if call.once is None:
            return None
        bound = await self._admissions.bound(call.once.key_sha256)
        return None if bound is None else await self._earlier(bound, call.once, call.principal, permit)

    async def overtaken(self, conflict: Conflict, call: Call, permit: Permit) -> Denial | Replay | None:
        """Return the answer to a repeat whose first request has claimed the plan; None if it comes with no such key.

        The key is taken just after the claim, so it is waited for. Raises: as `enter`.
        """
        if call.once is None or conflict.members.get("state") != State.APPLYING.value:
            return None
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + DURABLE_S
        while (told := await self.enter(call, permit)) is None and loop.time() < ends_s:  # noqa: ASYNC110 - elsewhere
            await asyncio.sleep(POLL_S)
        return told

    async def admit(self, plan: Plan, call: Call) -> Plan | Denial | Replay | NeedsApproval:
        """Take the runs and the key that the plan needs, and return it with them; or what the request is answered.

        Raises:
            StateUnavailable: it is not known whether they were taken; they are given back.
            KeyReused, Conflict: as in `enter`.
        """
        admission = Admission(plan.decision_id, self._instance, reservation_of(plan), call.once)
        if admission.reservation is None and admission.binding is None:
            return plan
        while True:
            try:
                verdict = await self._admissions.admit(admission)
            except BaseException:
                self._settling.withdraw(plan.decision_id)
                raise
            match verdict:
                case Admitted(left):
                    return self._admitted(plan, admission, left)
                case Exhausted(left):
                    return self._exhausted(plan, admission, left)
                case NeedsApproval():
                    return verdict
                case Bound() as bound:
                    assert admission.binding is not None
                    found = await self._earlier(bound, admission.binding, plan.principal, plan.permit)
                    if found is not None:
                        return found

    async def withdraw(self, plan: Plan) -> None:
        """Give back what an admitted plan took: it has no intent. Never raises, and waits for nothing."""
        if plan.reserved is not None or plan.idempotency is not None:
            self._settling.withdraw(plan.decision_id)

    async def close(self, plan: Plan, call: Call, result: Result) -> None:
        """Settle what an admitted plan took, by what is certain. Only a key is waited for. Never raises."""
        if plan.reserved is None and plan.idempotency is None:
            return
        closed = closed_of(result.outcome)
        if plan.idempotency is not None and closed.runs is not None and not closed.free_binding:
            closed = replace(closed, answer=self._shown(result))
        told = self._settling.close(plan.decision_id, closed)
        if plan.idempotency is not None:
            await asyncio.wait((told,), timeout=DURABLE_S)

    def learnt(self, found: Members) -> None:
        """Settle what an unknown outcome kept, if its follow-up has found out. Returns at once, never raises."""
        if isinstance(cancelled := found["cancelled"], int):
            self._settling.close(str(found["decision_id"]), Closed(cancelled))

    async def left(self, drawn: Sequence[Reservation]) -> Sequence[Left] | None:
        """Return what is left of each of these budgets, in turn; None if the store does not say it in time."""
        try:
            found = await self._admissions.left(drawn)
        except StateUnavailable:
            return None
        for one, left in zip(drawn, found, strict=True):
            self._note(one.rule, one.scope, left, one.budget)
        return found

    def left_runs(self) -> dict[str, int]:
        """Return what is left of the runs of each rule with a budget, as far as requests have shown it here.

        Where each team or key has a budget of its own, that is the least of them.
        """
        now_ms, found = self._clock.now_ms(), dict[str, int]()
        for seen in self._seen.values():
            if seen.budget.runs is not None and seen.left.runs is not None:
                left = seen.budget.runs if now_ms >= seen.left.resets_ms else seen.left.runs
                found[seen.rule] = min(left, found.get(seen.rule, left))
        return found

    async def stop(self, within_s: float) -> None:
        """Wait for what the store is still to be told; what it is not told in time the next start finds on record."""
        await self._settling.stop(within_s)

    async def _earlier(self, bound: Bound, once: Binding, principal: Principal, permit: Permit) -> Replay | None:
        """Return the answer to a repeat; None if the key has become free, because nothing was sent for it.

        Raises: KeyReused, Conflict, StateUnavailable.
        """
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + WAIT_S
        while True:
            if bound.request_sha256 != once.request_sha256:
                raise KeyReused
            known = self._known(bound)
            if known.answer is not None:
                return Replay(bound.decision_id, known.answer, await self._budget_of(permit, principal))
            if known.progress is Progress.UNKNOWN or known.gone or loop.time() >= ends_s:
                raise _unknown(known, WORDS[permit.effective.action])
            await asyncio.sleep(POLL_S)
            found = await self._admissions.bound(once.key_sha256)
            if found is None:
                return None
            bound = found

    def _known(self, bound: Bound) -> Bound:
        """Return what is known of a decision: what this gateway has still to tell the store goes before."""
        owed = self._settling.owed(bound.decision_id)
        if not isinstance(owed, Closed) or owed.free_binding:
            return bound
        if owed.answer is not None:
            return replace(bound, progress=Progress.ANSWERED, answer=owed.answer)
        return replace(bound, progress=Progress.UNKNOWN, cancelled=owed.runs)

    async def _budget_of(self, permit: Permit, principal: Principal) -> str | None:
        if permit.budget is None or permit.rule is None:
            return None
        found = await self.left([drawn_on(permit.rule, permit.budget, principal)])
        return None if found is None else budget_field(found[0].runs, found[0].requests, found[0].resets_ms)

    def _admitted(self, plan: Plan, admission: Admission, left: Left | None) -> Plan:
        reservation, binding = admission.reservation, admission.binding
        reserved = None
        if reservation is not None:
            left = left or Left(None, None, 0)
            if plan.permit.budget is not None:
                self._note(reservation.rule, reservation.scope, left, reservation.budget)
            reserved = Reserved(
                reservation.rule, reservation.scope, reservation.runs, left.runs, left.requests, left.resets_ms
            )
        return plan._replace(reserved=reserved, idempotency=None if binding is None else binding.key_sha256)

    def _exhausted(self, plan: Plan, admission: Admission, left: Left) -> Denial:
        reservation = admission.reservation
        assert reservation is not None
        self._note(reservation.rule, reservation.scope, left, reservation.budget)
        return exhausted(plan.permit, reservation, left, self._clock.now_ms())

    def _note(self, rule: str, scope: str, left: Left, budget: Budget) -> None:
        self._seen.pop(scope, None)
        self._seen[scope] = _Seen(rule, left, budget)
        if len(self._seen) > MOST_SCOPES:
            del self._seen[next(iter(self._seen))]


def reservation_of(plan: Plan) -> Reservation | None:
    """Return what a plan takes of the budget of its rule: as many runs as it orders; None if nothing counts them.

    Where approval may be needed the runs are counted also without a budget. What was approved needs none.
    """
    rule, budget, approval = plan.permit.rule, plan.permit.budget, plan.permit.approval
    if rule is None or (budget is None and approval is None):
        return None
    free = None if approval is None or plan.approved_by else Unapproved(approval.over, approval.within_ms)
    if budget is None:
        assert approval is not None
        # It bounds nothing, and is that of the team: that is who may do so much without approval.
        budget = Budget(approval.within_ms, shared="team")
    runs = sum(order.count for order in plan.orders)
    drawn = drawn_on(rule, budget, plan.principal, runs=runs)
    return replace(drawn, team=plan.principal.team, unapproved=free)


def closed_of(outcome: Outcome) -> Closed:
    """Return what is certain of an outcome. A key for which QStash certainly did nothing yet is free again."""
    match outcome:
        case Cancelled(cancelled=cancelled):
            return Closed(cancelled)
        case NotSent():
            return Closed(0, free_binding=True)
        case Refused(upstream_status=status):
            # What was refused for its pace is to be sent again, by its caller.
            return Closed(0, free_binding=status == 429)
        case _:
            return Closed(None)


def exhausted(permit: Permit, reservation: Reservation, left: Left, now_ms: int) -> Denial:
    """Return the refusal of a request for which not enough is left of a budget."""
    budget, wanted = reservation.budget, reservation.runs
    again = f"All of it is there again at {run_time(left.resets_ms)}."
    words = WORDS[permit.effective.action]
    per, nothing = f"within any {duration(budget.per_ms)}", f"Nothing was sent and nothing was {words.done}."
    headers = [("Gateway-Budget", budget_field(left.runs, left.requests, left.resets_ms))]
    if left.runs is None or wanted <= left.runs:
        code, title, count = "throttled", "Too many requests", left.requests or 0
        retry_s, limit = max(1, -(-(left.resets_ms - now_ms) // 1000)), budget.requests or 0
        headers += [("Retry-After", str(retry_s)), ("Burst-RateLimit-Limit", str(limit))]
        headers += [("Burst-RateLimit-Remaining", "0"), ("Burst-RateLimit-Reset", str(-(-left.resets_ms // 1000)))]
        said = f"Rule {permit.rule} allows {counted(limit, 'request')} {per}, and they are used up."
    else:
        code, title, count = "budget_exhausted", "Budget exhausted", left.runs
        said = (
            f"Rule {permit.rule} allows {words.number(budget.runs or 0)} {per}: {count} of them "
            f"{'is' if count == 1 else 'are'} left, and this request means {wanted}."
        )
        if count:
            again = f"A request for at most {words.number(count)} fits now. {again}"
        if wanted > (budget.runs or 0):
            again = f"It never fits: ask for at most {words.number(budget.runs or 0)} at a time."
    members = {"left": count, "resets_at": run_time(left.resets_ms)}
    barrier = Barrier(code, title, members, tuple(headers))
    return Denial(
        permit.rule, "deny", None, f"{said} {nothing} {again}", None, exceptions=permit.exceptions, barrier=barrier
    )


def _unknown(bound: Bound, words: Words) -> Conflict:
    """Return the refusal of a repeat while nobody can say what came of the first."""
    status_url = f"{DECISIONS}/{bound.decision_id}"
    members: dict[str, object] = {"decision": bound.decision_id, "status_url": status_url, "cancelled": bound.cancelled}
    if bound.cancelled is not None:
        known = f"it has {words.done} {words.number(bound.cancelled)}, as was learnt later"
    elif bound.progress is Progress.UNDER_WAY and not bound.gone:
        known = "it is still under way at another gateway: ask again with the same key"
    else:
        known = f"what becomes known of it: GET {status_url}"
    sentence = (
        f"This Idempotency-Key was sent before, and what came of it is not known for certain; {known}. "
        "Nothing more was sent, and with this key nothing will be for 24 hours."
    )
    return Conflict("outcome_unknown", sentence, members=members)
