"""Whatever goes wrong with a reading ends the look-up as a refusal that says so; half a list never looks whole."""

from __future__ import annotations

import json
import re

import pytest

from gateway.core.errors import LookupFailed, TooLarge
from gateway.core.request import Everything
from gateway.simulator.exchange import Ending, Fault, Kind, rate_limited
from gateway.upstream.runs.pages import MAX_PAGE_ENTRIES, MAX_WAITS
from tests.upstream.runs.reading import OURS, READING, WRITING, Time, opened, run, runs, serving, tokens


def page(*entries: object, cursor: object = "") -> str:
    return json.dumps({"cursor": cursor, "runs": entries})


def answered(body: str, *, status: int = 200, times: int = 1) -> Fault:
    """A reading that is answered with these bytes."""
    return Fault(on=Kind.LOGS, times=times, status=status, body=body)


async def failure(*faults: Fault, deadline_s: float = 60, total_timeout_s: float = 20) -> LookupFailed:
    """How a listing of 25 runs fails where the second page is the first that is struck."""
    with serving(*runs(25)) as server:
        server.simulator.script(*faults)
        async with opened(server.url, deadline_s=deadline_s, total_timeout_s=total_timeout_s) as log:
            with pytest.raises(LookupFailed) as failed:
                await log.running(OURS)
    assert "Nothing was sent and nothing was cancelled." in failed.value.sentence
    assert re.search("[Tt]ry(ing)? again", failed.value.sentence)
    return failed.value


UNREADABLE = {
    "no JSON": "<html>",
    "cut": '{"cursor": "", "runs": [{"workflowRunId": "wf',
    "a list": "[]",
    "no runs": '{"cursor": ""}',
    "runs of another type": '{"cursor": "", "runs": {}}',
    "runs as text": '{"cursor": "", "runs": "none"}',
    "a key twice": '{"cursor": "", "runs": [], "runs": []}',
    "a cursor of another type": page(cursor=7),
    "a cursor with a space": page(cursor="a b"),
    "a cursor with a comma": page(cursor="a,b"),
    "a cursor too long": page(cursor="a" * 1025),
    "a cursor that is no ASCII": page(cursor="é"),
    "more entries than any page": page(*[{}] * (MAX_PAGE_ENTRIES + 1)),
    "deep": '{"runs": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "NaN": '{"runs": [NaN]}',
}


@pytest.mark.parametrize("body", UNREADABLE.values(), ids=UNREADABLE)
async def test_a_page_that_cannot_be_read_ends_the_look_up(body: str) -> None:
    """A page is one object with a list of runs and perhaps a cursor; everything else may hide runs."""
    assert (await failure(answered(body))).cause == "page"


async def test_a_page_over_eight_mebibytes_is_not_held() -> None:
    """Memory is bounded whatever upstream sends."""
    assert (await failure(answered('{"runs": ["' + "x" * (8 * 1024 * 1024) + '"]}'))).cause == "page"


@pytest.mark.parametrize("body", ['{"runs": null}', '{"runs": [], "cursor": null}', page()])
async def test_an_empty_page_without_a_cursor_is_the_end(body: str) -> None:
    """Servers written in Go send null for an empty list, and leave an empty text out."""
    with serving() as server:
        server.simulator.script(answered(body))
        async with opened(server.url) as log:
            assert (await log.running(Everything())).runs == ()


async def test_a_cursor_that_leads_back_ends_the_look_up() -> None:
    """A list that goes in a circle is no list, and is noticed at the first repetition."""
    loop = [answered(page(cursor=cursor)) for cursor in ("a", "b", "c", "b")]
    assert (await failure(*loop)).cause == "cursor"


async def test_an_answer_cut_short_is_asked_for_once_more() -> None:
    """A reading changes nothing, so one lost connection does not end a look-up of many pages; a second does."""
    cut = Fault(on=Kind.LOGS, acts=True, ending=Ending.CLOSE, cut_at_byte=150)
    gone = Fault(on=Kind.LOGS, ending=Ending.RESET)
    for lost in (cut, gone):
        with serving(*runs(25)) as server:
            server.simulator.script(lost)
            async with opened(server.url) as log:
                assert len((await log.running(OURS)).runs) == 25
        assert (await failure(lost, lost)).cause == "unreachable"


async def test_an_upstream_that_cannot_be_reached_ends_the_look_up() -> None:
    """Nothing listens there: it says so, and that it may be tried again later."""
    with serving() as server:
        url = server.url
    async with opened(url) as log:
        with pytest.raises(LookupFailed) as failed:
            await log.look_up(["wfr_1"])
    assert (failed.value.cause, failed.value.reason) == ("unreachable", "refused")
    assert failed.value.sentence == (
        "QStash cannot be reached, so the runs could not be looked up. Nothing was sent and nothing was cancelled. "
        "Try again later."
    )


@pytest.mark.parametrize("status", [400, 404, 412, 500, 502, 503, 204, 302])
async def test_any_other_status_ends_the_look_up(status: int) -> None:
    """Only a 200 is a page, and nothing is followed anywhere; upstream's own text is not passed on."""
    failed = await failure(answered("" if status == 204 else '{"error": "boom"}', status=status))
    assert failed.cause == "status"
    assert str(status) in failed.sentence
    assert "boom" not in failed.sentence


@pytest.mark.parametrize("status", [401, 403])
async def test_a_token_that_is_not_accepted_is_said_to_operators(status: int) -> None:
    """No other token is tried; the sentence names the key of the configuration, and shows no token."""
    failed = await failure(answered(json.dumps({"error": READING}), status=status))
    assert failed.cause == "read_token"
    assert "upstream.read_token" in failed.sentence
    assert READING not in failed.sentence


async def test_without_a_read_only_token_nothing_is_asked() -> None:
    """The token that writes never stands in."""
    with serving(*runs(3)) as server:
        async with opened(server.url, account=tokens(None)) as log:
            for look in (log.running(OURS), log.look_up(["wfr_00001"]), log.page([("count", "1")], lambda page: page)):
                with pytest.raises(LookupFailed) as failed:
                    await look
                assert failed.value.cause == "no_read_token"
        assert server.simulator.readings == ()


async def test_upstream_s_burst_limit_is_waited_for() -> None:
    """After a 429, and where nothing remains of the burst, the next reading waits as long as upstream says."""
    none_left = {"Burst-RateLimit-Remaining": "0", "Burst-RateLimit-Reset": "4"}
    spent = Fault(on=Kind.LOGS, acts=True, status=200, body=page(cursor="9"), headers=none_left)
    time = Time()
    with serving(*runs(25)) as server:
        server.simulator.script(rate_limited(on=Kind.LOGS, times=2, reset_s=3), spent, answered(page()))
        async with opened(server.url, time=time) as log:
            await log.running(OURS)
    assert time.waits == [3, 3, 4]


async def test_a_limit_on_readings_slows_a_long_list_down_and_loses_nothing() -> None:
    """Now and then upstream answers 429; the list is whole all the same, and readings refused together wait once."""
    faults = [
        fault
        for _ in range(5)
        for fault in (rate_limited(on=Kind.LOGS), Fault(on=Kind.LOGS, acts=True, delay_after_ms=1))
    ]
    time = Time()
    with serving(*runs(45)) as server:
        server.simulator.script(*faults)
        async with opened(server.url, time=time) as log:
            assert len((await log.running(OURS)).runs) == 45
    assert set(time.waits) == {1.0}
    assert len(time.waits) <= 5


async def test_an_upstream_that_only_throttles_is_given_up() -> None:
    """Three waits in a row without a page are enough."""
    time = Time()
    with serving(*runs(25)) as server:
        server.simulator.script(rate_limited(on=Kind.LOGS, times=100, reset_s=3600))
        async with opened(server.url, time=time) as log:
            with pytest.raises(LookupFailed) as failed:
                await log.running(OURS)
    assert failed.value.cause == "throttled"
    assert time.waits == [10.0] * MAX_WAITS


async def test_a_look_up_of_many_ids_waits_together() -> None:
    """Eight readings refused at the same moment are one wait."""
    time = Time()
    with serving(*runs(40)) as server:
        server.simulator.script(rate_limited(on=Kind.LOGS, times=8))
        async with opened(server.url, time=time) as log:
            assert len((await log.look_up([one.run_id for one in runs(40)])).runs) == 40
    assert sum(time.waits) < 8


async def test_a_slow_upstream_ends_the_look_up_at_its_deadline() -> None:
    """However many pages there are, the whole of it is bounded."""
    slow = Fault(on=Kind.LOGS, acts=True, delay_after_ms=60_000)
    assert (await failure(slow, deadline_s=0.3)).cause == "deadline"
    assert (await failure(slow, slow, total_timeout_s=0.2)).cause == "unreachable"


async def test_more_runs_than_may_be_held_are_refused() -> None:
    """An upstream that shows more at once than it says does not fill the memory."""
    with serving() as server:
        pages = 6
        for number in range(pages):
            first = number * MAX_PAGE_ENTRIES
            entries = [run(first + index).wire() for index in range(MAX_PAGE_ENTRIES)]
            server.simulator.script(answered(page(*entries, cursor=f"c{number}")))
        async with opened(server.url, max_runs=5 * MAX_PAGE_ENTRIES) as log:
            with pytest.raises(TooLarge) as refused:
                await log.running(Everything())
    assert refused.value.cause == "runs"


async def test_an_unreadable_run_is_named_and_the_others_are_listed() -> None:
    """One workflow with a strange URL stops nobody else's cancel."""
    strange = run(2, url="https://Billing.example.com/API invoice", run_id="wfr_strange")
    with serving(run(1), strange) as server:
        async with opened(server.url) as log:
            listing = await log.running(Everything())
    assert [found.run_id for found in listing.runs] == ["wfr_00001"]
    assert listing.unreadable == ("wfr_strange",)


async def test_a_run_with_a_token_in_it_is_unreadable() -> None:
    """Somebody may have pasted a token into a workflow's URL; it reaches no record and no answer."""
    with serving(run(1), run(2, url=f"https://a.example/{WRITING}")) as server:
        async with opened(server.url) as log:
            listing = await log.running(Everything())
    assert WRITING not in repr(listing)
    assert listing.unreadable == ("wfr_00002",)
