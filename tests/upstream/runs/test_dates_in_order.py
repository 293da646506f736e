"""No reading asks for runs from before its own first date: upstream may refuse dates in the wrong order."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import LookupFailed
from gateway.core.request import ByFilter, Everything
from gateway.core.run import Run
from gateway.policy.choose import selects
from gateway.upstream.runs.listing import LAG_MS, Lister
from tests.support.generated import cases
from tests.upstream.runs.account import AGES, HOUR_MS, NOW_MS, OTHER, URL, Account, population

YEAR_MS = 365 * 24 * HOUR_MS


def strict(*runs: list[Run]) -> Account:
    """An account whose upstream answers 400 where dates are in the wrong order or no milliseconds of today's length."""

    def hears(asked: Mapping[str, str]) -> Mapping[str, str]:
        dates = [asked[name] for name in ("fromDate", "toDate") if name in asked]
        if dates != sorted(dates) or {len(date) for date in dates} - {13}:
            raise LookupFailed("status", "QStash answered the look-up with status 400.", upstream_status=400)
        return asked

    account = Account.of(*runs)
    account.hears = hears
    return account


@pytest.mark.parametrize("number", [25, 60, 200])
async def test_a_look_up_with_a_first_date_never_goes_below_it(number: int) -> None:
    """The date is taken as the end of the list, so that no reading is spent below it."""
    ours, others = population("uniform", number), population("uniform", 12 * number + 200, url=OTHER, name="other")
    account = strict(ours, others)
    dates = ByFilter((URL,), exact=True, from_date=min(run.created_ms for run in ours))
    listing = await Lister(account.read).running(dates)
    assert {run.run_id for run in listing.runs} == {run.run_id for run in ours}
    narrowed = [reading for reading in account.readings if "workflowUrl" in reading]
    assert len(narrowed) <= 1.2 * -(-number // 10) + 1


@given(
    st.sampled_from(sorted(AGES)),
    st.integers(1, 200),
    st.integers(0, 100),
    st.integers(0, 100),
    st.sampled_from([None, 0, 1, 60_000, HOUR_MS, YEAR_MS]),
)
@settings(max_examples=cases(60), deadline=None)
async def test_every_reading_has_its_dates_in_order(
    shape: str, number: int, first: int, last: int, before_ms: int | None
) -> None:
    """Whatever the dates of the filter, and the runs between them; and nothing that it means is left out."""
    runs = population(shape, number)
    account = strict(runs, population(shape, 10 * number + 200, url=OTHER, name="other"))
    times = sorted(run.created_ms for run in runs)
    oldest, newest = sorted((times[first % number], times[last % number]))
    dates = ByFilter((URL,), exact=True, from_date=None if before_ms is None else oldest - before_ms, to_date=newest)
    listing = await Lister(account.read).running(dates)
    assert {run.run_id for run in listing.runs} >= {run.run_id for run in runs if selects(dates, run)}
    assert {run.run_id for run in listing.runs} <= {run.run_id for run in runs}


@pytest.mark.parametrize("apart_ms", [HOUR_MS, YEAR_MS // 2])
async def test_no_reading_asks_for_a_time_before_any_run_could_be(apart_ms: int) -> None:
    """Going far back in a list of few runs ends where milliseconds have fewer digits, not at 1970 or before."""
    account = strict([Run(f"wfr_{number:02}", URL, NOW_MS - apart_ms * number) for number in range(48)])
    assert len((await Lister(account.read).running(Everything())).runs) == 48


@pytest.mark.parametrize("news", [0, 11, 25, 60])
async def test_the_news_are_not_looked_for_before_they_begin(news: int) -> None:
    """Otherwise a plan ends in the middle where a few runs of others were started since its look-up."""
    planned, since_ms = population("uniform", 100), NOW_MS - 50_000
    started = [Run(f"wfr_news_{at}", OTHER, since_ms - LAG_MS + 800 * at) for at in range(news)]
    account = strict(planned, started)
    same, doubtful = await Lister(account.read).again(planned[:50], Everything(), since_ms)
    assert (len(same.runs), doubtful) == (50, ())
    assert len([reading for reading in account.readings if "state" not in reading]) <= 1.2 * -(-news // 10) + 1
