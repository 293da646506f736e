"""What the metrics are read from: the counters, the times, and the parts of the gateway whose state they show."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from typing import Protocol

from gateway.audit.chain import Record
from gateway.audit.log import AuditState
from gateway.callers.in_force import LiveSettings
from gateway.core.request import CANCEL_RUNS, Everything, Filter
from gateway.core.run import Listing, LookUp, Run
from gateway.execution.ports import RunLog
from gateway.metrics.counts import Counts
from gateway.metrics.times import LOOKUP_S, REQUEST_S, UPSTREAM_S, WRITE_S, Histogram
from gateway.operations.table import asked_by
from gateway.state.freezes import Freeze

CANCEL = "cancel"
READ = (
    ("/v2/workflows/logs", "logs"),
    ("/v2/workflows/bulkActions/", "bulk_action"),
    ("/v2/dlq", "dlq"),
    ("/v2/messages/", "message"),
)
"""The calls to QStash that only read, by how their path begins, and the name of each."""

MOST_KEYS = 1000
"""The most keys whose end is shown: those that end first."""


class AuditStatePort(Protocol):
    """The part of the audit log that is shown."""

    @property
    def state(self) -> AuditState:
        """The state of the log now."""


@dataclass(frozen=True, slots=True)
class States:
    """The parts of the gateway whose state is read at each scrape.

    `tokens` returns the name of each token, whether QStash accepts it, and its age in seconds; `certificate_ends` is
    None without TLS. `freezes` returns those in force; None without shared state. `budgets` returns how many runs are
    left of the budget of each rule, as far as requests have shown it.
    """

    audit: AuditStatePort
    current: LiveSettings
    tokens: Callable[[], Iterable[tuple[str, bool, float]]]
    certificate_ends: Callable[[], datetime] | None
    freezes: Callable[[], Sequence[Freeze] | None] = lambda: None
    budgets: Callable[[], Mapping[str, int]] = dict


@dataclass(slots=True)
class Metrics:
    """The numbers of one process since its start. The methods that take something raise nothing."""

    began_s: float = field(default_factory=time.time)
    counts: Counts = field(default_factory=Counts)
    requests: Histogram = field(default_factory=lambda: Histogram(REQUEST_S))
    upstream: Histogram = field(default_factory=lambda: Histogram(UPSTREAM_S))
    look_ups: Histogram = field(default_factory=lambda: Histogram(LOOKUP_S))
    writes: Histogram = field(default_factory=lambda: Histogram(WRITE_S))
    pages: int = 0
    answered_s: float | None = None
    committed: Callable[[Sequence[Record]], None] = field(init=False)
    """Counts records that are in the log."""
    wrote: Callable[[float], None] = field(init=False)
    """Takes the seconds of one write of the log."""
    answered: Callable[[str, int, float], None] = field(init=False)
    """Takes route, status and seconds of one request."""

    def __post_init__(self) -> None:
        # Bound once, because every cancel passes here: one call more costs it a thousand instructions.
        self.committed, self.wrote, self.answered = self.counts.take, self.writes.add, self.requests.observe
        for call in (CANCEL, *(name for _, name in READ)):
            self.upstream.begin(call, 0)

    def called(self, method: str, target: bytes, status: int, seconds: float) -> None:
        """Take the time of one call to QStash; `status` is 0 if it got no whole answer. One of 5xx is a failure."""
        self.upstream.observe(call_of(method, target), status, seconds)
        if 0 < status < 500:
            self.answered_s = time.time()

    def timed(self, runs: RunLog) -> RunLog:
        """Return the same look-ups, each of them timed."""
        return _Timed(runs, self)


@dataclass(frozen=True, slots=True)
class _Timed:
    """Look-ups whose time and pages are counted."""

    runs: RunLog
    metrics: Metrics

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        """Return the running runs that the port returns. Raises: LookupFailed, TooLarge."""
        began_s = time.monotonic()
        try:
            return self._counted(await self.runs.running(selection, look))
        finally:
            self.metrics.look_ups.add(time.monotonic() - began_s)

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the runs that the port returns. Raises: LookupFailed, TooLarge."""
        began_s = time.monotonic()
        try:
            return self._counted(await self.runs.look_up(run_ids))
        finally:
            self.metrics.look_ups.add(time.monotonic() - began_s)

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        """Return the runs that the port returns. Raises: LookupFailed."""
        began_s = time.monotonic()
        try:
            return self._counted(await self.runs.look_again(runs, selection, since_ms))
        finally:
            self.metrics.look_ups.add(time.monotonic() - began_s)

    def _counted(self, listing: Listing) -> Listing:
        self.metrics.pages += listing.pages
        return listing


def call_of(method: str, target: bytes) -> str:
    """Return the name of a call to QStash: `cancel`, the action that another one is for, or what is read."""
    path = target.partition(b"?")[0].decode("latin-1")
    if (found := asked_by(method, path)) is not None:
        action = found[0].action
        return CANCEL if action is CANCEL_RUNS else str(action)
    return next((name for begins, name in READ if method == "GET" and path.startswith(begins)), "other")


def ends_s(last: date) -> float:
    """Return the end of a UTC day in Unix seconds."""
    return datetime.combine(last + timedelta(days=1), time_of_day(), UTC).timestamp()
