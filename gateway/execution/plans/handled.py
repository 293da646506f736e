"""The runs that orders of ours have cancelled of late, which upstream's index may still show as running.

So it is with entries and messages: what was deleted or restarted may still be shown, and is not to be ordered again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gateway.core.outcome import Cancelled, NotSent, Outcome, Refused
from gateway.core.plan import Order
from gateway.core.ports import Clock
from gateway.core.request import CANCEL_RUNS, Action, ByIds
from gateway.core.run import HANDLED, ORDERED, Listing, Run
from gateway.operations.table import OPERATIONS
from gateway.process import Net, internal, report

KEPT_S = 600.0
"""How long, in seconds, a run that was ordered is left out of look-ups."""
MOST = 100_000
"""The most runs that are kept of those that were looked up, and of those only named, each about 200 bytes.

Above it the oldest are forgotten.
"""

Key = tuple[str, str, int | None]
"""A run: the field that names it, its ID and its creation time; for a field of `UNIQUE` the ID alone tells it."""

UNIQUE = frozenset(("dlqIds", "messageIds"))
"""The fields whose IDs name one thing for ever, while a custom ID of a run can be started again."""


class Earlier(NamedTuple):
    """A run that an earlier process ordered, `age_s` seconds ago; `certain` says that QStash has cancelled it.

    Its creation time may be unknown (None) if the `field` under which it was ordered is of `UNIQUE`.
    """

    field: str
    run_id: str
    created_ms: int | None
    age_s: float
    decision_id: str
    certain: bool


class _Entry(NamedTuple):
    since_s: float
    decision_id: str
    certain: bool


class _Kept:
    """At most `MOST` of the runs ordered within `KEPT_S`, in the order of their times."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: dict[Key, _Entry] = {}

    def __bool__(self) -> bool:
        """Return whether there is any, be it too old."""
        return bool(self._entries)

    def get(self, key: Key) -> _Entry | None:
        """Return the entry of a run, if it was ordered within `KEPT_S`."""
        entry = self._entries.get(key)
        return entry if entry is not None and self._clock.monotonic_s() - entry.since_s < KEPT_S else None

    def begin(self, keys: Iterable[Key], decision_id: str) -> None:
        """Note runs whose order may be on its way from now on.

        What an earlier order may have done to one of them stays true: only the time begins anew.
        """
        now_s = self._clock.monotonic_s()
        entry = _Entry(now_s, decision_id, certain=False)
        for key in keys:
            known = self.get(key)
            # Entries are in the order of their times.
            self._entries.pop(key, None)
            self._entries[key] = entry if known is None else known._replace(since_s=now_s)
        while self._entries:
            oldest = next(iter(self._entries))
            if len(self._entries) <= MOST and self.get(oldest) is not None:
                return
            del self._entries[oldest]

    def end(self, keys: Sequence[Key], outcome: Outcome, action: Action, decision_id: str) -> None:
        """Note what came of the order of these runs; of what an earlier order has done it says nothing."""
        match outcome:
            case Cancelled(cancelled=cancelled) if cancelled >= len(keys):
                for key in keys:
                    if (entry := self._entries.get(key)) is not None:
                        self._entries[key] = entry._replace(certain=True)
            case Cancelled() if action is not CANCEL_RUNS:
                return
            case Refused() | NotSent() | Cancelled():
                for key in keys:
                    if (entry := self._entries.get(key)) is not None and entry.decision_id == decision_id:
                        del self._entries[key]

    def forget(self, decision_id: str) -> None:
        """Forget the runs of a decision."""
        self._entries = {key: entry for key, entry in self._entries.items() if entry.decision_id != decision_id}

    def recall(self, earlier: dict[Key, _Entry]) -> None:
        """Note runs that were ordered before all of these, the oldest first."""
        self._entries = dict([*earlier.items()][-MOST:]) | self._entries


class Handled:
    """The runs of the orders sent within `KEPT_S`, by ID and creation time: an ID may have been started again since.

    What is ordered under one field is never taken for what has the same ID under another: a caller may name any ID.
    An order counts from the moment at which it may be on its way: one that may have arrived is not repeated. It is
    certain when upstream has said that it cancelled all of its runs. They are forgotten where it certainly did not
    arrive, where upstream cancelled fewer than were ordered, and when their states were read back. If fewer things than
    were ordered were deleted or restarted, none is forgotten: nobody knows which, and twice would be one time too many.

    Those that nobody has looked up are kept apart: a caller can invent any number, and could push out the others.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._looked_up = _Kept(clock)
        self._named = _Kept(clock)

    def of(self, action: Action) -> Container[tuple[str, int]]:
        """Return which of the things that an action is about were ordered of late, by ID and creation time."""
        return _Ordered(self, _field(action))

    def has(self, key: Key) -> bool:
        """Return whether the run with this key was ordered of late."""
        return self._looked_up.get(key) is not None or self._named.get(key) is not None

    def begin(self, decision_id: str, runs: Iterable[Run], action: Action = CANCEL_RUNS) -> None:
        """Note runs, or the things that another action is about, whose order may be on its way from now on."""
        self._looked_up.begin(_keys(action, runs), decision_id)

    async def noted(self, decision_id: str, send: Callable[[Order], Awaitable[Outcome]], order: Order) -> Outcome:
        """Send an order whose things nobody has looked up, and note them if their IDs are unique.

        Raises: CancelledError: it was given up, and may have arrived. Nothing else.
        """
        named = _named(order)
        with Net() as net:
            self._named.begin(named, decision_id)
        if net.fault is not None:
            return NotSent(internal(net.fault))
        outcome = await send(order)
        with Net() as net:
            self._named.end(named, outcome, order.action, decision_id)
        if net.fault is not None:
            report(net.fault, "what was ordered stays noted")
        return outcome

    def end(self, decision_id: str, runs: Sequence[Run], outcome: Outcome, action: Action = CANCEL_RUNS) -> None:
        """Note what came of the order of these runs, or of the things that another action is about."""
        self._looked_up.end(_keys(action, runs), outcome, action, decision_id)

    def read_back(self, decision_id: str) -> None:
        """Forget the runs of a decision: their states were read, so upstream's log says again what is true of them."""
        self._looked_up.forget(decision_id)
        self._named.forget(decision_id)

    def recall(self, runs: Iterable[Earlier]) -> None:
        """Note runs that were ordered before this process began, the oldest first."""
        now_s = self._clock.monotonic_s()
        looked_up: dict[Key, _Entry] = {}
        named: dict[Key, _Entry] = {}
        for one in runs:
            # What was looked up has its creation time with it.
            kept = named if one.created_ms is None else looked_up
            entry = _Entry(now_s - one.age_s, one.decision_id, one.certain)
            kept[_key(one.field, one.run_id, one.created_ms)] = entry
        self._looked_up.recall(looked_up)
        self._named.recall(named)

    def corrected(self, listing: Listing, action: Action = CANCEL_RUNS) -> Listing:
        """Return the listing of what an action is about, with the states as we know them."""
        if not self._looked_up and not self._named:
            return listing
        field = _field(action)
        return replace(listing, runs=tuple(self._as_known(field, run) for run in listing.runs))

    def _as_known(self, field: str, run: Run) -> Run:
        key = _key(field, run.run_id, run.created_ms)
        entries = [entry for kept in (self._looked_up, self._named) if (entry := kept.get(key)) is not None]
        if not run.running or not entries:
            return run
        return replace(run, state=HANDLED if any(entry.certain for entry in entries) else ORDERED)


@dataclass(frozen=True, slots=True)
class _Ordered:
    """What was ordered of late under one field."""

    handled: Handled
    field: str

    def __contains__(self, run: object) -> bool:
        """Return whether the one with this ID and creation time is among them."""
        assert isinstance(run, tuple)
        return self.handled.has(_key(self.field, *run))


def _named(order: Order) -> list[Key]:
    """Return what an order names by IDs that are unique."""
    match order.selection:
        case ByIds(ids, name) if name in UNIQUE:
            return [_key(name, one) for one in ids]
    return []


def _keys(action: Action, runs: Iterable[Run]) -> list[Key]:
    field = _field(action)
    return [_key(field, run.run_id, run.created_ms) for run in runs]


def _key(field: str, run_id: str, created_ms: int | None = None) -> Key:
    return field, run_id, None if field in UNIQUE else created_ms


def _field(action: Action) -> str:
    """Return the field under which an action names what was looked up for it."""
    return OPERATIONS[action].fields[0]
