"""Times as text and back: RFC 3339 in, RFC 3339 out, Unix milliseconds between (nanoseconds for records).

Each form is written by one function here. Records have microseconds, the creation of a run has milliseconds, and the
end of a credential has seconds, all with `Z`; sentences for people have an offset, as policy files do. Only
`gateway.log` formats a time of its own, because it lies below this room.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

DAY_MS = 86_400_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_MS, _LAST_MS = -62_135_596_800_000, 253_402_300_799_999
"""The first and the last millisecond that `datetime` can hold in UTC, of the years 1 and 9999."""

_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})")

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_HTTP_DATE = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), ([0-9]{{2}}) ({'|'.join(_MONTHS)}) ([0-9]{{4}}) "
    r"([0-9]{2}):([0-9]{2}):([0-9]{2}) GMT"
)

RECORD_TIME = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])-([0-2][0-9]|3[01])T([01][0-9]|2[0-3])(:[0-5][0-9]){2}\.[0-9]{6}Z")
"""The form of `record_time`."""


def utc(unix_ms: int) -> datetime:
    """Return a time in UTC. Raises: OverflowError: it is beyond the year 9999."""
    return _EPOCH + timedelta(milliseconds=unix_ms)


def unix_ms(moment: datetime) -> int:
    """Return a time that knows its offset in Unix milliseconds, rounded down."""
    return (moment - _EPOCH) // timedelta(milliseconds=1)


def after_day_ms(day: date) -> int:
    """Return the first millisecond after a UTC day."""
    # The day is added as milliseconds, because Python has no date after 9999-12-31.
    return unix_ms(datetime(day.year, day.month, day.day, tzinfo=UTC)) + DAY_MS


def parsed_ms(text: str) -> int:
    """Read a time with its offset, whose pattern the caller has checked.

    Raises: ValueError: there is no such time, or it cannot be written in UTC, as `9999-12-31T23:59:59-05:00`.
    """
    try:
        found_ms = unix_ms(datetime.fromisoformat(text))
    except (ValueError, OverflowError, TypeError):
        raise ValueError("there is no such time") from None
    if not _FIRST_MS <= found_ms <= _LAST_MS:
        raise ValueError("in UTC it lies beyond the years 1 to 9999")
    return found_ms


def instant_ms(text: str) -> int:
    """Parse a time in RFC 3339, always with its offset, to Unix milliseconds. Raises: ValueError if it is not one."""
    if not _TIME.fullmatch(text):
        raise ValueError("expected a time with its offset, like 2026-03-29T01:30:00+01:00 or 2026-03-29T00:30:00Z")
    return parsed_ms(text)


def record_instant(text: str) -> str:
    """Return a time in RFC 3339 as records write it. Raises: ValueError if it is not one."""
    instant_ms(text)
    return datetime.fromisoformat(text).astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def http_date_s(text: str) -> int | None:
    """Return the time in a header like `Date` in Unix seconds; None if it is not an IMF-fixdate (RFC 9110, 5.6.7)."""
    found = _HTTP_DATE.fullmatch(text)
    if found is None:
        return None
    month, (day, year, hour, minute, second) = found[2], map(int, found.group(1, 3, 4, 5, 6))
    try:
        moment = datetime(year, _MONTHS.index(month) + 1, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return unix_ms(moment) // 1000


def record_time(unix_ns: int) -> str:
    """Return a time with microseconds: `2026-01-31T09:30:00.000001Z`."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    return f"{_to_the_second(seconds)}.{rest_ns // 1000:06d}Z"


@lru_cache(maxsize=2)
def _to_the_second(unix_s: int) -> str:
    """Return a time without its offset; the records of one second share it."""
    return datetime.fromtimestamp(unix_s, UTC).isoformat()[:19]


def run_time(unix_ms: int) -> str:
    """Return a time with milliseconds: `2026-01-31T09:30:00.001Z`."""
    return utc(unix_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def credential_time(unix_ms: int) -> str:
    """Return a time with seconds, at the most the last that there is: `2026-01-31T09:30:00Z`."""
    return instant(unix_ms).replace("+00:00", "Z")


def instant(unix_ms: int) -> str:
    """Return a time as a person reads it, to the second: `2026-12-20T00:00:00+00:00`; at most the last there is."""
    return utc(max(_FIRST_MS, min(unix_ms, _LAST_MS))).isoformat(timespec="seconds")
