"""Time in judgement never goes back: what has ended stays ended, whatever becomes of the machine's clock."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import GENESIS, MacKey, Record, Sealer
from gateway.config import AuditConfig
from gateway.files.nodes import Place
from gateway.policy.model import Effect, Rule
from gateway.serving.clock import (
    AHEAD_MS,
    LATEST_CHAINS,
    LATEST_MS,
    RELEASED_MS,
    TAIL_BYTES,
    TOLERANCE_MS,
    Floor,
    SteadyClock,
    clock_problems,
    floor,
    recorded,
)
from tests.support.stand_ins import StillClock
from tests.support.steps import steps

DAY_MS = 86_400_000
LATER_MS = RELEASED_MS + 100 * DAY_MS


def audit(directory: Path) -> AuditConfig:
    """The section about a directory."""
    return AuditConfig(directory, "fsync", stdout=False, mac_key=None, at=Place("config.yaml", 8, 8))


def written(directory: Path, name: str, *times_ms: int, key: MacKey | None = None) -> Path:
    """A file of a chain with a record of each time."""
    lines, _ = Sealer(name, key=key).seal(GENESIS, [Record(made * 1_000_000, "start", {}) for made in times_ms])
    path = directory / f"{name}.000001.jsonl"
    path.write_bytes(b"".join(lines))
    return path


KEY, OTHER_KEY = MacKey(b"k" * 32), MacKey(b"o" * 32)


@pytest.mark.parametrize("back_ms", [1, AHEAD_MS + 1, DAY_MS, 365 * DAY_MS])
def test_a_clock_that_goes_back_is_not_followed_and_time_goes_on(back_ms: int) -> None:
    """Judged time passes second by second from the latest that was shown, for as long as the machine is behind it."""
    wall = StillClock(LATER_MS)
    clock = SteadyClock(wall, floor_ms=0)
    assert clock.now_ms() == LATER_MS
    wall.wall_ms -= back_ms
    assert clock.now_ms() == LATER_MS
    for second in range(1, 4):
        wall.wall_ms, wall.steady_s = wall.wall_ms + 1000, wall.steady_s + 1
        assert clock.now_ms() == LATER_MS + 1000 * second
    assert len(clock.notices()) == (back_ms > AHEAD_MS)
    assert all("set back while this gateway served" in notice for notice in clock.notices())


def test_a_clock_that_has_caught_up_is_followed_again() -> None:
    """Also to a jump ahead, from where time goes on once more; there is a notice while it is far off, and no longer."""
    wall = StillClock(LATER_MS)
    clock = SteadyClock(wall, floor_ms=0)
    wall.wall_ms -= AHEAD_MS + 1
    assert len(clock.notices()) == 1
    wall.wall_ms += AHEAD_MS + 1
    assert (clock.now_ms(), clock.notices()) == (LATER_MS, [])
    wall.wall_ms += 365 * DAY_MS
    assert clock.now_ms() == LATER_MS + 365 * DAY_MS
    wall.wall_ms, wall.steady_s = LATER_MS, wall.steady_s + 60.5
    assert clock.now_ms() == LATER_MS + 365 * DAY_MS + 60_500
    assert clock.monotonic_s() == wall.steady_s


@given(st.lists(st.tuples(st.integers(-(10**12), 10**12), st.integers(0, 10**6)), max_size=30))
def test_judged_time_is_never_slower_than_seconds_and_never_before_the_machine(steps: list[tuple[int, int]]) -> None:
    """Whatever the machine's clock does: between two looks at least as much passes as on a clock that nobody sets."""
    wall = StillClock(LATER_MS)
    clock = SteadyClock(wall, floor_ms=RELEASED_MS)
    before = clock.now_ms()
    for moved_ms, passed_s in steps:
        wall.wall_ms, wall.steady_s = LATER_MS + moved_ms, wall.steady_s + passed_s
        now = clock.now_ms()
        assert now >= max(wall.wall_ms, before + 1000 * passed_s)
        before = now


def test_what_was_shown_before_the_first_request_counts() -> None:
    """A clock that is set back between the start and the first request is not followed either."""
    wall = StillClock(LATER_MS)
    clock = SteadyClock(wall, floor_ms=RELEASED_MS)
    wall.wall_ms = RELEASED_MS
    assert clock.now_ms() == LATER_MS


def test_time_begins_at_the_release_or_the_newest_record(tmp_path: Path) -> None:
    """Whatever the machine's clock shows; torn lines, foreign files and files of other things tell nothing."""
    assert floor(tmp_path / "absent", None, LATER_MS).ms == floor(tmp_path, None, LATER_MS).ms == RELEASED_MS
    written(tmp_path, "old", RELEASED_MS - DAY_MS)
    assert floor(tmp_path, None, LATER_MS).ms == RELEASED_MS
    path = written(tmp_path, "new", LATER_MS - DAY_MS, LATER_MS)
    path.write_bytes(path.read_bytes() + b'{"v":1,"seq":3')
    written(tmp_path, "middle", LATER_MS - 1)
    (tmp_path / "odd.000001.jsonl").write_bytes(b"no record\n")
    (tmp_path / "away.000001.jsonl").symlink_to("nowhere")
    assert floor(tmp_path, None, LATER_MS) == Floor(LATER_MS, floor(tmp_path, None, LATER_MS).because, [])
    assert SteadyClock(StillClock(0), floor_ms=RELEASED_MS).now_ms() == RELEASED_MS


def test_with_a_key_only_what_it_sealed_tells_the_time(tmp_path: Path) -> None:
    """Whoever can only write the directory cannot move judged time: not by a file, a line, or another key."""
    true = written(tmp_path, "true", LATER_MS, key=KEY)
    written(tmp_path, "unsealed", LATER_MS + DAY_MS)
    written(tmp_path, "foreign", LATER_MS + DAY_MS, key=OTHER_KEY)
    forged = written(tmp_path, "forged", LATER_MS + DAY_MS, key=KEY)
    forged.write_bytes(forged.read_bytes().replace(b'"start"', b'"stopp"'))
    true.write_bytes(true.read_bytes() + written(tmp_path, "end", LATER_MS + 2 * DAY_MS).read_bytes())
    assert recorded(tmp_path, KEY) == {"true": LATER_MS}
    assert floor(tmp_path, KEY, LATER_MS).ms == LATER_MS
    assert floor(tmp_path, None, LATER_MS).ms == LATER_MS + 2 * DAY_MS


@pytest.mark.parametrize("after", [1, 500, 20_000])
def test_a_record_counts_although_later_ones_are_of_an_earlier_time(tmp_path: Path, after: int) -> None:
    """The clock was set back while the chain was written, and the process ended: what has ended stays ended."""
    written(tmp_path, "one", LATER_MS, *[LATER_MS - DAY_MS] * after, key=KEY)
    assert floor(tmp_path, KEY, LATER_MS).ms == LATER_MS
    path = written(tmp_path, "one", LATER_MS - DAY_MS, LATER_MS, *[LATER_MS - DAY_MS] * min(after, 500), key=KEY)
    assert path.stat().st_size < TAIL_BYTES
    assert floor(tmp_path, KEY, LATER_MS).ms == LATER_MS


def _replayed(directory: Path, name: str) -> Path:
    """A copy of a chain that was sealed long ago, under another name."""
    path = written(directory, "copied", LATER_MS - 9 * DAY_MS, key=KEY)
    return path.rename(directory / f"{name}.000001.jsonl")


DECOYS: dict[str, Callable[[Path, str], Path]] = {
    "empty files": written,
    "unsealed records": lambda directory, name: written(directory, name, LATER_MS - 9 * DAY_MS),
    "records of another key": lambda directory, name: written(directory, name, LATER_MS + DAY_MS, key=OTHER_KEY),
    "copies of sealed chains": _replayed,
    "old sealed chains with a new time": lambda directory, name: written(directory, name, LATER_MS - DAY_MS, key=KEY),
}


@pytest.mark.parametrize("first", ["zz", "00"])
@pytest.mark.parametrize("decoy", DECOYS)
def test_no_number_of_files_hides_what_is_on_record(tmp_path: Path, decoy: str, first: str) -> None:
    """With a key: files that tell nothing, or only what is long past, push no sealed record out of the search."""
    if decoy.startswith("old"):
        first = "00"  # a sealed chain has the name that it was begun with, and names sort by time
    written(tmp_path, "a-true-one", LATER_MS, key=KEY)
    for number in range(4 * LATEST_CHAINS):
        path = DECOYS[decoy](tmp_path, f"{first}{number}")
        os.utime(path, (path.stat().st_mtime + 100,) * 2)
    assert floor(tmp_path, KEY, LATER_MS).ms == LATER_MS


def forged(times: int, *, between: bytes) -> bytes:
    """So many beginnings of records, none of them sealed."""
    return (b'{"v":1,"seq":1,"ts":"2261-01-01T00:00:00.000000Z","x":0}' + between) * times + b"\n"


def test_a_line_is_looked_at_once_whatever_it_holds(tmp_path: Path) -> None:
    """Stamps inside a line are no records: twenty times as many cost nothing more."""
    path = written(tmp_path, "one", LATER_MS, key=KEY)
    sealed = path.read_bytes()

    def work(times: int) -> int:
        path.write_bytes(sealed + forged(times, between=b""))
        return steps(lambda: recorded(tmp_path, KEY))

    work(1)
    assert work(2000) < 1.1 * work(100)


def test_files_full_of_forged_records_cost_a_start_little_more_than_empty_ones(tmp_path: Path) -> None:
    """A chain is known by its first record; only a few of the others are searched for more."""

    def work(directory: Path, lines: int) -> int:
        directory.mkdir()
        for number in range(100):
            (directory / f"c{number}.000001.jsonl").write_bytes(forged(lines, between=b"\n"))
        return steps(lambda: recorded(directory, KEY))

    work(tmp_path / "first", 1)
    assert work(tmp_path / "full", 50) < 10 * work(tmp_path / "short", 1)


@pytest.mark.parametrize(
    "stamp", ["2027-02-30T00:00:00.000000Z", "0000-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"]
)
def test_a_time_that_no_clock_shows_is_none(tmp_path: Path, stamp: str) -> None:
    """A day that does not exist, or one that 64 bits of nanoseconds do not reach, ends no start and moves no time."""
    path = written(tmp_path, "one", LATER_MS)
    line = path.read_bytes()
    path.write_bytes(line + re.sub(rb'"ts":"[^"]+"', b'"ts":"%b"' % stamp.encode(), line))
    assert recorded(tmp_path, None) == {"one": LATER_MS}
    written(tmp_path, "last", LATEST_MS)
    latest = floor(tmp_path, None, LATER_MS)
    assert latest.ms == LATEST_MS
    assert len(SteadyClock(StillClock(LATER_MS), floor_ms=latest.ms, because=latest.because).notices()) == 1


def test_a_floor_ahead_of_the_clock_names_its_chains_and_the_way_out(tmp_path: Path) -> None:
    """Those that are far ahead, the furthest first, at most ten of them."""
    for number in range(13):
        written(tmp_path, f"c{number:02}", LATER_MS + (number - 1) * DAY_MS)
    found = floor(tmp_path, None, LATER_MS)
    assert list(found.chains) == [f"c{number:02}" for number in range(12, 1, -1)]
    wall = StillClock(LATER_MS)
    clock = SteadyClock(wall, floor_ms=found.ms, because=found.because)
    [notice] = clock.notices()
    assert "records of the chains c12, c11, " in notice
    assert ", c03 and 1 more are of that time. If the clock is right, 'audit retire' the chains" in notice
    assert "c02" not in notice
    wall.steady_s += 60
    assert clock.now_ms() == LATER_MS + 11 * DAY_MS + 60_000


@pytest.mark.parametrize("behind_ms", [0, TOLERANCE_MS, TOLERANCE_MS + 1])
def test_a_clock_that_cannot_be_right_is_refused_in_words(tmp_path: Path, behind_ms: int) -> None:
    """A day is left for machines that set their clock a little later."""
    problems = list(clock_problems(audit(tmp_path), RELEASED_MS - behind_ms))
    assert len(problems) == (behind_ms > TOLERANCE_MS)
    assert all("set the clock" in str(problem) for problem in problems)


def test_an_exception_that_has_ended_stays_ended() -> None:
    """`until` is judged by the time that never goes back: here a year before the machine's last request."""
    rule = Rule("p", "r", Effect.ALLOW, {}, teams=frozenset(("t",)), until_ms=LATER_MS)
    wall = StillClock(LATER_MS + DAY_MS)
    clock = SteadyClock(wall, floor_ms=floor(Path("absent"), None, LATER_MS).ms)
    clock.now_ms()
    wall.wall_ms = 0
    assert rule.until_ms is not None
    assert clock.now_ms() >= rule.until_ms


def test_the_release_is_a_day_that_has_been() -> None:
    """A release is never ahead of who runs it."""
    assert datetime.fromtimestamp(RELEASED_MS / 1000, UTC) <= datetime.now(UTC) + timedelta(days=1)
