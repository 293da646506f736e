"""A gateway in memory whose rule has a budget: its pipeline, over a store that it may share with others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from gateway.core.errors import Conflict
from gateway.core.outcome import Outcome
from gateway.core.plan import Budget, Denial, Permit
from gateway.core.request import ActionRequest, ByIds, Principal
from gateway.edge import answers
from gateway.execution.gates.takes import Takes
from gateway.execution.in_flight import Done, Replay, Result, Told
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans.draft import Draft
from gateway.execution.ports import Call, OrderPort
from gateway.policy.conditions import RunIdCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.state.admissions import Answered, NeedsApproval
from gateway.state.once import binding
from tests.execution.fakes import MemoryLog, PromptUpstream, StillClock
from tests.support.state.admissions import MemoryAdmissions, a_budget

ANN, BOB, CAT = Principal("team", "ann"), Principal("team", "bob"), Principal("others", "cat")
NAME = "team/ids"


class Gate(Takes):
    """The gate of a gateway without freezes and approvals."""

    async def enter(self, call: Call, permit: Permit, draft: Draft | None = None) -> Denial | Replay | None:
        return await super().enter(call, permit)

    async def ask(self, draft: Draft, call: Call, permit: Permit, needs: NeedsApproval) -> Conflict:
        raise NotImplementedError

    def frozen(self, principal: Principal, rule: str | None) -> bool:
        return False


def policies(budget: Budget | None) -> Policies:
    """One rule for both teams: any run IDs, within that budget."""
    bound = {"workflowRunIds": RunIdCondition(any=True)}
    teams = frozenset(("team", "others"))
    rule = Rule("team", "ids", Effect.ALLOW, bound, owner_unchecked=True, teams=teams, budget=budget)
    return Policies((rule,), "digest")


def runs(number: int, *, first: int = 0) -> ActionRequest:
    """A request for so many runs by ID."""
    return ActionRequest(ByIds(tuple(f"wfr_{first + n}" for n in range(number))), number)


def shown(result: Result) -> Answered:
    """The answer as it is kept for repeats."""
    answer = answers.outcome(result, result.plan.decision_id)
    return Answered(answer.status, answer.body)


@dataclass
class Gateway:
    """One gateway, `name`, over a store; what it sends goes to `upstream`."""

    store: MemoryAdmissions = field(default_factory=MemoryAdmissions)
    budget: Budget | None = field(default_factory=a_budget)
    upstream: OrderPort = field(default_factory=PromptUpstream)
    log: MemoryLog = field(default_factory=MemoryLog)
    name: str = "a"
    number: int = 0

    def __post_init__(self) -> None:
        clock = StillClock()
        self.takes = Gate(self.store, self.name, clock, shown=shown)
        self.pipeline = Pipeline(
            upstream=self.upstream, upstream_url="https://up.example", audit=self.log, clock=clock, gate=self.takes
        )

    def call(self, request: ActionRequest, *, who: Principal = ANN, key: str | None = None) -> Call:
        """A request, perhaps with an Idempotency-Key."""

        async def gone() -> bool:
            return False

        self.number += 1
        held = policies(self.budget)
        called = Call(held, who, request, f"{self.name}{self.number}", None, gone, lambda: held)
        return called if key is None else replace(called, once=binding(who, key, request.wire()))

    async def run(self, request: ActionRequest, *, who: Principal = ANN, key: str | None = None) -> Told:
        """What the request is answered, written to its caller."""
        told = await self.pipeline.run(self.call(request, who=who, key=key))
        if isinstance(told, Done):
            self.pipeline.answered(told, caller_gone=False)
        return told

    async def outcome(self, request: ActionRequest, *, who: Principal = ANN, key: str | None = None) -> Outcome:
        """What came of a request that is sent."""
        told = await self.run(request, who=who, key=key)
        assert isinstance(told, Done), told
        return told.outcome

    @property
    def sent(self) -> int:
        """How many orders have left."""
        assert isinstance(self.upstream, PromptUpstream)
        return len(self.upstream.orders)


def prompt(outcomes: Iterable[Outcome]) -> PromptUpstream:
    """An upstream that answers with these in turn."""
    return PromptUpstream(list(outcomes))
