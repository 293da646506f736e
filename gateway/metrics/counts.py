"""The counters, taken from the records that this process wrote: they equal its record at every moment.

A label is a team, an action or a word of our own tables. Nothing that a caller wrote is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

from gateway.audit.chain import Record
from gateway.audit.decisions.joined import MOST_HELD, Tally, is_last
from gateway.process import Net

MOST_TEAMS = 1000
"""The most teams that are counted by name."""
OTHERS = "(others)"
"""The name under which all other teams are counted. No team can have it."""
ACTION = "cancel_runs"
"""The action of a record that names none."""

Labels = tuple[str, ...]
Members = Mapping[str, object]
Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class _Several:
    """A decision of which more than one record says what it cancelled, and how much of it has been counted."""

    tally: Tally = field(default_factory=Tally)
    cancelled: int = 0
    over_cancelled: int = 0


class Counts:
    """The counters. `take` is called by one thread at a time; others may copy the tables meanwhile.

    `fault` is the last exception at which a record was not counted.
    """

    def __init__(self) -> None:
        self.decisions: dict[Labels, int] = {}
        self.outcomes: dict[Labels, int] = {}
        self.cancelled: dict[Labels, int] = {}
        self.effects: dict[Labels, int] = {}
        self.refusals: dict[Labels, int] = {}
        self.reloads: dict[Labels, int] = {}
        self.over_cancelled = 0
        self.joins = 0
        self.applied_s: float | None = None
        self.fault: BaseException | None = None
        self._teams: set[str] = set()
        self._open: dict[object, Labels] = {}
        self._several: dict[object, _Several] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Count records that were written, in their order. Raises nothing."""
        left = iter(records)
        while True:
            with Net() as net:
                for record in left:
                    count = self._COUNT.get(record.event)
                    if count is not None:
                        count(self, record)
                return
            self.fault = net.caught

    def _decided(self, record: Record) -> None:
        members = record.members
        team, action = self._team(members), str(members.get("action", ACTION))
        _add(self.decisions, (team, action, str(members["decision"]), str(members["enforced"])))
        if record.event == "intent":
            self._open[members["decision_id"]] = team, action
            if len(self._open) > MOST_HELD:
                self._forget(next(iter(self._open)))

    def _ended(self, record: Record) -> None:
        members = record.members
        name, outcome, runs = members["decision_id"], str(members["outcome"]), members["cancelled"]
        found = self._open.get(name)
        _add(self.outcomes, (ACTION if found is None else found[1], outcome))
        if found is None:
            return
        alone = outcome == "cancelled" and name not in self._several and "action_id" not in members
        if alone and isinstance(runs, int) and not members["over_cancelled"]:
            # Most are like this: one number, and nothing before or after it.
            del self._open[name]
            self._add_runs(found, runs)
        else:
            self._learnt(record)

    def _learnt(self, record: Record) -> None:
        """Count what a record adds to the runs that its decision is known to have cancelled."""
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
            self._add_runs(found, more)
        excess = several.tally.over_cancelled - several.over_cancelled
        if excess > 0:
            several.over_cancelled += excess
            self.over_cancelled += excess
        if is_last(members):
            self._forget(name)

    def _forget(self, name: object) -> None:
        del self._open[name]
        self._several.pop(name, None)

    def _add_runs(self, found: Labels, runs: int) -> None:
        if runs:
            _add(self.cancelled, found[:1], runs)
            _add(self.effects, found, runs)

    def _refused(self, record: Record) -> None:
        _add(self.refusals, (str(record.members.get("code", record.event)),))

    def _joined(self, record: Record) -> None:
        self.joins += 1

    def _reloaded(self, record: Record) -> None:
        result = str(record.members["outcome"])
        _add(self.reloads, (result,))
        if result == "applied":
            self.applied_s = record.ts_ns / 1e9

    def _team(self, members: Members) -> str:
        team = str(members["team"])
        if team in self._teams:
            return team
        if len(self._teams) >= MOST_TEAMS:
            return OTHERS
        self._teams.add(team)
        return team

    _COUNT: ClassVar[Mapping[str, Callable[[Counts, Record], None]]] = {
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


def _add(table: dict[Key, int], key: Key, number: int = 1) -> None:
    table[key] = table.get(key, 0) + number
