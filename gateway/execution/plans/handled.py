"""The runs that orders of ours have cancelled of late, which upstream's index may still show as running."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.ports import Clock
from gateway.core.run import HANDLED, ORDERED, Listing, Run

KEPT_S = 600.0
"""How long, in seconds, a run that was ordered is left out of look-ups."""
MOST = 100_000
"""The most runs that are kept, each about 200 bytes; the oldest are forgotten above it."""

Key = tuple[str, int]
"""A run: its ID and its creation time."""


class Earlier(NamedTuple):
    """A run that an earlier process ordered, `age_s` seconds ago; `certain` says that QStash has cancelled it."""

    run_id: str
    created_ms: int
    age_s: float
    decision_id: str
    certain: bool


class _Entry(NamedTuple):
    since_s: float
    decision_id: str
    certain: bool


class Handled:
    """The runs of the orders sent within `KEPT_S`, by ID and creation time: an ID may have been started again since.

    An order counts from the moment at which it may be on its way: one that may have arrived is not repeated. It is
    certain when upstream has said that it cancelled all of its runs. They are forgotten where it certainly did not
    arrive, where upstream cancelled fewer than were ordered, and when their states were read back.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}

    def __contains__(self, run: object) -> bool:
        """Return whether the run with this ID and creation time was ordered of late."""
        entry = self._entries.get(run)  # type: ignore[call-overload]
        return entry is not None and self._clock.monotonic_s() - entry.since_s < KEPT_S

    def begin(self, decision_id: str, runs: Iterable[Run]) -> None:
        """Note runs whose order may be on its way from now on."""
        entry = _Entry(self._clock.monotonic_s(), decision_id, certain=False)
        for key in map(_key, runs):
            # Entries are in the order of their times.
            self._entries.pop(key, None)
            self._entries[key] = entry
        while self._entries:
            oldest = next(iter(self._entries))
            if len(self._entries) <= MOST and oldest in self:
                return
            del self._entries[oldest]

    def end(self, runs: Sequence[Run], outcome: Outcome) -> None:
        """Note what came of the order of these runs."""
        match outcome:
            case Cancelled(cancelled=cancelled) if cancelled >= len(runs):
                for key in map(_key, runs):
                    if (entry := self._entries.get(key)) is not None:
                        self._entries[key] = entry._replace(certain=True)
            case Refused() | NotSent() | Cancelled():
                for key in map(_key, runs):
                    self._entries.pop(key, None)

    def read_back(self, decision_id: str) -> None:
        """Forget the runs of a decision: their states were read, so upstream's log says again what is true of them."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.decision_id != decision_id}

    def recall(self, runs: Iterable[Earlier]) -> None:
        """Note runs that were ordered before this process began, the oldest first."""
        now_s = self._clock.monotonic_s()
        earlier = {
            (one.run_id, one.created_ms): _Entry(now_s - one.age_s, one.decision_id, one.certain) for one in runs
        }
        self._entries = dict([*earlier.items()][-MOST:]) | self._entries

    def corrected(self, listing: Listing) -> Listing:
        """Return the listing with the state of these runs as we know it."""
        if not self._entries:
            return listing
        return replace(listing, runs=tuple(self._as_known(run) for run in listing.runs))

    def _as_known(self, run: Run) -> Run:
        key = _key(run)
        if not run.running or key not in self:
            return run
        return replace(run, state=HANDLED if self._entries[key].certain else ORDERED)


def _key(run: Run) -> Key:
    return run.run_id, run.created_ms
