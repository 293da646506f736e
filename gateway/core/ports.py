"""The ports that every room needs: the time, and a log for operators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Clock(Protocol):
    """The source of time; tests can hold it still."""

    def now_ms(self) -> int:
        """Return the time in Unix milliseconds."""

    def monotonic_s(self) -> float:
        """Return seconds that never go back."""


class Alarm(Protocol):
    """The log for what operators must know before anyone reads the record."""

    def error(self, event: str, **members: object) -> None:
        """Write one error line."""


class OperatorsLog(Alarm, Protocol):
    """The operators' log, for errors and for news."""

    def info(self, event: str, **members: object) -> None:
        """Write one line of news."""


class NotePort(Protocol):
    """The part of the audit log that takes events which need no receipt. Neither method raises."""

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        """Record an event and wait for a bounded time."""

    def note_soon(self, event: str, members: Mapping[str, object]) -> None:
        """Record an event without waiting."""


class KeepPort(Protocol):
    """The part of the audit log that takes events which must be durable before the caller goes on."""

    async def keep(self, event: str, members: Mapping[str, object]) -> None:
        """Record an event durably. Raises: AuditUnavailable: it is not durable."""
