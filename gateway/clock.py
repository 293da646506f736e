"""The time that judgement goes by: it never goes back, and never lies before what is known to have been.

An allowance or an exception that has ended stays ended, whatever becomes of the machine's clock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from gateway import RELEASED
from gateway.audit.recovery import newest_ms
from gateway.config import AuditConfig
from gateway.errors import Problem
from gateway.ports import Clock
from gateway.windows import instant

RELEASED_MS = int(datetime.fromisoformat(RELEASED).replace(tzinfo=UTC).timestamp()) * 1000

TOLERANCE_MS = 86_400_000
"""A clock that is behind by less than this is set right by its machine sooner or later; nobody is told to do it."""


class SystemClock:
    """The real time, as the machine has it."""

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()


class SteadyClock:
    """A clock that shows no time before `floor_ms` (Unix milliseconds), nor before any that it has shown."""

    def __init__(self, clock: Clock, *, floor_ms: int) -> None:
        self._clock = clock
        self._latest_ms = floor_ms

    def now_ms(self) -> int:
        """Unix milliseconds."""
        self._latest_ms = max(self._latest_ms, self._clock.now_ms())
        return self._latest_ms

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self._clock.monotonic_s()

    def notices(self) -> list[str]:
        """What operators have to know: the clock went back."""
        shown_ms, latest_ms = self._clock.now_ms(), self.now_ms()
        if shown_ms >= latest_ms - TOLERANCE_MS:
            return []
        return [f"the machine's clock went back to {instant(shown_ms)}: requests are judged as at {instant(latest_ms)}"]


def floor_ms(audit: AuditConfig) -> int:
    """Before when it cannot be now: this release, and the newest record in the audit directory."""
    return max(RELEASED_MS, newest_ms(audit.directory) or 0)


def clock_problems(audit: AuditConfig, now_ms: int) -> Iterator[Problem]:
    """Why the machine's clock cannot be right."""
    newest = newest_ms(audit.directory)
    for known_ms, what in ((RELEASED_MS, "this release is"), (newest, "the newest record in the audit directory is")):
        if known_ms is not None and now_ms < known_ms - TOLERANCE_MS:
            yield audit.at.problem(
                f"the machine's clock shows {instant(now_ms)}, and {what} of {instant(known_ms)}: set the clock"
            )
