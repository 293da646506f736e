"""A look-up that needs only some of the runs reads until it has them, and says that it did not read to the end."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.core.errors import TooLarge
from gateway.core.request import ByFilter
from gateway.core.run import Listing, LookUp
from gateway.policy.choose import selects
from gateway.upstream.runs.entries import Seen
from gateway.upstream.runs.listing import AT_ONCE, Lister
from tests.upstream.runs.account import AGES, NOW_MS, OTHER, URL, Account, population

EXACTLY, BELOW = ByFilter((URL,), exact=True), ByFilter((URL,))
"""A filter that upstream narrows the list by, and one that it does not know."""


async def listed(account: Account, look: LookUp, selection: ByFilter = BELOW, *, max_runs: int = 10_000) -> Listing:
    """What the look-up finds."""
    return await Lister(account.read, max_runs).running(selection, look)


def matching(listing: Listing, selection: ByFilter = BELOW) -> set[str]:
    """The runs that match, of those listed."""
    return {run.run_id for run in listing.runs if selects(selection, run)}


@pytest.mark.parametrize("selection", [EXACTLY, BELOW])
@pytest.mark.parametrize("shape", AGES)
async def test_it_reads_no_more_pages_than_it_needs(shape: str, selection: ByFilter) -> None:
    """A hundred of 2,128 that match among 5,600: about ten pages by the URL; else those that others fill as well."""
    ours, others = population(shape, 2_128), population(shape, 3_472, seed=8, url=OTHER, name="other")
    account, look = Account.of(ours, others), LookUp(enough=100)
    listing = await listed(account, look, selection)
    assert len(matching(listing, selection)) >= 100
    assert listing.ended_early
    least = 10 if selection is EXACTLY else 2 * 26
    assert len(account.readings) <= least + 2 * AT_ONCE or shape not in ("uniform", "at random")
    assert (look.pages, look.matched) == (listing.pages, len(matching(listing, selection)))


async def test_others_do_not_count_against_the_bound() -> None:
    """One team's runaway takes no look-up from its neighbours: the bound is on the runs that match."""
    account = Account.of(population("uniform", 50), population("uniform", 3_000, url=OTHER, name="other"))
    listing = await listed(account, LookUp(), max_runs=50)
    assert len(matching(listing)) == 50
    assert not listing.ended_early


async def test_a_refusal_says_how_many_matched_and_which_bound_was_met() -> None:
    """Of how many that were read."""
    account = Account.of(population("uniform", 200), population("uniform", 300, url=OTHER, name="other"))
    with pytest.raises(TooLarge) as refused:
        await listed(account, look := LookUp(), max_runs=100)
    assert "limits.lookup.runs" in refused.value.sentence
    assert f"{look.matched:,} of the {look.listed:,} runs read so far match" in refused.value.sentence
    assert 100 < look.matched < 130 < look.listed


async def test_a_list_that_ends_with_enough_was_read_to_its_end() -> None:
    """Then nothing is left, and nobody is told that there may be more."""
    account = Account.of(population("uniform", 30))
    assert not (await listed(account, LookUp(enough=30))).ended_early
    assert not (await listed(account, LookUp(enough=31))).ended_early
    account = Account.of(population("uniform", 5))
    assert not (await listed(account, LookUp(enough=5), EXACTLY)).ended_early
    assert not (await listed(account, LookUp(enough=3), EXACTLY)).ended_early


async def test_runs_that_cannot_be_cancelled_now_are_not_enough() -> None:
    """Young ones, and those that an order of ours has cancelled: it reads on until it has others."""
    runs = population("uniform", 300)
    newest_first = sorted(runs, key=lambda run: -run.created_ms)
    young, done = newest_first[:50], newest_first[50:100]
    handled = {(run.run_id, run.created_ms) for run in done}
    look = LookUp(enough=20, latest_ms=young[-1].created_ms - 1, handled=handled)
    found = await listed(Account.of(runs), look)
    left = {run.run_id for run in found.runs} - {run.run_id for run in (*young, *done)}
    assert len(left) >= 20


async def test_an_id_that_is_another_workflows_too_is_unreadable_whichever_comes_first() -> None:
    """Nobody could say which of the two a cancel would hit."""
    for age_ms in (30_000, 7_200_000):
        account = Account.of(population("uniform", 40))
        twin = replace(account.runs["wfr_run_00020"], run_id="wfr_twin", workflow_url=OTHER, created_ms=NOW_MS - age_ms)
        account.put(twin)
        account.change = lambda asked, page: replace(
            page,
            found=[
                replace(
                    one,
                    run_id="wfr_run_00020",
                    run=replace(one.run, run_id="wfr_run_00020") if one.run is not None else None,
                )
                if one.run_id == "wfr_twin"
                else one
                for one in page.found
            ],
        )
        listing = await listed(account, LookUp())
        assert listing.unreadable == ("wfr_run_00020",)
        assert "wfr_run_00020" not in matching(listing)


@pytest.mark.parametrize(("url", "counted"), [(URL, True), (OTHER, False), (None, True)])
async def test_an_entry_that_cannot_be_read_counts_where_it_may_match(url: str | None, counted: bool) -> None:
    """Another workflow's says nothing of the runs that are meant; one without a URL may be any."""
    account = Account.of(population("uniform", 20))
    account.change = lambda asked, page: replace(page, found=[*page.found, Seen("wfr_odd", None, url)])
    assert (await listed(account, LookUp())).unreadable == (("wfr_odd",) if counted else ())
