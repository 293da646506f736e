"""What was measured, value by value, and the medians and ratios made of it; pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple


class Ratio(NamedTuple):
    """The median of the ratios of all rounds, and the smallest and largest of them."""

    median: float
    least: float
    most: float


class Samples:
    """Values by who was measured and which figure, one for each round, in the order of the rounds."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], list[float]] = defaultdict(list)

    def add(self, kind: str, figure: str, value: float) -> None:
        """Adds the value of one more round."""
        self._values[kind, figure].append(value)

    def values(self, kind: str, figure: str) -> list[float]:
        """The values of all rounds; empty if this was not measured."""
        return list(self._values.get((kind, figure), ()))

    def median(self, kind: str, figure: str) -> float | None:
        """The median over the rounds."""
        values = self.values(kind, figure)
        return statistics.median(values) if values else None

    def ratio(self, top: tuple[str, str], bottom: tuple[str, str]) -> Ratio | None:
        """One figure over another, round by round: what slows the machine in a round slows both."""
        pairs = list(zip(self.values(*top), self.values(*bottom), strict=False))
        ratios = [over / under for over, under in pairs if under]
        return Ratio(statistics.median(ratios), min(ratios), max(ratios)) if ratios else None

    def kinds(self) -> Iterator[str]:
        """Who was measured, in the order of the first values."""
        yield from dict.fromkeys(kind for kind, _ in self._values)

    def wire(self) -> dict[str, dict[str, list[float]]]:
        """All values as a JSON object: by who, by figure."""
        found: dict[str, dict[str, list[float]]] = {}
        for (kind, figure), values in self._values.items():
            found.setdefault(kind, {})[figure] = [round(value, 6) for value in values]
        return found
