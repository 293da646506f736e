"""A list read side by side is complete also where upstream makes another time of a date, or runs end meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.core.request import Everything
from gateway.core.run import Listing, Run
from gateway.upstream.runs.entries import Seen
from gateway.upstream.runs.listing import Lister, SeenPage
from gateway.upstream.runs.pages import Pairs
from tests.support.generated import cases
from tests.upstream.runs.account import AGES, NOW_MS, URL, Account, population

BURSTS = "a few at a time"
FEW = 4
"""The pages above 1.4 times the least that a short list may cost: two of them are probes behind its end."""

Way = Callable[[int], int]


def _bursts(number: int, seed: int) -> list[Run]:
    """Runs that are started a few at a time, a tenth of a second apart, with pauses between."""
    source, runs, at_ms = random.Random(seed), list[Run](), NOW_MS - 60_000  # noqa: S311 - the same seed, the same runs
    while len(runs) < number:
        at_ms -= source.choice((5000, 20000, 1500, 700, 300))
        for _ in range(source.randrange(1, 12)):
            at_ms -= source.randrange(120)
            runs.append(Run(f"wfr_run_{len(runs):05}", URL, at_ms))
    return runs


def _account(shape: str, number: int, seed: int, way: Way | None = None) -> Account:
    """An account whose upstream makes this of every `toDate`."""
    account = Account.of(_bursts(number, seed) if shape == BURSTS else population(shape, number, seed=seed))

    def hears(asked: Mapping[str, str]) -> Mapping[str, str]:
        if way is None or "toDate" not in asked:
            return asked
        return {**asked, "toDate": str(way(int(asked["toDate"])))}

    account.hears = hears
    return account


async def _listed(account: Account, seed: int = 7) -> Listing:
    """What is found where some pages take longer than others."""
    source = random.Random(seed)  # noqa: S311 - the same seed, the same order

    async def read(pairs: Pairs) -> SeenPage:
        """One page."""
        for _ in range(source.randrange(4)):
            await asyncio.sleep(0)
        page = await account.read(pairs)
        for _ in range(source.randrange(4)):
            await asyncio.sleep(0)
        return page

    return await Lister(read).running(Everything())


def ids(listing: Listing) -> set[str]:
    """Its runs."""
    return {run.run_id for run in listing.runs}


def _rounded(unit_ms: int, *, up: bool = False) -> Way:
    return lambda to_ms: (to_ms + (unit_ms - 1) * up) // unit_ms * unit_ms


def _nearest(unit_ms: int) -> Way:
    return lambda to_ms: (to_ms + unit_ms // 2) // unit_ms * unit_ms


def _moved(by_ms: int) -> Way:
    return lambda to_ms: to_ms + by_ms


SHAPES = st.sampled_from([*sorted(AGES), BURSTS])
UNITS_MS = st.sampled_from([10, 100, 1000, 60_000, 3_600_000, 86_400_000])
EARLIER = st.builds(_rounded, UNITS_MS) | st.builds(_moved, st.integers(-100_000, 0))
LATER = (
    st.builds(_rounded, UNITS_MS, up=st.just(True))
    | st.builds(_moved, st.integers(1, 100_000))
    | st.builds(_nearest, UNITS_MS)
)


@pytest.mark.parametrize(("number", "seed"), [(130, 9), (200, 18), (240, 18), (250, 18), (340, 17)])
async def test_no_run_is_lost_between_a_cut_and_the_second_that_upstream_makes_of_it(number: int, seed: int) -> None:
    """Where two cuts are close together, their runs are in other parts too, but not those next to the second cut."""
    account = _account(BURSTS, number, seed, _rounded(1000))
    assert ids(await Lister(account.read).running(Everything())) == set(account.runs)


@given(SHAPES, st.integers(0, 400), st.integers(0, 10**6), EARLIER)
@settings(max_examples=cases(150), deadline=None)
async def test_a_date_that_upstream_takes_for_an_earlier_one_costs_no_run_and_hardly_a_page(
    shape: str, number: int, seed: int, way: Way
) -> None:
    """A part goes on until it meets what the next one shows, wherever that begins."""
    account = _account(shape, number, seed, way)
    assert ids(await _listed(account, seed)) == set(account.runs)
    assert len(account.readings) <= 1.4 * -(-number // 10) + FEW


@given(SHAPES, st.integers(0, 400), st.integers(0, 10**6), LATER)
@settings(max_examples=cases(100), deadline=None)
async def test_a_date_that_upstream_takes_for_a_later_one_at_times_costs_no_run(
    shape: str, number: int, seed: int, way: Way
) -> None:
    """A part that shows runs newer than itself is noticed on its first page, and the list is read in turn."""
    account = _account(shape, number, seed, way)
    assert ids(await _listed(account, seed)) == set(account.runs)
    assert len(account.readings) <= 2.4 * -(-number // 10) + FEW


@given(SHAPES, st.integers(0, 400), st.integers(0, 10**6), st.floats(0, 8), st.none() | EARLIER)
@example("three days", 28, 112592, 0.0, None)
@settings(max_examples=cases(150), deadline=None)
async def test_runs_that_end_while_the_list_is_read_cost_hardly_a_page(
    shape: str, number: int, seed: int, each_reading: float, way: Way | None
) -> None:
    """A busy account is read side by side: that a run is seen once only is no reason to read everything in turn."""
    account = _account(shape, number, seed, way)
    ending = random.Random(seed).sample(sorted(account.runs), len(account.runs))  # noqa: S311 - as above
    ended: set[str] = set()

    def ends(reading: int) -> None:
        now = ending[int((reading - 1) * each_reading) : int(reading * each_reading)]
        account.put(*(replace(account.runs[run_id], state="RUN_SUCCESS") for run_id in now))
        ended.update(now)

    account.before = ends
    found = ids(await _listed(account, seed))
    assert set(account.runs) - ended <= found <= set(account.runs)
    assert len(account.readings) <= 1.4 * -(-number // 10) + FEW


def _hiding(account: Account, *, readings: int) -> set[str]:
    """Let parts that begin at a date hide every third run of the few next to it; return those that were ever hidden.

    From so many readings on they hide none any more.
    """
    hidden: set[str] = set()

    def change(asked: Mapping[str, str], page: SeenPage) -> SeenPage:
        if "toDate" not in asked or len(account.readings) > readings:
            return page
        shown = [one for one in page.found if not _is_hidden(one, int(asked["toDate"]))]
        hidden.update(one.run_id for one in page.found if one not in shown)
        return replace(page, found=shown)

    account.change = change
    return hidden


def _is_hidden(one: Seen, to_ms: int) -> bool:
    """Whether upstream's date is another time of the run, up to half a minute after its creation."""
    return one.run is not None and int(one.run_id[-5:]) % 3 == 0 and one.run.created_ms > to_ms - 30_000


@pytest.mark.parametrize("number", [500, 1_500])
async def test_runs_that_run_still_but_are_not_shown_again_make_dates_unreliable(number: int) -> None:
    """The page that showed one shows it again, and the next part does not: then the list is read in turn."""
    account = _account("uniform", number, 7)
    hidden = _hiding(account, readings=10**6)
    assert ids(await _listed(account)) == set(account.runs)
    assert len(hidden) > 3
    assert len(account.readings) > 1.8 * number / 10


async def test_runs_that_come_into_the_list_late_do_not_make_dates_unreliable() -> None:
    """The index lags: each costs two looks, and by then the next part shows it too; the list is not read in turn."""
    account = _account("uniform", 500, 7)
    hidden = _hiding(account, readings=50)
    listing = await _listed(account)
    assert hidden
    assert set(account.runs) - hidden <= ids(listing)
    assert len(account.readings) <= 1.6 * 500 / 10
