"""Approvals: a plan waits until other people have approved exactly its runs; then its requester's cancel applies it.

What was approved is bound to the requester, the typed request with its reason, the digest of the runs, that of the
policies, a time, and to approvers whose key or token is still in force. Whatever of it has changed, the approval does
not hold, which is recorded, and ends the plan. It is used once, because a plan is claimed once; the claim comes before
the intent, and is given back where no intent came of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gateway.audit.events.approvals import asked_members, ended_members, said_members
from gateway.core.errors import (
    AuditUnavailable,
    Conflict,
    NotFound,
    StateUnavailable,
    counted,
)
from gateway.core.forms.shown import PLANS
from gateway.core.forms.times import run_time
from gateway.core.plan import Permit
from gateway.core.ports import Clock, KeepPort
from gateway.core.request import Principal
from gateway.execution.gates.unapproved import (
    check_approver,
    check_waits,
    names,
    over,
    same_person,
    too_many,
    why_needed,
)
from gateway.execution.plans.draft import (
    Draft,
    State,
    applied,
    check_ready,
    no_such_plan,
    rejected,
    void,
)
from gateway.execution.plans.drafts import Drafts
from gateway.execution.plans.kept import row_of
from gateway.execution.ports import Call
from gateway.operations.words import WORDS
from gateway.process import Net, report
from gateway.state.admissions import NeedsApproval
from gateway.state.approvals import SHOWN_MS, End, Full, Unheard, Voice, Waiting, Word, cancel_sha256, person_of
from gateway.state.notices import ApprovalState, ApprovalStep
from gateway.state.port import Approvals

Shown = Callable[[Draft, Waiting], Mapping[str, object]]
"""The function that shows a plan with its approvals as JSON."""

InForce = Callable[[Voice], bool]
"""The question whether the key or token that a voice came with is still accepted."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a caller says of a plan: by which right (`credential`), about which runs and under which policies."""

    principal: Principal
    credential: str
    word: Word
    reason: str | None
    digest: str
    policy_digest: str
    decision_id: str
    remote: str | None


class Approving:
    """The plans that wait for approval, as one gateway (`instance`) has them wait, hears people, and lets them go on.

    The last of those that it has had wait does so until `waits_until_ms`, by the store's clock. `told` is called with
    each step once it is on record; whoever wants to know sets it. It returns at once and raises nothing.
    """

    def __init__(
        self,
        store: Approvals,
        plans: Drafts,
        audit: KeepPort,
        *,
        instance: str,
        clock: Clock,
        shown: Shown,
        in_force: InForce,
    ) -> None:
        self._store = store
        self._plans = plans
        self._audit = audit
        self._instance = instance
        self._clock = clock
        self._shown = shown
        self._in_force = in_force
        self.waits_until_ms = 0
        self.told: Callable[[ApprovalStep], None] = lambda _: None

    async def enter(self, call: Call, permit: Permit, draft: Draft | None) -> Draft | None:
        """Return the plan that was approved for this request; None if the request goes on without.

        Raises:
            Conflict: it waits for approval, was rejected, or its approval does not hold.
            StateUnavailable, AuditUnavailable: that cannot be said, or not recorded.
        """
        if draft is not None:
            if not draft.approval:
                return None
            waiting = await self._store.waiting(draft.plan_id)
            if waiting is None:
                raise void(draft.plan_id, act=draft.act)
            return await self._approved(draft, waiting, call, permit, again=False)
        if permit.approval is None:
            return None
        waiting = await self._store.waiting_like(call.principal.name, cancel_sha256(call.request), self._instance)
        if waiting is None:
            return None
        found = await self._plans.find(call.principal, waiting.plan_id)
        if waiting.claimed and found.state is not State.AWAITING:
            return None  # this gateway has applied it
        return await self._approved(found, waiting, call, permit, again=True)

    async def ask(self, draft: Draft, call: Call, permit: Permit, needs: NeedsApproval) -> Conflict:
        """Have a plan wait for approval; return the refusal that names it, or the plan of an identical cancel.

        Raises: Throttled, StateUnavailable, AuditUnavailable.
        """
        approval, principal = permit.approval, call.principal
        assert approval is not None
        draft.await_approval(self._clock.now_ms(), within_ms=approval.within_ms, shown_ms=SHOWN_MS)
        waiting = Waiting(
            plan_id=draft.plan_id,
            instance=self._instance,
            team=principal.team,
            requester=principal.name,
            person=person_of(principal),
            request_sha256=cancel_sha256(draft.call.request),
            rule=permit.rule or "",
            by=approval.by,
            needed=approval.count,
            plan_digest=draft.resolved.digest,
            policy_digest=call.policies.digest,
            within_ms=approval.within_ms,
        )
        try:
            kept = await self._store.wait_for_approval(waiting, row_of(draft))
        finally:
            # Where it waits the store has it; where it does not, nobody was told of it as a plan that does.
            self._plans.let_go(draft)
        if isinstance(kept, Full):
            raise too_many(kept)
        if kept.plan_id != draft.plan_id:
            found = await self._plans.find(principal, kept.plan_id)
            return self._rejected(found, kept) if kept.end is End.REJECTED else await self._waits(found, kept, call)
        words = WORDS[call.request.action]
        why = why_needed(approval, needs, len(draft.resolved.runs), permit.rule or "", words=words)
        return await self._waits(draft, kept, call, f"{why} ")

    async def say(self, plan_id: str, said: Said) -> tuple[Draft, Waiting]:
        """Take, record and count what somebody says of a plan; return the plan and what is known of it then.

        Raises:
            NotFound: there is no such plan that waits, or has waited.
            NotAnApprover: the rule asks for others.
            Conflict: it does not wait any more, or not for these runs under these policies.
            StateUnavailable, AuditUnavailable: it does not count; saying it again is safe.
        """
        waiting = await self._store.waiting(plan_id)
        if waiting is None or not waiting.asked:
            raise no_such_plan()
        person = person_of(said.principal)
        check_approver(waiting, said.principal, person)
        if said.word == "reject" and (before := waiting.rejected()) and before.principal == said.principal.name:
            return await self._plans.find(None, plan_id), waiting
        check_waits(waiting)
        if said.digest != waiting.plan_digest:
            raise void(plan_id, "runs")
        if said.policy_digest != waiting.policy_digest:
            await self._end(waiting, End.VOID, "policy")
            raise void(plan_id, "policy")
        voice = Voice(
            voice_id=said.decision_id,
            plan_id=plan_id,
            principal=said.principal.name,
            person=person,
            credential=said.credential,
            word=said.word,
            reason=said.reason,
            plan_digest=said.digest,
            policy_digest=said.policy_digest,
        )
        after = await self._counted(waiting, voice, said)
        return await self._plans.find(None, plan_id), after

    async def waiting_for(self, team: str | None) -> Sequence[Waiting]:
        """Return what is known of the plans that wait for people of this team (None: of any), the newest first.

        Raises: StateUnavailable.
        """
        return await self._store.waiting_for(team)

    async def read(self, waiting: Waiting) -> Draft | None:
        """Return a plan that waits, with its runs; None if it is over or damaged. Raises: StateUnavailable."""
        with contextlib.suppress(NotFound, Conflict):  # asked for by its ID it says so
            draft = await self._plans.find(None, waiting.plan_id)
            return draft if draft.state is State.AWAITING else None
        return None

    async def seen_by(self, team: str, plan_id: str) -> tuple[Draft, Waiting]:
        """Return a plan that waits for people of this team. Raises: NotFound, StateUnavailable."""
        waiting = await self._store.waiting(plan_id)
        if waiting is None or not waiting.asked or team not in waiting.by or waiting.late:
            raise no_such_plan()
        draft = await self._plans.find(None, plan_id)
        if draft.state is not State.AWAITING:
            raise no_such_plan()
        return draft, waiting

    async def of(self, draft: Draft) -> Waiting | None:
        """Return what is known of the approvals of a plan; None if it needs none. Raises: StateUnavailable."""
        return await self._store.waiting(draft.plan_id) if draft.approval else None

    async def record_ends(self) -> None:
        """Record the plans that have expired, and end them. Raises: StateUnavailable, AuditUnavailable."""
        for waiting in await self._store.expired(self._instance):
            await self._end(waiting, End.EXPIRED, None)

    async def _approved(
        self, draft: Draft, waiting: Waiting, call: Call, permit: Permit, *, again: bool
    ) -> Draft | None:
        """Return the plan if it is approved and all that the approval is bound to still holds.

        Where it was not approved and cannot be any more, None is returned if the request may begin `again`. Raises: as
        `enter`.
        """
        name, given = waiting.plan_id, waiting.given()
        if waiting.end is End.REJECTED:
            raise self._rejected(draft, waiting)
        if draft.state is not State.AWAITING:
            # One that was applied or stopped says so, also when its time is up.
            check_ready(draft)
        if waiting.late or waiting.end in (End.EXPIRED, End.VOID):
            raise void(name, act=draft.act)
        if waiting.claimed_by not in (None, self._instance):
            # One of this gateway that still waits here has sent nothing: the answer to the claim was lost.
            raise applied(name)
        why = self._void(draft, waiting, call, permit)
        if why is not None:
            await self._end(waiting, End.VOID, why)
            if again and not any(one.confirmed for one in waiting.voices):
                return None
            raise void(name, why, act=draft.act)
        if len(given) < waiting.needed:
            raise await self._waits(draft, waiting, call)
        draft.approved_by = tuple(one.principal for one in given)
        return draft

    def _void(self, draft: Draft, waiting: Waiting, call: Call, permit: Permit) -> str | None:
        """Return what has changed of what the approval is bound to, as a fixed word; None if nothing has.

        At another time of the day another rule may admit the request, and ask for other people.
        """
        if (waiting.policy_digest, waiting.rule) != (call.policies.digest, permit.rule):
            return "policy"
        same = (draft.resolved.digest, draft.call.principal) == (waiting.plan_digest, call.principal)
        if not same or cancel_sha256(draft.call.request) != waiting.request_sha256:
            return "runs"
        return None if all(map(self._in_force, waiting.given())) else "approver"

    async def _end(self, waiting: Waiting, end: End, cause: str | None) -> None:
        """Record the end of a plan, and end it; so it may be recorded twice, and never not at all."""
        await self._audit.keep("approval", ended_members(waiting, end, cause))
        self._tell(waiting, "expired" if end is End.EXPIRED else "void", reason=cause)
        await self._store.end_waiting(waiting.plan_id, end, self._instance)

    async def _waits(self, draft: Draft, waiting: Waiting, call: Call, why: str = "") -> Conflict:
        """Return the refusal that says that a plan waits, which is on record then. Raises: as `ask`.

        Of two identical cancels at once both may record it.
        """
        if not waiting.asked:
            await self._asked(waiting, call)
            await self._store.confirm_wait(waiting.plan_id)
            self._tell(
                waiting,
                "awaiting_approval",
                runs=len(draft.resolved.runs),
                action=call.request.action.value,
                decided_by=call.principal.name,
                reason=call.request.reason,
            )
            self.waits_until_ms = max(self.waits_until_ms, waiting.until_ms)
        return self._required(draft, waiting, why)

    async def _asked(self, waiting: Waiting, call: Call) -> None:
        """Record that a plan waits; without a record it does not. Raises: AuditUnavailable."""
        asked = asked_members(waiting, call.principal, remote=call.remote, reason=call.request.reason)
        try:
            await self._audit.keep("approval", asked)
        except AuditUnavailable:
            with Net() as net:
                await self._store.end_waiting(waiting.plan_id, End.VOID, self._instance)
            if net.fault is not None and not isinstance(net.fault, StateUnavailable):
                report(net.fault, "a plan waits for approval that is not on record")
            raise

    async def _counted(self, waiting: Waiting, voice: Voice, said: Said) -> Waiting:
        """Take what somebody says, record it, and let it count. Raises: NotAnApprover, Conflict, AuditUnavailable."""
        heard = await self._store.hear(voice)
        if heard is Unheard.SAME_PERSON:
            raise same_person()
        if isinstance(heard, Unheard):
            raise over(await self._store.waiting(voice.plan_id), voice.plan_id)
        if any(one.confirmed and one.principal == voice.principal and one.word == voice.word for one in heard.voices):
            return heard
        await self._audit.keep("approval", said_members(waiting, voice, said.principal, remote=said.remote))
        counted_now = await self._store.confirm(voice.voice_id)
        if counted_now is None or (voice.word == "reject" and counted_now.end is not End.REJECTED):
            raise over(counted_now, voice.plan_id)
        state: ApprovalState = "approved" if len(counted_now.given()) >= counted_now.needed else "awaiting_approval"
        state = "rejected" if voice.word == "reject" else state
        self._tell(counted_now, state, decided_by=voice.principal, reason=voice.reason)
        return counted_now

    def _tell(
        self,
        waiting: Waiting,
        state: ApprovalState,
        *,
        runs: int | None = None,
        action: str | None = None,
        decided_by: str | None = None,
        reason: str | None = None,
    ) -> None:
        """Tell whoever wants to know of a step of a plan."""
        step = ApprovalStep(
            plan_id=waiting.plan_id,
            state=state,
            at_ms=waiting.now_ms,
            team=waiting.team,
            principal=waiting.requester,
            rule=waiting.rule,
            runs=runs,
            action=action,
            until_ms=waiting.until_ms,
            by=waiting.by,
            needed=waiting.needed,
            given=tuple(one.principal for one in waiting.given()),
            decided_by=decided_by,
            reason=reason,
        )
        self.told(step)

    def _required(self, draft: Draft, waiting: Waiting, why: str = "") -> Conflict:
        """Return the refusal of a request whose plan waits for approval, with the plan."""
        given = waiting.given()
        so_far = f" {counted(len(given), 'has', 'have')} approved: {names(given)}." if given else ""
        teams = " or ".join(waiting.by)
        sentence = (
            f"{why}Nothing was sent: this {draft.act} waits until {run_time(waiting.until_ms)} for the approval of "
            f"{counted(waiting.needed, 'person')} of team {teams}.{so_far} Have plan {waiting.plan_id} approved "
            f"(qstash-gateway approve, or POST {PLANS}/{waiting.plan_id}/approvals), then send the same {draft.act} "
            "again."
        )
        return Conflict("approval_required", sentence, members=self._shown(draft, waiting))

    def _rejected(self, draft: Draft, waiting: Waiting) -> Conflict:
        voice = waiting.rejected()
        by = None if voice is None else voice.principal + (f": {voice.reason}" if voice.reason else "")
        return rejected(waiting.plan_id, by, act=draft.act, members=self._shown(draft, waiting))
