"""A list read side by side is complete, whatever the account is like whatever upstream makes of dates and order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import ByFilter, Everything
from gateway.core.run import Listing
from gateway.policy.choose import selects
from gateway.upstream.runs.entries import Seen
from gateway.upstream.runs.listing import AT_ONCE, MAX_SPARE_PAGES, OTHERS_FOR_ONE, OTHERS_SPARE, Lister, SeenPage
from tests.upstream.runs.account import AGES, NOW_MS, OTHER, URL, Account, population, unreadable

OURS = ByFilter((URL,), exact=True)
FEW = 3
"""The pages above 1.4 times the least that a short list may cost: two of them are probes behind its end."""


async def listed(
    account: Account, selection: ByFilter | Everything | None = None, *, max_runs: int = 10_000
) -> Listing:
    """What is found where nothing is hidden."""
    return await Lister(account.read, max_runs).running(selection or Everything())


def ids(listing: Listing) -> set[str]:
    """Its runs."""
    return {run.run_id for run in listing.runs}


def shows_all(account: Account, listing: Listing) -> bool:
    """Whether every run of the account was found, and nothing was unreadable."""
    return (ids(listing), listing.unreadable) == (set(account.runs), ())


@pytest.mark.parametrize("number", [5, 11, 100, 750, 2_000])
@pytest.mark.parametrize("shape", AGES)
async def test_every_run_is_found_for_little_more_than_the_least_pages(shape: str, number: int) -> None:
    """At most 1.4 times as many pages as the runs fill, and three; never more than eight at once."""
    account = Account.of(population(shape, number))
    listing = await listed(account)
    assert shows_all(account, listing)
    assert listing.pages == len(account.readings) <= 1.4 * -(-number // 10) + FEW
    assert account.most <= AT_ONCE


@given(st.sampled_from(sorted(AGES)), st.integers(0, 400), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
async def test_every_run_is_found_in_any_population(shape: str, number: int, seed: int) -> None:
    """Of any size."""
    account = Account.of(population(shape, number, seed=seed) if number else [])
    assert shows_all(account, await listed(account))
    assert len(account.readings) <= 1.4 * -(-number // 10) + FEW


async def test_ten_thousand_runs_are_found_in_a_few_rounds() -> None:
    """As many as may be looked up, eight pages at once nearly all the time."""
    account = Account.of(population("uniform", 10_000))
    assert shows_all(account, await listed(account))
    assert len(account.readings) <= 1_100


async def test_dates_of_the_filter_hold_in_every_part() -> None:
    """Where the list is read with its filter, no part begins later than the filter ends, or goes on below it."""
    account = Account.of(population("uniform", 5_000))
    dates = ByFilter(from_date=NOW_MS - 2_000_000, to_date=NOW_MS - 1_860_000)
    listing = await listed(account, dates)
    meant = {run.run_id for run in account.runs.values() if selects(dates, run)}
    assert (ids(listing), listing.narrowed) == (meant, True)
    asked = [reading for reading in account.readings if "fromDate" in reading]
    assert {reading["fromDate"] for reading in asked} == {str(dates.from_date)}
    assert max(int(reading["toDate"]) for reading in asked) == dates.to_date
    assert len({reading["toDate"] for reading in asked}) > 1


def _ignores(*names: str) -> Account:
    account = Account.of(population("uniform", 300))
    account.hears = lambda asked: {name: value for name, value in asked.items() if name not in names}
    return account


def _excludes_its_dates() -> Account:
    account = Account.of(population("twenty a millisecond", 300))
    account.hears = lambda asked: {**asked, "toDate": str(int(asked["toDate"]) - 1)} if "toDate" in asked else asked
    return account


def _in_seconds() -> Account:
    """It knows no runs of the year 58,000."""
    account = Account.of(population("uniform", 300))
    account.hears = lambda asked: {**asked, "toDate": "1"} if "toDate" in asked else asked
    return account


def _turned() -> Account:
    account = Account.of(population("uniform", 300))
    account.change = lambda asked, page: replace(page, found=page.found[::-1])
    return account


def _oldest_first() -> Account:
    """The pages themselves come in another order, and each by itself looks well: one run a page."""
    account = Account.of(population("uniform", 60))
    runs = sorted(account.runs.values(), key=lambda run: run.created_ms)

    def change(asked: Mapping[str, str], page: SeenPage) -> SeenPage:
        at = int(asked.get("cursor", "0-").partition("-")[0])
        return SeenPage([Seen(runs[at].run_id, runs[at])], f"{at + 1}-" if at + 1 < len(runs) else "", NOW_MS)

    account.change = change
    return account


@pytest.mark.parametrize(
    "account",
    [
        _ignores("toDate"),
        _ignores("toDate", "fromDate"),
        _excludes_its_dates(),
        _in_seconds(),
        _turned(),
        _oldest_first(),
    ],
    ids=["ignores toDate", "ignores dates", "excludes toDate", "takes it for seconds", "turned pages", "oldest first"],
)
async def test_nothing_rests_on_the_dates_or_the_order(account: Account) -> None:
    """Where upstream does something else with them, the list is read once more in turn at most, and is complete."""
    assert shows_all(account, await listed(account))
    assert len(account.readings) <= 75


async def test_a_run_that_ends_meanwhile_hides_no_other() -> None:
    """Wherever it stood."""
    account = Account.of(population("uniform", 500))
    ended = [f"wfr_run_{number:05}" for number in range(0, 500, 7)]
    account.before = lambda number: account.put(
        *(replace(account.runs[run_id], state="RUN_SUCCESS") for run_id in ended[number : number + 1])
    )
    assert ids(await listed(account)) >= set(account.runs) - set(ended)


async def test_runs_that_begin_or_are_restarted_meanwhile_hide_no_other() -> None:
    """The others are all found; one started anew is found as it is now, or is not, or is named as unreadable."""
    account = Account.of(population("uniform", 500))
    before = set(account.runs)
    restarted = [f"wfr_run_{number:05}" for number in range(3, 500, 11)]

    def moves(number: int) -> None:
        account.put(replace(account.runs["wfr_run_00000"], run_id=f"wfr_new_{number:05}", created_ms=NOW_MS + number))
        for run_id in restarted[number : number + 1]:
            account.put(replace(account.runs[run_id], created_ms=NOW_MS + number))

    account.before = moves
    listing = await listed(account)
    assert ids(listing) >= before - set(restarted)
    assert set(listing.unreadable) <= set(restarted)


@pytest.mark.parametrize("at", [1, 2])
async def test_a_cursor_that_leads_back_refuses_the_look_up(at: int) -> None:
    """In whatever part it does."""
    account = Account.of(population("uniform", 200))
    first: list[str] = []

    def change(asked: Mapping[str, str], page: SeenPage) -> SeenPage:
        if "toDate" in asked and at > 1:
            return page
        first.append(page.cursor)
        return replace(page, cursor=first[max(0, len(first) - 1 - at)] if len(first) > at else page.cursor)

    account.change = change
    with pytest.raises(LookupFailed) as failed:
        await listed(account)
    assert failed.value.cause == "cursor"


async def test_a_page_that_fails_ends_all_reading() -> None:
    """Whichever part it belongs to; nothing goes on in the background."""
    account = Account.of(population("uniform", 500))

    def fails(number: int) -> None:
        if number == 20:
            raise LookupFailed("status", "boom")

    account.before = fails
    with pytest.raises(LookupFailed) as failed:
        await listed(account)
    assert failed.value.cause == "status"
    assert len(account.readings) < 20 + AT_ONCE


async def test_more_runs_than_the_bound_are_refused_however_they_are_split() -> None:
    """And reading ends there; exactly the bound is listed."""
    account = Account.of(population("uniform", 300))
    assert len((await listed(account, max_runs=300)).runs) == 300
    account.readings.clear()
    with pytest.raises(TooLarge) as refused:
        await listed(account, max_runs=150)
    assert refused.value.cause == "runs"
    assert len(account.readings) < 40


async def test_a_list_without_an_end_is_read_no_further_than_the_bound() -> None:
    """The same ten runs again and again, each time with another cursor."""
    account = Account.of(population("uniform", 10))
    account.hears = lambda asked: {name: value for name, value in asked.items() if name != "cursor"}
    account.change = lambda asked, page: replace(page, cursor=f"{len(account.readings)}-c")
    with pytest.raises(TooLarge) as refused:
        await listed(account)
    assert refused.value.cause == "pages"
    assert len(account.readings) <= MAX_SPARE_PAGES + AT_ONCE


async def test_entries_that_cannot_be_read_stand_in_nobodys_way() -> None:
    """They have no time; the list is complete around them, and says that there are some."""
    account = Account.of(population("uniform", 300))
    account.change = lambda asked, page: unreadable(page)
    listing = await listed(account)
    assert (ids(listing), listing.unreadable) == (set(account.runs), ("?",))


async def test_what_a_filter_hides_is_seen_where_the_whole_list_is_not_long() -> None:
    """A second run under one of the IDs, another workflow's: nobody could say which of the two a cancel would hit."""
    account = Account.of(population("uniform", 50), population("uniform", 200, url=OTHER, name="other"))
    twin = replace(account.runs["wfr_run_00020"], run_id="wfr_twin", workflow_url=OTHER, created_ms=NOW_MS - 70_000)
    account.put(twin)

    def change(asked: Mapping[str, str], page: SeenPage) -> SeenPage:
        shown = [
            Seen("wfr_run_00020", replace(twin, run_id="wfr_run_00020")) if one.run == twin else one
            for one in page.found
        ]
        return replace(page, found=shown)

    account.change = change
    listing = await listed(account, OURS)
    assert (listing.narrowed, listing.unreadable) == (False, ("wfr_run_00020",))
    assert ids(listing) == {f"wfr_run_{number:05}" for number in range(50) if number != 20}


async def test_a_short_list_is_read_with_its_filter_alone() -> None:
    """One page; its runs are asked for by their IDs later."""
    account = Account.of(population("uniform", 10), population("uniform", 500, url=OTHER, name="other"))
    listing = await listed(account, OURS)
    assert (listing.narrowed, len(account.readings), len(listing.runs)) == (True, 1, 10)


async def test_where_others_run_far_more_the_filter_is_used_and_little_is_read_for_nothing() -> None:
    """Asking for each run by its ID is cheaper then, and the list says that it was narrowed."""
    account = Account.of(population("uniform", 30), population("uniform", 5_000, url=OTHER, name="other"))
    listing = await listed(account, OURS)
    assert (listing.narrowed, len(listing.runs), listing.unreadable) == (True, 30, ())
    least = -(-30 // 10)
    in_vain = (OTHERS_SPARE + OTHERS_FOR_ONE * 30) / 10 + AT_ONCE
    assert len(account.readings) <= 1.4 * least + FEW + in_vain


async def test_an_upstream_that_shows_less_without_a_filter_is_read_with_it() -> None:
    """What is found with the filter has to be found without it, or that list is no list."""
    account = Account.of(population("uniform", 40))
    account.change = lambda asked, page: page if "workflowUrl" in asked else SeenPage((), "", NOW_MS)
    listing = await listed(account, OURS)
    assert (listing.narrowed, len(listing.runs)) == (True, 40)


@pytest.mark.parametrize(("at_ms", "as_of_ms"), [(NOW_MS, NOW_MS), (None, NOW_MS - 60_000)])
async def test_a_list_is_as_old_as_upstreams_clock_says(at_ms: int | None, as_of_ms: int) -> None:
    """Without a `Date`, its clock was at least at the newest run; the gateway's own clock says nothing of it."""
    account = Account.of(population("uniform", 40))
    account.at_ms = at_ms
    assert (await listed(account)).as_of_ms == as_of_ms
    assert (await listed(account, OURS)).as_of_ms == as_of_ms


async def test_where_too_many_runs_are_news_from_the_start_it_is_said() -> None:
    """Each run is asked for by its ID then, without reading the news before that for nothing."""
    account = Account.of(population("twenty a millisecond", 300))
    account.at_ms = None
    assert (await listed(account)).much_news
    account.at_ms = NOW_MS
    found = await listed(account)
    assert (found.as_of_ms, found.much_news) == (NOW_MS, False)
