"""Gateways in memory whose rule asks for approval: their pipelines over one account, one upstream and one store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest

from gateway.core.errors import Conflict
from gateway.core.plan import Approval, Budget
from gateway.core.request import ActionRequest, Principal
from gateway.edge.pages.plans import plan_members
from gateway.execution.gates.approving import Approving, Said
from gateway.execution.gates.freezes import FreezesInForce
from gateway.execution.gates.state_gate import StateGate
from gateway.execution.gates.takes import Takes
from gateway.execution.in_flight import Done, Told
from gateway.execution.plans.draft import Draft
from gateway.execution.plans.shelf import Shelf
from gateway.policy.rules import Policies
from gateway.state.approvals import Voice, Waiting, Word
from gateway.state.freezes import Snapshot
from tests.execution.bench import ANN, REQUEST, RULE, Bench, runs
from tests.execution.fakes import HeldUpstream, MemoryRuns, PromptUpstream, StillClock
from tests.execution.gates.keeping import shown as answered
from tests.support.state.admissions import MemoryAdmissions
from tests.support.state.approvals import MemoryApprovals
from tests.support.state.plans import MemoryPlans

ROB, SUE = Principal("platform", "rob"), Principal("platform", "sue")
ASKS = Approval(by=("platform",), over=2)
WITH_REASON = replace(REQUEST, reason="stuck")
Members = Mapping[str, object]


def asking(approval: Approval = ASKS, *, budget: Budget | None = None, digest: str = "digest") -> Policies:
    """Policies with one rule, which asks for approval."""
    return Policies((replace(RULE, approval=approval, budget=budget),), digest)


@dataclass
class Fleet:
    """Gateways A and B; `revoked` are the principals whose keys are gone."""

    account: MemoryRuns = field(default_factory=lambda: MemoryRuns(runs(5)))
    upstream: PromptUpstream | HeldUpstream = field(default_factory=PromptUpstream)
    clock: StillClock = field(default_factory=StillClock)
    policies: Policies = field(default_factory=asking)
    revoked: set[str] = field(default_factory=set)
    number: int = 0

    def __post_init__(self) -> None:
        self.plans = MemoryPlans(self.clock)
        self.approvals = MemoryApprovals(self.plans)
        self.admissions = MemoryAdmissions()
        self.a, self.b = Gateway(self, "A"), Gateway(self, "B")

    def accepts(self, voice: Voice) -> bool:
        """Whether the key of a voice is still in force."""
        return voice.principal not in self.revoked

    def pass_time(self, milliseconds: int) -> None:
        """Lets time pass everywhere."""
        self.clock.wall_ms += milliseconds
        self.clock.steady_s += milliseconds / 1000
        self.admissions.now_ms += milliseconds


class Gateway(Bench):
    """One gateway of the fleet."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self.fleet, self.name = fleet, name
        shelf = Shelf(fleet.plans, instance=name, clock=fleet.clock)
        super().__init__(fleet.account, fleet.upstream, clock=fleet.clock, live=fleet.policies, shelf=shelf)
        freezes = FreezesInForce(fleet.clock)
        freezes.take(Snapshot(fleet.clock.now_ms(), 0, ()))
        self.takes = Takes(fleet.admissions, name, fleet.clock, shown=answered)
        self.gate = StateGate(freezes, lambda *_: None, self.takes)
        self.approving = self.gate.approving = Approving(
            fleet.approvals,
            self.pipeline.plans,
            self.log,
            instance=name,
            clock=fleet.clock,
            shown=self.shown,
            in_force=fleet.accepts,
        )
        self.pipeline.gate = self.gate

    def shown(self, draft: Draft, waiting: Waiting) -> Members:
        """A plan with its approvals."""
        return plan_members(draft, expires_in_s=self.pipeline.plans.expires_in_s(draft), waiting=waiting)

    async def cancel(self, request: ActionRequest = REQUEST, who: Principal = ANN) -> Told:
        """A cancel under the policies of now, written to its caller."""
        self.fleet.number += 1
        call = self.call(f"d{self.fleet.number}", who, request=request, policies=self.fleet.policies)
        self.live = self.fleet.policies
        told = await self.pipeline.run(call)
        if isinstance(told, Done):
            self.pipeline.answered(told, caller_gone=False)
        return told

    async def applied(self, plan: str, who: Principal = ANN) -> Told:
        """Applies a plan."""
        self.fleet.number += 1
        self.live = self.fleet.policies
        draft = await self.pipeline.plans.find(who, plan)
        call = self.call(f"d{self.fleet.number}", who, request=draft.call.request, policies=self.fleet.policies)
        told = await self.pipeline.apply(call, draft)
        if isinstance(told, Done):
            self.pipeline.answered(told, caller_gone=False)
        return told

    async def refused(self, request: ActionRequest = REQUEST, who: Principal = ANN) -> Conflict:
        """What the cancel is refused with."""
        with pytest.raises(Conflict) as caught:
            await self.cancel(request, who)
        return caught.value

    async def says(
        self,
        plan: str,
        who: Principal = ROB,
        word: Word = "approve",
        *,
        digest: str | None = None,
        reason: str | None = None,
        policy_digest: str | None = None,
    ) -> Waiting:
        """What somebody says of a plan, having looked at it."""
        self.fleet.number += 1
        name = f"v{self.fleet.number}"
        looked = self.fleet.approvals.rows[plan].plan_digest if plan in self.fleet.approvals.rows else ""
        policies = policy_digest or self.fleet.policies.digest
        said = Said(who, "key", word, reason, digest or looked, policies, name, None)
        return (await self.approving.say(plan, said))[1]

    def on_record(self) -> list[tuple[str, str]]:
        """The approvals on record: of which decision, and what happened."""
        return [
            (str(one["decision_id"]), str(one["state"])) for one in self.log.named("approval") if isinstance(one, dict)
        ]


def plan_of(refusal: Conflict) -> str:
    """The plan that a refusal names."""
    return str(refusal.members["plan"])
