"""The clock that requests are judged by: it never goes back, never stops, and is never behind the newest record.

    judged time = max(the machine's clock, the floor + the seconds that have passed since the floor was set)

So whatever has expired stays expired, even if the machine's clock is set back, and a clock that once was ahead does not
freeze time. At a start the floor is the newest time on record. With a MAC key only sealed records count. Without a key
every record counts: true and false ones look alike, and ignoring a true one could revive what has expired. A floor far
ahead of the machine's clock never prevents a start: operators are told which chain set it, and how to resolve it.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway import RELEASED
from gateway.audit.chain import MacKey
from gateway.audit.reader import sealed_record
from gateway.audit.segment import chains_in, open_segment
from gateway.config import AuditConfig
from gateway.core.errors import Problem
from gateway.core.ports import Clock
from gateway.policy.window import instant

RELEASED_MS = int(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp()) * 1000

TOLERANCE_MS = 86_400_000
"""A clock less than this behind the release date is not reported: the machine will set it right sooner or later."""
AHEAD_MS = 10_000
"""How far judged time may be ahead of the machine's clock before operators are told."""
LATEST_MS = 2**63 // 1_000_000
"""The year 2262. No machine's clock shows a later time, so a record with a later one was not stamped by a clock."""
LATEST_FILES = 32
"""How many files are searched for the newest record, the most recently written first."""
TAIL_BYTES = 1024 * 1024
"""How much of a file's end is searched. Its first record is read too: the clock may have been set back after it."""
MOST_NAMED = 10

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_STAMP = re.compile(rb'\{"v":1,"seq":[0-9]{1,19},"ts":"([0-9T:.Z-]{27})"')

SET_BACK = "it was set back while this gateway served. If it is right now, restart the gateway"
SEE = "operations.md: When the clock was wrong"
RELEASE = "this release is of that day. Set the clock"


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the machine's time in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return time.monotonic()


class SteadyClock:
    """A clock that never shows a time before `floor_ms` (Unix milliseconds), never goes back and never stops.

    `because` is the reason, for operators, why the time cannot be earlier than the floor. Safe to use from any thread.
    """

    def __init__(self, clock: Clock, *, floor_ms: int, because: str = RELEASE) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._floor_ms, self._floor_s, self._because = floor_ms, clock.monotonic_s(), because
        self.now_ms()

    def now_ms(self) -> int:
        """Return the time to judge by, in Unix milliseconds."""
        with self._lock:
            steady_s = self._clock.monotonic_s()
            steady_ms = self._floor_ms + int((steady_s - self._floor_s) * 1000)
            shown_ms = self._clock.now_ms()
            if shown_ms < steady_ms:
                return steady_ms
            self._floor_ms, self._floor_s, self._because = shown_ms, steady_s, SET_BACK
            return shown_ms

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""
        return self._clock.monotonic_s()

    def notices(self) -> list[str]:
        """Return a notice for operators, with cause and remedy, if judged time is ahead of the machine's clock."""
        judged_ms, shown_ms = self.now_ms(), self._clock.now_ms()
        if judged_ms - shown_ms <= AHEAD_MS:
            return []
        shown = f"the machine's clock shows {instant(shown_ms)}"
        return [f"requests are judged as if it were {instant(judged_ms)}, but {shown}: {self._because} ({SEE})"]


@dataclass(frozen=True, slots=True)
class Floor:
    """The earliest time (Unix milliseconds) that it can be now, and why; `chains` hold records ahead of the clock."""

    ms: int
    because: str
    chains: Sequence[str] = ()


def floor(directory: Path, key: MacKey | None, now_ms: int) -> Floor:
    """Return the later of this release's date and the newest record that counts; `now_ms` is the machine's clock."""
    told = recorded(directory, key)
    newest_ms = max(told.values(), default=0)
    if newest_ms <= RELEASED_MS:
        return Floor(RELEASED_MS, RELEASE)
    chains = sorted((name for name in told if told[name] - now_ms > AHEAD_MS), key=lambda name: -told[name])
    return Floor(newest_ms, _way_out(chains) if chains else SET_BACK, chains)


def _way_out(chains: Sequence[str]) -> str:
    more = len(chains) - MOST_NAMED
    named = ", ".join(chains[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    word = "chain" if len(chains) == 1 else "chains"
    retire = f"'audit retire' the {word} and restart the gateway"
    return f"records of the {word} {named} are of that time. If the clock is right, {retire}"


def recorded(directory: Path, key: MacKey | None) -> dict[str, int]:
    """Return the newest time recorded in each chain, in Unix milliseconds; with a `key`, only records sealed with it.

    Searches only the most recently written files, and of each only its first record and its last megabyte.
    """
    newest: dict[str, int] = {}
    for chain, path in _written_last(directory):
        try:
            told_ms = _newest_in(path, key)
        except OSError:  # The file was retired meanwhile or cannot be read; the others still count.
            continue
        if told_ms is not None:
            newest[chain] = max(newest.get(chain, 0), told_ms)
    return newest


def _written_last(directory: Path) -> list[tuple[str, Path]]:
    written: list[tuple[int, str, Path]] = []
    try:
        chains = chains_in(directory.iterdir())
    except OSError:
        return []
    for chain, path in ((chain, path) for chain, segments in chains.items() for _, path in segments):
        try:
            found = path.lstat()
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode):
            written.append((found.st_mtime_ns, chain, path))
    return [(chain, path) for _, chain, path in sorted(written, reverse=True)[:LATEST_FILES]]


def _newest_in(path: Path, key: MacKey | None) -> int | None:
    with open_segment(path) as file:
        first = file.readline(TAIL_BYTES)
        file.seek(max(len(first), file.seek(0, os.SEEK_END) - TAIL_BYTES))
        content = first + file.read()
    # Stamps have one length, so they sort by time. Without a key the newest stamp nearly always decides.
    for stamp, begins in sorted(((match[1], match.start()) for match in _STAMP.finditer(content)), reverse=True):
        line = content[begins : content.find(b"\n", begins) + 1]
        told_ms = _ms(stamp)
        if told_ms is not None and sealed_record(line, [key] if key is not None else []):
            return told_ms
    return None


def _ms(stamp: bytes) -> int | None:
    try:
        told = datetime.fromisoformat(stamp.decode("ascii"))
    except ValueError:
        return None
    milliseconds = (told - _EPOCH) // timedelta(milliseconds=1)
    return milliseconds if milliseconds <= LATEST_MS else None


def clock_problems(audit: AuditConfig, now_ms: int) -> Iterator[Problem]:
    """Yield a problem if the machine's clock shows a time well before this release, which cannot be right."""
    if now_ms < RELEASED_MS - TOLERANCE_MS:
        released, shown = instant(RELEASED_MS), instant(now_ms)
        yield audit.at.problem(f"the machine's clock shows {shown}, and this release is of {released}: set the clock")
