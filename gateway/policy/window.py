"""The times at which a rule holds: days and hours of a zone, and spans between two instants. Pure: `now` is passed in.

Hours are what a clock on the wall in that zone shows. An hour that the clock skips has no instants; one that it shows
twice counts both times.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from zoneinfo import ZoneInfo

from gateway.core.forms.times import instant

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
EVERY_DAY = frozenset(range(len(DAYS)))
DAY_MINUTES = 24 * 60


@dataclass(frozen=True, slots=True)
class Hours:
    """The hours from one minute of the day to another, the end excluded; an end before the start is on the next day."""

    start: int
    end: int

    def __post_init__(self) -> None:
        if not (0 <= self.start < DAY_MINUTES and 0 <= self.end <= DAY_MINUTES):
            raise ValueError("hours lie between 00:00 and 24:00")
        if self.start == self.end:
            raise ValueError("the hours end where they begin: for a whole day write 00:00-24:00")

    def __str__(self) -> str:
        return f"{_clock(self.start)}-{_clock(self.end)}"


@dataclass(frozen=True, slots=True)
class Window:
    """A window in time: the days and hours of `zone`, from `from_ms` until before `until_ms`.

    `days` are numbers; Monday is 0. A bound that is None does not count; the window is open while every other bound
    holds.
    """

    zone: ZoneInfo | None = None
    days: frozenset[int] = EVERY_DAY
    hours: Hours | None = None
    from_ms: int | None = None
    until_ms: int | None = None

    def __post_init__(self) -> None:
        if self.zone is None and (self.hours is not None or self.days != EVERY_DAY):
            raise ValueError("days and hours need a zone")
        if self.from_ms is not None and self.until_ms is not None and self.from_ms >= self.until_ms:
            raise ValueError("the window ends before it begins")

    def open_at(self, now_ms: int) -> bool:
        """Return whether the window is open at this instant, in Unix milliseconds."""
        if self.from_ms is not None and now_ms < self.from_ms:
            return False
        if self.until_ms is not None and now_ms >= self.until_ms:
            return False
        return self.zone is None or self._shown_by(datetime.fromtimestamp(now_ms // 1000, self.zone))

    def _shown_by(self, local: datetime) -> bool:
        minute, day = local.hour * 60 + local.minute, local.weekday()
        if self.hours is None:
            return day in self.days
        if self.hours.start < self.hours.end:
            return day in self.days and self.hours.start <= minute < self.hours.end
        # A night belongs to the day on which it begins.
        if minute >= self.hours.start:
            return day in self.days
        return minute < self.hours.end and (day - 1) % len(DAYS) in self.days

    def words(self) -> str:
        """Return the window in plain words, to follow *during*."""
        parts = []
        if self.days != EVERY_DAY:
            parts.append(_days(self.days))
        if self.hours is not None:
            parts.append(str(self.hours))
        if self.zone is not None:
            parts.append(self.zone.key)
        if self.from_ms is not None:
            parts.append(f"from {instant(self.from_ms)}")
        if self.until_ms is not None:
            parts.append(f"until {instant(self.until_ms)}")
        return " ".join(parts)


def duration(milliseconds: int) -> str:
    """Return milliseconds in the largest whole unit, as policies write it: `24h`, `30m`."""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def _days(days: Iterable[int]) -> str:
    """Return the days as a file would name them, days in a row as `mon-fri`."""
    runs = [[day for _, day in run] for _, run in groupby(enumerate(sorted(days)), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(DAYS[run[0]] if len(run) == 1 else f"{DAYS[run[0]]}-{DAYS[run[-1]]}" for run in runs)
