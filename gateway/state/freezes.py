"""Freezes as values, what every gateway reads of them each time it beats, and who has read them."""

from __future__ import annotations

from dataclasses import dataclass

SILENT_MS = 2_000
"""After how many milliseconds without a beat a gateway counts as silent."""

GONE_MS = 10_000
"""After how many milliseconds without a beat a gateway counts as gone: nobody will say what came of what it sent."""

FORGOTTEN_MS = 600_000
"""After how many milliseconds without a beat a gateway is not named any more.

One that ended says so, and one that was started again on its directory says it of the process before. What is left is a
gateway that was killed for good, or that is cut off from the store and may still send: so this is no short time.
"""


@dataclass(frozen=True, slots=True)
class Scope:
    """The requests that a freeze is about: those of a team, of an `allow` rule (`file/id`), of both; None means any."""

    team: str | None = None
    rule: str | None = None

    def covers(self, team: str, rule: str | None) -> bool:
        """Return whether a request of this team, admitted by this rule, lies inside."""
        return self.team in (None, team) and self.rule in (None, rule)


def scope_in_words(scope: Scope) -> str:
    """Return what a freeze is about, to stand behind a noun: `of team billing under rule billing/own`."""
    team = "of all teams" if scope.team is None else f"of team {scope.team}"
    return team if scope.rule is None else f"{team} under rule {scope.rule}"


@dataclass(frozen=True, slots=True)
class Freeze:
    """A switch that stops what is sent to QStash. Times are Unix milliseconds.

    `number` counts the changes of freezes in the store: that of the last one, which `Snapshot.number` has reached where
    it was read. It ends at `until_ms` (None: never by itself), or when it is thawed (`thawed_ms`, `thawed_by`).
    """

    freeze_id: str
    scope: Scope
    reason: str
    by: str
    at_ms: int
    until_ms: int | None = None
    number: int = 0
    thawed_ms: int | None = None
    thawed_by: str | None = None

    def in_force(self, now_ms: int) -> bool:
        """Return whether it still stops requests."""
        return self.thawed_ms is None and (self.until_ms is None or now_ms < self.until_ms)


@dataclass(frozen=True, slots=True)
class Gateway:
    """One gateway of the fleet: its instance, when it last beat, and the `number` that it has in force."""

    instance: str
    seen_ms: int
    number: int

    def silent(self, now_ms: int) -> bool:
        """Return whether it has not beaten of late, so that nobody knows what it has in force."""
        return now_ms - self.seen_ms > SILENT_MS


@dataclass(frozen=True, slots=True)
class Stop:
    """The wish that a plan be stopped, for the gateway that holds its claim."""

    plan_id: str
    by: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What every gateway follows, read in one transaction: all of it, or nothing.

    `now_ms` is the store's clock. `freezes` are those in force, and those that ended but are on no record yet
    (`unrecorded`: the IDs whose beginning, and whose end, is on none). `stops` are for the gateway that asked.
    """

    now_ms: int
    number: int
    freezes: tuple[Freeze, ...]
    unrecorded: frozenset[tuple[str, str]] = frozenset()
    gateways: tuple[Gateway, ...] = ()
    stops: tuple[Stop, ...] = ()
