"""The list of runs in parts by creation time, so that several pages can be read at once; pure.

    part 1   from the newest run               down to where part 2 begins
    part 2   from its `to_ms` (toDate)         down to where part 3 begins
    last     from its `to_ms`                  to the end of the list

A part is read by its own cursor, newest first. Nothing rests on dates or order unseen:

- Where the next part begins, its runs say, not its date. A part ends below that date, and not above the newest run that
  the parts after it have shown. So there is no run between the two, whatever upstream makes of the date.
- Below that run both show the same list. A run on the last page of the part that no part after it shows has ended
  since, and then the same page does not show it any more; or it was late, and then the next part shows it now.
- If neither is so, or if a page is in another order or shows a run that is newer than its part, the first part is read
  to the end of its cursor, as if nothing had been split.
"""

from __future__ import annotations

import math
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
LOOKS = 2
"""How often a run is looked for that was seen beyond the end of a part and not again: there, then in the next part."""
OLDEST_MS = 10**12
"""No run is older, because its creation time could not be read; a date before that may mean something else upstream."""

Key = tuple[int, int]
"""A run: the hash of its ID, and its creation time."""


@dataclass(slots=True, eq=False)
class _Part:
    """One part: where it begins and ends, and what was read of it. Times are Unix milliseconds, rates runs per ms.

    `top_ms` is the newest time that is still to be read: that of the last run read, or before that `to_ms`. `last` are
    the runs of its last page, which was asked for at `last_cursor`; `doubts` are those that are looked for once more.
    """

    to_ms: int | None = None
    until_ms: int | None = None
    rate: float = 0.0
    rate_of_page: float = 0.0
    top_ms: int | None = None
    newest_ms: int | None = None
    cursor: str = ""
    cursors: set[str] = field(default_factory=set)
    last: frozenset[Key] = frozenset()
    last_cursor: str = ""
    doubts: frozenset[Key] = frozenset()
    looks: int = 0
    pages: int = 0
    runs: int = 0
    busy: bool = False
    done: bool = False

    @property
    def begins_ms(self) -> float:
        """The newest time that was asked for; the first part has none, and begins later than any other."""
        return math.inf if self.to_ms is None else self.to_ms

    @property
    def has_passed(self) -> bool:
        """Whether it has shown a run from below the date at which the next part begins."""
        if not self.pages or self.top_ms is None or self.until_ms is None:
            return False
        return self.top_ms < self.until_ms

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
        self.runs += len(times)
        self.rate_of_page = len(times) / max(1, times[0] - times[-1])
        self.rate = self.runs / max(1, self.newest_ms - self.top_ms)


@dataclass(frozen=True, slots=True)
class Ask:
    """The next page of one part: runs created at `to_ms` or before (None: from the newest on), at a cursor.

    With `is_look` it is a page that was read before, and is read again for the part's doubts.
    """

    part: _Part
    to_ms: int | None
    cursor: str
    is_look: bool = False

    @property
    def is_first(self) -> bool:
        """Whether it is the first page of the list."""
        return self.to_ms is None and not self.cursor and not self.is_look


class Spans:
    """The parts of one listing. Ask for what `next` returns, side by side, and give every page to `took`.

    `known` are creation times of some of the newest runs, from an earlier page: with them the first cuts can be made
    before the first page is here. No part begins at `floor_ms` or before: that is the first date that is asked for.
    """

    def __init__(self, known: Sequence[int] = (), *, floor_ms: int | None = None) -> None:
        self._first = _Part()
        self._parts = [self._first]
        self._split = True
        # Others' runs may be many, so of each ID and run only the hash is kept.
        self._distinct: set[int] = set()
        self._newest_ms: int | None = None
        self._floor_ms = max(floor_ms or 0, OLDEST_MS)
        # Where the last of the parts begins that have shown a run.
        self._shown: dict[Key, float] = {}
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
        if part is None:
            return self._look() if self._split and all(part.done for part in self._parts) else None
        part.busy = True
        return Ask(part, part.to_ms, part.cursor)

    def took(self, ask: Ask, found: Sequence[Seen], cursor: str) -> None:
        """Take in a page that was asked for. Raises: ValueError: its cursor leads back to an earlier page."""
        part = ask.part
        part.busy = False
        self.pages += 1
        self._distinct.update(hash(one.run_id) for one in found)
        keys = [(hash(one.run.run_id), one.run.created_ms) for one in found if one.run is not None]
        if ask.is_look:
            self._looked(part, keys)
            return
        part.pages += 1
        times = [created_ms for _, created_ms in keys]
        in_order = self._in_order(part, times)
        part.note(times)
        part.last, part.last_cursor = frozenset(keys), ask.cursor
        for key in keys:
            self._shown[key] = min(part.begins_ms, self._shown.get(key, math.inf))
        if times:
            self._newest_ms = max(times[0], self._newest_ms or 0)
        if cursor in part.cursors:
            raise ValueError("a cursor leads back to an earlier page")
        part.cursors.add(cursor)
        part.cursor = cursor
        if not cursor:
            part.done, part.until_ms = True, None
        if not in_order:
            self._read_in_turn()
        self._end()

    def _idle(self) -> Iterator[_Part]:
        return (part for part in self._parts if not part.busy and not part.done)

    def _in_order(self, part: _Part, times: Sequence[int]) -> bool:
        """Return whether a page is newest first, goes on below the page before, and stays inside its part."""
        if not times:
            return True
        below = part.newest_ms is None or part.top_ms is None or times[0] <= part.top_ms
        inside = part.to_ms is None or times[0] <= part.to_ms
        return below and inside and all(one >= other for one, other in pairwise(times))

    def _passed(self) -> Iterator[tuple[_Part, _Part, int | None]]:
        """Yield each part that has passed its end, the next one, and the newest time that those after it have shown."""
        newest_ms: int | None = None
        for part, after in zip(self._parts[-2::-1], self._parts[:0:-1], strict=True):
            if after.newest_ms is not None:
                newest_ms = max(after.newest_ms, newest_ms or 0)
            if part.has_passed:
                yield part, after, newest_ms

    def _end(self) -> None:
        """End each part that has passed its end, but let it go on while it is above all that the next ones show."""
        for part, after, newest_ms in self._passed():
            meets = newest_ms is not None and part.top_ms is not None and part.top_ms <= newest_ms
            # It waits for the first page of the next one, since it goes on for nothing in most cases.
            part.done = meets or not after.pages

    def _look(self) -> Ask | None:
        """Return a page to read again for a run that no later part showed; None if there is none."""
        for part, after, newest_ms in self._passed():
            if part.busy:
                continue
            if not part.looks and newest_ms is not None:
                unseen = (key for key in part.last if self._shown[key] >= part.begins_ms and key[1] <= newest_ms)
                part.doubts = frozenset(unseen)
            if part.doubts:
                part.busy = True
                to_ms, cursor = (after.to_ms, "") if part.looks else (part.to_ms, part.last_cursor)
                return Ask(part, to_ms, cursor, is_look=True)
        return None

    def _looked(self, part: _Part, keys: Sequence[Key]) -> None:
        """Drop the doubts about runs that have ended, or that were late; with others left, rely on no date."""
        part.doubts = part.doubts.difference(keys) if part.looks else part.doubts.intersection(keys)
        part.looks += 1
        if part.doubts and part.looks == LOOKS:
            self._read_in_turn()

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
