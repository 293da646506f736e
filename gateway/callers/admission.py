"""The limits on what one principal, one team and all callers together may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

from gateway.core.bucket import Bucket
from gateway.core.errors import Overloaded, Throttled
from gateway.core.request import Principal

MAX_PRINCIPALS = 10_000
"""The most rows that are kept, one per principal."""

COST_BYTES = 8192
"""This many bytes of a request count as one request more: a large one fills the record like many small ones."""

MOST_WAITING_BYTES = 64 * 1024 * 1024
"""The most bytes of unfinished bodies in all. One principal may hold a quarter, and one of several teams half."""


@dataclass(slots=True)
class _Held:
    """The places and bytes that one principal, one team or all callers hold at the moment."""

    in_flight: int = 0
    joins: int = 0
    waiting_bytes: int = 0


@dataclass(slots=True, kw_only=True)
class _Use(_Held):
    team: _Held
    bucket: Bucket


class Reading:
    """The bytes of one body while it is read. A `with` counts them against the bounds, and charges them at its end.

    `framing_bytes`, which are not held, are charged as well.
    """

    __slots__ = ("_admission", "_count", "_use", "framing_bytes")

    def __init__(self, admission: Admission, use: _Use) -> None:
        self._admission = admission
        self._use = use
        self._count = 0
        self.framing_bytes = 0

    def took(self, count: int) -> None:
        """Count bytes that have come. Raises: Throttled, Overloaded: unfinished bodies hold too many bytes."""
        self._count += count
        self._admission._hold_bytes(self._use, count)  # noqa: SLF001 - one thing in several classes

    def __enter__(self) -> Self:
        """Return the account, still empty."""
        return self

    def __exit__(self, *error: object) -> None:
        self._admission._release_bytes(self._use, self._count, self.framing_bytes)  # noqa: SLF001 - as above


class Slot:
    """A place that was taken. It is given back once: with the first `leave`, or at the end of a `with` over it."""

    __slots__ = ("_admission", "_left", "_use")

    def __init__(self, admission: Admission, use: _Use) -> None:
        self._admission = admission
        self._use = use
        self._left = False

    def reading(self) -> Reading:
        """Return the account of the request's body. A body is waited for only while its request has a place."""
        return Reading(self._admission, self._use)

    def __enter__(self) -> None:
        """Do nothing: the place was taken already."""

    def __exit__(self, *error: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Give the place back; a second call does nothing."""
        if not self._left:
            self._left = True
            self._admission._leave(self._use)  # noqa: SLF001 - one thing in several classes


class JoinPlace:
    """A place to wait for an identical cancel, for a caller above its limits. A `with` over it gives it back."""

    __slots__ = ("_admission", "_use")

    def __init__(self, admission: Admission, use: _Use) -> None:
        self._admission = admission
        self._use = use

    def __enter__(self) -> None:
        """Do nothing: the place was taken already."""

    def __exit__(self, *error: object) -> None:
        self._admission._end_join(self._use)  # noqa: SLF001 - one thing in several classes


class Admission:
    """The places for requests in flight, and a token bucket of a minute's requests for each principal.

    A limit of 0 means no limit, except for `max_in_flight`. A team has a limit of its own besides those of a principal
    and of all callers. Bringing many keys, or tokens with many subjects, does not give a team more places.

    Tokens may bring ever new subjects, so the table is bounded: the row that was used longest ago gives way, unless it
    has something in flight. A principal that was forgotten starts again with a full minute.
    """

    def __init__(
        self, *, max_in_flight: int, principal_in_flight: int, requests_per_minute: int, team_in_flight: int = 0
    ) -> None:
        self._max_in_flight = max_in_flight
        self._principal_in_flight = principal_in_flight
        self._team_in_flight = team_in_flight
        self._per_minute = requests_per_minute
        self._all = _Held()
        self._teams: dict[str, _Held] = {}
        self._uses: dict[Principal, _Use] = {}

    @property
    def in_flight(self) -> int:
        """How many requests have a place."""
        return self._all.in_flight

    def take(
        self, *, max_in_flight: int, principal_in_flight: int, requests_per_minute: int, team_in_flight: int = 0
    ) -> None:
        """Use new limits from now on. Places in use are kept, and what was spent in this minute stays spent."""
        more = requests_per_minute - self._per_minute
        for use in self._uses.values():
            use.bucket.tokens += max(0, more)
        self._max_in_flight = max_in_flight
        self._principal_in_flight = principal_in_flight
        self._team_in_flight = team_in_flight
        self._per_minute = requests_per_minute

    def place(self, principal: Principal, monotonic_s: float, *, cost: int = 1) -> Slot:
        """Take a place for one request that counts as `cost` requests; `monotonic_s` is a monotonic clock in seconds.

        The place is held until the end of a `with` over it.

        Raises:
            Throttled: the principal has asked for too much at once or within a minute, or its team for too much at
                once.
            Overloaded: every place of the gateway is taken.
        """
        use = self._row(principal, monotonic_s)
        self._spend(use, monotonic_s, cost)
        team = use.team
        if self._principal_in_flight and use.in_flight >= self._principal_in_flight:
            raise Throttled(
                "in_flight",
                f"Your key has {use.in_flight} requests in flight, the most it may have. Wait for one to end.",
                limit=self._principal_in_flight,
                retry_after_s=1,
            )
        if self._team_in_flight and team.in_flight >= self._team_in_flight:
            raise Throttled(
                "team_in_flight",
                f"Your team has {team.in_flight} requests in flight, the most a team may have: this is the limit of "
                "the team, not of your key. Wait for one to end.",
                limit=self._team_in_flight,
                retry_after_s=1,
            )
        if self._all.in_flight >= self._max_in_flight:
            raise Overloaded("in_flight", "The gateway is busy; nothing was sent. Try again in a moment.")
        use.in_flight += 1
        team.in_flight += 1
        self._all.in_flight += 1
        return Slot(self, use)

    def join(self, principal: Principal, monotonic_s: float) -> JoinPlace:
        """Take a place to wait for a cancel that is under way, for a caller above its limits.

        There are as many of these places as of the others: for one principal, for one team and in all.

        Raises: Throttled: all of these places are taken.
        """
        use = self._row(principal, monotonic_s)
        bounds = (
            (use, self._principal_in_flight, "you"),
            (use.team, self._team_in_flight, "your team (this is its limit, not that of your key)"),
            (self._all, self._max_in_flight, "all callers"),
        )
        for held, most, whose in bounds:
            if most and held.joins >= most:
                sentence = f"{held.joins} repeated requests of {whose} wait for cancels under way, the most that may."
                raise Throttled("joins", f"{sentence} Wait for one to end.", limit=most, retry_after_s=1)
        for held, _, _ in bounds:
            held.joins += 1
        return JoinPlace(self, use)

    def charge(self, principal: Principal, monotonic_s: float, *, read_bytes: int) -> None:
        """Charge the principal for bytes that were read for a request without a place."""
        self._pay(self._row(principal, monotonic_s), read_bytes)

    def _leave(self, use: _Use) -> None:
        use.in_flight -= 1
        use.team.in_flight -= 1
        self._all.in_flight -= 1

    def _end_join(self, use: _Use) -> None:
        for held in (use, use.team, self._all):
            held.joins -= 1

    def _hold_bytes(self, use: _Use, count: int) -> None:
        held = (use, use.team, self._all)
        for one in held:
            one.waiting_bytes += count
        mine, teams = MOST_WAITING_BYTES // 4, MOST_WAITING_BYTES // 2
        if use.waiting_bytes > mine:
            sentence = "Too many bytes of your requests are still on their way. Wait for one to end."
            raise Throttled("waiting_bytes", sentence, limit=mine, retry_after_s=1)
        if self._team_in_flight and use.team.waiting_bytes > teams:
            sentence = "Too many bytes of your team's requests are still on their way: this is the limit of the team."
            raise Throttled("team_waiting_bytes", f"{sentence} Wait for one to end.", limit=teams, retry_after_s=1)
        if self._all.waiting_bytes > MOST_WAITING_BYTES:
            raise Overloaded("waiting_bytes", "The gateway is busy; nothing was sent. Try again in a moment.")

    def _release_bytes(self, use: _Use, count: int, framing_bytes: int) -> None:
        for held in (use, use.team, self._all):
            held.waiting_bytes -= count
        self._pay(use, count + framing_bytes)

    def _pay(self, use: _Use, read_bytes: int) -> None:
        # All bytes that were read are paid for, however they were framed and whatever came of them. The debt can refuse
        # the next requests, but not this one.
        if self._per_minute:
            use.bucket.tokens -= read_bytes // COST_BYTES

    def _row(self, principal: Principal, monotonic_s: float) -> _Use:
        use = self._uses.pop(principal, None)
        if use is None:
            team = self._teams.setdefault(principal.team, _Held())
            use = _Use(team=team, bucket=Bucket(self._per_minute, monotonic_s))
            idle = (name for name, other in self._uses.items() if not (other.in_flight or other.joins))
            if len(self._uses) >= MAX_PRINCIPALS and (oldest := next(idle, None)) is not None:
                del self._uses[oldest]
        self._uses[principal] = use
        return use

    def _spend(self, use: _Use, monotonic_s: float, cost: int) -> None:
        if not self._per_minute:
            return
        wait_s = use.bucket.spend(monotonic_s, size=self._per_minute, per_second=self._per_minute / 60, cost=cost)
        if wait_s is not None:
            raise Throttled(
                "requests_per_minute",
                f"Your key may make {self._per_minute} requests a minute. Try again later.",
                limit=self._per_minute,
                retry_after_s=math.ceil(wait_s),
            )
