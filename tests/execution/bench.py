"""A pipeline for requests whose runs are looked up, with every port in hand."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.plan import Denial
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.core.run import STARTED, Resolution, Run
from gateway.execution.in_flight import Done, Replay
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans.draft import Draft
from gateway.execution.plans.shelf import Shelf
from gateway.execution.ports import Call, LookUps
from gateway.policy.conditions import UrlCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.upstream.shares import Lanes
from tests.execution.fakes import HeldUpstream, Lines, MemoryLog, MemoryRuns, PromptUpstream, StillClock

URL = "https://a.example/api"
ANN, BOB = Principal("team", "ann"), Principal("team", "bob")
REQUEST = ActionRequest(ByFilter(workflow_urls=(URL,)), 500)
RULE = Rule(
    policy="team",
    id="tree",
    effect=Effect.ALLOW,
    conditions={"workflowUrl": UrlCondition(prefix=(URL,))},
    teams=frozenset(("team",)),
    resolution=Resolution(max_runs=1_000),
)
POLICIES = Policies((RULE,), "digest")
NOTHING = Policies((), "nothing")


def runs(number: int, *, since_ms: int = 1_794_000_000_000) -> list[Run]:
    """Running runs of the workflow, the oldest first."""
    return [Run(f"wfr_{at:04}", URL, since_ms + at, STARTED) for at in range(number)]


@dataclass
class Bench:
    """A pipeline with every port in hand; `live` are the policies of now, None where the key is not accepted."""

    account: MemoryRuns
    upstream: PromptUpstream | HeldUpstream = field(default_factory=PromptUpstream)
    log: MemoryLog = field(default_factory=MemoryLog)
    clock: StillClock = field(default_factory=StillClock)
    live: Policies | None = POLICIES
    policies: Policies = POLICIES
    lanes: Lanes | None = None
    lines: Lines = field(default_factory=Lines)
    shelf: Shelf | None = None

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(
            upstream=self.upstream,
            upstream_url="https://up.example",
            audit=self.log,
            clock=self.clock,
            look_ups=LookUps(self.account, self.lines),
            lanes=self.lanes,
        )
        self.pipeline.plans.shelf = self.shelf

    def call(
        self,
        name: str,
        principal: Principal = ANN,
        *,
        request: ActionRequest = REQUEST,
        policies: Policies = POLICIES,
    ) -> Call:
        """A request whose caller is there and has the standing of now."""

        async def here() -> bool:
            return False

        return Call(policies, principal, request, name, None, here, lambda: self.live)

    async def run(self, name: str = "d1", *, request: ActionRequest = REQUEST, principal: Principal = ANN) -> Done:
        """A cancel that is permitted."""
        result = await self.pipeline.run(self.call(name, principal, request=request))
        assert isinstance(result, Done), result
        return result

    def planned(self, name: str, principal: Principal = ANN) -> Draft:
        """A plan, whatever its state."""
        return self.pipeline.plans.get(principal, name)

    async def plan(self, name: str = "p1", *, principal: Principal = ANN) -> Draft:
        """A plan."""
        result = await self.pipeline.plan(self.call(name, principal, policies=self.policies))
        assert isinstance(result, Draft), result
        return result

    async def apply(self, plan: str = "p1", *, name: str = "d1") -> Done | Denial:
        """Applies it under the policies of now."""
        told = await self.pipeline.apply(self.call(name, policies=self.live or POLICIES), self.planned(plan))
        assert not isinstance(told, Replay), told
        return told

    @property
    def events(self) -> list[str]:
        """The names of what was recorded, in order."""
        return [name for name, _, _ in self.log.events]

    def sent(self) -> list[str]:
        """Every run that was ordered, in turn."""
        return [value for order in self.upstream.orders for _, value in order.selection.pairs()]
