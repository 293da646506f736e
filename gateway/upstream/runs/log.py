"""Upstream's workflow log: the list of runs, read with the read-only token, to its end or not at all."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, TypeVar

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.ports import Clock
from gateway.core.request import Everything, Filter
from gateway.core.run import Listing, LookUp, LookUpBounds, Run
from gateway.upstream.client import Exchange, Reply
from gateway.upstream.runs.cursors import Askers
from gateway.upstream.runs.entries import Collected, Seen, seen
from gateway.upstream.runs.listing import AT_ONCE, Lister, Read, SeenPage
from gateway.upstream.runs.pages import (
    LEADS_BACK,
    MAX_PAGE_BYTES,
    RUNS,
    TRIMMED,
    Gate,
    Page,
    Pairs,
    Reader,
    Source,
    deadline,
)
from gateway.upstream.shares import Desk, TeamShare
from gateway.upstream.token import AccountTokens

MAX_IDS = 200
MAX_PAGES_OF_ONE = 20
"""The most pages of one ID, which may have been started again and again."""
MAX_READINGS = 48
"""The most connections of all look-ups together."""

_TOO_OFTEN = "One of these run IDs was started too often to be looked up. Nothing was sent."
_ACTION_ID = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9_.-]{1,128}")


_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True)
class ActionReport:
    """The progress of a bulk action: runs in all and done so far, and the filter as upstream understood it."""

    state: Literal["IN_PROGRESS", "FINISHED"]
    total: int
    processed: int
    filter: Mapping[str, object]


class UpstreamLog:
    """The account's log. Without a read-only token no runs can be looked up, and progress is read with the other token.

    `bounds` returns those of one look-up, as they are now. `askers` are the callers that read pages for themselves.

    Every method that reads raises LookupFailed if upstream cannot be read to the end, and TooLarge if the end is too
    far.
    """

    def __init__(
        self,
        exchange: Exchange,
        *,
        tokens: AccountTokens,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        bounds: Callable[[], LookUpBounds] = LookUpBounds,
        share: TeamShare | None = None,
    ) -> None:
        self._exchange = exchange
        self._tokens = tokens
        self.askers = Askers(clock, share=share)
        self._gate = Gate(clock, sleep)
        # One thread only: while a thread reads, it takes the interpreter from the loop.
        self._desk = Desk("reading", 1)
        self._bounds = bounds

    async def running(self, selection: Filter | Everything, look: LookUp | None = None) -> Listing:
        """Return the running runs that the selection may mean, and perhaps more; of them enough for the `look`.

        Raises:
            LookupFailed: upstream cannot be read to the end.
            TooLarge: more match than `bounds` admits, or there are too many others, or pages that show none.
        """
        look, bounds = look or LookUp(), self.bounds
        lister = Lister(self._read_with(self.reader()), bounds.runs)
        async with deadline(bounds.seconds, look.words):
            return await lister.running(selection, look)

    async def look_again(self, runs: Sequence[Run], selection: Filter | Everything, since_ms: int) -> Listing:
        """Return the newest run under the ID of each of these runs, which a look-up of the selection had shown.

        The look-up has shown every running run, and began at upstream's time `since_ms`. Runs that are certainly
        unchanged are found ten to a page; each of the others is looked up by its ID.

        Raises: LookupFailed: upstream cannot be read to the end.
        """
        lister = Lister(self._read_with(self.reader()))
        async with deadline(self.bounds.seconds):
            same, doubtful = await lister.again(runs, selection, since_ms)
        if not doubtful:
            return same
        single = await self.look_up(doubtful)
        return Listing((*same.runs, *single.runs), single.unreadable, same.pages + single.pages)

    async def look_up(self, run_ids: Sequence[str]) -> Listing:
        """Return the newest run of each ID that exists, running or not.

        Raises:
            LookupFailed: upstream cannot be read to the end.
            TooLarge: there are more than 200 IDs, or one of them was started too often.
        """
        wanted = tuple(dict.fromkeys(run_ids))
        if len(wanted) > MAX_IDS:
            raise TooLarge("run_ids", f"At most {MAX_IDS} run IDs can be looked up for one request. Nothing was sent.")
        collected, read, places = Collected(), self._read_with(self.reader()), asyncio.Semaphore(AT_ONCE)

        async def one(run_id: str) -> int:
            """Add the runs of one ID, and return how many pages they had."""
            found = _OfOne(run_id, collected)
            pairs = [("workflowRunId", run_id), TRIMMED, ("count", "10")]
            async with places:
                return await _follow(read, pairs, found)

        try:
            async with deadline(self.bounds.seconds), asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(run_id)) for run_id in wanted]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        return collected.listing(pages=sum(task.result() for task in tasks))

    async def action(self, action_id: str) -> ActionReport | None:
        """Return the progress of a bulk action; None if upstream knows none of that name (any more).

        Raises: LookupFailed: upstream cannot be read.
        """
        if not _ACTION_ID.fullmatch(action_id):
            return None
        reader = Reader(self._exchange, self._tokens.reading or self._tokens.writing, self._gate, self._desk)
        async with deadline(self.bounds.seconds):
            reply = await reader.reply(f"/v2/workflows/bulkActions/{action_id}")
            if reply.status == 404:
                return None
            report = await reader.read(reply, lambda reply: _report(reply, action_id))
        if report is None:
            raise LookupFailed("action", "QStash's report on the bulk action cannot be read.")
        return report

    async def page(
        self, pairs: Pairs, take: Callable[[Page], _Taken], *, max_bytes: int = MAX_PAGE_BYTES, beside: bool = False
    ) -> _Taken:
        """Return what `take` makes of one page of the log; on a thread if the page is long or `beside` is set.

        Raises: LookupFailed: upstream cannot be read.
        """
        async with deadline(self.bounds.seconds):
            return await self.reader().page(pairs, take, max_bytes=max_bytes, beside=beside)

    async def aclose(self) -> None:
        """Close what is open, and read nothing more."""
        self._desk.close()
        await self._exchange.aclose()

    def is_secret(self, text: str | bytes) -> bool:
        """Return whether a text holds an account's token or a gateway's key. Its run is then not shown or recorded."""
        return self._tokens.is_in(text)

    @property
    def bounds(self) -> LookUpBounds:
        """The bounds on one look-up, as they are now."""
        return self._bounds()

    def reader(self, source: Source = RUNS) -> Reader:
        """Return the way of one look-up to a list of upstream's. Raises: LookupFailed: there is no read-only token."""
        reading = self._tokens.reading
        if reading is None:
            raise LookupFailed(
                "no_read_token",
                "This gateway has no read-only token to look runs up with.",
                "Trying again does not help until its operators have set upstream.read_token.",
            )
        return Reader(self._exchange, reading, self._gate, self._desk, source)

    def _read_with(self, reader: Reader) -> Read:
        """Return the function that reads pages for one look-up."""
        return partial(reader.page, take=partial(_seen, is_secret=self.is_secret))


def _seen(page: Page, is_secret: Callable[[str], bool]) -> SeenPage:
    return SeenPage([seen(entry, is_secret) for entry in page.entries], page.cursor, page.at_ms)


class _OfOne:
    """The collector for one ID. An entry of any other ID means that upstream did not understand the question."""

    def __init__(self, run_id: str, collected: Collected) -> None:
        self._run_id = run_id
        self._collected = collected

    def add(self, found: Seen) -> None:
        """Add what was read of one entry. Raises: LookupFailed: it is of another run."""
        if found.run_id != self._run_id:
            raise LookupFailed("other_run", "QStash answered the look-up of one run with another one.")
        self._collected.add(found)


async def _follow(read: Read, pairs: Pairs, found: _OfOne) -> int:
    """Add every page of one ID until there is no further cursor, and return how many pages there were.

    Raises:
        LookupFailed: a page cannot be read, or leads back to an earlier one.
        TooLarge: there are too many pages.
    """
    seen: set[str] = set()
    cursor = ""
    for number in range(1, MAX_PAGES_OF_ONE + 1):
        page = await read([*pairs, ("cursor", cursor)] if cursor else pairs)
        for one in page.found:
            found.add(one)
        cursor = page.cursor
        if not cursor:
            return number
        if cursor in seen:
            raise LookupFailed("cursor", LEADS_BACK)
        seen.add(cursor)
    raise TooLarge("pages", _TOO_OFTEN)


def _report(reply: Reply, action_id: str) -> ActionReport | None:
    members = (reply.members() or {}) if reply.status == 200 else {}
    if members.get("actionId") != action_id:
        return None
    match members:
        case {
            "state": ("IN_PROGRESS" | "FINISHED") as state,
            "total": int(total),
            "processed": int(processed),
            "filter": dict(asked),
        } if bool not in (type(total), type(processed)) and min(total, processed) >= 0:
            return ActionReport(state, total, processed, asked)
    return None
