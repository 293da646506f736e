"""The counters, taken from the records that this process wrote: they equal its record at every moment.

A label is a team, an action or a word of our own tables. Nothing that a caller wrote is one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from gateway.audit.chain import Record
from gateway.audit.decisions.joined import MOST_HELD, Tally, is_last
from gateway.process import fault_of

MOST_TEAMS = 1000
"""The most teams that are counted by name."""
OTHERS = "(others)"
"""The name under which all other teams are counted. No team can have it."""
ACTION = "cancel_runs"
"""The action of a record that names none."""

Labels = tuple[str, ...]


@dataclass(slots=True)
class _Several:
    """A decision of which more than one record says what it did, and how much of that has been counted."""

    tally: Tally = field(default_factory=Tally)
    cancelled: int = 0
    over_cancelled: int = 0


class Counts:
    """The counters. `take` is called by one thread at a time; others may copy the tables meanwhile.

    `fault` is the last exception at which a record was not counted.
    """

    def __init__(self) -> None:
        self.decisions: dict[Labels, int] = defaultdict(int)
        self.outcomes: dict[Labels, int] = defaultdict(int)
        self.effects: dict[Labels, int] = defaultdict(int)
        self.refusals: dict[Labels, int] = defaultdict(int)
        self.reloads: dict[Labels, int] = defaultdict(int)
        self.over_cancelled = 0
        self.joins = 0
        self.applied_s: float | None = None
        self.degraded = False
        self.fault: BaseException | None = None
        self._teams: set[str] = set()
        self._open: dict[object, Labels] = {}
        self._several: dict[object, _Several] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Count records that were written, in their order. Raises nothing."""
        for record in records:
            count = _COUNT.get(record.event)
            if count is not None:
                try:
                    count(self, record)
                except BaseException as caught:  # noqa: BLE001 - as in a Net
                    self.fault = fault_of(caught)

    @property
    def cancelled(self) -> dict[Labels, int]:
        """The runs of each team: what cancels of runs did, and no other action."""
        return {(team,): number for (team, action), number in self.effects.copy().items() if action == ACTION}

    def _decided(self, record: Record) -> None:
        members = record.members
        team, action = str(members["team"]), str(members.get("action", ACTION))
        if team not in self._teams:
            team = self._named(team)
        self.decisions[team, action, str(members["decision"]), str(members["enforced"])] += 1
        if record.event == "intent":
            waiting = self._open
            waiting[members["decision_id"]] = team, action
            if len(waiting) > MOST_HELD:
                self._forget(next(iter(waiting)))

    def _ended(self, record: Record) -> None:
        members = record.members
        name, outcome, runs = members["decision_id"], str(members["outcome"]), members["cancelled"]
        found = self._open.get(name)
        self.outcomes[ACTION if found is None else found[1], outcome] += 1
        if found is None:
            return
        alone = outcome == "cancelled" and name not in self._several and "action_id" not in members
        if alone and isinstance(runs, int) and not members["over_cancelled"]:
            # Most are like this: one number, and nothing before or after it.
            del self._open[name]
            if runs:
                self.effects[found] += runs
        else:
            self._learnt(record)

    def _learnt(self, record: Record) -> None:
        """Count what a record adds to what its decision is known to have done: runs cancelled, entries deleted."""
        name = record.members["decision_id"]
        found = self._open.get(name)
        if found is None:  # the decision of an earlier process, which was settled by this one
            return
        several, members = self._several.setdefault(name, _Several()), {**record.members, "event": record.event}
        several.tally.take(members)
        # A counter cannot go back, so a smaller number that was learnt later changes nothing.
        more = several.tally.cancelled - several.cancelled
        if more > 0:
            several.cancelled += more
            self.effects[found] += more
        excess = several.tally.over_cancelled - several.over_cancelled
        if excess > 0:
            several.over_cancelled += excess
            self.over_cancelled += excess
        if is_last(members):
            self._forget(name)

    def _forget(self, name: object) -> None:
        del self._open[name]
        self._several.pop(name, None)

    def _refused(self, record: Record) -> None:
        self.refusals[str(record.members.get("code", record.event)),] += 1

    def _joined(self, _: Record) -> None:
        self.joins += 1

    def _reloaded(self, record: Record) -> None:
        result = str(record.members["outcome"])
        self.reloads[result,] += 1
        self.degraded = result == "refused"
        if result == "applied":
            self.applied_s = record.ts_ns / 1e9

    def _named(self, team: str) -> str:
        """Return the name under which a new team is counted."""
        if len(self._teams) >= MOST_TEAMS:
            return OTHERS
        self._teams.add(team)
        return team

    by_event: ClassVar[Mapping[str, Callable[[Counts, Record], None]]] = {
        "intent": _decided,
        "denied": _decided,
        "outcome": _ended,
        "chunk": _learnt,
        "settled": _learnt,
        "refused": _refused,
        "throttled": _refused,
        "joined": _joined,
        "reload": _reloaded,
    }
    """What counts a record, by its event."""


_COUNT = Counts.by_event
