"""Times are read and written in one place: what is written is read as the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forms.times import (
    DAY_MS,
    RECORD_TIME,
    after_day_ms,
    credential_time,
    instant,
    instant_ms,
    record_time,
    run_time,
    unix_ms,
    utc,
)

LAST_MS = 253_402_300_799_999
TIMES = st.integers(0, LAST_MS)
SECOND_MS = 1000


@given(TIMES)
def test_a_time_is_the_same_after_writing_and_reading(at: int) -> None:
    """To the millisecond in the record and in a run's time, to the second in the others."""
    assert unix_ms(utc(at)) == at
    assert instant_ms(run_time(at)) == instant_ms(record_time(at * 1_000_000)) == at
    assert instant_ms(instant(at)) == instant_ms(credential_time(at)) == at - at % SECOND_MS


@given(st.integers(0, LAST_MS * 1_000_000))
def test_a_time_of_the_record_has_one_form(at_ns: int) -> None:
    """Microseconds and `Z`, always as many characters, so that stamps sort by time."""
    written = record_time(at_ns)
    assert RECORD_TIME.fullmatch(written)
    assert len(written) == len("2026-01-31T09:30:00.000001Z")
    assert datetime.fromisoformat(written) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_ns // 1000)


@given(st.dates())
def test_a_day_ends_with_its_last_millisecond(day: date) -> None:
    """Also the last day that there is, after which there is no date."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert after_day_ms(day) - unix_ms(start) == DAY_MS


def test_an_end_beyond_every_date_is_shown_as_the_last() -> None:
    """A token may name any number, and the page that shows it has to come."""
    assert credential_time(10**18) == credential_time(LAST_MS) == "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(("write", "ending"), [(run_time, "Z"), (credential_time, "Z"), (instant, "+00:00")])
def test_every_form_names_its_offset(write: Callable[[int], str], ending: str) -> None:
    """No time of ours is read as local time."""
    assert write(0).endswith(ending)


@pytest.mark.parametrize("text", ["9999-12-31T23:59:59-05:00", "0001-01-01T00:00:00+01:00"])
def test_a_time_that_no_year_of_utc_holds_is_none(text: str) -> None:
    """What is read can be written: an end "for ever" in a zone west of Greenwich would be in the year 10000."""
    with pytest.raises(ValueError, match="beyond the years 1 to 9999"):
        instant_ms(text)


@pytest.mark.parametrize("beyond_ms", [LAST_MS + 1, 10**18])
def test_a_time_beyond_the_last_is_written_as_the_last(beyond_ms: int) -> None:
    """No sentence for people fails because a time lies too far away."""
    assert instant(beyond_ms) == "9999-12-31T23:59:59+00:00"
