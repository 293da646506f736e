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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from functools import cache
from itertools import islice
from pathlib import Path

from gateway import RELEASED
from gateway.audit.chain import MacKey
from gateway.audit.journal import AuditSettings
from gateway.audit.reader import sealed_record
from gateway.audit.segment import chains_in, load_mac_key, open_segment
from gateway.config import AuditConfig, audit_problems
from gateway.core.errors import AuditFailure, InvalidConfiguration, Problem
from gateway.core.forms.times import DAY_MS, after_day_ms, instant, parsed_ms
from gateway.core.ports import Clock
from gateway.serving.reload import refuse

RELEASED_MS = after_day_ms(date.fromisoformat(RELEASED)) - DAY_MS

TOLERANCE_MS = DAY_MS
"""A clock less than this behind the release date is not reported: the machine will set it right sooner or later."""
AHEAD_MS = 10_000
"""How far judged time may be ahead of the machine's clock before operators are told."""
LATEST_MS = 2**63 // 1_000_000
"""The year 2262. No machine's clock shows a later time, so a record with a later one was not stamped by a clock."""
LATEST_CHAINS = 32
"""How many chains are searched for the newest record: so many of those begun last, and of those written last."""
LATEST_ODD = 8
"""How many chains are searched besides that do not begin with a record that counts, the last written first."""
LAST_FILES = 3
"""How many files of a chain are searched, besides its first."""
MOST_LOOKED_AT = 10_000
"""How many chains are looked at to find these. A directory has more only if somebody fills it on purpose."""
FIRST_BYTES = 64 * 1024
"""The longest first record by which a chain is known; nearly all are shorter than 1 KiB."""
TAIL_BYTES = 1024 * 1024
"""How much of a file's end is searched. Its first record is read too: the clock may have been set back after it."""
MOST_NAMED = 10

_STAMP = re.compile(rb'\{"v":1,"seq":[0-9]{1,19},"ts":"([0-9T:.Z-]{27})"')

SET_BACK = "it was set back while this gateway served. If it is right now, restart the gateway"
SEE = "operations.md: When the clock was wrong"
RELEASE = "this release is of that day. Set the clock"


class SystemClock:
    """The machine's own clock."""

    def now_ms(self) -> int:
        """Return the machine's time in Unix milliseconds."""
        return time.time_ns() // 1_000_000

    monotonic_s = staticmethod(time.monotonic)
    """Return seconds that never go back."""


class SteadyClock:
    """A clock that never shows a time before `floor_ms` (Unix milliseconds), never goes back and never stops.

    `because` is the reason, for operators, why the time cannot be earlier than the floor. Safe to use from any thread.
    """

    def __init__(self, clock: Clock, *, floor_ms: int, because: str = RELEASE) -> None:
        self._clock = clock
        self.monotonic_s = clock.monotonic_s
        self._lock = threading.Lock()
        self._floor_ms, self._floor_s, self._because = floor_ms, clock.monotonic_s(), because
        self.now_ms()

    def now_ms(self) -> int:
        """Return the time to judge by, in Unix milliseconds."""
        with self._lock:
            steady_s = self.monotonic_s()
            steady_ms = self._floor_ms + int((steady_s - self._floor_s) * 1000)
            shown_ms = self._clock.now_ms()
            if shown_ms < steady_ms:
                return steady_ms
            self._floor_ms, self._floor_s, self._because = shown_ms, steady_s, SET_BACK
            return shown_ms

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

    Searches the chains that were begun or written last, and of a file only its first record and its last megabyte.
    """
    files = _files(directory)
    newest: dict[str, int] = {}
    searched = dict.fromkeys(_searched(files, key))
    for chain, path in ((name, path) for name in searched for path in _ends(files[name])):
        try:
            told_ms = _newest_in(path, key)
        except OSError:  # The file was retired meanwhile or cannot be read; the others still count.
            continue
        if told_ms is not None:
            newest[chain] = max(newest.get(chain, 0), told_ms)
    return newest


_Files = list[tuple[Path, int]]
"""A chain's regular files in order, each with the time of its last change in nanoseconds."""


def _files(directory: Path) -> dict[str, _Files]:
    found: dict[str, _Files] = {}
    try:
        chains = chains_in(directory.iterdir())
    except OSError:
        return {}
    for chain, path in ((chain, path) for chain, segments in chains.items() for _, path in segments):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISREG(status.st_mode):
                found.setdefault(chain, []).append((path, status.st_mtime_ns))
    return found


def _searched(files: Mapping[str, _Files], key: MacKey | None) -> Iterator[str]:
    """Yield the chains to search: those begun last, as their names sort, those written last, and a few odd ones.

    Whoever writes the directory can make files and set their times, but with a key no chain that begins with a sealed
    record of its own name. So only chains that begin so are counted, and looking at any other costs one short read.
    """
    begun = sorted(files, reverse=True)
    written = sorted(files, key=lambda chain: (max(time_ns for _, time_ns in files[chain]), chain), reverse=True)
    true = cache(lambda chain: _begins_true(files[chain][0][0], chain, key))
    for chains in (begun, written):
        yield from islice(filter(true, chains[:MOST_LOOKED_AT]), LATEST_CHAINS)
    # The first record of a true chain may have been damaged, or be longer than most.
    yield from islice((chain for chain in written[:MOST_LOOKED_AT] if not true(chain)), LATEST_ODD)


def _begins_true(path: Path, chain: str, key: MacKey | None) -> bool:
    try:
        with open_segment(path) as file:
            first = file.readline(FIRST_BYTES)
    except OSError:
        return False
    return sealed_record(first, [key] if key is not None else []).get("instance") == chain


def _ends(files: _Files) -> list[Path]:
    """Return the files of a chain to search: its first and its last ones. A chain has more than one after a fault."""
    return [path for path, _ in (*files[:1], *files[1:][-LAST_FILES:])]


def _newest_in(path: Path, key: MacKey | None) -> int | None:
    with open_segment(path) as file:
        first = file.readline(TAIL_BYTES)
        file.seek(max(len(first), file.seek(0, os.SEEK_END) - TAIL_BYTES))
        lines = (first + file.read()).split(b"\n")[:-1]
    # Only a line can be a record, so each byte is read once, whatever the lines hold.
    stamped = ((match[1], line) for line in lines if (match := _STAMP.match(line)))
    # Stamps have one length, so they sort by time. Without a key the newest stamp nearly always decides.
    for stamp, line in sorted(stamped, reverse=True):
        told_ms = _ms(stamp)
        if told_ms is not None and sealed_record(line + b"\n", [key] if key is not None else []):
            return told_ms
    return None


def _ms(stamp: bytes) -> int | None:
    try:
        milliseconds = parsed_ms(stamp.decode("ascii"))
    except ValueError:
        return None
    return milliseconds if milliseconds <= LATEST_MS else None


def clock_problems(audit: AuditConfig, now_ms: int) -> Iterator[Problem]:
    """Yield a problem if the machine's clock shows a time well before this release, which cannot be right."""
    if now_ms < RELEASED_MS - TOLERANCE_MS:
        released, shown = instant(RELEASED_MS), instant(now_ms)
        yield audit.at.problem(f"the machine's clock shows {shown}, and this release is of {released}: set the clock")


def record_and_clock(audit: AuditConfig, wall: Clock) -> tuple[AuditSettings, SteadyClock]:
    """Return the settings of the audit log, and a clock that does not show less than the log did.

    Raises: InvalidConfiguration: the directory or the MAC key cannot be used, or the machine's clock is wrong.
    """
    refuse([*audit_problems(audit), *clock_problems(audit, wall.now_ms())])
    try:
        mac_key = load_mac_key(audit.mac_key) if audit.mac_key is not None else None
    except AuditFailure as exc:
        raise InvalidConfiguration([audit.at.problem(str(exc))]) from exc
    settings = AuditSettings(
        directory=audit.directory, durability=audit.durability, stdout=audit.stdout, mac_key=mac_key
    )
    earliest = floor(settings.directory, settings.mac_key, wall.now_ms())
    return settings, SteadyClock(wall, floor_ms=earliest.ms, because=earliest.because)
