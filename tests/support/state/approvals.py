"""The plans of a store in memory that wait for approval, and what is said of them; several gateways may share it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from gateway.state.approvals import MOST_OF_A_TEAM, MOST_OF_ONE, SHOWN_MS, End, Full, Unheard, Voice, Waiting
from gateway.state.plans import KeptPlan
from tests.support.state.plans import MemoryPlans


@dataclass
class MemoryApprovals:
    """Beside the plans of the same store, whose clock and faults it has; `gone` are instances that do not beat."""

    plans: MemoryPlans
    gone: set[str] = field(default_factory=set)
    rows: dict[str, Waiting] = field(default_factory=dict)
    voices: dict[tuple[str, str, str], Voice] = field(default_factory=dict)

    async def wait_for_approval(self, waiting: Waiting, plan: KeptPlan) -> Waiting | Full:
        async with self.plans.faults.around("wait_for_approval"):
            known = self._found(waiting.plan_id) or self._like(waiting.requester, waiting.request_sha256)
            if known is not None:
                return known
            open_ones = [one for one in map(self._found, self.rows) if one is not None and self._open(one)]
            if sum(one.requester == waiting.requester for one in open_ones) >= MOST_OF_ONE:
                return Full(MOST_OF_ONE, "you")
            if sum(one.team == waiting.team for one in open_ones) >= MOST_OF_A_TEAM:
                return Full(MOST_OF_A_TEAM, "your team")
            until_ms = self._now_ms + waiting.within_ms
            self.rows[waiting.plan_id] = replace(waiting, asked_ms=self._now_ms, until_ms=until_ms)
            before = self.plans.rows.get(waiting.plan_id)
            claimed_by = None if before is None else before.claimed_by
            self.plans.rows[plan.plan_id] = replace(plan, expires_ms=until_ms + SHOWN_MS, claimed_by=claimed_by)
            found = self._found(waiting.plan_id)
            assert found is not None
            return found

    async def confirm_wait(self, plan_id: str) -> None:
        async with self.plans.faults.around("confirm_wait"):
            self.rows[plan_id] = replace(self.rows[plan_id], asked=True)

    async def waiting(self, plan_id: str) -> Waiting | None:
        async with self.plans.faults.around("waiting"):
            return self._found(plan_id)

    async def waiting_like(self, requester: str, request_sha256: str, instance: str) -> Waiting | None:
        async with self.plans.faults.around("waiting_like"):
            return self._like(requester, request_sha256, instance)

    async def waiting_for(self, team: str | None) -> Sequence[Waiting]:
        async with self.plans.faults.around("waiting_for"):
            found = [one for one in map(self._found, self.rows) if one is not None and one.asked and self._open(one)]
            return sorted(
                (one for one in found if team is None or team in one.by), key=lambda one: one.asked_ms, reverse=True
            )

    async def hear(self, voice: Voice) -> Waiting | Unheard:
        async with self.plans.faults.around("hear"):
            found = self._found(voice.plan_id)
            if found is None or not found.asked or not self._open(found):
                return Unheard.GONE
            if (found.plan_digest, found.policy_digest) != (voice.plan_digest, voice.policy_digest):
                return Unheard.GONE
            key = (voice.plan_id, voice.principal, voice.word)
            if key in self.voices and self.voices[key].confirmed:
                return found
            others = [one.person for one in found.voices if one.word == "approve" and one.principal != voice.principal]
            if voice.principal == found.requester or voice.person in (found.person, *others):
                return Unheard.SAME_PERSON
            self.voices[key] = replace(voice, at_ms=self._now_ms, confirmed=False)
            return found

    async def confirm(self, voice_id: str) -> Waiting | None:
        async with self.plans.faults.around("confirm"):
            for key, voice in self.voices.items():
                if voice.voice_id == voice_id:
                    self.voices[key] = replace(voice, confirmed=True)
                    if voice.word == "reject":
                        self._end(voice.plan_id, End.REJECTED, voice.principal)
                    return self._found(voice.plan_id)
            return None

    async def end_waiting(self, plan_id: str, end: End, instance: str) -> bool:
        async with self.plans.faults.around("end_waiting"):
            return self._end(plan_id, end, "gateway", instance)

    async def expired(self, instance: str) -> Sequence[Waiting]:
        async with self.plans.faults.around("expired"):
            found = []
            for name, row in list(self.rows.items()):
                if row.end is not None or self._now_ms < row.until_ms:
                    continue
                if row.instance in self.gone:
                    self.rows[name] = replace(row, instance=instance)
                if self.rows[name].instance != instance:
                    continue
                if not self._free(name):
                    self.rows[name] = replace(row, end=End.OVER)
                elif (waits := self._found(name)) is not None:
                    found.append(waits)
            return found

    @property
    def _now_ms(self) -> int:
        return self.plans.clock.now_ms()

    def _found(self, plan_id: str) -> Waiting | None:
        row, plan = self.rows.get(plan_id), self.plans.rows.get(plan_id)
        if row is None:
            return None
        voices = tuple(one for one in self.voices.values() if one.plan_id == plan_id)
        return replace(row, now_ms=self._now_ms, voices=voices, claimed_by=None if plan is None else plan.claimed_by)

    def _free(self, plan_id: str, own: str | None = None) -> bool:
        plan = self.plans.rows.get(plan_id)
        return plan is not None and plan.claimed_by in (None, own) and plan.stopped_by is None

    def _open(self, waiting: Waiting, own: str | None = None) -> bool:
        return waiting.end is None and self._free(waiting.plan_id, own) and not waiting.late

    def _like(self, requester: str, request_sha256: str, own: str | None = None) -> Waiting | None:
        for one in reversed([one for one in map(self._found, self.rows) if one is not None]):
            rejected = one.end is End.REJECTED and not one.claimed and not one.late
            if (one.requester, one.request_sha256) == (requester, request_sha256) and (
                self._open(one, own) or rejected
            ):
                return one
        return None

    def _end(self, plan_id: str, end: End, by: str, own: str | None = None) -> bool:
        row = self.rows.get(plan_id)
        if row is None or row.end is not None or not self._free(plan_id, own):
            return False
        state = "rejected" if end is End.REJECTED else "expired"
        self.plans.rows[plan_id] = replace(self.plans.rows[plan_id], stopped_by=by, state=state)
        self.rows[plan_id] = replace(row, end=end)
        return True
