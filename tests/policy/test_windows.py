"""Windows of time: the switches of daylight saving, the edges of every bound, and what a file may say."""

from __future__ import annotations

import datetime as dt
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import Problem
from gateway.files.source import parse_document
from gateway.policy.format.times import end_field, window
from gateway.policy.window import EVERY_DAY, Hours, Window
from tests.cli.running import command

BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str) -> int:
    """Unix milliseconds of an instant with its offset."""
    return int(dt.datetime.fromisoformat(text).timestamp() * 1000)


def read(text: str) -> tuple[Window | None, list[str]]:
    """What `during` makes of a text, and its problems."""
    node, problems = parse_document("f", text.encode())
    value = window().read(node, problems)
    return value, [str(problem) for problem in problems]


def opened(text: str) -> Window:
    """A window whose text holds."""
    value, problems = read(text)
    assert value is not None
    assert problems == []
    return value


OFFICE = '{days: [mon-fri], hours: "09:00-17:00", zone: Europe/Berlin}'
NIGHT = '{days: [fri], hours: "22:00-06:00", zone: Europe/Berlin}'
SMALL = '{hours: "02:00-03:00", zone: Europe/Berlin}'
FREEZE = '{from: "2026-12-20T00:00:00+01:00", until: "2027-01-04T00:00:00+01:00"}'
LEAP = "{days: [thu], zone: Europe/Berlin}"

# (window, instant, open)
EDGES = [
    (OFFICE, "2026-01-05T08:59:59.999+01:00", False),
    (OFFICE, "2026-01-05T09:00:00+01:00", True),
    (OFFICE, "2026-01-05T16:59:59.999+01:00", True),
    (OFFICE, "2026-01-05T17:00:00+01:00", False),
    (OFFICE, "2026-01-04T12:00:00+01:00", False),
    # The same hours in summer are another two hours from UTC.
    (OFFICE, "2026-07-06T09:00:00+02:00", True),
    (OFFICE, "2026-07-06T15:00:00+00:00", False),
    # A night belongs to the day it begins on: Saturday's morning to Friday, Friday's morning to Thursday.
    (NIGHT, "2026-01-09T21:59:59+01:00", False),
    (NIGHT, "2026-01-09T22:00:00+01:00", True),
    (NIGHT, "2026-01-10T05:59:59.999+01:00", True),
    (NIGHT, "2026-01-10T06:00:00+01:00", False),
    (NIGHT, "2026-01-09T05:00:00+01:00", False),
    (NIGHT, "2026-01-10T22:00:00+01:00", False),
    # 29 March 2026: the clock goes from 01:59:59 to 03:00. The hour that it skips has no instants.
    (SMALL, "2026-03-29T00:59:59.999+00:00", False),
    (SMALL, "2026-03-29T01:00:00+00:00", False),
    (SMALL, "2026-03-28T01:30:00+00:00", True),
    # 25 October 2026: the clock shows 02:00 to 03:00 twice, and both count.
    (SMALL, "2026-10-24T23:59:59.999+00:00", False),
    (SMALL, "2026-10-25T00:00:00+00:00", True),
    (SMALL, "2026-10-25T01:00:00+00:00", True),
    (SMALL, "2026-10-25T01:59:59.999+00:00", True),
    (SMALL, "2026-10-25T02:00:00+00:00", False),
    (FREEZE, "2026-12-19T22:59:59.999+00:00", False),
    (FREEZE, "2026-12-19T23:00:00+00:00", True),
    (FREEZE, "2027-01-03T22:59:59.999+00:00", True),
    (FREEZE, "2027-01-03T23:00:00+00:00", False),
    # 29 February 2024 was a Thursday.
    (LEAP, "2024-02-29T00:00:00+01:00", True),
    (LEAP, "2024-02-29T23:59:59.999+01:00", True),
    (LEAP, "2024-03-01T00:00:00+01:00", False),
]


@pytest.mark.parametrize(("text", "instant", "is_open"), EDGES)
def test_a_window_is_open_from_its_first_instant_to_before_its_last(text: str, instant: str, is_open: bool) -> None:
    """Each edge, one millisecond to either side, also where the clock is changed."""
    assert opened(text).open_at(ms(instant)) is is_open


@given(st.integers(0, 4_102_444_800_000), st.integers(0, 1439), st.integers(1, 1440))
def test_hours_and_the_rest_of_the_day_divide_all_time(now_ms: int, start: int, end: int) -> None:
    """Every instant lies in exactly one of a span of hours and its complement, across every change of the clock."""
    if start == end or (start, end) == (0, 1440):
        return
    rest = Hours(end % 1440, start or 1440)
    spans = [Window(BERLIN, EVERY_DAY, hours) for hours in (Hours(start, end), rest)]
    assert sum(span.open_at(now_ms) for span in spans) == 1


@given(st.integers(0, 4_102_444_800_000))
def test_a_week_of_nights_is_every_night(now_ms: int) -> None:
    """Seven nights, each with its own day, cover what one night of every day covers, each instant once."""
    hours = Hours(22 * 60, 6 * 60)
    nights = [Window(BERLIN, frozenset((day,)), hours) for day in range(7)]
    assert sum(night.open_at(now_ms) for night in nights) == Window(BERLIN, EVERY_DAY, hours).open_at(now_ms)


REFUSED = {
    "no zone": ('{hours: "09:00-17:00"}', "days and hours are those of a zone"),
    "zone alone": ("{zone: UTC}", "'zone' stands only beside days or hours"),
    "nothing": ("{}", "the window bounds nothing"),
    "misspelt zone": ("{days: [mon], zone: Europe/Berln}", "did you mean Europe/Berlin?"),
    "zone that is a path": ("{days: [mon], zone: ../../etc/passwd}", "not a time zone"),
    "zone that is a folder": ("{days: [mon], zone: America/Argentina}", "not a time zone"),
    "full day's name": ("{days: [monday], zone: UTC}", "expected a day"),
    "no hours": ('{hours: "09:00-09:00", zone: UTC}', "for a whole day write 00:00-24:00"),
    "hours beyond the day": ('{hours: "09:00-25:00", zone: UTC}', "expected hours like"),
    "hours without zeros": ('{hours: "9:00-17:00", zone: UTC}', "expected hours like"),
    "no offset": ('{from: "2026-12-20T00:00:00"}', "expected an instant with its offset"),
    "no such day": ('{from: "2026-02-29T00:00:00Z"}', "there is no such instant"),
    "a date alone": ("{from: 2026-12-20}", "expected an instant with its offset"),
    "backwards": ('{from: "2026-12-20T00:00:00Z", until: "2026-12-20T01:00:00+01:00"}', "ends before it begins"),
    "unknown": ("{day: [mon], zone: UTC}", "did you mean 'days'?"),
}


@pytest.mark.parametrize(("text", "fault"), REFUSED.values(), ids=REFUSED.keys())
def test_a_window_that_could_be_read_in_two_ways_is_refused(text: str, fault: str) -> None:
    """Local times without a zone, instants without an offset, empty and impossible windows."""
    value, problems = read(text)
    assert any(fault in problem for problem in problems)
    assert value is None or problems


def test_an_end_is_an_instant_or_the_end_of_a_utc_day() -> None:
    """A date is good through that day, as the expiry of a key is."""
    problems: list[Problem] = []
    ends = []
    for text in ("2026-06-30", '"2026-06-30T18:00:00+02:00"', "2024-02-29"):
        node, _ = parse_document("f", text.encode())
        ends.append(end_field().read(node, problems))
    assert problems == []
    assert ends == [ms("2026-07-01T00:00:00+00:00"), ms("2026-06-30T16:00:00+00:00"), ms("2024-03-01T00:00:00+00:00")]


def test_words_say_the_window_as_a_file_would() -> None:
    """What a refused caller reads."""
    assert opened(OFFICE).words() == "mon-fri 09:00-17:00 Europe/Berlin"
    assert opened("{days: [sat, sun-mon], zone: UTC}").words() == "mon, sat-sun UTC"
    assert opened(FREEZE).words() == "from 2026-12-19T23:00:00+00:00 until 2027-01-03T23:00:00+00:00"


def test_zones_come_with_the_installation() -> None:
    """Slim images have none of their own."""
    assert resources.files("tzdata").joinpath("zoneinfo", "Europe", "Berlin").is_file()


def test_zones_do_not_hang_on_the_machine(tmp_path: Path) -> None:
    """Where Python looks for them is said when it is built, and by a variable: another Berlin changes no window."""
    utc = resources.files("tzdata").joinpath("zoneinfo", "UTC").read_bytes()
    for name in ("Europe/Berlin", "Mars/Olympus"):
        (tmp_path / "zones" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "zones" / name).write_bytes(utc)
    (tmp_path / "policies").mkdir()
    policy, cases = tmp_path / "policies" / "p.yaml", tmp_path / "policies" / "p.cases.yaml"
    rule = "{id: r, workflowUrl: {any: true}, during: {hours: '09:00-10:00', zone: ZONE}}"
    policy.write_text(f"version: 1\nname: p\nteams: [a]\nallow:\n  - {rule}\n".replace("ZONE", "Europe/Berlin"))
    request = "/v2/workflows/runs?workflowUrl=https%3A%2F%2Fa.example%2Fx"
    cases.write_text(
        "version: 1\ncases:\n"
        f"  - {{it: opens at nine, team: a, request: '{request}', at: 2026-01-07T08:30:00Z, expect: permit}}\n"
    )
    elsewhere = {"PYTHONTZPATH": str(tmp_path / "zones")}
    assert command("test", str(tmp_path / "policies"), env=elsewhere).returncode == 0
    policy.write_text(policy.read_text().replace("Europe/Berlin", "Mars/Olympus"))
    done = command("test", str(tmp_path / "policies"), env=elsewhere)
    assert "not a time zone" in done.stdout + done.stderr
