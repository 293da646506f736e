"""Gateways that share a store in memory, each with the parts that follow it."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.core.request import Principal
from gateway.execution.gates.freezes import FreezesInForce
from gateway.fleet.following import Following
from gateway.fleet.recorded import Recorder
from gateway.fleet.switch import Switch
from gateway.state.freezes import Scope
from tests.execution.fakes import Lines, MemoryLog, StillClock
from tests.support.state.freezes import MemoryFreezes

ANN = Principal("billing", "ann")
EVERYTHING, BILLING = Scope(), Scope("billing")


@dataclass
class Member:
    """One gateway of a fleet."""

    store: MemoryFreezes
    instance: str = "a"
    operators: bool = True
    clock: StillClock = field(default_factory=StillClock)
    log: MemoryLog = field(default_factory=MemoryLog)
    lines: Lines = field(default_factory=Lines)

    def __post_init__(self) -> None:
        self.freezes = FreezesInForce(self.clock)
        self.recorder = Recorder(self.log, self.store, self.instance)
        self.following = Following(
            self.store, self.freezes, self.recorder, instance=self.instance, clock=self.clock, log=self.lines
        )
        self.switch = Switch(
            self.store, self.freezes, self.following, self.recorder, self.lines, lambda: self.operators
        )

    @property
    def frozen(self) -> bool:
        """Whether a request of team billing is stopped here."""
        return self.freezes.about("billing", "billing/own") is not None

    async def beat(self) -> None:
        """One beat, and what it records."""
        await self.following.beat()
        await self.recorder.wait()

    def recorded(self, event: str) -> list[object]:
        """What this gateway has on record, by ID."""
        return [what["freeze_id"] for what in self.log.named(event) if isinstance(what, dict)]


def shared() -> MemoryFreezes:
    """A store whose clock stands where those of the gateways do."""
    return MemoryFreezes(StillClock().now_ms)
