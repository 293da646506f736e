"""An account's log in memory, read page by page: newest first, ten runs a page; and logs that do not keep to that."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from gateway.core.run import STARTED, Run
from gateway.upstream.runs.entries import UNKNOWN_ID, Seen
from gateway.upstream.runs.listing import SeenPage
from gateway.upstream.runs.pages import Pairs

NOW_MS = 1_795_000_000_000
URL, OTHER = "https://billing.example.com/api/invoice", "https://search.example.com/api/reindex"
HOUR_MS = 3_600_000
LAST = "\x7f"


def _skewed(source: random.Random) -> int:
    return int(HOUR_MS * source.random() ** 6)


AGES: Mapping[str, Callable[[int, int, random.Random], int]] = {
    "uniform": lambda at, number, source: HOUR_MS * at // number,
    "at random": lambda at, number, source: source.randrange(HOUR_MS),
    "twenty a millisecond": lambda at, number, source: at // 20,
    "all at once": lambda at, number, source: 0,
    "dense at the new end": lambda at, number, source: _skewed(source),
    "dense at the old end": lambda at, number, source: HOUR_MS - _skewed(source),
    "three days": lambda at, number, source: at % 3 * 24 * HOUR_MS + source.randrange(600_000),
    "a few, then a batch": lambda at, number, source: at * 60_000 if at < number // 10 else 24 * HOUR_MS + at // 20,
}
"""How old the runs of an account are beyond a minute, in milliseconds, by the number of the run."""


def population(shape: str, number: int, *, seed: int = 7, url: str = URL, name: str = "run") -> list[Run]:
    """So many running runs of one workflow."""
    source = random.Random(seed)  # noqa: S311 - the same seed makes the same runs
    ages = [60_000 + AGES[shape](at, number, source) for at in range(number)]
    return [Run(f"wfr_{name}_{at:05}", url, NOW_MS - age) for at, age in enumerate(ages)]


@dataclass
class Account:
    """A log that has an index by time. `before` happens before each reading; `most` is the most readings at once."""

    runs: dict[str, Run] = field(default_factory=dict)
    at_ms: int | None = NOW_MS
    before: Callable[[int], object] = lambda number: None
    change: Callable[[Mapping[str, str], SeenPage], SeenPage] = lambda asked, page: page
    hears: Callable[[Mapping[str, str]], Mapping[str, str]] = lambda asked: asked
    readings: list[dict[str, str]] = field(default_factory=list)
    most: int = 0
    _now: int = 0
    _index: list[tuple[int, str]] | None = None

    @staticmethod
    def of(*runs: Iterable[Run]) -> Account:
        """The account that has these runs."""
        return Account({run.run_id: run for some in runs for run in some})

    def put(self, *runs: Run) -> None:
        """Starts runs, or replaces them under their IDs."""
        self.runs.update((run.run_id, run) for run in runs)
        self._index = None

    async def read(self, pairs: Pairs) -> SeenPage:
        """One page."""
        self._now += 1
        self.most = max(self.most, self._now)
        self.readings.append(dict(pairs))
        self.before(len(self.readings))
        await asyncio.sleep(0)
        self._now -= 1
        return self.change(dict(pairs), self._page(self.hears(dict(pairs))))

    def _page(self, asked: Mapping[str, str]) -> SeenPage:
        if self._index is None:
            self._index = sorted((run.created_ms, run.run_id) for run in self.runs.values())
        from_ms = int(asked.get("fromDate", 0))
        at = bisect_right(self._index, (int(asked.get("toDate", 1 << 60)), LAST))
        if "cursor" in asked:
            created, _, run_id = asked["cursor"].partition("-")
            at = min(at, bisect_left(self._index, (int(created), run_id)))
        found: list[Run] = []
        while at and self._index[at - 1][0] >= from_ms:
            at -= 1
            run = self.runs[self._index[at][1]]
            if not _means(asked, run):
                continue
            if len(found) == 10:
                return self._seen(found, f"{found[-1].created_ms}-{found[-1].run_id}")
            found.append(run)
        return self._seen(found, "")

    def _seen(self, runs: list[Run], cursor: str) -> SeenPage:
        return SeenPage([Seen(run.run_id, run) for run in runs], cursor, self.at_ms)


def _means(asked: Mapping[str, str], run: Run) -> bool:
    return (
        (asked.get("state") != STARTED or run.running)
        and asked.get("workflowUrl") in (None, run.workflow_url)
        and asked.get("workflowRunId") in (None, run.run_id)
    )


def unreadable(page: SeenPage) -> SeenPage:
    """The page with an entry more, of which nothing can be read."""
    return SeenPage([*page.found, Seen(UNKNOWN_ID, None)], page.cursor, page.at_ms)
