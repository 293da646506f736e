"""What `/readyz` wants attention for is short and cheap, however much there is, and names no caller to a stranger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from gateway.audit.log import AuditState
from gateway.callers.authenticate import Authenticator
from gateway.callers.forwarded import TrustedProxies
from gateway.callers.in_force import InForce
from gateway.callers.issuers import Pins
from gateway.callers.settings import CallerKey, Endings, Limits
from gateway.edge.health import HealthPages
from gateway.policy.rules import Policies
from gateway.serving.announcing import MOST_NAMED, TAMPERED, Announcer, tampering
from gateway.serving.clock import AHEAD_MS, SteadyClock
from gateway.serving.readiness import MOST_CHARS, MOST_NOTICES, RECENT_S, Ready, Recent, bounded
from tests.support.stand_ins import Lines, StillClock
from tests.support.steps import steps

TODAY = date(2027, 5, 3)
SOON = TODAY + timedelta(days=3)
STATE = AuditState(ready=True, reason=None, seq=7, head="0" * 64, open_intents=0, left_out=0)


class StillLog:
    """An audit log, which is well at first."""

    def __init__(self) -> None:
        self.state = STATE


def keys(count: int, expires: date | None = SOON) -> tuple[CallerKey, ...]:
    """Keys of a team each."""
    return tuple(
        CallerKey(f"k{number}", f"team-{number}", hashlib.sha256(b"%d" % number).digest(), expires=expires)
        for number in range(count)
    )


def live(*callers: CallerKey) -> InForce:
    """What is in force with these keys."""
    nobody = Authenticator((), is_upstream_token=lambda digest: False)
    return InForce(Policies((), "d"), nobody, callers, Pins(), Limits(), TrustedProxies(()))


def page(*kinds: Callable[[], Sequence[str]]) -> HealthPages:
    """The pages with these kinds of notices."""
    ready = Ready(
        audit=StillLog(),
        policy_digest=lambda: "d",
        stopping=lambda: False,
        token_age_s=lambda: 1,
        upstream=dict,
        notices=kinds,
        degraded=lambda: False,
    )
    return HealthPages(ready)


def shown(pages: HealthPages) -> bytes:
    """The bytes of `/readyz`."""
    answer = pages.page("GET", b"/readyz", "d1")
    assert answer is not None
    return answer.body


def test_ten_thousand_keys_that_end_cost_a_request_no_more_than_ten() -> None:
    """The same instructions, and a page of the same size but for the digits of the number."""
    work, sizes = [], []
    for count in (10, 10_000):
        now = live(*keys(count))
        pages = page(lambda now=now: now.endings.notices(TODAY))  # type: ignore[misc]
        sizes.append(len(shown(pages)))
        work.append(steps(lambda pages=pages: shown(pages)))  # type: ignore[misc]
    assert work[0] == work[1]
    assert sizes[1] - sizes[0] == len("10000") - len("10")


@pytest.mark.parametrize(
    ("last", "says"),
    [
        ([], []),
        ([-400], ["1 key expired on 2026-03-29"]),
        ([-9, -1], ["2 keys expired, the last on 2027-05-02"]),
        ([0], ["1 key expires on 2027-05-03"]),
        ([14, 9, 15], ["2 keys expire within 14 days, the first on 2027-05-12"]),
        ([-1, 14], ["1 key expired on 2027-05-02", "1 key expires on 2027-05-17"]),
        ([15], []),
    ],
)
def test_keys_that_end_are_counted_and_not_named(last: list[int], says: list[str]) -> None:
    """Who the callers are is nobody's business at a page that needs no key."""
    found = [keys(1, TODAY + timedelta(days=days))[0] for days in last]
    notices = Endings([*found, *keys(3, None)]).notices(TODAY)
    assert [notice.partition(";")[0] for notice in notices] == says
    assert "team-" not in str(notices)


@pytest.mark.parametrize(("count", "lines"), [(0, 0), (10, 10), (11, 11), (4000, 11)])
def test_of_one_kind_ten_notices_are_shown(count: int, lines: int) -> None:
    """And how many more there are; other kinds keep their own ten."""
    pages = page(lambda: [f"file {number}" for number in range(count)], lambda: ["another"])
    notices = json.loads(shown(pages))["notices"]
    assert len(notices) == lines + 1
    assert notices[-1] == "another"
    assert (f"and {count - MOST_NOTICES} more" in notices) == (count > MOST_NOTICES)


def test_what_takes_a_look_at_each_of_many_files_is_not_looked_at_for_every_request() -> None:
    """A flood of requests costs the same for ten files as for ten thousand; a change shows a moment later."""
    clock, work, files = StillClock(), [], [0]
    pages = page(Recent(lambda: [f"file {number}" for number in range(files[0])], clock.monotonic_s))
    assert json.loads(shown(pages))["notices"] == []
    for files[0] in (11, 10_000, 1):
        before = shown(pages)
        clock.steady_s += RECENT_S
        assert shown(pages) != before
        work.append(steps(lambda: shown(pages)))
    assert work[0] == work[1]
    assert json.loads(shown(pages))["notices"] == ["file 0"]


def test_a_notice_of_any_length_is_cut() -> None:
    """A file may have any number of faults, and they are one notice."""
    assert [len(notice) for notice in bounded(["x" * 10**6, "x" * MOST_CHARS])] == [MOST_CHARS + 1, MOST_CHARS]


def test_operators_read_the_names_once_in_their_log() -> None:
    """At the start, on a day and after a reload that change something; those that end next, and how many more."""
    wall, lines = StillClock(), Lines()
    wall.wall_ms = int(datetime(2027, 5, 3, tzinfo=UTC).timestamp() * 1000)
    now = [live(*keys(1, TODAY - timedelta(days=1)), *keys(2), *keys(1, TODAY + timedelta(days=15)))]
    announcer = Announcer(SteadyClock(wall, floor_ms=0), lambda: now[0], lines, StillLog())
    for _ in range(3):
        announcer.look()
    names = ["key team-0/k0: expires on 2027-05-06", "key team-1/k1: expires on 2027-05-06"]
    assert lines.said == [("keys_end", {"keys": [*names, "key team-0/k0: expired on 2027-05-02"], "more": 0})]
    wall.wall_ms += 86_400_000
    announcer.look()
    assert "key team-0/k0: expires on 2027-05-18" in str(lines.said.pop())
    now[0] = live(*keys(10_000))
    announcer.look()
    _, members = lines.said.pop()
    assert (len(list(members["keys"])), members["more"]) == (MOST_NAMED, 10_000 - MOST_NAMED)  # type: ignore[call-overload]
    now[0] = live()
    announcer.look()
    assert len(lines.said) == 1


def test_operators_are_told_of_a_clock_that_is_behind_and_that_has_caught_up() -> None:
    """Once each, with the words of the notice."""
    wall, lines = StillClock(), Lines()
    clock = SteadyClock(wall, floor_ms=wall.wall_ms + AHEAD_MS + 1, because="of a record")
    announcer = Announcer(clock, live, lines, StillLog())
    for _ in range(3):
        announcer.look()
    [(event, members)] = lines.said
    assert (event, members) == ("clock_behind", {"problem": clock.notices()[0]})
    assert "of a record" in str(members)
    wall.wall_ms += AHEAD_MS + 1
    for _ in range(3):
        announcer.look()
    assert [event for event, _ in lines.said] == ["clock_behind", "clock_caught_up"]


@pytest.mark.parametrize("reason", TAMPERED)
def test_operators_are_told_of_a_file_that_was_taken_from_under_the_log(reason: str) -> None:
    """As a notice while no other fault was found since, and once in the log, whatever fault comes between."""
    audit, lines = StillLog(), Lines()
    announcer = Announcer(SteadyClock(StillClock(), floor_ms=0), live, lines, audit)
    announcer.look()
    assert (lines.said, tampering(audit)) == ([], [])
    for word in (reason, reason, "full", reason):
        audit.state = replace(STATE, reason=word)
        announcer.look()
    [notice] = tampering(audit)
    assert lines.said == [(reason, {"problem": notice})]
    assert "find out what changes files in the audit directory" in notice
