"""Upstream's dead letter queue as a list of failed runs, read with the read-only token: to its end, or to enough.

Upstream is asked for no filter, because how it reads those is not known: every entry is read, and matched here. So a
look-up costs a page for each hundred entries of the queue, whatever it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import Action, Everything, Filter
from gateway.core.run import Listing, LookUp, Run
from gateway.policy.choose import names_url, selects
from gateway.policy.conditions import FAILED
from gateway.upstream.dlq.entries import seen_failed
from gateway.upstream.runs.cursors import Askers
from gateway.upstream.runs.entries import Collected, Seen
from gateway.upstream.runs.log import UpstreamLog
from gateway.upstream.runs.pages import MAX_PAGE_BYTES, UNREADABLE, Page, Pairs, Reader, Source, deadline

QUEUE = Source("/v2/dlq", "messages", "failed runs")

PAGE_ENTRIES = 100
"""How many entries of a page are asked for, the most that upstream shows at once."""
FEWER = 10
"""How many are asked for where the payloads of a hundred make the page too long to be read."""

MAX_ENTRIES = 200_000
"""The most entries of the queue that one look-up reads."""
MAX_SPARE_PAGES = 200
"""The most pages that bring no further entry: a list without an end ends there."""

LEADS_BACK = "QStash's list of the failed runs leads back into itself."
"""The error text for a page that has the cursor of an earlier one."""

_MATCH_TOO_MANY = "More failed runs match than may be looked up for one request,"

_Taken = TypeVar("_Taken")
_Watched = TypeVar("_Watched")


@dataclass(frozen=True, slots=True)
class DlqLog:
    """The failed runs of the account, read through the log of its runs: with its token, at its pace, on its threads.

    Every method that reads raises LookupFailed if upstream cannot be read to the end, and TooLarge if the end is too
    far.
    """

    log: UpstreamLog

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        """Return the failed runs that the selection means, or enough of them for the `look`.

        The listing counts as `narrowed`: what it shows may be gone, or started, when it is ordered.
        """
        bounds = self.log.bounds
        found = _Matching(partial(_may_mean, selection), look, max_runs=bounds.runs)
        async with deadline(bounds.seconds, look.words, words=QUEUE.words):
            to_the_end = await self._read(found)
        return replace(found.collected.listing(pages=look.pages), narrowed=True, ended_early=not to_the_end)

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the failed run of each of these IDs (entries' own) that is in the queue."""
        wanted = frozenset(run_ids)
        # The queue is read to its end: an ID that is shown twice is not what it seems.
        found = _Found(lambda one: one.run_id in wanted)
        async with deadline(self.log.bounds.seconds, words=QUEUE.words):
            await self._read(found)
        return found.collected.listing(pages=found.look.pages)

    async def look_again(self, runs: Sequence[Run], _selection: Filter | Everything, _since_ms: int) -> Listing:
        """Return those of these failed runs that are still in the queue."""
        return await self.look_up([run.run_id for run in runs])

    @property
    def askers(self) -> Askers:
        """The callers that read pages now, and the cursors handed out: those of runs count as well."""
        return self.log.askers

    def is_secret(self, text: str | bytes) -> bool:
        """Return whether a text holds an account's token or a gateway's key."""
        return self.log.is_secret(text)

    async def page(self, pairs: Pairs, take: Callable[[Page], _Taken], *, beside: bool = False) -> _Taken:
        """Return what `take` makes of one page of the queue; on a thread if the page is long or `beside` is set."""
        async with deadline(self.log.bounds.seconds, words=QUEUE.words):
            return await page_of(self.log.reader(QUEUE), pairs, take, beside=beside)

    async def _read(self, found: _Found) -> bool:
        """Read the queue page by page until `found` has enough; return whether that was its end."""
        reader, take = self.log.reader(QUEUE), partial(_seen, is_secret=self.is_secret)
        cursor, before = "", {""}
        while True:
            page = await page_of(reader, [("cursor", cursor)] if cursor else [], take)
            goes_on, cursor = found.take(page.found), page.cursor
            if not cursor or not goes_on:
                return not cursor
            if cursor in before:
                raise LookupFailed("cursor", LEADS_BACK)
            before.add(cursor)


def failed_runs(log: UpstreamLog, watched: Callable[[DlqLog], _Watched]) -> dict[Action, _Watched]:
    """Return where each action on failed runs looks them up: one log, as it is `watched`."""
    return dict.fromkeys(FAILED, watched(DlqLog(log)))


async def page_of(reader: Reader, pairs: Pairs, take: Callable[[Page], _Taken], *, beside: bool = False) -> _Taken:
    """Return what `take` makes of one page; of fewer entries if a hundred cannot be read at once, with their payloads.

    Raises: LookupFailed: it cannot be had or cannot be read.
    """
    asked = [("source", "workflow"), *pairs]
    try:
        return await reader.page([*asked, ("count", str(PAGE_ENTRIES))], take, beside=beside)
    except LookupFailed as failed:
        if failed.cause != UNREADABLE:
            raise
    return await reader.page([*asked, ("count", str(FEWER))], take, max_bytes=2 * MAX_PAGE_BYTES, beside=beside)


@dataclass(frozen=True, slots=True)
class _SeenPage:
    """The part of a page that is kept: what was read of each entry, and the cursor of the next page."""

    found: Sequence[Seen]
    cursor: str


def _seen(page: Page, is_secret: Callable[[str], bool]) -> _SeenPage:
    return _SeenPage([seen_failed(entry, is_secret) for entry in page.entries], page.cursor)


@dataclass(slots=True)
class _Found:
    """The entries found so far. `means` says whether one is, or may be, one of those looked for.

    Of the others only a hash of the ID is kept, to know a repeat.
    """

    means: Callable[[Seen], bool]
    look: LookUp = field(default_factory=LookUp)
    collected: Collected = field(default_factory=Collected)
    others: set[int] = field(default_factory=set)
    spare_pages: int = 0

    def take(self, page: Sequence[Seen]) -> bool:
        """Add a page; return False if no more need be read. Raises: TooLarge: there are too many entries, or pages."""
        for one in page:
            if self.means(one) or self.collected.knows(one.run_id):
                self.collected.add(one if hash(one.run_id) not in self.others else Seen(one.run_id, None))
            else:
                self.others.add(hash(one.run_id))
        self._count()
        if self.look.listed > MAX_ENTRIES:
            raise TooLarge("others", f"The dead letter queue has more than {MAX_ENTRIES:,} entries: {self.said()}")
        if self.spare_pages > MAX_SPARE_PAGES:
            raise TooLarge("pages", f"QStash's list brings nothing new in {self.spare_pages:,} pages: {self.said()}")
        return True

    def said(self) -> str:
        """Return how far the reading came, and what to do."""
        return f"{self.look.words()}. Nothing was sent: narrow the filter."

    def _count(self) -> None:
        before = self.look.listed
        self.look.pages += 1
        self.look.matched = self.collected.readable
        self.look.listed = self.collected.readable + self.collected.unreadable + len(self.others)
        self.spare_pages += self.look.listed == before


@dataclass(slots=True)
class _Matching(_Found):
    """The entries that a selection means, of which at most `max_runs` may be found."""

    max_runs: int = 0
    counted: set[str] = field(default_factory=set)

    def take(self, page: Sequence[Seen]) -> bool:
        """Add a page. Raises: TooLarge: more match than may be looked up, or as `_Found.take`."""
        _Found.take(self, page)
        if self.look.matched > self.max_runs:
            raise TooLarge("runs", f"{_MATCH_TOO_MANY} {self.max_runs:,} (limits.lookup.runs): {self.said()}")
        self.counted.update(
            one.run_id for one in page if one.run is not None and self.means(one) and self.look.counts(one.run)
        )
        return self.look.enough is None or len(self.counted) < self.look.enough


def _may_mean(selection: Filter | Everything, one: Seen) -> bool:
    """Return whether the selection means an entry; without what cannot be read it may mean it."""
    if one.run is not None:
        return selects(selection, one.run)
    url = one.workflow_url
    return url is None or not isinstance(selection, Filter) or names_url(selection, url)
