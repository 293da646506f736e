"""Listings of runs, read side by side: to their end or not at all, and once more just before an order.

A filter that upstream can narrow hides a second run under one of the IDs, perhaps another team's. So a list of more
than one page is read without the filter where that takes fewer pages than asking for every run by its ID later would.
Where the look-up may end early, every run is asked for by its ID later in any case.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import Everything, Filter
from gateway.core.run import STARTED, Listing, LookUp, LookUpBounds, Run
from gateway.policy.choose import names_url, selects
from gateway.upstream.runs.entries import UNKNOWN_ID, Collected, Seen
from gateway.upstream.runs.narrowing import narrowing
from gateway.upstream.runs.pages import LEADS_BACK, TRIMMED, Pairs
from gateway.upstream.runs.spans import PAGE_RUNS, Ask, Spans

MAX_OTHERS = 200_000
"""The most runs of others that are read beside those that match; each takes about 200 bytes."""
MAX_SPARE_PAGES = 200
"""The most pages above one and a half times the fewest that could hold the runs: a list without an end ends there."""
AT_ONCE = 8
"""How many pages, or IDs, one look-up asks for at the same time."""

OTHERS_FOR_ONE = 10
OTHERS_SPARE = 100
"""A list is read without its filter while it shows at most so many runs of others for one that is meant, and so many.

For each run that is meant, ten of others take one page; asking for the run by its ID takes one reading as well.
"""

AGAIN_AT_ONCE = 12
"""How many pages a second look asks for at the same time: a hundred runs, and the news."""
NEWS_PAGES = 10
"""The most pages of runs started since the look-up; if there are more, each run of the order is asked for by its ID."""
NEIGHBOURS_SPARE_PAGES = 3
LAG_MS = 10_000
"""How long before the look-up the news begin: what upstream's index may lag, and its clocks differ, in milliseconds."""

_DATES = ("fromDate", "toDate")

_MATCH_TOO_MANY = "More runs match than may be looked up for one request,"


@dataclass(frozen=True, slots=True)
class SeenPage:
    """The part of a page that is kept: what was read of each entry, and the cursor of the next page.

    `at_ms` is upstream's time when it answered, if it said so, in Unix milliseconds.
    """

    found: Sequence[Seen]
    cursor: str
    at_ms: int | None = None

    @property
    def newest_ms(self) -> int | None:
        """The newest creation time on the page: by then upstream's clock had come so far."""
        return max((one.run.created_ms for one in self.found if one.run is not None), default=None)


Read = Callable[[Pairs], Awaitable[SeenPage]]


@dataclass(frozen=True, slots=True)
class Lister:
    """The reader of listings; `read` reads one page. Every method raises LookupFailed if a page cannot be read."""

    read: Read
    max_runs: int = LookUpBounds().runs

    async def running(self, selection: Filter | Everything, look: LookUp | None = None) -> Listing:
        """Return the running runs that the selection means, or enough of them, and perhaps some that have ended.

        Raises: TooLarge: more than `max_runs` match, or there are too many of others, or pages that bring none.
        """
        look = look or LookUp()
        narrowed, first = narrowing(selection), None
        if narrowed:
            first = await self.read(_running(narrowed))
            if first.cursor and look.enough is None:
                wide = await self._wide(selection, first, look)
                if wide is not None:
                    return wide
                look.pages = look.listed = look.matched = 0
        found = _Found(_spans(narrowed), self.max_runs, selection, look)
        whole = first is None or found.begin(first) or not first.cursor
        whole = whole and await _side_by_side(self.read, _running(narrowed), found.spans, found.take)
        return replace(found.listing(), narrowed=bool(narrowed), ended_early=not whole)

    async def _wide(self, selection: Filter | Everything, first: SeenPage, look: LookUp) -> Listing | None:
        """List every running run; None if others have too many, or if the list shows none of the `first` page's runs.

        An upstream that shows less without a filter than with it cannot be read in this way.
        """
        narrow = {one.run_id: one.run.created_ms for one in first.found if one.run is not None}
        spans = Spans(tuple(narrow.values()))
        found = _Found(spans, self.max_runs, selection, look, wide=True, at_ms=first.at_ms)
        if not await _side_by_side(self.read, _running(()), found.spans, found.take):
            return None
        if narrow and not found.has_shown(narrow):
            return None
        for one in first.found:
            found.add(one)
        return found.listing(pages=1)

    async def again(
        self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int
    ) -> tuple[Listing, tuple[str, ...]]:
        """Return which of these runs are unchanged and still running, and the IDs that have to be asked for singly.

        The runs are neighbours in time, so ten of them are on one page. What was started anew since the look-up, under
        one of their IDs and whoever owns it now, is among the news: every run started since then, whatever its state
        and URL. Nothing but running runs with the same creation time is confirmed.
        """
        collected, places = Collected(), asyncio.Semaphore(AGAIN_AT_ONCE)

        async def read(pairs: Pairs) -> SeenPage:
            """Read a page when one of the places is free."""
            async with places:
                return await self.read(pairs)

        narrowed = [pair for pair in narrowing(selection) if pair[0] not in _DATES]
        try:
            async with asyncio.TaskGroup() as group:
                news = group.create_task(_news(read, since_ms - LAG_MS, collected))
                looks = [group.create_task(part.look(read, narrowed, collected)) for part in neighbours(runs)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        pages = news.result() + sum(look.result() for look in looks)
        shown = collected.listing(pages=pages)
        now = {run.run_id: run for run in shown.runs}
        certain = [now[run.run_id] for run in runs if run.run_id in now and _is_same(run, now[run.run_id])]
        if news.result() > NEWS_PAGES or UNKNOWN_ID in shown.unreadable:
            certain = []
        left = {run.run_id for run in runs} - {run.run_id for run in certain}
        return Listing(tuple(certain), pages=pages), tuple(run.run_id for run in runs if run.run_id in left)


@dataclass(slots=True)
class _Found:
    """The runs found so far by one listing. With `wide` the list is read without the filter of the `selection`.

    `collected` has the runs that match and the entries that cannot be read. Of `others`, which may be many, only a hash
    of each ID is kept: enough to see that an ID of a run that matches is another run's as well.
    """

    spans: Spans
    max_runs: int
    selection: Filter | Everything
    look: LookUp
    wide: bool = False
    at_ms: int | None = None
    collected: Collected = field(default_factory=Collected)
    others: set[int] = field(default_factory=set)
    counted: set[str] = field(default_factory=set)
    news: int = 0

    def begin(self, page: SeenPage) -> bool:
        """Take in a first page that was read before the listing began, as `take` does."""
        ask = self.spans.next()
        assert ask is not None
        _took(self.spans, ask, page)
        return self.take(ask, page)

    def take(self, ask: Ask, page: SeenPage) -> bool:
        """Add a page; return False if no more need be read: enough was found, or too much without the filter.

        Raises: TooLarge: there are too many runs, or pages.
        """
        if ask.is_first and self.at_ms is None:
            self.at_ms = page.newest_ms if page.at_ms is None else page.at_ms
        for one in page.found:
            self.add(one)
        matched, others, look = self.collected.readable, len(self.others) + self.collected.unreadable, self.look
        look.pages, look.listed, look.matched = self.spans.pages, matched + others, matched
        if self.wide and others > OTHERS_FOR_ONE * matched + OTHERS_SPARE:
            return False
        if matched > self.max_runs:
            raise TooLarge("runs", f"{_MATCH_TOO_MANY} {self.max_runs:,} (limits.lookup.runs): {self._said()}")
        if others > MAX_OTHERS:
            raise TooLarge("others", f"Beside those that match, {MAX_OTHERS:,} other runs are running: {self._said()}")
        if self.spans.pages > 1.5 * self.spans.least + MAX_SPARE_PAGES:
            raise TooLarge("pages", f"QStash's list brings too few runs in {self.spans.pages:,} pages: {self._said()}")
        return look.enough is None or len(self.counted) < look.enough

    def add(self, one: Seen) -> None:
        """Add what was read of one entry."""
        run = one.run
        if run is not None and self.at_ms is not None and run.created_ms >= self.at_ms - LAG_MS:
            self.news += 1
        if _may_match(self.selection, one) or self.collected.knows(one.run_id):
            self.collected.add(one if hash(one.run_id) not in self.others else Seen(one.run_id, None))
            if run is not None and self.look.counts(run):
                self.counted.add(one.run_id)
        else:
            self.others.add(hash(one.run_id))

    def has_shown(self, run_ids: Iterable[str]) -> bool:
        """Return whether one of these IDs was listed."""
        return any(self.collected.knows(run_id) or hash(run_id) in self.others for run_id in run_ids)

    def listing(self, *, pages: int = 0) -> Listing:
        """Return what was found; `pages` were read beside those of the listing."""
        found = self.collected.listing(pages=pages + self.spans.pages)
        # Where those alone are too many news, a second look need not read them for nothing.
        return replace(found, as_of_ms=self.at_ms, much_news=self.news > NEWS_PAGES * PAGE_RUNS)

    def _said(self) -> str:
        return f"{self.look.words()}. Nothing was sent: narrow the filter."


@dataclass(frozen=True, slots=True)
class Neighbours:
    """A few runs that are neighbours in time, and the creation times of the oldest and the newest."""

    run_ids: frozenset[str]
    from_ms: int
    to_ms: int

    async def look(self, read: Read, narrowed: Pairs, collected: Collected) -> int:
        """Add the running runs of these times, until all of the group were seen; return how many pages were read.

        It need not be read to its end: what it does not show is asked for by its ID.
        """
        pairs = _running([*narrowed, ("fromDate", str(self.from_ms)), ("toDate", str(self.to_ms))])
        left, cursor, most = set(self.run_ids), "", len(self.run_ids) // PAGE_RUNS + NEIGHBOURS_SPARE_PAGES
        for number in range(1, most + 1):
            page = await read([*pairs, ("cursor", cursor)] if cursor else pairs)
            for one in page.found:
                collected.add(one)
                left.discard(one.run_id)
            cursor = page.cursor
            if not cursor or not left:
                return number
        return most


def neighbours(runs: Iterable[Run]) -> list[Neighbours]:
    """Return the runs in groups of about ten; no two have a millisecond in common."""
    groups: list[list[Run]] = []
    for run in sorted(runs, key=lambda run: run.created_ms):
        if not groups or (len(groups[-1]) >= PAGE_RUNS and groups[-1][-1].created_ms != run.created_ms):
            groups.append([])
        groups[-1].append(run)
    return [
        Neighbours(frozenset(run.run_id for run in group), group[0].created_ms, group[-1].created_ms)
        for group in groups
    ]


async def _news(read: Read, from_ms: int, collected: Collected) -> int:
    """Add every run started since a time; return how many pages were read. Above `NEWS_PAGES` the rest is not read."""
    pairs = _any_state([("fromDate", str(from_ms))])
    spans = _spans(pairs)

    def take(ask: Ask, page: SeenPage) -> bool:
        """Add a page; return False if there are too many."""
        for one in page.found:
            collected.add(one)
        return spans.pages <= NEWS_PAGES

    await _side_by_side(read, pairs, spans, take)
    return spans.pages


def _may_match(selection: Filter | Everything, one: Seen) -> bool:
    """Return whether an entry is, or where it cannot be read may be, of a run that the selection means."""
    if one.run is not None:
        return selects(selection, one.run)
    url = one.workflow_url
    return url is None or not isinstance(selection, Filter) or names_url(selection, url)


def _spans(pairs: Pairs) -> Spans:
    """Return the parts of a list that is asked for with these pairs: none begins before the first date of the list."""
    return Spans(floor_ms=next((int(value) for name, value in pairs if name == "fromDate"), None))


async def _side_by_side(read: Read, pairs: Pairs, spans: Spans, take: Callable[[Ask, SeenPage], bool]) -> bool:
    """Read a list to its end, a few pages at once, or until `take` returns False; return whether that was the end.

    Raises: LookupFailed: a page cannot be read, or leads back to an earlier one.
    """
    under_way: dict[asyncio.Task[SeenPage], Ask] = {}
    try:
        async with asyncio.TaskGroup() as group:
            while True:
                while len(under_way) < AT_ONCE and (ask := spans.next()) is not None:
                    under_way[group.create_task(_page(read, pairs, ask))] = ask
                if not under_way:
                    return True
                done, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
                goes_on = True
                for task in done:
                    ask, page = under_way.pop(task), task.result()
                    _took(spans, ask, page)
                    goes_on = take(ask, page) and goes_on
                if not goes_on:
                    for rest in under_way:
                        rest.cancel()
                    return not under_way and spans.next() is None
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed


def _took(spans: Spans, ask: Ask, page: SeenPage) -> None:
    try:
        spans.took(ask, page.found, page.cursor)
    except ValueError as exc:
        raise LookupFailed("cursor", LEADS_BACK) from exc


async def _page(read: Read, pairs: Pairs, ask: Ask) -> SeenPage:
    """Read one page of a part: its newest time is the earlier one of the part's and the filter's."""
    asked = [pair for pair in pairs if pair[0] != "toDate" or ask.to_ms is None]
    if ask.to_ms is not None:
        own = [int(value) for name, value in pairs if name == "toDate"]
        asked.append(("toDate", str(min([ask.to_ms, *own]))))
    return await read([*asked, ("cursor", ask.cursor)] if ask.cursor else asked)


def _running(narrowed: Pairs) -> Pairs:
    return [("state", STARTED), *_any_state(narrowed)]


def _any_state(narrowed: Pairs) -> Pairs:
    return [*narrowed, TRIMMED, ("count", str(PAGE_RUNS))]


def _is_same(planned: Run, now: Run) -> bool:
    """Return whether the run is still the one that was planned, and running."""
    return now.running and now.created_ms == planned.created_ms
