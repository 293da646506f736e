"""Pages of upstream's workflow log, asked for at the pace that upstream wants and read strictly.

Every failure is a LookupFailed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import quote

from gateway.core.errors import NARROW, LookupFailed
from gateway.core.forms.strict_json import page_object
from gateway.core.forms.times import http_date_s
from gateway.core.ports import Clock
from gateway.process import NO_THREAD
from gateway.upstream.client import Exchange, Failed, Reply
from gateway.upstream.runs.entries import checked_cursor
from gateway.upstream.shares import Desk
from gateway.upstream.token import TokenHolder

PATH = "/v2/workflows/logs"
MAX_PAGE_BYTES = 8 * 1024 * 1024
MAX_TRIMMED_BYTES = 2 * MAX_PAGE_BYTES
"""The bound of a team's page that is read without payloads, for an upstream that leaves some of them in."""

AT_ONCE_BYTES = 16 * 1024
"""Answers up to this size are read in a millisecond or two, whatever they hold; pages without payloads are about as
long.
"""

TRIMMED = ("trimBody", "true")
LEADS_BACK = "QStash's list of the runs leads back into itself."
"""The error text for a page that has the cursor of an earlier one."""
_LATER = "Try again later."
_RENEW = "Trying again does not help until the gateway's operators have renewed upstream.read_token."

UNREADABLE = "page"
"""The cause of the LookupFailed for a page that is too long or cannot be read."""

MAX_PAGE_ENTRIES = 100
"""The most entries of a page; upstream sends ten at most."""
MAX_WAITS = 3
"""How often in a row upstream may make one look-up wait before it is given up."""

Pairs = Sequence[tuple[str, str]]


class Source(NamedTuple):
    """A list of upstream's: its path, the member of a page that holds the entries, and what they are in words."""

    path: str
    member: str
    words: str


RUNS = Source(PATH, "runs", "runs")
"""The log of the runs."""

_Taken = TypeVar("_Taken")


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its entries as upstream wrote them, and the cursor of the next page, empty at the end.

    `at_ms` is the `Date` of the answer in Unix milliseconds, if it has one.
    """

    entries: tuple[object, ...]
    cursor: str
    at_ms: int | None = None


@dataclass(slots=True)
class _Burst:
    """What upstream allows until `ends_s` (monotonic): `limit` reads in all, of which so many are `left`."""

    limit: int
    left: int
    ends_s: float


class Gate:
    """The pace that upstream wants, shared by all readings of the account: pauses, and so many reads in each burst.

    Reads that are under way count as not yet counted by upstream, so that a burst is never exceeded by those.
    """

    def __init__(self, clock: Clock, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self.waits = 0
        self._clock = clock
        self._sleep = sleep
        self._until_s = 0.0
        self._burst: _Burst | None = None
        self._under_way = 0

    async def passed(self) -> int:
        """Wait until upstream allows the next read, and return how many pauses there have been."""
        while (left_s := self._left_s()) > 0:
            await self._sleep(left_s)
        return self.waits

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Count a read while it is under way; enter at once after `passed`."""
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    def heed(self, reply: Reply, passed: int) -> None:
        """Begin a pause if the answer asks for it, and note how much is left of the burst.

        `passed` is the number of pauses before the call: answers to calls that were sent before the last pause say
        nothing new, so those to simultaneous calls count as one.
        """
        if passed != self.waits:
            return
        wait = wait_s(reply.status, reply.headers, now_ms=self._clock.now_ms())
        if wait is not None:
            self.waits += 1
            self._until_s = self._clock.monotonic_s() + wait
        self._note(reply.headers)

    def _left_s(self) -> float:
        """Return how long to wait before the next read, in seconds; not above zero if it may be sent now."""
        now_s, burst = self._clock.monotonic_s(), self._burst
        pause_s = self._until_s - now_s
        if burst is None:
            return pause_s
        if burst.ends_s <= now_s:
            # Nobody said when the next one ends; the first answer will.
            burst.left, burst.ends_s = burst.limit, now_s + DEFAULT_WAIT_S
        return pause_s if burst.left > self._under_way else max(pause_s, burst.ends_s - now_s)

    def _note(self, headers: Mapping[str, str]) -> None:
        limit, left, reset = (_number(headers.get(f"burst-ratelimit-{name}", "")) for name in _BURST)
        if limit is None or left is None or reset is None or limit < 1:
            return
        now_s, known = self._clock.monotonic_s(), self._burst
        ends_s = now_s + _bounded(_until(reset, self._clock.now_ms()))
        if known is None or (ends_s > known.ends_s + _SAME_BURST_S and ends_s > now_s):
            self._burst = _Burst(limit, left, ends_s)
        elif ends_s > now_s:
            # Answers may arrive in another order than upstream counted them, and a burst begins with its first read.
            self._burst = _Burst(limit, min(known.left, left), max(known.ends_s, ends_s))


class Reader:
    """The way of one look-up to upstream: only GET, with one token. Every failure is a LookupFailed.

    Long answers are read at the `desk`, on a thread, one per look-up at a time. `source` is the list that is read.
    """

    def __init__(self, exchange: Exchange, holder: TokenHolder, gate: Gate, desk: Desk, source: Source = RUNS) -> None:
        self._source = source
        self._exchange = exchange
        self._holder = holder
        self._gate = gate
        self._desk = desk
        self._refused_at: set[int] = set()

    async def page(
        self, pairs: Pairs, take: Callable[[Page], _Taken], *, max_bytes: int = MAX_PAGE_BYTES, beside: bool = False
    ) -> _Taken:
        """Return what `take` makes of one page of the list. It may run on a thread, and must change nothing outside.

        With `beside` it is called on a thread even if the page is short.

        Raises: LookupFailed: the page cannot be had or cannot be read.
        """
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
        source = self._source
        reply = await self.reply(f"{source.path}?{query}", max_bytes=max_bytes)
        if reply.status != 200:
            what = f"QStash answered the look-up of the {source.words} with status {reply.status}."
            raise LookupFailed("status", what, upstream_status=reply.status)
        at_s = http_date_s(reply.headers.get("date", ""))
        at_ms = None if at_s is None else at_s * 1000

        def taken(reply: Reply) -> _Taken:
            """Read the page, and return what `take` makes of it."""
            return take(_page(reply.members(page_object), at_ms, source))

        return await self.read(reply, taken, beside=beside)

    async def read(self, reply: Reply, take: Callable[[Reply], _Taken], *, beside: bool = False) -> _Taken:
        """Return what `take` makes of an answer: at once if it is short, on a thread if that may take long."""
        if not beside and len(reply.body or b"") <= AT_ONCE_BYTES:
            return take(reply)
        return await self._desk.done(self, lambda: partial(take, reply))

    async def reply(self, path: str, *, max_bytes: int = MAX_PAGE_BYTES) -> Reply:
        """Return the answer to one GET, whatever its status except 401, 403 and 429.

        Raises: LookupFailed: there is no answer, the token is not accepted, or upstream keeps on throttling.
        """
        while True:
            passed = await self._gate.passed()
            with self._gate.reading():
                reply = await self._sent(path.encode("ascii"), max_bytes)
            self._holder.answered(reply.status)
            self._gate.heed(reply, passed)
            if reply.status != 429:
                break
            self._refused_at.add(passed)
            if len(self._refused_at) > MAX_WAITS:
                what = f"QStash keeps on throttling this account, so the {self._source.words} could not be looked up."
                raise LookupFailed("throttled", what, _LATER, upstream_status=reply.status)
        self._refused_at.clear()
        if reply.status in (401, 403):
            no = f"no {self._source.words.removesuffix('s')} can be looked up"
            what = f"QStash does not accept the gateway's read-only token ({reply.status}), so {no}."
            raise LookupFailed("read_token", what, _RENEW, upstream_status=reply.status)
        return reply

    async def _sent(self, target: bytes, max_bytes: int) -> Reply:
        reply = await self._once(target, max_bytes)
        if isinstance(reply, Failed):
            # A read changes nothing, so it may be sent again, unlike any cancel.
            reply = await self._once(target, max_bytes)
        if isinstance(reply, Failed):
            what, status = _unreached(reply, self._source.words), reply.status
            raise LookupFailed("unreachable", what, _LATER, reason=reply.cause, upstream_status=status)
        return reply

    async def _once(self, target: bytes, max_bytes: int) -> Reply | Failed:
        return await self._exchange.send("GET", target, self._holder.current, max_answer_bytes=max_bytes)


@asynccontextmanager
async def deadline(
    seconds: float, so_far: Callable[[], str] | None = None, *, words: str = "runs"
) -> AsyncIterator[None]:
    """Limit a whole look-up to some seconds; `so_far` says how far it came. Raises: LookupFailed: the time is over."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        came = f": {so_far()}" if so_far is not None else ""
        what = f"Looking the {words} up took longer than {seconds:g} s (limits.lookup.seconds){came}."
        raise LookupFailed("deadline", what, NARROW) from None


def _page(members: Mapping[str, object] | None, at_ms: int | None, source: Source) -> Page:
    try:
        return Page(
            _entries((members or {}).get(source.member, "missing")),
            checked_cursor((members or {}).get("cursor")),
            at_ms,
        )
    except ValueError as exc:
        raise LookupFailed(UNREADABLE, f"QStash sent a list of the {source.words} that cannot be read.") from exc


def _entries(entries: object) -> tuple[object, ...]:
    # Servers written in Go write an empty list as null.
    if entries is None:
        return ()
    if not isinstance(entries, list) or len(entries) > MAX_PAGE_ENTRIES:
        raise ValueError("a page has a list of entries, and not more than any page has")
    return tuple(entries)


def _unreached(failed: Failed, words: str) -> str:
    """Return what happened, in a sentence."""
    if failed.cause == NO_THREAD:
        return f"The gateway's system gave it no thread, so the {words} could not be looked up."
    if not failed.sent:
        return f"QStash cannot be reached, so the {words} could not be looked up."
    return f"QStash gave no whole answer when the {words} were looked up."


MAX_WAIT_S = 10.0
DEFAULT_WAIT_S = 1.0
_NUMBER = re.compile(r"[0-9]{1,15}")
_BURST = ("limit", "remaining", "reset")
_SAME_BURST_S = 0.5
"""Answers that name ends so close to each other speak of the same burst."""


def wait_s(status: int, headers: Mapping[str, str], *, now_ms: int) -> float | None:
    """Return the seconds to wait before the next read, at most ten; None if upstream asks for no wait.

    It asks with a 429, or with an answer that says that nothing remains of the burst.
    """
    if status != 429 and headers.get("burst-ratelimit-remaining") != "0":
        return None
    after, reset = (_number(headers.get(name, "")) for name in ("retry-after", "burst-ratelimit-reset"))
    if status == 429 and after is not None:
        return _bounded(after)
    return DEFAULT_WAIT_S if reset is None else _bounded(_until(reset, now_ms))


def _until(reset: int, now_ms: int) -> float:
    """Return the seconds until a reset, which is given in seconds, or as a Unix time in seconds or milliseconds.

    A number from 10**9 on must be a time, because nobody waits for thirty years.
    """
    if reset >= 10**12:
        return (reset - now_ms) / 1000
    return reset - now_ms / 1000 if reset >= 10**9 else reset


def _bounded(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_WAIT_S)


def _number(text: str) -> int | None:
    return int(text) if _NUMBER.fullmatch(text) else None
