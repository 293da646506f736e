"""The readers of times: instants with an offset, days, hours and zones, and the windows made of them."""

from __future__ import annotations

import difflib
import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from gateway.core.errors import Problem
from gateway.core.forms.times import DAY_MS, parsed_ms
from gateway.files.mappings import Judged, ListOf, Present, Shape, may
from gateway.files.nodes import Place
from gateway.files.values import Field, Text
from gateway.policy.window import DAY_MINUTES, DAYS, EVERY_DAY, Hours, Window

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_INSTANT = rf"{_DATE}T[0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}})?(?:Z|[+-][0-9]{{2}}:[0-9]{{2}})"
_ZONE = "UTC|[A-Z][A-Za-z_]*(?:/[A-Za-z0-9_+-]+)+"
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_HOURS = rf"{_CLOCK}-(?:{_CLOCK}|24:00)"
_WORD = f"(?:{'|'.join(DAYS)})"
_DAY_RANGE = f"{_WORD}(?:-{_WORD})?"


def instant_field() -> Text[int]:
    """Return the reader of an instant with its offset, like `2026-12-20T00:00:00+01:00`, in Unix milliseconds."""
    return Text(_instant_ms, _INSTANT, typed=True)


def end_field() -> Text[int]:
    """Return the reader of an end in Unix milliseconds: an instant with its offset, or a date.

    A date means the end of that day in UTC.
    """
    return Text(_end_ms, f"{_DATE}|{_INSTANT}", typed=True)


def window() -> Field[Window]:
    """Return the reader of `{days, hours, zone, from, until}`: days and hours need the zone, instants their offset."""
    keys = {
        "days": may(ListOf(Text(_days, _DAY_RANGE))),
        "hours": may(Text(_hours, _HOURS)),
        "zone": may(Text(_zone, _ZONE)),
        "from": may(instant_field(), into="from_ms"),
        "until": may(instant_field(), into="until_ms"),
    }
    return Judged(Shape(_Parts, keys, check=_whole), lambda parts: parts.window())


class _Parts:
    """The parts of a window as its file has them, before its ends are compared."""

    def __init__(
        self,
        *,
        days: tuple[frozenset[int], ...] = (),
        hours: Hours | None = None,
        zone: ZoneInfo | None = None,
        from_ms: int | None = None,
        until_ms: int | None = None,
    ) -> None:
        self._week = (frozenset[int]().union(*days) or EVERY_DAY, hours) if zone is not None else (EVERY_DAY, None)
        self._zone = zone
        self._span = (from_ms, until_ms)

    def window(self) -> Window:
        """Return the window.

        Raises:
            ValueError: it ends before it begins.
        """
        days, hours = self._week
        return Window(self._zone, days, hours, *self._span)


def _whole(place: Place, present: Present) -> list[Problem]:
    weekly = bool(present.keys() & {"days", "hours"})
    if weekly and "zone" not in present:
        return [place.problem("days and hours are those of a zone: add zone, like Europe/Berlin")]
    if "zone" in present and not weekly:
        return [present["zone"].problem("'zone' stands only beside days or hours")]
    if not present.keys() & {"days", "hours", "from", "until"}:
        return [place.problem("the window bounds nothing: write days, hours, from or until")]
    return []


def _instant_ms(text: str) -> int:
    if not re.fullmatch(_INSTANT, text):
        raise ValueError("expected an instant with its offset, like 2026-12-20T00:00:00+01:00")
    try:
        return parsed_ms(text)
    except ValueError as none:
        raise ValueError(f"there is no such instant: {none}") from None


def _end_ms(text: str) -> int:
    if not re.fullmatch(_DATE, text):
        if not re.fullmatch(_INSTANT, text):
            raise ValueError("expected a date as YYYY-MM-DD, or an instant with its offset")
        return _instant_ms(text)
    try:
        return _instant_ms(f"{text}T00:00:00Z") + DAY_MS
    except ValueError:
        raise ValueError("there is no such day") from None


def _days(text: str) -> frozenset[int]:
    if not re.fullmatch(_DAY_RANGE, text):
        raise ValueError(f"expected a day or a range of days, like sat or mon-fri; days are {', '.join(DAYS)}")
    first, _, last = text.partition("-")
    start, end = DAYS.index(first), DAYS.index(last or first)
    return frozenset((start + step) % len(DAYS) for step in range((end - start) % len(DAYS) + 1))


def _hours(text: str) -> Hours:
    if not re.fullmatch(_HOURS, text):
        raise ValueError('expected hours like "09:00-17:00"; an end before the start is on the next day')
    start, _, end = text.partition("-")
    return Hours(_minute(start), _minute(end))


def _minute(clock: str) -> int:
    return min(int(clock[:2]) * 60 + int(clock[3:]), DAY_MINUTES)


def _zone(text: str) -> ZoneInfo:
    try:
        # Check the pattern first: the name of a zone becomes a path.
        return ZoneInfo(text) if re.fullmatch(_ZONE, text) else _no_zone(text)
    except (ZoneInfoNotFoundError, OSError):
        return _no_zone(text)


def _no_zone(text: str) -> ZoneInfo:
    guesses = difflib.get_close_matches(text[:40], available_timezones(), n=1)
    guess = f"did you mean {guesses[0]}?" if guesses else "expected one like Europe/Berlin, or UTC"
    raise ValueError(f"not a time zone: {guess}") from None
