"""Following costs the answer nothing, is bounded, and ends on record."""

from __future__ import annotations

import asyncio

from gateway.outcome import Accepted, Unknown
from gateway.run import STARTED, Listing
from gateway.settle import MAX_FOLLOWED, Settler
from tests.identity.virtual_time import run
from tests.settle.fakes import ScriptedLog, Told, a_run, by_filter, by_ids, report

ACCEPTED = Accepted(202, "act_1")
NEVER_ENDS = [report(1, state="IN_PROGRESS")]


def settler(told: Told, log: ScriptedLog) -> Settler:
    """A settler with a read token."""
    return Settler(log, told, operators_log=told, reads_back=True)


def test_no_more_than_64_are_followed_at_once() -> None:
    """Those above are recorded as not followed, at once; a place that became free is taken again."""

    async def scenario() -> list[object]:
        told, log = Told(), ScriptedLog([report(1)])
        following = settler(told, log)
        for _ in range(MAX_FOLLOWED + 3):
            following.follow(by_filter(), ACCEPTED)
        at_once = [members.get("cause") for members in told.settled]
        await asyncio.sleep(5)
        following.follow(by_filter(), ACCEPTED)
        await asyncio.sleep(5)
        return [at_once, len(log.asked_s), len(told.settled)]

    assert run(scenario()) == [["not_followed"] * 3, MAX_FOLLOWED + 1, MAX_FOLLOWED + 4]


def test_the_end_of_the_process_is_on_record_for_each() -> None:
    """Also for one that was begun in the same moment, and with what is known of it by then."""

    async def scenario() -> Told:
        told = Told()
        log = ScriptedLog(NEVER_ENDS, lambda run_ids, at_s: Listing((a_run("wfr_0"), a_run("wfr_1", STARTED))))
        following = settler(told, log)
        following.follow(by_ids("wfr_0", "wfr_1"), Unknown("read_timeout"))
        await asyncio.sleep(3)
        following.follow(by_filter(), ACCEPTED)
        await following.stop()
        following.follow(by_filter(), ACCEPTED)
        await following.stop()
        await asyncio.sleep(3600)
        return told

    told = run(scenario())
    assert [members["cause"] for members in told.settled] == ["stopping"] * 3
    assert [members["cancelled"] for members in told.settled] == [1, None, None]


def test_stopping_leaves_no_task() -> None:
    """And what had ended before is not recorded twice."""

    async def scenario() -> tuple[int, int]:
        told = Told()
        following = settler(told, ScriptedLog([report(1)]))
        following.follow(by_filter(), ACCEPTED)
        await asyncio.sleep(1)
        await following.stop()
        return len(told.settled), len(asyncio.all_tasks())

    assert run(scenario()) == (1, 1)
