"""How much one principal may ask for, and how much all of them together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from gateway.cancel import Principal
from gateway.errors import Overloaded, Throttled

MAX_PRINCIPALS = 10_000
"""How many rows are kept."""


@dataclass(slots=True)
class _Use:
    in_flight: int = 0
    tokens: float = 0.0
    filled_at_s: float = 0.0


class Place:
    """A place that was taken; a `with` over it gives it back at its end."""

    __slots__ = ("_admission", "_use")

    def __init__(self, admission: Admission, use: _Use) -> None:
        self._admission = admission
        self._use = use

    def __enter__(self) -> None:
        """It was taken already."""

    def __exit__(self, *error: object) -> None:
        self._admission._leave(self._use)  # noqa: SLF001 - one thing in two classes


class Admission:
    """Places for requests in flight, and a token bucket of a minute's requests for each principal; 0 is no limit.

    Tokens may bring ever new subjects, so the table is bounded: the row that was asked for longest ago gives way,
    unless it has a request in flight. Whoever is forgotten starts again with a full minute.
    """

    def __init__(self, *, max_in_flight: int, principal_in_flight: int, requests_per_minute: int) -> None:
        self._max_in_flight = max_in_flight
        self._principal_in_flight = principal_in_flight
        self._per_minute = requests_per_minute
        self._in_flight = 0
        self._uses: dict[Principal, _Use] = {}

    def take(self, *, max_in_flight: int, principal_in_flight: int, requests_per_minute: int) -> None:
        """New limits from now on; who holds a place keeps it, and what was spent in this minute stays spent."""
        more = requests_per_minute - self._per_minute
        for use in self._uses.values():
            use.tokens += max(0, more)
        self._max_in_flight = max_in_flight
        self._principal_in_flight = principal_in_flight
        self._per_minute = requests_per_minute

    def place(self, principal: Principal, monotonic_s: float, *, cost: int = 1) -> Place:
        """Takes a place for one request that counts for `cost`; `monotonic_s` is a monotonic clock in seconds.

        The place is held until the end of a `with` over it.

        Raises:
            Throttled: the principal has asked for too much at once or within a minute.
            Overloaded: every place of the gateway is taken.
        """
        use = self._row(principal, monotonic_s)
        self._spend(use, monotonic_s, cost)
        if self._principal_in_flight and use.in_flight >= self._principal_in_flight:
            raise Throttled(
                "in_flight",
                f"Your key has {use.in_flight} requests in flight, the most it may have. Wait for one to end.",
                limit=self._principal_in_flight,
                retry_after_s=1,
            )
        if self._in_flight >= self._max_in_flight:
            raise Overloaded("in_flight", "The gateway is busy; nothing was sent. Try again in a moment.")
        use.in_flight += 1
        self._in_flight += 1
        return Place(self, use)

    def _leave(self, use: _Use) -> None:
        use.in_flight -= 1
        self._in_flight -= 1

    def _row(self, principal: Principal, monotonic_s: float) -> _Use:
        use = self._uses.pop(principal, None)
        if use is None:
            use = _Use(tokens=self._per_minute, filled_at_s=monotonic_s)
            idle = (name for name, other in self._uses.items() if not other.in_flight)
            if len(self._uses) >= MAX_PRINCIPALS and (oldest := next(idle, None)) is not None:
                del self._uses[oldest]
        self._uses[principal] = use
        return use

    def _spend(self, use: _Use, monotonic_s: float, cost: int) -> None:
        if not self._per_minute:
            return
        rate_per_s = self._per_minute / 60
        use.tokens = min(self._per_minute, use.tokens + (monotonic_s - use.filled_at_s) * rate_per_s)
        use.filled_at_s = monotonic_s
        if use.tokens < 1:
            raise Throttled(
                "requests_per_minute",
                f"Your key may make {self._per_minute} requests a minute. Try again later.",
                limit=self._per_minute,
                retry_after_s=math.ceil((1 - use.tokens) / rate_per_s),
            )
        # A request that costs more than is left is paid off later: it is not refused for its size.
        use.tokens -= cost
