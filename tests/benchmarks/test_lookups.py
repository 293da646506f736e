"""The account of the look-up benchmark, and the bound beside which it is told."""

from __future__ import annotations

import pytest

from benchmarks.compare.account import Account, Manner
from benchmarks.compare.lookups import bound_s, report
from benchmarks.compare.samples import Samples
from benchmarks.growth.resolving import WORKFLOW


def listed(account: Account, **query: str) -> tuple[list[str], str]:
    """The run IDs of one page, and its cursor."""
    status, members, _ = account.answer(b"GET", [("workflowUrl", WORKFLOW), *query.items()])
    assert status == 200
    runs, cursor = members["runs"], members["cursor"]
    assert isinstance(runs, list)
    assert isinstance(cursor, str)
    return [run["workflowRunId"] for run in runs], cursor


@pytest.fixture
def account() -> Account:
    """An account of 25 runs that nobody asks over a network."""
    return Account(Manner(25))


@pytest.mark.parametrize(
    ("runs", "calls"), [(1, 1 / 8 + 1), (100, 10 / 8 + 1), (101, 11 / 8 + 2), (2000, 200 / 8 + 20)]
)
def test_the_bound_is_every_page_over_all_places_and_then_every_order(runs: int, calls: float) -> None:
    """A page holds ten runs and an order a hundred, and each call takes the latency."""
    assert bound_s(Manner(runs, latency_s=0.5)) == pytest.approx(calls * 0.5)


def test_pages_list_each_run_once_and_the_newest_first(account: Account) -> None:
    """Followed by their cursors, to a last page without one."""
    pages, cursor = [], ""
    for _ in range(3):
        page, cursor = listed(account, cursor=cursor)
        pages.append(page)
    found = [run_id for page in pages for run_id in page]
    assert [len(page) for page in pages] == [10, 10, 5]
    assert cursor == ""
    assert found == sorted(set(found), reverse=True)


def test_a_cancelled_run_is_no_longer_listed_as_running(account: Account) -> None:
    """And a second cancel of it counts nothing."""
    (first, *_), _ = listed(account)
    order = [("workflowRunIds", first), ("workflowRunIds", "wfr_of_nobody")]
    assert account.answer(b"DELETE", order)[1] == {"cancelled": 1}
    assert account.answer(b"DELETE", order)[1] == {"cancelled": 0}
    assert first not in listed(account, state="RUN_STARTED")[0]
    assert listed(account, workflowRunId=first, state="RUN_CANCELED")[0] == [first]
    assert account.running == 24


def test_readings_above_the_burst_are_refused_and_counted() -> None:
    """With how many are left, and when."""
    account = Account(Manner(1, burst=2))
    answers = [account.answer(b"GET", []) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert account.calls == {"readings": 2, "refused": 1}
    assert all("Burst-RateLimit-Remaining: 0" in headers for _, _, headers in answers[1:])


def test_a_look_up_is_told_as_a_ratio_to_its_bound() -> None:
    """Without look-ups there is no table."""
    samples = Samples()
    assert report(samples) == ""
    for figure, value in {"took_s": 3.0, "bound_s": 1.5, "cpu_s": 1, "readings": 5, "refused": 0, "orders": 1}.items():
        samples.add("100 runs", f"lookup {figure}", value)
    assert "| 100 runs | 1.50 | 3.00 | 2.00 (2.00 to 2.00) | 5 | 0 | 1 | 1.00 |" in report(samples)
