"""Cursors say nothing and are good for who got them; no asker takes the pages or the cursors of others."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest

from gateway.core.errors import MalformedRequest, Overloaded, Throttled
from gateway.core.request import Principal
from gateway.upstream.runs.cursors import LIFETIME_S, MOST_CURSORS, MOST_CURSORS_OF_ONE, MOST_READING, Askers, Position
from gateway.upstream.runs.query import RunQuery
from gateway.upstream.runs.team_runs import own_runs
from gateway.upstream.shares import TeamShare
from tests.upstream.runs.reading import INVOICE, NOW_MS, Time, opened, run, serving
from tests.upstream.runs.test_own import CI, WIDE, mixed, rules

HERE, ASKED = Position("1795000000000-wfr_payroll"), RunQuery()
OTHERS = [Principal("billing", "other"), Principal("search", "ci")]


def key(number: int, team: str = "billing") -> Principal:
    """One of many keys of a team."""
    return Principal(team, f"key{number}")


def refused(askers: Askers, cursor: str, asker: Principal = CI, question: RunQuery = ASKED) -> bool:
    """Whether a cursor is refused, with what to do about it."""
    try:
        return askers.position(cursor, asker, question) != HERE
    except MalformedRequest as exc:
        return exc.cause == "cursor" and "start again without a cursor" in exc.sentence


def test_a_cursor_is_good_for_who_got_it_and_for_the_question_it_was_got_by() -> None:
    """As often as asked, so that a lost answer can be asked for again; for another it is as one that nobody has."""
    askers = Askers(Time())
    cursor = askers.keep(CI, ASKED, HERE)
    assert all(refused(askers, cursor, other) for other in OTHERS)
    assert refused(askers, cursor, CI, replace(ASKED, state="RUN_STARTED"))
    assert refused(askers, cursor, CI, replace(ASKED, count=3))
    assert refused(askers, HERE.cursor)
    assert not any(refused(askers, cursor) for _ in range(3))
    assert "payroll" not in cursor


def test_a_cursor_lives_ten_minutes() -> None:
    """Then one starts again without."""
    time = Time()
    askers = Askers(time)
    cursor = askers.keep(CI, ASKED, HERE)
    time.steady_s += LIFETIME_S - 1
    assert not refused(askers, cursor)
    time.steady_s += 1
    assert refused(askers, cursor)


def test_the_cursors_of_one_are_bounded_and_push_out_none_of_others() -> None:
    """Its oldest gives way, and one that was used is not the oldest."""
    askers = Askers(Time())
    others = askers.keep(OTHERS[0], ASKED, HERE)
    cursors = [askers.keep(CI, ASKED, HERE) for _ in range(MOST_CURSORS_OF_ONE)]
    assert not refused(askers, cursors[0])
    cursors.append(askers.keep(CI, ASKED, HERE))
    assert [cursor for cursor in cursors if refused(askers, cursor)] == [cursors[1]]
    assert not refused(askers, others, OTHERS[0])


def test_there_are_never_more_than_a_thousand_cursors() -> None:
    """Among equal holders the one unused for longest gives way."""
    askers = Askers(Time())
    cursors = [(number, askers.keep(key(number), ASKED, HERE)) for number in range(MOST_CURSORS + 5)]
    left = [number for number, cursor in cursors if not refused(askers, cursor, key(number))]
    assert left == list(range(5, MOST_CURSORS + 5))


def test_one_page_is_read_at_a_time_for_one_and_four_in_all() -> None:
    """A place is free again whatever the page came to."""
    askers = Askers(Time())
    with askers.turn(CI), pytest.raises(Throttled) as throttled, askers.turn(CI):
        pass
    assert (throttled.value.limit, throttled.value.retry_after_s) == (1, 1)
    with ExitStack() as held:
        for number in range(MOST_READING):
            held.enter_context(askers.turn(key(number)))
        with pytest.raises(Overloaded), askers.turn(CI):
            pass
    with pytest.raises(ZeroDivisionError), askers.turn(CI):
        raise ZeroDivisionError
    with askers.turn(CI):
        pass


def test_the_keys_of_one_team_never_take_every_page() -> None:
    """Four keys of a team read two pages at a time; another team is served, and the sentence says whose limit it is."""
    askers = Askers(Time(), share=TeamShare(several=True))
    with ExitStack() as held:
        for number in range(2):
            held.enter_context(askers.turn(key(number)))
        with pytest.raises(Throttled, match="your team") as throttled, askers.turn(key(2)):
            pass
        assert (throttled.value.cause, throttled.value.limit) == ("team_lookups", MOST_READING // 2)
        held.enter_context(askers.turn(key(0, "search")))
    with askers.turn(key(2)):
        pass


def test_the_cursors_of_a_team_with_many_keys_push_out_none_of_another() -> None:
    """Whoever holds most lets go: the few cursors of a small team stay good, however old they are."""
    askers = Askers(Time(), share=TeamShare(several=True))
    small = askers.keep(OTHERS[1], ASKED, HERE)
    for number in range(2 * MOST_CURSORS):
        askers.keep(key(number), ASKED, HERE)
    assert not refused(askers, small, OTHERS[1])
    assert len(askers._kept) == MOST_CURSORS // 2 + 1


async def test_a_callers_second_page_is_refused_while_the_first_is_read(tmp_path: Path) -> None:
    """Another key of the team is answered."""
    speaking = rules(tmp_path, WIDE)
    # Slow, so that no page has ended before the next is asked for, however the machine shares its time.
    with serving(*mixed(30), latency_ms=100) as server:
        async with opened(server.url) as log:

            async def page(principal: Principal) -> object:
                return await own_runs(b"count=1", speaking, log, NOW_MS, events=False, principal=principal)

            answers = await asyncio.gather(page(CI), page(CI), page(Principal("billing", "b")), return_exceptions=True)
            assert [type(answer) for answer in answers] == [dict, Throttled, dict]
            assert isinstance(await page(CI), dict)


@pytest.mark.parametrize("other", OTHERS)
async def test_nobody_goes_on_with_the_cursor_of_another(tmp_path: Path, other: Principal) -> None:
    """Nor with one of upstream's; upstream is not asked."""
    speaking = rules(tmp_path, WIDE)
    with serving(*(run(number, url=INVOICE) for number in range(30))) as server:
        async with opened(server.url) as log:
            first = await own_runs(b"", speaking, log, NOW_MS, events=False, principal=CI)
            for principal, cursor in ((other, first["cursor"]), (CI, f"{NOW_MS}-wfr_00010")):
                query = urlencode({"cursor": cursor}).encode()
                with pytest.raises(MalformedRequest):
                    await own_runs(query, speaking, log, NOW_MS, events=False, principal=principal)
            assert len(server.simulator.readings) == 1
