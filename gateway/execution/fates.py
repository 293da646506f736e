"""What is learnt of a call after its outcome: of a bulk action that upstream tracks, or of each run ordered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.audit.record import Members, settled_members
from gateway.core.plan import Order
from gateway.core.run import CANCELLED, Listing, Run
from gateway.upstream.runs.log import ActionReport

FINISHED = "FINISHED"


@dataclass(slots=True)
class TrackedAction:
    """A filter order under an action ID. `total` is how many runs it cancels, as upstream said last, if it did."""

    decision_id: str
    order: Order
    action_id: str
    total: int | None = None
    finished: bool = False
    wider: bool | None = None

    @property
    def over_cancelled(self) -> int:
        """How many runs above the count sent."""
        return max(0, (self.total or 0) - self.order.count)

    def see(self, report: ActionReport) -> None:
        """Takes over what upstream reports now; a filter that was wider once stays so."""
        self.total = report.total
        self.finished = report.state == FINISHED
        self.wider = bool(self.wider) or is_wider(self.order, report.filter)

    def members(self, cause: str | None) -> Members:
        """The members of `settled`; `cause` is why looking ended before the action did."""
        found = {
            "action_id": self.action_id,
            "over_cancelled": self.over_cancelled,
            "filter_wider": self.wider,
        }
        total = self.total if self.finished else None
        return settled_members(self.decision_id, source="bulk_action", cancelled=total, cause=cause, found=found)


class Fate(StrEnum):
    """What became of an ordered run; `gone`: upstream shows no such run, or another one under the same ID."""

    CANCELLED = "cancelled"
    STILL_RUNNING = "still_running"
    FINISHED = "finished"
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class OrderedRuns:
    """Runs that were ordered, by ID, with the creation time (Unix milliseconds) of the run meant, where it is known."""

    decision_id: str
    created_ms: Mapping[str, int | None]
    fates: dict[str, Fate] = field(default_factory=dict)

    @property
    def pending(self) -> list[str]:
        """Those not looked at, or still running: upstream's index lags, so a cancel may not show yet."""
        return [run_id for run_id in self.created_ms if self.fates.get(run_id) in (None, Fate.STILL_RUNNING)]

    def see(self, asked: Sequence[str], listing: Listing) -> None:
        """Takes over what a look at some of the IDs showed."""
        runs = {run.run_id: run for run in listing.runs}
        # What cannot be read, its ID included, may be any of those missing.
        missing = Fate.UNREADABLE if "?" in listing.unreadable else Fate.GONE
        for run_id in asked:
            self.fates[run_id] = self._fate(runs[run_id]) if run_id in runs else missing
        self.fates |= dict.fromkeys(set(asked).intersection(listing.unreadable), Fate.UNREADABLE)

    def members(self, cause: str | None) -> Members:
        """The members of `settled`; without a look at every run nobody knows how many were cancelled."""
        number = Counter(self.fates.values())
        others = {fate.value: number[fate] for fate in Fate if fate is not Fate.CANCELLED}
        cancelled = number[Fate.CANCELLED] if len(self.fates) == len(self.created_ms) else None
        found = {"ordered": len(self.created_ms), **others}
        return settled_members(self.decision_id, source="read_back", cancelled=cancelled, cause=cause, found=found)

    def _fate(self, run: Run) -> Fate:
        if self.created_ms[run.run_id] not in (None, run.created_ms):
            return Fate.GONE
        if run.running:
            return Fate.STILL_RUNNING
        return Fate.CANCELLED if run.state == CANCELLED else Fate.FINISHED


def is_wider(order: Order, tracked: Mapping[str, object]) -> bool:
    """Whether the filter that upstream works on may select a run that the order does not.

    Each field sent must stand there, with values that were sent and no other; further fields only narrow.
    """
    sent: dict[str, set[str]] = {}
    for name, value in order.selection.pairs():
        sent.setdefault(name, set()).add(value)
    shown = {name: _values(tracked.get(name)) for name in sent}
    return any(not shown[name] or not shown[name] <= values for name, values in sent.items())


def _values(shown: object) -> set[str]:
    """The values of one field, spelt as on the wire: upstream may show one alone, in a list, or several with commas."""
    match shown:
        case bool():
            return {"true" if shown else "false"}
        case int():
            return {str(shown)}
        case str():
            # No value that was sent holds a comma.
            return set(shown.split(","))
        case list():
            return set().union(*(_values(value) or {""} for value in shown))
    return set()
