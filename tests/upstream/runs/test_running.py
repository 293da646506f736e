"""Listing the running runs: every page to the end, whatever happens to the account meanwhile, or a refusal."""

from __future__ import annotations

import pytest

from gateway.core.errors import TooLarge
from gateway.core.request import ByFilter, Everything
from gateway.simulator.account import LogManner
from gateway.simulator.changes import Change
from gateway.simulator.exchange import Token
from gateway.simulator.golang import query_values
from gateway.simulator.runs import SUCCESS, Run
from gateway.upstream.runs.narrowing import narrowing
from tests.upstream.runs.reading import INVOICE, NOW_MS, OURS, opened, run, runs, serving

SHIFTING = LogManner(shifting=True)


async def listed(*account: Run, change: Change | None = None, log: LogManner | None = None) -> list[str]:
    """The IDs that a listing finds, oldest first, while a change happens."""
    with serving(*account, log=log) as server:
        server.simulator.change(*([change] if change else []))
        async with opened(server.url) as found:
            listing = await found.running(OURS)
        assert server.ledger == ()
    assert listing.unreadable == ()
    return [run.run_id for run in sorted(listing.runs, key=lambda run: run.created_ms)]


async def test_every_page_is_read_to_the_end_with_the_token_that_cannot_write() -> None:
    """Upstream shows ten runs at once; none of the others is forgotten, and no byte of it could cancel."""
    with serving(*runs(57), run(60, url=INVOICE + "-v2"), run(61).ended(SUCCESS, NOW_MS)) as server:
        async with opened(server.url) as log:
            listing = await log.running(OURS)
        assert {found.run_id for found in listing.runs} == {one.run_id for one in runs(57)}
        assert 6 <= listing.pages == len(server.simulator.readings) <= 12
        for reading in server.simulator.readings:
            assert (reading.call.method, reading.call.token) == ("GET", Token.READ_ONLY)
            asked = query_values(reading.call.query)
            assert (asked["state"], asked["trimBody"], asked["count"]) == (["RUN_STARTED"], ["true"], ["10"])


async def test_as_many_runs_as_may_be_looked_up_are_and_one_more_is_refused() -> None:
    """What is too much to look up is refused as a whole; stopping early never looks like the end."""
    with serving(*runs(200)) as server:
        async with opened(server.url, max_runs=200) as log:
            assert len((await log.running(Everything())).runs) == 200
            server.simulator.add_runs([run(99_999)])
            with pytest.raises(
                TooLarge, match=r"200 \(limits.lookup.runs\): 201 of the 201 runs read so far match.*narrow the filter"
            ) as refused:
                await log.running(Everything())
    assert refused.value.cause == "runs"


@pytest.mark.parametrize("log", [None, SHIFTING], ids=["steady cursors", "shifting cursors"])
async def test_a_run_that_appears_shifts_nothing_out_and_nothing_in_twice(log: LogManner | None) -> None:
    """A new run moves the others to later pages; each is listed once all the same."""
    new = Change(after=1, start=tuple(run(100 + number) for number in range(3)))
    found = await listed(*runs(25), change=new, log=log)
    assert len(found) == len(set(found))
    assert {one.run_id for one in runs(25)} <= set(found)


async def test_a_run_that_ends_while_listing_makes_the_list_no_wider() -> None:
    """It may be listed or not, and may shift another one out; nothing comes in that was not running."""
    account = runs(25)
    for log in (None, SHIFTING):
        found = await listed(*account, change=Change(after=1, end=("wfr_00024", "wfr_00023")), log=log)
        assert set(found) <= {one.run_id for one in account}
        assert len(found) >= 23


@pytest.mark.parametrize("ended", [False, True])
async def test_an_older_run_under_the_same_id_never_stands_for_the_newer(ended: bool) -> None:
    """Where both run, a cancel may hit either, so the ID cannot be read; one that has ended changes nothing."""
    with serving(*runs(25)) as server:
        older = Run("wfr_00024", INVOICE, run(0).created_ms - 1)
        server.simulator.change(Change(after=1, start=(older.ended(SUCCESS, NOW_MS) if ended else older,)))
        async with opened(server.url) as log:
            listing = await log.running(OURS)
    newer = [found.created_ms for found in listing.runs if found.run_id == "wfr_00024"]
    assert newer == ([run(24).created_ms] if ended else [])
    assert listing.unreadable == (() if ended else ("wfr_00024",))


async def test_a_run_that_starts_again_while_listing_is_listed_once_at_most() -> None:
    """Under cursors that shift, its old page may be gone and its new one passed; the others stay."""
    for log in (None, SHIFTING):
        found = await listed(*runs(25), change=Change(after=1, restart=("wfr_00003",)), log=log)
        assert len(found) == len(set(found))
        assert {one.run_id for one in runs(25)} - set(found) <= {"wfr_00003"}


@pytest.mark.parametrize(
    ("selection", "pairs"),
    [
        (Everything(), []),
        (OURS, [("workflowUrl", INVOICE)]),
        (ByFilter((INVOICE,)), []),
        (ByFilter((INVOICE, INVOICE + "/a"), exact=True), []),
        (ByFilter(caller_ips=("203.0.113.7",)), [("callerIp", "203.0.113.7")]),
        (ByFilter(caller_ips=("203.0.113.7", "203.0.113.8")), []),
        (ByFilter(caller_ips=("2001:db8::1",)), []),
        (ByFilter(flow_control_keys=("a",)), [("flowControlKey", "a")]),
        (ByFilter(flow_control_keys=("a", "b")), []),
        (ByFilter(labels=("a", "b")), [("label", "a"), ("label", "b")]),
        (ByFilter(from_date=NOW_MS, to_date=NOW_MS + 1), [("fromDate", str(NOW_MS)), ("toDate", str(NOW_MS + 1))]),
    ],
)
def test_upstream_narrows_only_where_it_means_the_same(
    selection: ByFilter | Everything, pairs: list[tuple[str, str]]
) -> None:
    """A prefix, several URLs, and addresses of many forms are matched here; upstream would leave runs out or in."""
    assert narrowing(selection) == pairs


async def test_labels_are_alternatives_upstream_too() -> None:
    """A run with one of the labels asked for is listed."""
    with serving(run(1, labels=("a",)), run(2, labels=("b", "c")), run(3, labels=("c",))) as server:
        async with opened(server.url) as log:
            listing = await log.running(ByFilter(labels=("a", "b")))
    assert {found.run_id for found in listing.runs} == {"wfr_00001", "wfr_00002"}
