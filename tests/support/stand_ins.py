"""Stand-ins for the ports that every room needs: a clock that is moved by hand, and the operators' log in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass
class StillClock:
    """A clock that moves when it is told to."""

    wall_ms: int = 1_795_000_000_000
    steady_s: float = 100.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.steady_s


@dataclass
class Lines:
    """The operators' log in memory."""

    said: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def info(self, event: str, **members: object) -> None:
        self.said.append((event, members))

    def error(self, event: str, **members: object) -> None:
        self.said.append((event, members))
