"""Following costs the answer nothing, is bounded, and ends on record."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.outcome import Accepted, Unknown
from gateway.core.request import Principal
from gateway.core.run import STARTED, Listing
from gateway.execution.follow_up import MAX_FOLLOWED, MAX_OF_ONE, Settler
from gateway.upstream.shares import TeamShare
from tests.callers.virtual_time import run
from tests.execution.follow_up.fakes import ScriptedLog, Told, a_run, by_filter, by_ids, report

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
        for number in range(MAX_FOLLOWED + 3):
            following.follow(by_filter(key=f"k{number}"), ACCEPTED)
        at_once = [members.get("cause") for members in told.settled]
        await asyncio.sleep(5)
        following.follow(by_filter(), ACCEPTED)
        await asyncio.sleep(5)
        return [at_once, len(log.asked_s), len(told.settled)]

    assert run(scenario()) == [["not_followed"] * 3, MAX_FOLLOWED + 1, MAX_FOLLOWED + 4]


def test_no_principal_takes_the_places_of_others() -> None:
    """Of one no more than 16 are followed at once; another's are followed all the same."""

    async def scenario() -> list[object]:
        told, log = Told(), ScriptedLog(NEVER_ENDS)
        following = settler(told, log)
        for _ in range(MAX_FOLLOWED):
            following.follow(by_filter(key="greedy"), ACCEPTED)
        greedy = [members.get("cause") for members in told.settled]
        following.follow(by_filter(key="other"), ACCEPTED)
        others = len(told.settled) - len(greedy)
        await following.stop()
        return [greedy, others]

    assert run(scenario()) == [["not_followed"] * (MAX_FOLLOWED - MAX_OF_ONE), 0]


def test_no_team_takes_the_places_of_others() -> None:
    """However many keys it has, half is left to the other teams."""

    async def scenario() -> list[object]:
        told, log = Told(), ScriptedLog(NEVER_ENDS)
        following = Settler(log, told, operators_log=told, reads_back=True, share=TeamShare(several=True))
        for number in range(MAX_FOLLOWED):
            following.follow(by_filter(key=f"k{number}"), ACCEPTED)
        greedy = [members.get("cause") for members in told.settled]
        small = by_filter()
        following.follow(small._replace(principal=Principal("search", "ci")), ACCEPTED)
        others = len(told.settled) - len(greedy)
        await following.stop()
        return [greedy, others]

    assert run(scenario()) == [["not_followed"] * (MAX_FOLLOWED // 2), 0]


@pytest.mark.parametrize("key", ["greedy", "other"])
def test_bulk_actions_never_take_the_places_of_read_backs(key: str) -> None:
    """What became of runs that were ordered is found out however many actions are followed, also for the same key."""

    async def scenario() -> Told:
        told = Told()
        log = ScriptedLog(NEVER_ENDS, lambda run_ids, at_s: Listing((a_run("wfr_0"),)))
        following = settler(told, log)
        for number in range(2 * MAX_FOLLOWED):
            following.follow(by_filter(key="greedy" if number % 2 else f"k{number}"), ACCEPTED)
        told.settled.clear()
        following.follow(by_ids("wfr_0", key=key), Unknown("read_timeout"))
        await asyncio.sleep(3)
        found = list(told.settled)
        await following.stop()
        told.settled = found
        return told

    told = run(scenario())
    assert [(members["source"], members["cancelled"]) for members in told.settled] == [("read_back", 1)]


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
