"""A second look at the runs of an order: ten to a page; what is not certainly the same is asked for by its ID."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from gateway.core.request import ByFilter, Everything
from gateway.core.run import Run
from gateway.upstream.runs.entries import Seen
from gateway.upstream.runs.listing import AGAIN_AT_ONCE, LAG_MS, NEWS_PAGES, Lister, SeenPage, neighbours
from tests.upstream.runs.account import AGES, HOUR_MS, NOW_MS, OTHER, URL, Account, population, unreadable

OURS = ByFilter((URL,), exact=True)
SINCE_MS = NOW_MS


def order(account: Account) -> list[Run]:
    """The hundred oldest runs of the account's own workflow."""
    own = [run for run in account.runs.values() if run.workflow_url == URL]
    return sorted(own, key=lambda run: (run.created_ms, run.run_id))[:100]


async def again(
    account: Account, runs: list[Run] | None = None, selection: ByFilter | Everything = OURS
) -> tuple[set[str], set[str]]:
    """The runs that are certainly the same, and those that are not."""
    same, doubtful = await Lister(account.read).again(runs or order(account), selection, SINCE_MS)
    return {run.run_id for run in same.runs}, set(doubtful)


async def test_a_hundred_runs_that_are_the_same_take_eleven_pages() -> None:
    """Ten of runs, one of news; all at once, and no run is asked for by itself."""
    account = Account.of(population("uniform", 2_000))
    runs = order(account)
    assert await again(account) == ({run.run_id for run in runs}, set())
    assert len(account.readings) == account.most == 11 <= AGAIN_AT_ONCE
    news = [reading for reading in account.readings if "state" not in reading]
    assert [(one["fromDate"], one.get("workflowUrl")) for one in news] == [(str(SINCE_MS - LAG_MS), None)]


@pytest.mark.parametrize("shape", AGES)
async def test_groups_hold_each_run_once_and_no_millisecond_twice(shape: str) -> None:
    """Also where many runs were created in one."""
    runs = population(shape, 100)
    found = neighbours(runs)
    assert sorted(run_id for group in found for run_id in group.run_ids) == sorted(run.run_id for run in runs)
    ordered = sorted(found, key=lambda group: group.from_ms)
    assert all(one.to_ms < other.from_ms for one, other in pairwise(ordered))
    assert len(found) <= 10


def ended(run: Run) -> Run:
    """The run when it is over."""
    return replace(run, state="RUN_SUCCESS")


CHANGES: Mapping[str, Callable[[Run], Run]] = {
    "it has ended": ended,
    "it was started anew": lambda run: replace(run, created_ms=SINCE_MS + 5),
    "it was started anew just before the look-up": lambda run: replace(run, created_ms=SINCE_MS - LAG_MS + 5),
    "it was started anew by another workflow": lambda run: replace(run, created_ms=SINCE_MS + 5, workflow_url=OTHER),
    "it was started anew and has ended": lambda run: replace(ended(run), created_ms=SINCE_MS + 5),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_run_that_changed_is_not_certain(change: str) -> None:
    """And is the only one that is not."""
    account = Account.of(population("uniform", 2_000))
    runs = order(account)
    account.put(CHANGES[change](runs[37]))
    same, doubtful = await again(account, runs)
    assert doubtful == {runs[37].run_id}
    assert len(same) == 99


@pytest.mark.parametrize("state", ["RUN_STARTED", "RUN_SUCCESS"])
async def test_a_second_run_under_the_same_id_is_seen_beside_the_first(state: str) -> None:
    """The old one is listed as running still: the index lags."""
    account = Account.of(population("uniform", 2_000))
    runs = order(account)
    account.put(Run("wfr_twin", OTHER, SINCE_MS + 5, state))

    def change(asked: Mapping[str, str], page: SeenPage) -> SeenPage:
        twin = Run(runs[5].run_id, OTHER, SINCE_MS + 5, state)
        return replace(page, found=[Seen(twin.run_id, twin) if one.run_id == "wfr_twin" else one for one in page.found])

    account.change = change
    assert (await again(account, runs))[1] == {runs[5].run_id}


async def test_news_that_cannot_be_read_leave_nothing_certain() -> None:
    """They may be of any run."""
    account = Account.of(population("uniform", 2_000))
    account.change = lambda asked, page: page if "state" in asked else unreadable(page)
    assert (await again(account))[0] == set()


async def test_more_news_than_ten_pages_leave_nothing_certain() -> None:
    """They are read no further, and each run is asked for by its ID."""
    fresh = [Run(f"wfr_new_{number:04}", OTHER, SINCE_MS + number) for number in range(1_000)]
    account = Account.of(population("uniform", 2_000), fresh)
    same, doubtful = await again(account)
    assert (same, len(doubtful)) == (set(), 100)
    assert len(account.readings) < 10 + 2 * NEWS_PAGES
    account = Account.of(population("uniform", 2_000), fresh[:60])
    assert len((await again(account))[0]) == 100


@pytest.mark.parametrize("name", ["fromDate", "toDate"])
async def test_an_upstream_that_ignores_dates_confirms_only_what_it_shows(name: str) -> None:
    """Some runs are not certain then; none is lost, and none is certain that is not running."""
    account = Account.of(population("uniform", 300))
    runs = order(account)
    account.put(ended(runs[3]))
    account.hears = lambda asked: {key: value for key, value in asked.items() if key != name}
    same, doubtful = await again(account, runs)
    assert same | doubtful == {run.run_id for run in runs}
    assert runs[3].run_id in doubtful


async def test_dates_of_the_request_do_not_hide_what_is_looked_for() -> None:
    """Each page of neighbours has its own."""
    account = Account.of(population("uniform", 100))
    dates = ByFilter((URL,), exact=True, from_date=NOW_MS - 2 * HOUR_MS, to_date=NOW_MS)
    assert (await again(account, selection=dates))[1] == set()
    assert all(len({"fromDate", "toDate"} & reading.keys()) >= 1 for reading in account.readings)


async def test_many_neighbours_do_not_make_a_second_look_long() -> None:
    """Where others run between them, a group is given up after a few pages."""
    account = Account.of(population("uniform", 100), population("uniform", 20_000, url=OTHER, name="other"))
    same, doubtful = await again(account, selection=Everything())
    assert len(same | doubtful) == 100
    assert len(account.readings) <= 10 * 4 + 1
