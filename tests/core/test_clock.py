"""Time in judgement never goes back: what has ended stays ended, whatever becomes of the machine's clock."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.audit.chain import GENESIS, Record, Sealer
from gateway.audit.recovery import newest_ms
from gateway.clock import RELEASED_MS, TOLERANCE_MS, SteadyClock, clock_problems, floor_ms
from gateway.config import AuditConfig
from gateway.document.nodes import Place
from gateway.policy.model import Effect, Rule

DAY_MS = 86_400_000
LATER_MS = RELEASED_MS + 100 * DAY_MS


@dataclass
class Wall:
    """A clock that is set by hand."""

    wall_ms: int
    steady_s: float = 5.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.steady_s


def audit(directory: Path) -> AuditConfig:
    """The section about a directory."""
    return AuditConfig(directory, "fsync", stdout=False, mac_key=None, at=Place("config.yaml", 8, 8))


def written(directory: Path, name: str, *times_ms: int) -> Path:
    """A file of a chain with a record of each time."""
    lines, _ = Sealer(name, key=None).seal(GENESIS, [Record(made * 1_000_000, "start", {}) for made in times_ms])
    path = directory / f"{name}.000001.jsonl"
    path.write_bytes(b"".join(lines))
    return path


def test_a_clock_that_goes_back_shows_the_latest_time() -> None:
    """And goes on from there once the machine has caught up; the notice says so where it is much."""
    wall = Wall(LATER_MS)
    clock = SteadyClock(wall, floor_ms=0)
    assert clock.now_ms() == LATER_MS
    wall.wall_ms = LATER_MS - TOLERANCE_MS
    assert (clock.now_ms(), clock.notices()) == (LATER_MS, [])
    wall.wall_ms -= 1
    assert clock.now_ms() == LATER_MS
    [notice] = clock.notices()
    assert "clock went back" in notice
    wall.wall_ms = LATER_MS + 1
    assert (clock.now_ms(), clock.notices()) == (LATER_MS + 1, [])
    assert clock.monotonic_s() == 5.0


def test_a_clock_never_shows_a_time_before_the_release_or_the_newest_record(tmp_path: Path) -> None:
    """Not even for a first request."""
    assert floor_ms(audit(tmp_path / "absent")) == floor_ms(audit(tmp_path)) == RELEASED_MS
    written(tmp_path, "old", RELEASED_MS - DAY_MS)
    assert floor_ms(audit(tmp_path)) == RELEASED_MS
    path = written(tmp_path, "new", LATER_MS - DAY_MS, LATER_MS)
    path.write_bytes(path.read_bytes() + b'{"v":1,"seq":3')
    written(tmp_path, "middle", LATER_MS - 1)
    (tmp_path / "odd.000001.jsonl").write_bytes(b"no record\n")
    assert newest_ms(tmp_path) == floor_ms(audit(tmp_path)) == LATER_MS
    assert SteadyClock(Wall(0), floor_ms=RELEASED_MS).now_ms() == RELEASED_MS


@pytest.mark.parametrize("behind_ms", [0, TOLERANCE_MS, TOLERANCE_MS + 1])
def test_a_clock_that_cannot_be_right_is_refused_in_words(tmp_path: Path, behind_ms: int) -> None:
    """A day is left for machines that set their clock a little later."""
    problems = list(clock_problems(audit(tmp_path), RELEASED_MS - behind_ms))
    assert len(problems) == (behind_ms > TOLERANCE_MS)
    assert all("set the clock" in str(problem) for problem in problems)


def test_a_clock_behind_the_newest_record_is_refused_in_words(tmp_path: Path) -> None:
    """The record knows what time it was at least."""
    written(tmp_path, "new", LATER_MS)
    assert list(clock_problems(audit(tmp_path), LATER_MS - TOLERANCE_MS)) == []
    [problem] = clock_problems(audit(tmp_path), LATER_MS - TOLERANCE_MS - 1000)
    assert "the newest record in the audit directory" in str(problem)
    assert str(problem).startswith("config.yaml:8:8: ")


def test_an_exception_that_has_ended_stays_ended() -> None:
    """`until` is judged by the time that never goes back: here a year before the machine's last request."""
    rule = Rule("p", "r", Effect.ALLOW, {}, teams=frozenset(("t",)), until_ms=LATER_MS)
    wall = Wall(LATER_MS + DAY_MS)
    clock = SteadyClock(wall, floor_ms=floor_ms(audit(Path("absent"))))
    clock.now_ms()
    wall.wall_ms = 0
    assert rule.until_ms is not None
    assert clock.now_ms() >= rule.until_ms


def test_the_release_is_a_day_that_has_been() -> None:
    """A release is never ahead of who runs it."""
    assert datetime.fromtimestamp(RELEASED_MS / 1000, UTC) <= datetime.now(UTC) + timedelta(days=1)
    assert newest_ms(Path("absent")) is None
