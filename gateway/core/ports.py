"""What every room needs from outside: the time, and somewhere to tell operators."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Where time comes from, so that tests can hold it still."""

    def now_ms(self) -> int:
        """Unix milliseconds."""

    def monotonic_s(self) -> float:
        """Seconds that never go back."""


class Alarm(Protocol):
    """Where operators read of what cannot wait for somebody who reads the record."""

    def error(self, event: str, **members: object) -> None:
        """Writes one line."""


class OperatorsLog(Alarm, Protocol):
    """Where operators read of news, too."""

    def info(self, event: str, **members: object) -> None:
        """Writes one line of news."""
