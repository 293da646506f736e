"""Histograms: how often something took how long, in buckets that are fixed."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

Labels = tuple[str, ...]
_Key = tuple[str, int]

MOST_ROWS = 200
"""The most label sets of one histogram with a status of their own; further ones count under its hundred, like 500."""

REQUEST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From a refusal, which takes less than a millisecond, to the longest look-up."""
UPSTREAM_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""From a neighbour on the network to `upstream.total_timeout_s`."""
LOOKUP_S = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""From one page to `limits.lookup.seconds`."""
WRITE_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0)
"""From a write without a sync to the time after which an intent is refused."""


class Histogram:
    """The durations of one kind, by label and status. A row holds the sum, the count of each bucket, and of the rest.

    `fault` is the last exception at which a duration was not added. The sum comes first, and counts are floats, because
    CPython is quick at those: every cancel adds to four rows.
    """

    def __init__(self, buckets_s: Sequence[float]) -> None:
        self.buckets_s = tuple(buckets_s)
        self.fault: BaseException | None = None
        self._rows: dict[_Key, list[float]] = {}
        self._alone: list[float] | None = None

    def observe(self, label: str, status: int, seconds: float) -> None:
        """Add one duration. Raises nothing."""
        try:
            row = self._rows.get((label, status)) or self._row(label, status)
            row[bisect_left(self.buckets_s, seconds) + 1] += 1.0
            row[0] += seconds
        except (LookupError, MemoryError, TypeError, ValueError) as fault:  # all that these lines may raise
            self.fault = fault

    def add(self, seconds: float) -> None:
        """Add one duration to a histogram without labels. Raises nothing."""
        try:
            row = self._alone = self._alone or self._new_row()
            row[bisect_left(self.buckets_s, seconds) + 1] += 1.0
            row[0] += seconds
        except (LookupError, MemoryError, TypeError, ValueError) as fault:
            self.fault = fault

    def begin(self, label: str, status: int) -> None:
        """Show a row before anything is counted in it, so that its first increase is seen."""
        self._row(label, status)

    def _row(self, label: str, status: int) -> list[float]:
        if len(self._rows) >= MOST_ROWS or not 0 <= status <= 999:
            status = status // 100 * 100 if 0 <= status <= 999 else 0
        return self._rows.setdefault((label, status), self._new_row())

    def _new_row(self) -> list[float]:
        return [0.0] * (len(self.buckets_s) + 2)

    def rows(self) -> Iterator[tuple[Labels, Sequence[float]]]:
        """Yield each label set, with its row as it is now."""
        if self._alone is not None:
            yield (), self._alone.copy()
        for (label, status), row in self._rows.copy().items():
            yield (label, str(status)), row.copy()
