"""The list of failed runs: read to its end or to enough, matched here, and never half a list that looks whole."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import Everything, FailedFilter
from gateway.core.run import LookUp
from gateway.simulator.core import Simulator
from gateway.simulator.exchange import Fault, Kind
from gateway.simulator.holdings.held import Holdings
from gateway.simulator.holdings.things import DlqEntry
from gateway.simulator.server import SimulatorServer
from gateway.upstream.dlq.entries import read_failed, seen_failed
from gateway.upstream.dlq.log import MAX_SPARE_PAGES, DlqLog
from tests.support.holdings import URL, failed_message, failed_run
from tests.upstream.runs.reading import READING, WRITING, opened, tokens

ALL = Everything()


def entry(**changes: object) -> dict[str, object]:
    """An entry as QStash shows it, payload and all; a change to None leaves a member out."""
    whole = {**failed_run("d1", labels=("l",), key="k").wire(), "body": "SECRET PAYLOAD", "responseBody": "x"} | changes
    return {name: value for name, value in whole.items() if value is not None}


def page(*entries: object, cursor: object = "") -> str:
    return json.dumps({"cursor": cursor, "messages": entries})


def answered(body: str, *, times: int = 1, status: int = 200) -> Fault:
    return Fault(on=Kind.DLQ, times=times, status=status, body=body)


@asynccontextmanager
async def queue(
    *entries: DlqEntry, faults: tuple[Fault, ...] = (), max_runs: int = 10_000, reading: str | None = READING
) -> AsyncIterator[tuple[DlqLog, SimulatorServer]]:
    """The log of an account that has these entries."""
    held = Holdings()
    held.add(entries)
    simulator = Simulator((), holdings=held)
    simulator.script(*faults)
    with SimulatorServer(simulator, token=WRITING, read_token=READING) as server:
        async with opened(server.url, max_runs=max_runs, account=tokens(reading)) as log:
            yield DlqLog(log), server


def many(number: int, url: str = URL) -> tuple[DlqEntry, ...]:
    return tuple(failed_run(f"d{at}", url, age_min=at + 1) for at in range(number))


async def failure(*faults: Fault) -> LookupFailed:
    async with queue(*many(3), faults=faults) as (log, _):
        with pytest.raises(LookupFailed) as failed:
            await log.running(ALL, LookUp())
    assert "failed run" in failed.value.sentence
    assert "Nothing was sent and nothing was cancelled." in failed.value.sentence
    return failed.value


async def test_every_page_is_read_and_upstream_is_asked_for_no_filter() -> None:
    """How it reads those is not known, so each entry is matched here; the look-up counts its pages."""
    others = tuple(failed_run(f"other{at}", f"{URL}-v2", age_min=at + 1) for at in range(130))
    asked, look = FailedFilter(workflow_urls=(URL,), exact=True), LookUp()
    async with queue(*many(120), *others) as (log, server):
        listing = await log.running(asked, look)
        assert {run.run_id for run in listing.runs} == {f"d{at}" for at in range(120)}
        assert (listing.pages, look.pages, look.matched, look.listed) == (3, 3, 120, 250)
        assert (listing.narrowed, listing.ended_early, listing.unreadable) == (True, False, ())
        queries = [reading.call.query for reading in server.simulator.readings]
    assert all(query.startswith("source=workflow") and query.endswith("count=100") for query in queries)
    assert not any("workflowUrl" in query for query in queries)


async def test_a_look_up_ends_when_it_has_enough_and_says_so() -> None:
    """Entries that an order of ours was sent for do not count."""
    async with queue(*many(250)) as (log, _):
        gone = {("d0", failed_run("d0", age_min=1).created_ms)}
        listing = await log.running(ALL, LookUp(enough=100, handled=gone))
        assert (listing.pages, listing.ended_early) == (2, True)
        whole = await log.running(ALL, LookUp(enough=249, handled=gone))
        assert (len(whole.runs), whole.ended_early) == (250, False)


async def test_ids_are_found_by_listing_whatever_becomes_of_the_rest() -> None:
    """Exactly those that are in the queue; a failed message is none of them."""
    async with queue(*many(150), failed_message("m", URL, age_min=3)) as (log, _):
        listing = await log.look_up(["d149", "d0", "m", "gone"])
        assert {run.run_id for run in listing.runs} == {"d0", "d149"}
        assert listing.pages == 2
        again = await log.look_again(listing.runs, ALL, 0)
        assert set(again.runs) == set(listing.runs)


async def test_more_than_may_be_looked_up_is_refused_with_the_numbers() -> None:
    """It is not cut: what is not listed was not judged."""
    async with queue(*many(30), max_runs=20) as (log, _):
        with pytest.raises(TooLarge, match=r"20 \(limits\.lookup\.runs\).*Nothing was sent"):
            await log.running(ALL, LookUp())


async def test_without_a_read_only_token_nothing_is_looked_up() -> None:
    """The token that writes is not used for it."""
    async with queue(*many(1), reading=None) as (log, server):
        with pytest.raises(LookupFailed, match="read-only token"):
            await log.look_up(["d1"])
        assert not server.simulator.readings


async def test_a_cursor_that_leads_back_ends_the_look_up() -> None:
    """A list that goes in a circle is no list."""
    loop = [answered(page(cursor=cursor)) for cursor in ("a", "b", "a")]
    assert (await failure(*loop)).cause == "cursor"


async def test_a_list_without_an_end_ends() -> None:
    """Pages that bring nothing new are bounded, each with a cursor of its own."""
    endless = tuple(answered(page(entry(), cursor=f"c{at}")) for at in range(MAX_SPARE_PAGES + 10))
    async with queue(faults=endless) as (log, _):
        with pytest.raises(TooLarge, match="nothing new"):
            await log.running(ALL, LookUp())


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "[]",
        '{"cursor": ""}',
        '{"messages": {}}',
        '{"runs": []}',
        '{"messages": [], "messages": []}',
        page(cursor=7),
        page(cursor="a b"),
        page(*([{}] * 101)),
    ],
)
async def test_a_page_that_cannot_be_read_ends_the_look_up(body: str) -> None:
    """It is one object with a list of messages, and perhaps a cursor; it is asked for once more, with fewer entries."""
    assert (await failure(answered(body, times=2))).cause == "page"


@pytest.mark.parametrize("status", [400, 404, 500])
async def test_another_status_ends_the_look_up(status: int) -> None:
    """An error is no empty list."""
    assert (await failure(answered("{}", status=status))).cause == "status"


async def test_payloads_that_make_a_page_too_long_are_asked_for_in_smaller_pages() -> None:
    """A hundred entries of 100 kB are more than is held at once; ten of them are not."""
    held = [failed_run(f"d{at}", age_min=at + 1) for at in range(110)]
    long = [DlqEntry(**{name: getattr(one, name) for name in one.__slots__} | _inherited(one)) for one in held]
    async with queue(*long) as (log, server):
        listing = await log.running(ALL, LookUp())
        assert len(listing.runs) == 110
        assert any(reading.call.query.endswith("count=10") for reading in server.simulator.readings)


def _inherited(one: DlqEntry) -> dict[str, object]:
    names = ("message_id", "url", "created_ms", "run_id")
    return {name: getattr(one, name) for name in names} | {"body": "x" * 100_000}


async def test_an_id_that_is_shown_twice_with_other_values_cannot_be_ordered() -> None:
    """Nobody could say which of the two the order would hit, whichever of them is asked for."""
    first, second = page(entry(), cursor="c"), page(entry(workflowUrl=f"{URL}-v2"))
    for selection in (ALL, FailedFilter(workflow_urls=(URL,), exact=True)):
        async with queue(faults=(answered(first), answered(second))) as (log, _):
            listing = await log.running(selection, LookUp())
            assert (listing.runs, listing.unreadable) == ((), ("d1",))


# ---------------------------------------------------------------- entries


def test_an_entry_is_read_without_its_payload() -> None:
    """What is kept identifies it, and is what it is judged by."""
    run = read_failed(entry())
    assert run is not None
    assert (run.run_id, run.failed_run_id, run.workflow_url) == ("d1", "wfr_of_d1", URL)
    assert (run.labels, run.flow_control_key, run.caller_ip, run.running) == (("l",), "k", "203.0.113.7", True)
    assert "PAYLOAD" not in repr(seen_failed(entry(), lambda _: False))


WRONG: dict[str, list[object]] = {
    "dlqId": [None, "", 1, "a/b", "..", "a" * 129],
    "workflowRunId": [None, "", 7, "a b"],
    "workflowUrl": [None, "", "a.example/x", "https://A.example/x", ["x"]],
    "createdAt": [None, "1790000000000", True, 1_790_000_000, -1],
    "flowControlKey": [7, "a b", "ä"],
    "labels": ["l", [1], ["a,b"]],
    "label": [1, "none of the labels"],
    "callerIP": [7, "somewhere"],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_an_entry_with_a_value_outside_the_grammar_is_unreadable(name: str, value: object) -> None:
    """It stands for its ID, or for `?`, and is never ordered."""
    changed = entry(**{name: value})
    assert read_failed(changed) is None
    assert seen_failed(changed, lambda _: False).run is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_reading_an_entry_is_total(value: object) -> None:
    """Whatever stands in the list, it is read or unreadable."""
    assert read_failed(value) is None
    for name in WRONG:
        read_failed(entry(**{name: value}))


@pytest.mark.parametrize("name", ["dlqId", "workflowRunId", "flowControlKey"])
def test_an_entry_that_holds_a_secret_is_neither_kept_nor_named(name: str) -> None:
    """It could not be recorded."""
    seen = seen_failed(entry(**{name: "canary"}), lambda text: "canary" in text)
    assert seen.run is None
    assert seen.run_id == ("?" if name == "dlqId" else "d1")
