"""The findings of a follow-up: the progress of a bulk action that upstream tracks, or the fate of each run ordered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.audit.events.catalogue import Settled
from gateway.audit.events.declare import ABSENT, Members
from gateway.core.plan import Order
from gateway.core.run import CANCELLED, Listing, Run
from gateway.upstream.runs.log import ActionReport

FINISHED = "FINISHED"


@dataclass(slots=True)
class TrackedAction:
    """A filter order that upstream tracks under an action ID.

    `total` is how many runs it cancels by upstream's last report, None before any. `wider` says whether upstream works
    on a wider filter than the one sent, None before any report.
    """

    decision_id: str
    order: Order
    action_id: str
    total: int | None = None
    finished: bool = False
    wider: bool | None = None

    @property
    def over_cancelled(self) -> int:
        """The number of runs cancelled above the count sent."""
        return max(0, (self.total or 0) - self.order.count)

    def see(self, report: ActionReport) -> None:
        """Take over upstream's report. Once `wider` is true it stays true."""
        self.total = report.total
        self.finished = report.state == FINISHED
        self.wider = bool(self.wider) or is_wider(self.order, report.filter)

    def members(self, cause: str | None) -> Members:
        """Return the members of a `settled` record; `cause` says why the follow-up ended before the action did."""
        return Settled(
            decision_id=self.decision_id,
            source="bulk_action",
            cancelled=self.total if self.finished else None,
            action_id=self.action_id,
            over_cancelled=self.over_cancelled,
            filter_wider=self.wider,
            cause=ABSENT if cause is None else cause,
        ).members()


class Fate(StrEnum):
    """The fate of an ordered run. `gone`: upstream shows no such run, or another run under the same ID."""

    CANCELLED = "cancelled"
    STILL_RUNNING = "still_running"
    FINISHED = "finished"
    GONE = "gone"
    UNREADABLE = "unreadable"


@dataclass(slots=True)
class OrderedRuns:
    """The runs that were ordered, and what has become of each so far.

    `created_ms` maps each ID to the creation time (Unix milliseconds) of the run that was meant, None if not known.
    `certain` is how many runs upstream had said are cancelled: its list lags, so looking at the runs lowers no number.
    """

    decision_id: str
    created_ms: Mapping[str, int | None]
    fates: dict[str, Fate] = field(default_factory=dict)
    certain: int = 0

    @property
    def pending(self) -> list[str]:
        """The IDs of runs not yet looked at or still running. Upstream's index lags, so a cancel may not show yet."""
        return [run_id for run_id in self.created_ms if self.fates.get(run_id) in (None, Fate.STILL_RUNNING)]

    def see(self, asked: Sequence[str], listing: Listing) -> None:
        """Take over the result of looking up the IDs in `asked`."""
        runs = {run.run_id: run for run in listing.runs}
        # An entry whose very ID cannot be read may be any of the missing runs.
        missing = Fate.UNREADABLE if "?" in listing.unreadable else Fate.GONE
        for run_id in asked:
            self.fates[run_id] = self._fate(runs[run_id]) if run_id in runs else missing
        self.fates |= dict.fromkeys(set(asked).intersection(listing.unreadable), Fate.UNREADABLE)

    def members(self, cause: str | None) -> Members:
        """Return the members of a `settled` record; `cancelled` is None unless every run was looked at."""
        number = Counter(self.fates.values())
        return Settled(
            decision_id=self.decision_id,
            source="read_back",
            cancelled=number[Fate.CANCELLED] if len(self.fates) == len(self.created_ms) else None,
            ordered=len(self.created_ms),
            still_running=number[Fate.STILL_RUNNING],
            finished=number[Fate.FINISHED],
            gone=number[Fate.GONE],
            unreadable=number[Fate.UNREADABLE],
            cause=ABSENT if cause is None else cause,
        ).members()

    def _fate(self, run: Run) -> Fate:
        if self.created_ms[run.run_id] not in (None, run.created_ms):
            return Fate.GONE
        if run.running:
            return Fate.STILL_RUNNING
        return Fate.CANCELLED if run.state == CANCELLED else Fate.FINISHED


def is_wider(order: Order, tracked: Mapping[str, object]) -> bool:
    """Return whether the filter that upstream works on may select a run that the order does not.

    Every field sent must be there, with no value that was not sent. Additional fields only narrow the filter.
    """
    sent: dict[str, set[str]] = {}
    for name, value in order.selection.pairs():
        sent.setdefault(name, set()).add(value)
    shown = {name: _values(tracked.get(name)) for name in sent}
    return any(not shown[name] or not shown[name] <= values for name, values in sent.items())


def _values(shown: object) -> set[str]:
    """Return the values of one field as on the wire: upstream shows a single value, a list, or a text with commas."""
    match shown:
        case bool():
            return {"true" if shown else "false"}
        case int():
            return {str(shown)}
        case str():
            # No value that we send contains a comma.
            return set(shown.split(","))
        case list():
            return set().union(*(_values(value) or {""} for value in shown))
    return set()
