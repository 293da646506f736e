"""A budget as a caller is shown it, with what is left of it: the gateway writes it, `cancel` reads it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from gateway.core.errors import counted

Members = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class LeftOver:
    """What is left of a budget for its caller: runs and requests (None: not bounded), and when all is there again."""

    runs: int | None
    requests: int | None
    resets_at: str

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Read the value from JSON; None if the gateway did not know it."""
        match value:
            case {"resets_at": str(resets_at), **bounds}:
                return cls(_number(bounds.get("runs")), _number(bounds.get("requests")), resets_at)
        return None

    def to_json(self) -> dict[str, object]:
        """Return the value as JSON."""
        return {**_bounds(self.runs, self.requests), "resets_at": self.resets_at}


@dataclass(frozen=True, slots=True)
class ShownBudget:
    """The budget of a rule: `runs` and `requests` within any `per`, which it has in common with others (`shared`).

    `left` is what is left of it now; None: the shared state did not say it in time.
    """

    runs: int | None
    requests: int | None
    per: str
    shared: str
    left: LeftOver | None = None

    @classmethod
    def from_json(cls, value: object) -> Self | None:
        """Read the budget from JSON; None if there is none."""
        match value:
            case {"per": str(per), "shared": str(shared), **bounds}:
                left = LeftOver.from_json(bounds.get("left"))
                return cls(_number(bounds.get("runs")), _number(bounds.get("requests")), per, shared, left)
        return None

    def bounds(self) -> dict[str, object]:
        """Return the budget as a policy file writes it."""
        return {**_bounds(self.runs, self.requests), "per": self.per, "shared": self.shared}

    def to_json(self) -> dict[str, object]:
        """Return the budget, and what is left of it, as JSON."""
        return {**self.bounds(), "left": None if self.left is None else self.left.to_json()}

    def words(self) -> str:
        """Return what is left, in words: `40 of 500 runs and 9 of 10 requests`."""
        left = self.left or LeftOver(None, None, "")
        pairs = ((left.runs, self.runs, "run"), (left.requests, self.requests, "request"))
        said = [f"{0 if have is None else have} of {counted(of, noun)}" for have, of, noun in pairs if of is not None]
        return " and ".join(said)


def _bounds(runs: int | None, requests: int | None) -> dict[str, object]:
    return {name: bound for name, bound in (("runs", runs), ("requests", requests)) if bound is not None}


def _number(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < 2**63 else None
