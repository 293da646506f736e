"""The callers that are reading a page of their runs, and their cursors: bounded, in memory, lost when the process ends.

Upstream's cursors name runs of any team, so callers get random names for them. Such a name is good for the caller who
got it, for the question that it was got by, and for ten minutes; where a store is shared, at every gateway.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from gateway.core.errors import MalformedRequest, Overloaded, StateUnavailable, Throttled
from gateway.core.forms.strict_json import json_object
from gateway.core.ports import Clock
from gateway.core.request import Principal
from gateway.state.port import Plans
from gateway.upstream.shares import Bounds, TeamShare

MOST_READING = 4
MOST_CURSORS = 1000
MOST_CURSORS_OF_ONE = 100
LIFETIME_S = 600.0


@dataclass(frozen=True, slots=True)
class Position:
    """A position: upstream's cursor of a page, and which of its runs were shown, by ID and creation time."""

    cursor: str = ""
    shown: frozenset[tuple[str, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Kept:
    asker: Principal
    question: object
    position: Position
    until_s: float


class Askers:
    """The pages being read, one per asker and four in all; and the cursors handed out, a thousand in all.

    A team has its share of both. With a store that is `shared`, which may be set later, other
    gateways know the cursors.
    """

    def __init__(self, clock: Clock, *, share: TeamShare | None = None) -> None:
        self._clock = clock
        self.shared: Plans | None = None
        self._share = share or TeamShare()
        self._reading: set[Principal] = set()
        self._kept: dict[str, _Kept] = {}

    @contextlib.contextmanager
    def turn(self, asker: Principal) -> Iterator[None]:
        """Hold a place while a page is read.

        Raises:
            Throttled: the asker has a place already, or its team has its share.
            Overloaded: all places are taken.
        """
        if asker in self._reading:
            sentence = "Another page of runs is being read for you, and one at a time is the most. Wait for it to end."
            raise Throttled("lookups", sentence, limit=1, retry_after_s=1)
        most = self._share.of(MOST_READING)
        if self._share.several and sum(one.team == asker.team for one in self._reading) >= most:
            sentence = f"{most} pages of runs are being read for your team, the most at a time. Wait for one to end."
            raise Throttled("team_lookups", sentence, limit=most, retry_after_s=1)
        if len(self._reading) >= MOST_READING:
            raise Overloaded("lookups", "The gateway reads as many pages of runs as it may. Try again shortly.")
        self._reading.add(asker)
        try:
            yield
        finally:
            self._reading.discard(asker)

    def keep(self, asker: Principal, question: object, position: Position) -> str:
        """Return a cursor for a position: 128 random bits. Above a bound, whoever has most loses the oldest."""
        self._forget(asker)
        cursor = secrets.token_urlsafe(16)
        self._kept[cursor] = _Kept(asker, question, position, self._clock.monotonic_s() + LIFETIME_S)
        return cursor

    def position(self, cursor: str, asker: Principal, question: object) -> Position:
        """Return the position that a cursor stands for.

        Raises: MalformedRequest: the cursor is unknown, has expired, or is for another asker or question.
        """
        kept = self._kept.pop(cursor, None)
        if kept is not None and kept.until_s > self._clock.monotonic_s():
            self._kept[cursor] = kept  # The cursor that was used last gives way last.
            if (kept.asker, kept.question) == (asker, question):
                return kept.position
        sentence = "This cursor is none of yours for this question, or not any more: start again without a cursor."
        raise MalformedRequest("cursor", sentence)

    async def told(self, asker: Principal, question: object, position: Position) -> str:
        """Return a cursor for a position, which every gateway knows; only this one, if the store cannot be reached."""
        cursor = self.keep(asker, question, position)
        if self.shared is not None:
            with contextlib.suppress(StateUnavailable):  # this gateway's own memory has it
                await self.shared.keep_cursor(cursor, asker.name, _written(question, position), int(LIFETIME_S))
        return cursor

    async def found(self, cursor: str, asker: Principal, question: object) -> Position:
        """Return the position that a cursor stands for, which any gateway may have told.

        Raises:
            MalformedRequest: as `position`.
            StateUnavailable: this gateway does not know it, and the others cannot be asked.
        """
        if self.shared is not None and cursor not in self._kept:
            value = await self.shared.cursor(cursor, asker.name)
            if value is not None and (position := _read(value, question)) is not None:
                return position
        return self.position(cursor, asker, question)

    def _forget(self, asker: Principal) -> None:
        """Drop what has expired, and make room for one more."""
        now_s = self._clock.monotonic_s()
        self._kept = {cursor: kept for cursor, kept in self._kept.items() if kept.until_s > now_s}
        bounds = Bounds(MOST_CURSORS_OF_ONE, self._share.of(MOST_CURSORS), MOST_CURSORS)
        held = [(kept.asker, 1) for kept in self._kept.values()]
        holder = bounds.gives_way([*held, (asker, 1)], {kept.asker for kept in self._kept.values()})
        if holder is not None:
            del self._kept[next(cursor for cursor, kept in self._kept.items() if kept.asker == holder)]


def _written(question: object, position: Position) -> bytes:
    """Return what a cursor stands for, as the store keeps it: of the question no more than is needed to compare it."""
    return orjson.dumps({"question": _digest(question), "cursor": position.cursor, "shown": sorted(position.shown)})


def _read(value: bytes, question: object) -> Position | None:
    """Return the position that was written for this question; None if it was for another, or cannot be read."""
    try:
        members = json_object(value)
    except ValueError:
        return None
    match members:
        case {"question": asked, "cursor": str(cursor), "shown": list(shown)} if asked == _digest(question):
            pairs = [(one[0], one[1]) for one in shown if isinstance(one, list) and [*map(type, one)] == [str, int]]
            return Position(cursor, frozenset(pairs)) if len(pairs) == len(shown) else None
    return None


def _digest(question: object) -> str:
    return hashlib.sha256(repr(question).encode()).hexdigest()
