"""The page's numbers as values: what a record adds, what bounds the series, and what a fault costs."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit.chain import Record
from gateway.metrics.counts import MOST_TEAMS, OTHERS, Counts
from gateway.metrics.families import FAMILIES, Family
from gateway.metrics.page import SLICE, MetricsPage
from gateway.metrics.sources import Metrics, States
from gateway.metrics.times import MOST_ROWS, Histogram
from tests.metrics.scraping import counted, parsed, series

NO_STATES = States(None, None, list, None)  # type: ignore[arg-type]


def record(event: str, **members: object) -> Record:
    """A record with no time."""
    return Record(0, event, members)


def intent(number: int, team: str = "billing", **more: object) -> Record:
    """The record that begins a decision."""
    return record("intent", decision_id=str(number), team=team, decision="permit", enforced="permit", **more)


def page(metrics: Metrics, *families: Family) -> MetricsPage:
    """A page with only these families."""
    return MetricsPage(metrics, NO_STATES, families)


def numbers(counts: Counts) -> Mapping[object, float]:
    """What they say, in the words of the independent reader."""
    metrics = Metrics(counts=counts)
    wanted = [one for one in FAMILIES if one.kind == "counter" and not one.name.startswith(("audit", "lookup"))]
    return {key: value for key, value in parsed(asyncio.run(page(metrics, *wanted).text()).decode()).items() if value}


parts = st.integers(0, 30)
later = st.one_of(st.none(), st.integers(0, 100))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["billing", "search"]),
            st.sampled_from([None, "cancel_runs", "delete_dlq", "restart_dlq"]),
            st.lists(parts, max_size=3),
            later,
            later,
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_each_run_is_counted_once_whatever_records_speak_of_it(
    decisions: list[tuple[str, str | None, list[int], int | None, int | None, bool]],
) -> None:
    """The parts of a plan, its outcome and what was learnt later; each number is at least the one before.

    Each is counted under its action, and only what cancels runs counts as cancelled runs.
    """
    records = []
    for number, (team, action, chunks, known, more, exceeds) in enumerate(decisions):
        excess = len(chunks) if exceeds else 0
        records.append(intent(number, team, **({} if action is None else {"action": action})))
        records += [
            record("chunk", decision_id=str(number), number=at + 1, outcome="cancelled", cancelled=one)
            for at, one in enumerate(chunks)
        ]
        total = None if known is None else sum(chunks) + known
        outcome = "unknown" if total is None else "cancelled"
        # QStash goes on after an outcome that nobody knows, and after one that names its action.
        followed = {"action_id": "a"} if more and total is not None else {}
        ended: dict[str, object] = {"outcome": outcome, "cancelled": total, "over_cancelled": excess, **followed}
        records.append(record("outcome", decision_id=str(number), **ended))
        if more is not None and (followed or total is None):
            settled = (sum(chunks) if total is None else total) + more
            over = excess + more
            records.append(record("settled", decision_id=str(number), cancelled=settled, over_cancelled=over))
    counts = Counts()
    counts.take(records)
    assert counts.fault is None
    assert numbers(counts) == counted({"event": one.event, **one.members} for one in records)


def test_what_an_earlier_process_ordered_is_not_counted_by_the_one_that_settles_it() -> None:
    """Its team is not in the record of this one."""
    counts = Counts()
    counts.take([record("settled", decision_id="1", cancelled=7)])
    assert (numbers(counts), counts.fault) == ({}, None)


def test_teams_have_a_bound() -> None:
    """Those above it are counted together, under a name that no team can have."""
    counts = Counts()
    counts.take([intent(number, f"team-{number}") for number in range(MOST_TEAMS + 5)])
    assert len(counts.decisions) == MOST_TEAMS + 1
    assert counts.decisions[OTHERS, "cancel_runs", "permit", "permit"] == 5


def test_statuses_have_a_bound() -> None:
    """Further ones, and what is no status, count under their hundred."""
    times = Histogram((1.0,))
    for status in (*range(100, 600), 1000, -1):
        times.observe("cancel", status, 0.5)
    rows = dict(times.rows())
    assert len(rows) <= MOST_ROWS + 5
    assert sum(row[1] for row in rows.values()) == 502
    assert times.fault is None


@given(st.lists(st.floats(0, 100), max_size=50))
def test_a_bucket_holds_what_took_no_longer_than_it_says(durations: list[float]) -> None:
    """As Prometheus reads it: every bucket has those of the smaller ones."""
    metrics = Metrics()
    for seconds in durations:
        metrics.wrote(seconds)
    [family] = [one for one in FAMILIES if one.name == "audit_write_seconds"]
    found = parsed(asyncio.run(page(metrics, family).text()).decode())
    if not durations:
        assert found == {}
        return
    for bound in metrics.writes.buckets_s:
        expected = sum(seconds <= bound for seconds in durations)
        assert found[series("audit_write_seconds_bucket", le=f"{bound:g}")] == expected
    assert found[series("audit_write_seconds_bucket", le="+Inf")] == len(durations)
    assert found[series("audit_write_seconds_count")] == len(durations)
    assert found[series("audit_write_seconds_sum")] == pytest.approx(sum(durations))


def test_a_long_page_lets_others_have_their_turn() -> None:
    """It is written in slices, and reads as if it had been written whole."""
    family = Family("many", "gauge", ("number",), "Many.", lambda *_: [("", (str(n),), n) for n in range(10 * SLICE)])
    turns = 0

    async def others() -> None:
        """Counts the turns that it gets."""
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def both() -> bytes:
        """The page, beside them."""
        task = asyncio.create_task(others())
        text = await page(Metrics(), family).text()
        task.cancel()
        return text

    text = asyncio.run(both())
    assert text.count(b"# TYPE") == 1
    assert parsed(text.decode()) == {series("many", number=str(n)): n for n in range(10 * SLICE)}
    assert turns >= 10


def test_a_metric_that_cannot_be_read_costs_only_itself() -> None:
    """The others are shown, and operators are told of the fault."""
    told: list[object] = []

    async def shown() -> bytes:
        """The page, with the loop's faults noted."""
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["found"]))
        return await MetricsPage(Metrics(), NO_STATES).text()

    found = {name for name, _ in parsed(asyncio.run(shown()).decode())}
    assert "joins_total" in found
    assert "in_flight" not in found
    assert set(told) == {"a metric cannot be read"}


def test_a_record_that_cannot_be_counted_costs_only_itself() -> None:
    """Neither the record nor the next one, and the next scrape tells operators."""
    metrics = Metrics()
    metrics.committed([record("intent"), record("joined")])
    assert metrics.counts.joins == 1
    assert isinstance(metrics.counts.fault, KeyError)
    told: list[object] = []

    async def shown() -> None:
        """The page, twice."""
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context["found"]))
        for _ in range(2):
            await replace(page(metrics), families=()).text()

    asyncio.run(shown())
    assert told == ["a metric did not count"]


def test_the_page_of_the_handbook_has_every_metric_and_no_other() -> None:
    """Name, kind, labels and meaning, in the words of the page itself."""
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.help} |"
        for one in FAMILIES
    ]
    table = text.partition("| name | kind | labels | meaning |\n|---|---|---|---|\n")[2].partition("\n\n")[0]
    assert table.splitlines() == rows


def test_an_answer_of_5xx_is_no_success_of_upstream() -> None:
    """As on `/readyz`: what stands before QStash may give it. A refusal is one, because QStash itself said it."""
    metrics, [family] = Metrics(), [one for one in FAMILIES if one.name == "upstream_last_success_timestamp_seconds"]

    def shown() -> bool:
        return bool(parsed(asyncio.run(page(metrics, family).text()).decode()))

    for status, succeeded in ((0, False), (500, False), (503, False), (429, True)):
        metrics.called("DELETE", b"/v2/workflows/runs", status, 0.1)
        assert shown() is succeeded


def test_a_refused_reload_is_shown_until_one_is_applied() -> None:
    """However long ago it was: the settings before it are still in force."""
    counts = Counts()
    for result, degraded in (("applied", False), ("refused", True), ("refused", True), ("applied", False)):
        counts.take([record("reload", outcome=result)])
        assert counts.degraded is degraded
