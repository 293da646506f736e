"""The list of runs in parts by creation time, so that several pages can be read at once; pure.

    part 1   from the newest run               down to where part 2 begins
    part 2   from its `to_ms` (toDate)         down to where part 3 begins
    last     from its `to_ms`                  to the end of the list

A part is read by its own cursor. It ends below the beginning of the next one, because the list is newest first. Nothing
rests on that unseen: if a page is in another order, or shows a run that is newer than its part, or if no part shows
again what was seen beyond a beginning, the first part is read to the end of its cursor, as if nothing had been split.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from gateway.upstream.runs.entries import Seen

PAGE_RUNS = 10
"""The most runs that upstream puts on a page."""
WORTH_PAGES = 3.0
"""The fewest pages that have to be left in a part for a cut, which costs about one page."""
SPARE_PAGES = 2.0
SPARE_SHARE = 0.2
"""The pages that cuts may cost above the least: so many, and this share of the least."""
MOST_PROBES = 2
"""How many parts may be asked for at once of which nobody knows whether they have runs."""
NEAR_PAGES = 4
OLDEST_MS = 10**12
"""No run is older, because its creation time could not be read; a date before that may mean something else upstream."""

Key = tuple[str, int]
"""A run: its ID and its creation time."""


@dataclass(slots=True, eq=False)
class _Part:
    """One part: where it begins and ends, and what was read of it. Times are Unix milliseconds, rates runs per ms.

    `top_ms` is the newest time that is still to be read: that of the last run read, or before that `to_ms`.
    """

    to_ms: int | None = None
    until_ms: int | None = None
    rate: float = 0.0
    rate_of_page: float = 0.0
    top_ms: int | None = None
    newest_ms: int | None = None
    cursor: str = ""
    cursors: set[str] = field(default_factory=set)
    keys: set[Key] = field(default_factory=set)
    beyond: frozenset[Key] = frozenset()
    pages: int = 0
    busy: bool = False
    done: bool = False

    @property
    def page_ms(self) -> float:
        """How many milliseconds a page spans, at the rate of the last one."""
        return max(1.0, PAGE_RUNS / self.rate_of_page)

    def pages_left(self, until_ms: int | None) -> float:
        """Return how many pages are probably left above a time; none if it is not known."""
        if self.top_ms is None or until_ms is None:
            return 0.0
        return self.rate * (self.top_ms - until_ms) / PAGE_RUNS

    def pages_of_a_cut(self) -> float:
        """Return how many pages the runs of one millisecond take: at a cut they are read in both parts."""
        return self.rate / PAGE_RUNS

    def note(self, times: Sequence[int]) -> None:
        """Take in the creation times of one page, newest first."""
        if not times:
            return
        if self.newest_ms is None:
            self.newest_ms = times[0]
        self.top_ms = times[-1]
        self.rate_of_page = len(times) / max(1, times[0] - times[-1])
        self.rate = len(self.keys) / max(1, self.newest_ms - self.top_ms)


@dataclass(frozen=True, slots=True)
class Ask:
    """The next page of one part: runs created at `to_ms` or before (None: from the newest on), at a cursor."""

    part: _Part
    to_ms: int | None
    cursor: str

    @property
    def is_first(self) -> bool:
        """Whether it is the first page of the list."""
        return self.to_ms is None and not self.cursor


class Spans:
    """The parts of one listing. Ask for what `next` returns, side by side, and give every page to `took`.

    `known` are creation times of some of the newest runs, from an earlier page: with them the first cuts can be made
    before the first page is here. No part begins at `floor_ms` or before: that is the first date that is asked for.
    """

    def __init__(self, known: Sequence[int] = (), *, floor_ms: int | None = None) -> None:
        self._first = _Part()
        self._parts = [self._first]
        self._split = True
        self._distinct: set[str] = set()
        self._newest_ms: int | None = None
        self._floor_ms = max(floor_ms or 0, OLDEST_MS)
        self.pages = 0
        if known:
            self._newest_ms, self._first.top_ms = max(known), min(known)
            self._first.rate = self._first.rate_of_page = len(known) / max(1, max(known) - min(known))

    @property
    def least(self) -> float:
        """The fewest pages that hold the runs read so far."""
        return len(self._distinct) / PAGE_RUNS

    def next(self) -> Ask | None:
        """Return a page to ask for now; None if there is none until another page is here, or none at all."""
        part = next(self._idle(), None) or self._cut()
        if part is None and not any(part.busy for part in self._parts) and self._is_doubtful():
            self._read_in_turn()
            part = next(self._idle(), None)
        if part is None:
            return None
        part.busy = True
        return Ask(part, part.to_ms, part.cursor)

    def took(self, ask: Ask, found: Sequence[Seen], cursor: str) -> None:
        """Take in a page that was asked for. Raises: ValueError: its cursor leads back to an earlier page."""
        part = ask.part
        part.busy = False
        part.pages += 1
        self.pages += 1
        self._distinct.update(one.run_id for one in found)
        keys = [(one.run.run_id, one.run.created_ms) for one in found if one.run is not None]
        times = [created_ms for _, created_ms in keys]
        in_order = self._in_order(part, times)
        part.keys.update(keys)
        part.note(times)
        if times:
            self._newest_ms = max(times[0], self._newest_ms or 0)
        if cursor in part.cursors:
            raise ValueError("a cursor leads back to an earlier page")
        part.cursors.add(cursor)
        part.cursor = cursor
        if not cursor:
            part.done, part.until_ms = True, None
        elif part.until_ms is not None and times and times[-1] < part.until_ms:
            part.done = True
            part.beyond = frozenset(key for key in keys if key[1] < part.until_ms)
        if not in_order:
            self._read_in_turn()

    def _idle(self) -> Iterator[_Part]:
        return (part for part in self._parts if not part.busy and not part.done)

    def _in_order(self, part: _Part, times: Sequence[int]) -> bool:
        """Return whether a page is newest first, goes on below the page before, and stays inside its part."""
        if not times:
            return True
        below = part.newest_ms is None or part.top_ms is None or times[0] <= part.top_ms
        inside = part.to_ms is None or times[0] <= part.to_ms
        return below and inside and all(one >= other for one, other in pairwise(times))

    def _is_doubtful(self) -> bool:
        """Return whether a part ended early although no other part shows any of the runs seen beyond its end."""
        if not self._split:
            return False
        shown = Counter(key for part in self._parts for key in part.keys)
        return any(part.beyond and all(shown[key] == 1 for key in part.beyond) for part in self._parts)

    def _read_in_turn(self) -> None:
        """Split no more, and read the first part to the end of its cursor. Runs found in other parts are kept."""
        if not self._split:
            return
        self._split = False
        for part in self._parts:
            part.done, part.until_ms = True, None
        # Without a cursor after its first page, the first part has been read to the end.
        self._first.done = bool(self._first.pages) and not self._first.cursor

    def _cut(self) -> _Part | None:
        """Give the older half of the longest part to a new part, if that is worth a page."""
        probes = sum(not part.pages and not part.done for part in self._parts[1:])
        owed = sum(part.pages_of_a_cut() for part in self._parts if not part.done and part.until_ms is not None)
        spare = self.pages - self.least
        if not self._split or spare + probes + owed >= SPARE_PAGES + SPARE_SHARE * self.least:
            return None
        part = self._parts[-1]
        at_ms = self._far_ms(part) if not part.done and probes < MOST_PROBES else None
        if at_ms is None:
            unread = (part for part in self._parts if not part.done)
            part = max(unread, key=lambda part: part.pages_left(self._end_ms(part)), default=part)
            at_ms = self._where(part)
        if at_ms is None:
            return None
        rates = (part.rate, part.rate_of_page)
        new = _Part(at_ms, part.until_ms, *rates, top_ms=at_ms)
        part.until_ms = at_ms
        self._parts.insert(self._parts.index(part) + 1, new)
        return new

    def _far_ms(self, part: _Part) -> int | None:
        """Return where to cut the last part, whose end nobody knows; None below the first date that is asked for."""
        if part.top_ms is None or not part.rate:
            return None
        # Go three times as far back as was seen.
        seen_ms = (self._newest_ms or 0) - part.top_ms
        at_ms = int(part.top_ms - max(WORTH_PAGES * part.page_ms, 2 * seen_ms))
        return at_ms if at_ms > self._floor_ms else None

    def _end_ms(self, part: _Part) -> int | None:
        """Return where a part ends: the last one with the first date, if that is near."""
        return self._floor_ms if part.until_ms is None and self._far_ms(part) is None else part.until_ms

    def _where(self, part: _Part) -> int | None:
        """Return where to cut a part: in the middle, but not far off in a list that grows dense; None for nowhere."""
        end_ms = self._end_ms(part)
        # Runs of one millisecond at a cut are read in both parts.
        if part.top_ms is None or end_ms is None or part.pages_left(end_ms) < WORTH_PAGES + part.pages_of_a_cut():
            return None
        near_ms = part.top_ms - part.page_ms * max(NEAR_PAGES, self.least)
        at_ms = int(max((part.top_ms + end_ms) // 2, near_ms))
        return at_ms if end_ms < at_ms < part.top_ms else None
