"""The runs that orders of ours have cancelled of late, which upstream's index may still show as running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.ports import Clock
from gateway.core.run import HANDLED, ORDERED, Listing, Run

KEPT_S = 600.0
"""How long, in seconds, a run that was ordered is left out of look-ups."""
MOST = 100_000
"""The most runs that are kept, each about 200 bytes; the oldest are forgotten above it."""

Key = tuple[str, int]
"""A run: its ID and its creation time."""


class Handled:
    """The runs of the orders sent within `KEPT_S`, by ID and creation time: an ID may have been started again since.

    An order counts from the moment at which it may be on its way. Its runs are doubtful until upstream has said that it
    cancelled all of them: an order that may have arrived is not repeated. They are forgotten where it certainly did
    not, where upstream cancelled fewer than were ordered, and when their states were read back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_s: dict[Key, float] = {}
        self._doubtful: set[Key] = set()

    def __contains__(self, run: object) -> bool:
        """Return whether the run with this ID and creation time was ordered of late."""
        since_s = self._since_s.get(run)  # type: ignore[call-overload]
        return since_s is not None and self._clock.monotonic_s() - since_s < KEPT_S

    def begin(self, runs: Sequence[Run]) -> None:
        """Note runs whose order may be on its way from now on."""
        now_s = self._clock.monotonic_s()
        self.forget(runs)
        for key in map(_key, runs):
            self._since_s[key] = now_s
            self._doubtful.add(key)
        # They are in the order of their times.
        while self._since_s:
            oldest = next(iter(self._since_s))
            if len(self._since_s) <= MOST and oldest in self:
                return
            self._drop(oldest)

    def end(self, runs: Sequence[Run], outcome: Outcome) -> None:
        """Note what came of the order of these runs."""
        match outcome:
            case Refused() | NotSent():
                self.forget(runs)
            case Cancelled(cancelled=cancelled) if cancelled >= len(runs):
                self._doubtful.difference_update(map(_key, runs))
            case Cancelled():
                self.forget(runs)

    def forget(self, runs: Iterable[Run]) -> None:
        """Forget runs: upstream's log says again what is true of them."""
        for run in runs:
            self._drop(_key(run))

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
        key = _key(run)
        if not run.running or key not in self:
            return run
        return replace(run, state=ORDERED if key in self._doubtful else HANDLED)

    def _drop(self, key: Key) -> None:
        self._since_s.pop(key, None)
        self._doubtful.discard(key)


def _key(run: Run) -> Key:
    return run.run_id, run.created_ms
