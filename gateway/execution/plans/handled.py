"""The runs that orders of ours have cancelled of late, which upstream's index may still show as running."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from gateway.core.ports import Clock
from gateway.core.run import HANDLED, Listing, Run

KEPT_S = 600.0
"""How long, in seconds, a run that was ordered is left out of look-ups."""
MOST = 100_000
"""The most runs that are kept, each about 200 bytes; the oldest are forgotten above it."""


class Handled:
    """The runs of the orders sent within `KEPT_S`, by ID and creation time: an ID may have been started again since.

    Those of unknown fate are among them: an order that may have arrived is not repeated.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: dict[tuple[str, int], float] = {}

    def __contains__(self, run: object) -> bool:
        """Return whether the run with this ID and creation time was ordered of late."""
        since_s = self._since_s.get(run)  # type: ignore[call-overload]
        return since_s is not None and self._clock.monotonic_s() - since_s < KEPT_S

    def add(self, runs: Iterable[Run]) -> None:
        """Note runs that were ordered now."""
        now_s = self._clock.monotonic_s()
        for run in runs:
            self._since_s.pop((run.run_id, run.created_ms), None)
            self._since_s[run.run_id, run.created_ms] = now_s
        # They are in the order of their times.
        while self._since_s:
            oldest = next(iter(self._since_s))
            if len(self._since_s) <= MOST and oldest in self:
                return
            del self._since_s[oldest]

    def recall(self, runs: Iterable[tuple[str, int, float]]) -> None:
        """Note runs that were ordered before this process began: ID, creation time, and seconds since; oldest first."""
        now_s = self._clock.monotonic_s()
        earlier = {(run_id, created_ms): now_s - age_s for run_id, created_ms, age_s in runs}
        # They are in the order of their times.
        self._since_s = dict([*earlier.items()][-MOST:]) | self._since_s

    def corrected(self, listing: Listing) -> Listing:
        """Return the listing with the state of these runs as we know it."""
        if not self._since_s:
            return listing
        return replace(listing, runs=tuple(self._as_known(run) for run in listing.runs))

    def _as_known(self, run: Run) -> Run:
        handled = run.running and (run.run_id, run.created_ms) in self
        return replace(run, state=HANDLED) if handled else run
