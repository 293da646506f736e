"""Ctrl-C at `cancel`: it ends in good order, says what was done and what was not, and a second one ends it at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest

from tests.cli.fake_gateway import (
    APPLIED,
    AS_OF,
    ASKED,
    DECIDED,
    DECISION_ID,
    LISTED,
    PLAN_ID,
    SEEN,
    STOPPED,
    FakeGateway,
    Said,
    decision,
    fake_gateway,
    plan,
)
from tests.cli.terminal import Terminal, on_terminal

NEVER = ("never", 1)
ONE, ALL = ("--label", "a"), ("--label", "a", "--until-none")
NUMBERS: Said = (409, {"error": "The plan was stopped.", "code": "plan_stopped", "cancelled": 100,
                       "decision_id": DECISION_ID})  # fmt: skip
READY = plan(runs=250, as_of=AS_OF)
APPLYING = plan("applying", runs=250, orders_sent=1, cancelled=100)


@contextmanager
def cancelling(
    says: Mapping[str, list[Said]], holds: Mapping[str, tuple[str, int]], *words: str
) -> Iterator[tuple[FakeGateway, Terminal]]:
    """`cancel` on a terminal, with a gateway that holds back answers."""
    with fake_gateway({ASKED: [(201, READY)], SEEN: [(200, APPLYING)], **says}, holds) as fake:
        env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
        with on_terminal("cancel", *words, env=env, columns=80) as running:
            yield fake, running


def plain(running: Terminal) -> str:
    """All it wrote, in one line, without what moves the cursor."""
    return re.sub(r"\s+", " ", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", running.seen))


def test_once_it_stops_the_plan_and_waits_for_its_end() -> None:
    """The order in flight is waited for; the numbers are the gateway's."""
    says: dict[str, list[Said]] = {APPLIED: [NUMBERS], STOPPED: [(202, APPLYING)]}
    with cancelling(says, {APPLIED: (STOPPED, 1)}, *ONE, "--yes") as (fake, running):
        fake.await_call(SEEN)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert "Stopping after the order in flight; Ctrl-C again leaves at once." in said
        assert f"Stopped. 100 of 250 runs cancelled, under decision {DECISION_ID}; the others were not sent." in said
        assert "Traceback" not in said
        assert (fake.calls.count(STOPPED), fake.calls.count(APPLIED)) == (1, 1)


def test_once_too_late_is_said() -> None:
    """The last order was out already: what was asked for was done."""
    says: dict[str, list[Said]] = {
        APPLIED: [(200, {"cancelled": 250}, {"Gateway-Decision": "d"})],
        STOPPED: [(202, APPLYING)],
    }
    with cancelling(says, {APPLIED: (STOPPED, 1)}, *ONE, "--yes") as (fake, running):
        fake.await_call(SEEN)
        running.interrupts()
        assert running.exit_code() == 0
        assert "250 runs cancelled, under decision d. It was too late to stop it." in plain(running)


def test_twice_it_leaves_and_says_what_is_certain_and_what_is_not() -> None:
    """The gateway stops the plan: at most the order in flight is open, and the command to see it is named."""
    says: dict[str, list[Said]] = {APPLIED: [NUMBERS], STOPPED: [(202, APPLYING)]}
    with cancelling(says, {APPLIED: NEVER}, *ONE, "--yes") as (fake, running):
        fake.await_call(SEEN)
        running.interrupts()
        fake.await_call(STOPPED)
        fake.await_call(SEEN, times=fake.calls.count(SEEN) + 2)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert "Left; after the order in flight the gateway sends nothing more of the plan." in said
        assert "Certain: 100 of 250 runs cancelled, by 1 of 3 orders." in said
        assert "Not known: up to 100 runs, of the order in flight. 50 runs of the plan not cancelled." in said
        assert f"Look at it: qstash-gateway cancel --plan {PLAN_ID}" in said
        assert "Traceback" not in said


def test_twice_before_the_stop_is_answered_promises_no_stop() -> None:
    """The gateway may go on with the whole plan, so all that is not certain is open."""
    says: dict[str, list[Said]] = {APPLIED: [NUMBERS], STOPPED: [(202, APPLYING)]}
    with cancelling(says, {APPLIED: NEVER, STOPPED: NEVER}, *ONE, "--yes") as (fake, running):
        fake.await_call(SEEN, times=2)
        running.interrupts()
        fake.await_call(STOPPED)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert "Left before the gateway said that it stops the plan: it may go on to send all of it." in said
        assert "Certain when it was last seen: 100 of 250 runs cancelled, by 1 of 3 orders. Not known: 150" in said
        assert f"Look at it: qstash-gateway cancel --plan {PLAN_ID}" in said


def test_a_gateway_that_cannot_stop_a_plan_is_waited_for() -> None:
    """The word is said, and what comes of the plan."""
    says: dict[str, list[Said]] = {APPLIED: [(200, {"cancelled": 250}, {"Gateway-Decision": "d"})]}
    with cancelling(says, {APPLIED: (STOPPED, 1)}, *ONE, "--yes") as (fake, running):
        fake.await_call(SEEN)
        running.interrupts()
        assert running.exit_code() == 0
        assert "The plan cannot be stopped: no such thing Waiting for its end" in plain(running)


def test_once_it_ends_the_whole_of_until_none() -> None:
    """No further plan; the sum, and what is left of this one."""
    says: dict[str, list[Said]] = {APPLIED: [NUMBERS], STOPPED: [(202, APPLYING)]}
    with cancelling(says, {APPLIED: (STOPPED, 1)}, *ALL, "--yes") as (fake, running):
        fake.await_call(SEEN)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert (
            f"Stopped. 100 runs cancelled in 1 plan, under decision {DECISION_ID}. Left: 150 runs of the last" in said
        )
        assert fake.calls.count(ASKED) == 1


def test_twice_it_leaves_until_none_too() -> None:
    """And takes no run for one that is not cancelled, of which nobody knows."""
    says: dict[str, list[Said]] = {STOPPED: [(202, APPLYING)]}
    with cancelling(says, {APPLIED: NEVER, STOPPED: NEVER}, *ALL, "--yes") as (fake, running):
        fake.await_call(SEEN, times=2)
        running.interrupts()
        fake.await_call(STOPPED)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert "it may go on to send all of it. 100 runs cancelled in 1 plan. Left: 150 runs of the last" in said
        assert "not known to be cancelled. Certain when it was last seen: 100 of 250 runs" in said


@pytest.mark.parametrize("words", [ONE, ALL], ids=["once", "until-none"])
def test_while_looking_it_withdraws_the_look_up(words: tuple[str, ...]) -> None:
    """Otherwise it would stand in the way of the next one; nothing was cancelled."""
    looking = plan("looking", pages=3, matched=70)
    says: dict[str, list[Said]] = {ASKED: [(202, looking)], SEEN: [(200, looking)], STOPPED: [(200, plan("stopped"))]}
    with cancelling(says, {}, *words) as (fake, running):
        fake.await_call(SEEN, times=2)
        running.interrupts()
        assert running.exit_code() == 1
        assert "Stopped. Nothing was cancelled." in plain(running)
        assert "Traceback" not in running.seen
        assert (fake.calls.count(STOPPED), APPLIED in fake.calls) == (1, False)


@pytest.mark.parametrize("labels", [0, 20_000], ids=["short-list", "list-above-a-megabyte"])
def test_while_looking_before_the_plan_has_a_name_it_is_found_in_the_list(labels: int) -> None:
    """A look-up is answered after ten seconds at the latest; until then the list of plans names it."""
    before = plan("applied", by_label={f"label-{at:060}": 1 for at in range(labels)})
    says: dict[str, list[Said]] = {
        ASKED: [(202, plan("looking"))],
        LISTED: [(200, {"plans": [plan("looking", pages=1, matched=1), before]})],
        STOPPED: [(200, plan("stopped"))],
    }
    with cancelling(says, {ASKED: NEVER}, *ONE) as (fake, running):
        fake.await_call(LISTED)
        running.interrupts()
        assert running.exit_code() == 1
        assert "Stopped. Nothing was cancelled." in plain(running)
        assert fake.calls.count(STOPPED) == 1


def test_while_it_waits_for_what_is_not_known_it_says_so() -> None:
    """The outcome stays unknown, and what to look at is said."""
    unknown: Said = (504, {"error": "Not known.", "code": "outcome_unknown", "decision_id": DECISION_ID})
    says: dict[str, list[Said]] = {APPLIED: [unknown], DECIDED: [(200, decision("unknown"))]}
    with cancelling(says, {}, *ONE, "--yes") as (fake, running):
        fake.await_call(DECIDED, times=2)
        running.interrupts()
        assert running.exit_code() == 1
        said = plain(running)
        assert f"Not known. Decision {DECISION_ID}." in said
        assert "Traceback" not in said


def test_between_two_plans_it_says_what_was_done() -> None:
    """While it waits for a gateway that refuses for the moment."""
    refused: Said = (429, {"error": "Too many.", "code": "throttled"}, {"Retry-After": "50"})
    says: dict[str, list[Said]] = {
        ASKED: [(201, READY), refused],
        APPLIED: [(200, {"cancelled": 250}, {"Gateway-Decision": "d"})],
    }
    with cancelling(says, {}, *ALL, "--yes") as (_, running):
        running.until("Asking again in")
        running.interrupts()
        assert running.exit_code() == 1
        assert "Stopped. 250 runs cancelled in 1 plan, under decision d." in plain(running)
        assert "Traceback" not in running.seen


def test_a_look_up_shows_runs_and_pages_from_its_first_second_on() -> None:
    """Of the plan that is listed while its answer is still awaited, then of the plan itself."""
    listed = {"plans": [plan("looking", pages=1, matched=30), plan()]}
    looking = plan("looking", pages=12, matched=1100)
    says: dict[str, list[Said]] = {
        ASKED: [(202, looking)],
        LISTED: [(200, listed)],
        SEEN: [(200, looking), (200, looking), (200, plan())],
    }
    with cancelling(says, {ASKED: (LISTED, 2)}, *ONE, "--dry-run") as (_, running):
        assert running.exit_code() == 0
        said = plain(running)
        assert "Looking the runs up: 30 runs on 1 page" in said
        assert "Looking the runs up: 1100 runs on 12 pages" in said
