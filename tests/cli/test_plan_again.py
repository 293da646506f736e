"""`cancel --plan` and `cancel --stop`: a plan that is there already is shown, followed, applied or stopped."""

from __future__ import annotations

import json

import pytest

from tests.cli.fake_gateway import (
    APPLIED,
    ASKED,
    DECIDED,
    DECISION_ID,
    PLAN_ID,
    SEEN,
    STOPPED,
    FakeGateway,
    Said,
    decision,
    fake_gateway,
    plan,
)
from tests.cli.running import Done, command
from tests.cli.terminal import on_terminal

GONE: Said = (404, {"error": "There is no such plan of yours any more.", "code": "not_found"})


def environment(fake: FakeGateway) -> dict[str, str]:
    return {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}


def cancel(fake: FakeGateway, *words: str) -> Done:
    return command("cancel", *words, env=environment(fake))


def ended_unknown(learnt: int | None, **members: object) -> dict[str, object]:
    """A plan of unknown outcome, of which so much was learnt later."""
    settled = {"at": "2026-11-23T15:27:40Z", "source": "read_back", "cancelled": learnt}
    return {**plan("applied", outcome="unknown", settled=settled, **members), "state": "unknown"}


def test_a_plan_that_is_ready_is_shown_and_applied_after_the_question() -> None:
    """Exactly that one; none is made."""
    says: dict[str, list[Said]] = {SEEN: [(200, plan())], APPLIED: [(200, {"cancelled": 1}, {"Gateway-Decision": "d"})]}
    with fake_gateway(says) as fake, on_terminal("cancel", "--plan", PLAN_ID, env=environment(fake)) as running:
        running.until(r"Cancel this run\? \[y/N\] ")
        assert APPLIED not in fake.calls
        running.types("y\n")
        assert running.exit_code() == 0
        assert "1 run cancelled, under decision d." in running.seen
        assert (ASKED in fake.calls, fake.calls.count(APPLIED)) == (False, 1)


def test_a_plan_that_is_being_looked_up_is_followed() -> None:
    """Until it is ready; a dry run only shows it."""
    with fake_gateway({SEEN: [(200, plan("looking", pages=1, matched=3)), (200, plan())]}) as fake:
        done = cancel(fake, "--plan", PLAN_ID, "--dry-run")
    assert (done.returncode, fake.calls) == (0, [SEEN] * 2)
    assert "wfr_a" in done.stdout
    assert done.stdout.endswith("Only a dry run. Nothing was cancelled.\n")


@pytest.mark.parametrize(
    ("shown", "code", "outcome", "says"),
    [
        (plan("applied", cancelled=1), 0, "cancelled", "The plan was applied: 1 run cancelled."),
        (plan("stopped", cancelled=1, runs=3), 1, "stopped", "The plan was stopped: 1 of 3 cancelled."),
        (plan("unknown", cancelled=1), 1, "unknown", "Not known what came of it; 1 run cancelled for certain."),
        (plan("applied", runs=3, cancelled=1), 1, "incomplete", "The plan was applied: 1 of 3 runs cancelled."),
        (plan("applied", outcome="refused"), 1, "refused", "The plan was applied, and QStash refused it. Nothing was"),
        (plan("applied", outcome="not_sent"), 1, "failed", "The plan was applied, and nothing of it was sent."),
        (ended_unknown(2, runs=2), 0, "cancelled", "The plan was applied: 2 runs cancelled."),
        (ended_unknown(1, runs=2), 1, "incomplete", "The plan was applied: 1 of 2 runs cancelled. Plan anew"),
        (ended_unknown(None), 1, "unknown", "The gateway has ended looking for it."),
        (plan("expired"), 1, "incomplete", "The plan is expired: 0 runs cancelled."),
        (plan("refused", error="More than 200 runs.", rule="a/own"), 1, "refused", "More than 200 runs."),
        (plan("failed", error="QStash was away."), 1, "refused", "QStash was away."),
    ],
)
def test_a_plan_that_has_ended_says_how(shown: dict[str, object], code: int, outcome: str, says: str) -> None:
    """Nothing is applied; one that is being applied is watched to its end first."""
    for before in ([], [(200, plan("applying"))]):
        seen: list[Said] = [*before, (200, shown)]
        with fake_gateway({SEEN: seen}) as fake:
            done = cancel(fake, "--plan", PLAN_ID, "--yes")
            program = json.loads(cancel(fake, "--plan", PLAN_ID, "--yes", "--json").stdout)
        assert done.returncode == code
        assert says in done.stdout + done.stderr
        assert (program["outcome"], APPLIED in fake.calls) == (outcome, False)


@pytest.mark.parametrize(("lost", "outcome"), [((0, b""), "unknown"), (GONE, "refused")])
def test_a_plan_that_cannot_be_seen_any_more_is_not_called_uncancelled(lost: Said, outcome: str) -> None:
    """It was being applied a moment ago."""
    for seen in ([lost], [(200, plan("applying")), lost]):
        with fake_gateway({SEEN: seen}) as fake:
            program = json.loads(cancel(fake, "--plan", PLAN_ID, "--yes", "--json").stdout)
        assert program["outcome"] == outcome
        assert "Nothing was cancelled" not in program["sentence"]


def test_watching_a_plan_ends_with_ctrl_c_and_stops_nothing() -> None:
    """It is somebody else's apply."""
    words = ("cancel", "--plan", PLAN_ID)
    with fake_gateway({SEEN: [(200, plan("applying"))]}) as fake, on_terminal(*words, env=environment(fake)) as running:
        fake.await_call(SEEN, times=3)
        running.interrupts()
        assert running.exit_code() == 1
        assert f"This command only watched: the gateway goes on with plan {PLAN_ID}." in " ".join(running.seen.split())
        assert STOPPED not in fake.calls


def test_a_plan_that_is_stopped_says_what_was_cancelled_before() -> None:
    """At once, or after the order in flight; no question and no terminal."""
    for answers, says in (
        ([(200, plan("stopped", runs=3))], "Nothing was cancelled."),
        ([(202, plan("applying", cancelled=100))], "200 runs cancelled before."),
    ):
        seen: list[Said] = [(200, plan("applying", cancelled=100)), (200, plan("stopped", cancelled=200))]
        with fake_gateway({STOPPED: answers, SEEN: seen}) as fake:
            done = cancel(fake, "--stop", PLAN_ID)
        assert (done.returncode, done.stdout) == (0, f"Plan {PLAN_ID} is stopped. {says}\n")
        assert fake.calls.count(STOPPED) == 1


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (GONE, "There is no such plan of yours any more."),
        ((200, plan("applied", cancelled=7)), "The plan was applied: 7 runs cancelled."),
        ((0, b""), "Not known whether plan"),
    ],
)
def test_a_plan_that_cannot_be_stopped_says_why(answer: Said, says: str) -> None:
    """A plan that is gone, and an answer that is lost; one that was applied before is no failure."""
    with fake_gateway({STOPPED: [answer]}) as fake:
        done = cancel(fake, "--stop", PLAN_ID)
    assert says in done.stdout + done.stderr
    assert done.returncode == (0 if "applied" in says else 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--plan", "../x"),
        ("--stop", "1"),
        ("--plan", PLAN_ID, "--label", "a"),
        ("--plan", PLAN_ID, "--until-none"),
        ("--plan", PLAN_ID, "--stop", PLAN_ID),
        ("--stop", PLAN_ID, "--reason", "why"),
        ("--run-id", "wfr_a", "--until-none"),
    ],
)
def test_a_plan_stands_alone(words: tuple[str, ...]) -> None:
    """Exit code 2 and a sentence, before anything is sent."""
    with fake_gateway({}) as fake:
        done = cancel(fake, *words, "--yes")
    assert (done.returncode, done.stdout, fake.calls) == (2, "", [])
    assert "Traceback" not in done.stderr


UNKNOWN: Said = (504, {"error": "Stopped in the middle.", "code": "outcome_unknown", "decision_id": DECISION_ID,
                       "status_url": f"/gateway/v1/decisions/{DECISION_ID}"})  # fmt: skip


@pytest.mark.parametrize(
    ("cancelled", "code", "outcome", "says"),
    [
        (2, 0, "cancelled", "The answer did not say it, but it is certain: 2 runs cancelled, under decision"),
        (1, 1, "incomplete", "It is certain by now: 1 of 2 runs cancelled, under decision"),
        (0, 1, "incomplete", "It is certain by now: 0 of 2 runs cancelled, under decision"),
        (None, 1, "unknown", "Stopped in the middle."),
    ],
)
def test_after_a_504_a_cancel_waits_and_tells_the_truth(
    cancelled: int | None, code: int, outcome: str, says: str
) -> None:
    """The settled number wins; the plan is applied once."""
    settled = decision("unknown", settled={"at": "2026-11-23T15:27:40Z", "source": "read_back", "cancelled": cancelled})
    says_all: dict[str, list[Said]] = {
        ASKED: [(201, plan(runs=2))],
        APPLIED: [UNKNOWN],
        DECIDED: [(200, decision("unknown")), (200, settled)],
    }
    with fake_gateway(says_all) as fake:
        done = cancel(fake, "--label", "a", "--yes")
        program = json.loads(cancel(fake, "--label", "a", "--yes", "--json").stdout)
    assert done.returncode == code
    assert says in done.stdout + done.stderr
    assert (program["outcome"], fake.calls.count(APPLIED)) == (outcome, 2)  # once for each command


def test_a_status_url_that_leads_elsewhere_is_not_followed() -> None:
    """It becomes part of a path only in the form of an ID."""
    said = {"error": "Not known.", "code": "outcome_unknown", "decision_id": "d", "status_url": "/gateway/v1/../v2/x"}
    with fake_gateway({ASKED: [(201, plan())], APPLIED: [(504, said)]}) as fake:
        done = cancel(fake, "--label", "a", "--yes")
    assert done.returncode == 1
    assert set(fake.calls) == {ASKED, SEEN, APPLIED}


def test_an_apply_that_something_on_the_way_repeated_is_counted_once() -> None:
    """The second one is refused, because a plan is applied once; the plan says what came of the first."""
    refused: Said = (409, {"error": "A plan is applied once.", "code": "plan_applied", "decision_id": DECISION_ID})
    says: dict[str, list[Said]] = {
        ASKED: [(201, plan())],
        APPLIED: [refused],
        SEEN: [(200, plan("applying")), (200, plan("applying")), (200, plan("applied", cancelled=1))],
    }
    with fake_gateway(says) as fake:
        done = cancel(fake, "--label", "a", "--yes")
    assert done.returncode == 0
    assert f"it is certain: 1 run cancelled, by plan {PLAN_ID}." in done.stdout
    assert fake.calls.count(APPLIED) == 1


@pytest.mark.parametrize(("cancelled", "says"), [(1, "The answer did not say it, but it is certain: 1 run cancelled"),
                                                 (None, "Not known what came of it")])  # fmt: skip
def test_a_lost_answer_of_an_unknown_outcome_is_settled_by_the_plan(cancelled: int | None, says: str) -> None:
    """It is looked at until the gateway has ended looking."""
    settled = {"at": "2026-11-23T15:27:40Z", "source": "read_back", "cancelled": cancelled}
    seen: list[Said] = [
        (200, plan("applying")),
        (200, {**plan("applied"), "state": "unknown", "settled": None}),
        (200, {**plan("applied"), "state": "unknown", "settled": settled}),
    ]
    with fake_gateway({ASKED: [(201, plan())], APPLIED: [(0, b"")], SEEN: seen}) as fake:
        done = cancel(fake, "--label", "a", "--yes")
    assert says in done.stdout + done.stderr
    assert fake.calls.count(APPLIED) == 1


def test_a_call_that_did_not_arrive_is_made_harmless() -> None:
    """The connection broke and the plan is still ready: it is stopped, so that a late apply finds nothing."""
    says: dict[str, list[Said]] = {
        ASKED: [(201, plan())],
        APPLIED: [(0, b"")],
        SEEN: [(200, plan()), (200, plan()), (200, plan()), (200, plan("stopped"))],
        STOPPED: [(200, plan("stopped"))],
    }
    with fake_gateway(says) as fake:
        done = cancel(fake, "--label", "a", "--yes")
    assert done.returncode == 1
    assert f"It is certain by now: 0 of 1 run cancelled, by plan {PLAN_ID}." in done.stderr
    assert (fake.calls.count(STOPPED), fake.calls.count(APPLIED)) == (1, 1)
