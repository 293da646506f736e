"""A fleet in memory whose pauses end by themselves: gateways over one store, by a clock that a test moves."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.plan import Plan
from gateway.core.request import UNTIL, Action, ActionRequest, ByIds, Principal
from gateway.execution.gates.freezes import FreezesInForce
from gateway.execution.gates.state_gate import StateGate
from gateway.execution.gates.timed import PauseTimers
from gateway.execution.in_flight import Done, Told
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import Call
from gateway.fleet.timed.due import Due
from gateway.policy.conditions import ValueCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.state.freezes import Snapshot
from tests.execution.fakes import MemoryLog, PromptUpstream, StillClock
from tests.support.state.timers import MemoryTimers

ANN = Principal("team", "ann", "ann")
HOUR_MS = 3_600_000
BOTH = (Action.PAUSE, Action.RESUME)


def rules(*actions: Action) -> Policies:
    """One rule for the team that admits these actions on two queues."""
    listed = {"queue": ValueCondition("queue", frozenset(("qn", "q2")))}
    teams = frozenset((ANN.team,))
    made = Rule("team", "queues", Effect.ALLOW, listed, teams=teams, actions=frozenset(actions))
    return Policies((made,), "digest")


def switch(action: Action, until: str | None = None, *, name: str = "qn", field: str = "queue") -> ActionRequest:
    """A pause or resume of a queue, for so long."""
    overrides = () if until is None else ((UNTIL, until),)
    return ActionRequest(ByIds((name,), field), 1, action=action, overrides=overrides, in_path=True)


@dataclass
class Gateway:
    """One gateway of the fleet, `name`; what it sends goes to `upstream`."""

    store: MemoryTimers
    clock: StillClock
    policies: Policies = field(default_factory=lambda: rules(*BOTH))
    upstream: PromptUpstream = field(default_factory=PromptUpstream)
    log: MemoryLog = field(default_factory=MemoryLog)
    name: str = "a"
    number: int = 0

    def __post_init__(self) -> None:
        self.freezes = FreezesInForce(self.clock)
        self.freezes.take(Snapshot(self.clock.now_ms(), 0, ()))
        gate = StateGate(self.freezes, lambda *_: None)
        gate.timed = self.timed = PauseTimers(self.store, self.name, self.clock)
        self.pipeline = Pipeline(
            upstream=self.upstream, upstream_url="https://up.example", audit=self.log, clock=self.clock, gate=gate
        )
        self.due = Due(self.store, self.pipeline, self.freezes, self.name, self.clock, lambda: self.policies)

    async def ask(self, request: ActionRequest, *, caller_gone: bool = False) -> Told:
        """What a request is answered, written to its caller if that is still there."""

        async def gone() -> bool:
            return False

        self.number += 1
        held = self.policies
        call = Call(held, ANN, request, f"{self.name}{self.number}", None, gone, lambda: held)
        told = await self.pipeline.run(call)
        if isinstance(told, Done):
            self.pipeline.answered(told, caller_gone=caller_gone)
        return told

    async def outcome(self, request: ActionRequest) -> str:
        """What came of a request that is sent, in a word."""
        told = await self.ask(request)
        assert isinstance(told, Done), told
        return told.outcome.name

    async def look(self, after_ms: int = 0) -> list[str]:
        """What operators are told when the gateway has looked at the timers, some time later."""
        self.clock.wall_ms += after_ms
        await self.due.look()
        return self.due.notices()

    def recorded(self, event: str) -> list[Plan]:
        """The plans on record."""
        return [one for one in self.log.named(event) if isinstance(one, Plan)]

    @property
    def sent(self) -> list[Action]:
        """The orders that have left."""
        return [order.action for order in self.upstream.orders]


def fleet(*names: str, actions: tuple[Action, ...] = BOTH, upstream: PromptUpstream | None = None) -> list[Gateway]:
    """Gateways over one store, by one clock, whose rule admits these actions; with an `upstream` all send there."""
    clock = StillClock()
    store = MemoryTimers(clock)
    return [Gateway(store, clock, rules(*actions), upstream or PromptUpstream(), name=name) for name in names]
