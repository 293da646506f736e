"""The counters, taken from the records that this process wrote: they equal its record at every moment.

A label is a team, an action or a word of our own tables. Nothing that a caller wrote is one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
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
class _Open:
    """A decision that more records may follow, and how much of it has been counted."""

    team: str
    action: str
    tally: Tally | None = None
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
        self._open: dict[object, _Open] = {}

    def take(self, records: Iterable[Record]) -> None:
        """Count records that were written, in their order. Raises nothing."""
        for record in records:
            count = self._COUNT.get(record.event)
            if count is not None:
                with Net() as net:
                    count(self, record)
                self.fault = net.fault or self.fault

    def _decided(self, record: Record) -> None:
        members = record.members
        team, action = self._team(members), str(members.get("action", ACTION))
        _add(self.decisions, (team, action, str(members["decision"]), str(members["enforced"])))
        if record.event == "intent":
            self._open[members["decision_id"]] = _Open(team, action)
            if len(self._open) > MOST_HELD:
                del self._open[next(iter(self._open))]

    def _ended(self, record: Record) -> None:
        members = record.members
        found = self._open.get(members["decision_id"])
        outcome, runs, over = str(members["outcome"]), members["cancelled"], members["over_cancelled"]
        _add(self.outcomes, (ACTION if found is None else found.action, outcome))
        if found is None:
            return
        last = found.tally is None and outcome == "cancelled" and members.get("action_id") is None
        if last and isinstance(runs, int) and isinstance(over, int):
            # Most are like this: one number, and nothing before or after it.
            self._add_runs(found, runs, over)
            del self._open[members["decision_id"]]
        else:
            self._grow(found, record)

    def _learnt(self, record: Record) -> None:
        found = self._open.get(record.members["decision_id"])
        if found is not None:  # not the decision of an earlier process, which was settled by this one
            self._grow(found, record)

    def _grow(self, found: _Open, record: Record) -> None:
        """Count what a record adds to the runs that its decision is known to have cancelled."""
        members = {**record.members, "event": record.event}
        if found.tally is None:
            found.tally = Tally()
        found.tally.take(members)
        self._add_runs(found, found.tally.cancelled, found.tally.over_cancelled)
        if is_last(members):
            del self._open[members["decision_id"]]

    def _add_runs(self, found: _Open, cancelled: int, over_cancelled: int) -> None:
        # A counter cannot go back, so a smaller number that was learnt later changes nothing.
        more = cancelled - found.cancelled
        if more > 0:
            found.cancelled += more
            _add(self.cancelled, (found.team,), more)
            _add(self.effects, (found.team, found.action), more)
        excess = over_cancelled - found.over_cancelled
        if excess > 0:
            found.over_cancelled += excess
            self.over_cancelled += excess

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
