"""`cancel --until-none`: one question, then plans until nothing is left; each way in which that can end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import parse_qs

import pytest

from gateway.cli.cancel.answers import Refusal
from gateway.cli.cancel.client import Gateway
from gateway.cli.cancel.flow import Asked, End, Manner
from gateway.cli.cancel.loop import UntilNone
from gateway.cli.cancel.screen import Silence
from tests.cli.fake_gateway import (
    AS_OF,
    AS_OF_MS,
    ASKED,
    DECIDED,
    DECISION_ID,
    FakeGateway,
    Said,
    another,
    applied,
    decision,
    fake_gateway,
    plan,
)
from tests.cli.running import Done, command
from tests.cli.terminal import on_terminal

Says = dict[str, list[Said]]


def environment(fake: FakeGateway) -> dict[str, str]:
    """Where the gateway is, and a key."""
    return {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}


def cancel(fake: FakeGateway, *arguments: str) -> Done:
    """Cancels until none is left, without a question."""
    words = ("cancel", "--label", "a", "--until-none", "--yes", "--wait", "2s", *arguments)
    return command(*words, env=environment(fake))


def both(says: Says) -> tuple[Done, Mapping[str, Any], FakeGateway]:
    """What it says to a person, what to a program, and the gateway that the person used."""
    with fake_gateway(says) as first, fake_gateway(says) as second:
        return cancel(first), json.loads(cancel(second, "--json").stdout), first


def planned(number: int, runs: int = 1, **members: object) -> Said:
    """The answer with the plan of that number."""
    shown: dict[str, object] = {"as_of": AS_OF, "more": False, **members}
    return (201, {**plan("ready", runs=runs, **shown), "plan": another(number)})


def done(number: int, cancelled: int, **headers: str) -> Said:
    """The answer to the apply of that number."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return (200, {"cancelled": cancelled}, {"Gateway-Decision": f"d{number}", **more})


def problem(status: int, code: str, sentence: str = "No.", retry_after: str | None = None, **members: object) -> Said:
    """A refusal."""
    headers: Mapping[str, str] = {} if retry_after is None else {"Retry-After": retry_after}
    return (status, {"error": sentence, "code": code, **members}, headers)


def incident(*cancelled: int, **last: object) -> Says:
    """Plans that cancel so many each; then one without runs."""
    says: Says = {applied(number): [done(number, runs)] for number, runs in enumerate(cancelled)}
    plans = [planned(number, max(runs, 1), more=True) for number, runs in enumerate(cancelled)]
    return says | {ASKED: [*plans, planned(len(cancelled), 0, **last)]}


def requests(fake: FakeGateway) -> list[dict[str, list[str]]]:
    """The parameters of every plan that was asked for."""
    return [parse_qs(asked["request"].partition("?")[2]) for asked in fake.asked]


def applies(fake: FakeGateway) -> list[str]:
    """The applies, in turn."""
    return [call for call in fake.calls if call.endswith("/apply")]


def test_it_goes_on_until_a_plan_has_nothing_to_cancel() -> None:
    """A line for each plan, and a last line with the sum and every decision; each plan is applied once."""
    with fake_gateway(incident(100, 100, 26)) as fake:
        ended = cancel(fake, "--reason", "stuck")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert applies(fake) == [applied(0), applied(1), applied(2)]
    assert "Plan 2: 100 runs cancelled, under decision d1.\n" in ended.stdout
    assert ended.stdout.endswith(
        "\nNothing is left to cancel.\n226 runs cancelled in 3 plans, under decisions d0, d1 and d2.\n"
    )
    assert {asked["reason"] for asked in fake.asked} == {"stuck"}


def test_the_date_is_fixed_at_the_first_look_up() -> None:
    """On QStash's clock. Every later request is the first with that date, whatever a later plan says of the time."""
    says = incident(5, 5)
    says[ASKED][1] = planned(1, 5, as_of="2026-11-23T15:59:59.000Z")
    with fake_gateway(says) as fake:
        assert cancel(fake, "--count", "7").returncode == 0
    first, *later = requests(fake)
    assert first == {"label": ["a"], "count": ["7"]}
    assert later == [{**first, "toDate": [AS_OF_MS]}] * 2


def test_an_earlier_date_that_was_asked_for_stays() -> None:
    """`--older-than` means the same moment in every plan."""
    with fake_gateway(incident(5, as_of="2999-01-01T00:00:00.000Z")) as fake:
        fake.says[ASKED][0] = planned(0, 5, as_of="2999-01-01T00:00:00.000Z")  # type: ignore[index]
        assert cancel(fake, "--older-than", "1h").returncode == 0
    dates = {asked["toDate"][0] for asked in requests(fake)}
    assert len(dates) == 1


def test_without_the_time_of_qstash_it_is_that_of_this_machine_and_said() -> None:
    """Never no date at all."""
    says = incident(5)
    says[ASKED][0] = planned(0, 5, as_of=None)
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert ended.returncode == 0
    assert "QStash's time of the look-up is not known: this machine's clock says up to when.\n" in ended.stdout
    assert re.fullmatch(r"[0-9]{13}", requests(fake)[1]["toDate"][0])


def test_a_later_plan_with_newer_runs_is_not_applied() -> None:
    """They were not agreed to."""
    says = incident(5, 5)
    says[ASKED][1] = planned(1, 5, newest="2026-11-23T15:27:06.001Z")
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (1, [applied(0)])
    assert ended.stderr.startswith(
        f"Plan {another(1)} holds newer runs than were agreed to, and is not applied.\n5 runs"
    )


def test_what_is_left_is_said_by_number_and_reason() -> None:
    """Those that have ended, or that an order was about, are not left."""
    skipped = {why: {"runs": runs, "sample": []} for why, runs in (("young", 5), ("unreadable", 1), ("finished", 9),
                                                                   ("done", 4))}  # fmt: skip
    ended, program, _ = both(incident(5, skipped=skipped))
    assert ended.returncode == 0
    assert ended.stdout.endswith(
        "Left: 5 runs younger than the rule lets be cancelled, 1 run with a value that cannot be judged.\n"
    )
    assert program["result"]["left"] == {"young": 5, "unreadable": 1}


def test_two_plans_in_a_row_that_cancel_nothing_end_it() -> None:
    """A 200 with 0 as well as a 409; what came before is still said."""
    says = incident(5, 0, 0, 9)
    says[applied(2)] = [problem(409, "nothing_cancelled", "Nothing was cancelled, and runs are left.")]
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (1, [applied(0), applied(1), applied(2)])
    assert ended.stderr.startswith("2 plans in a row cancelled nothing, although runs are left.\n5 runs cancelled in 3")
    assert "Left: 9 runs of the last plan not cancelled." in ended.stderr


def test_two_such_plans_whose_runs_had_ended_by_themselves_are_no_failure() -> None:
    """Nothing is left: another look shows that."""
    with fake_gateway(incident(5, 0, 0)) as fake:
        ended = cancel(fake)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "Nothing is left to cancel.\n5 runs cancelled in 3 plans" in ended.stdout


def test_one_plan_that_cancels_nothing_does_not_end_it() -> None:
    """Its runs had ended by themselves."""
    with fake_gateway(incident(5, 0, 3)) as fake:
        ended = cancel(fake)
    assert ended.returncode == 0
    assert "8 runs cancelled in 3 plans" in ended.stdout


def test_empty_plans_that_say_that_more_is_left_end_it() -> None:
    """Nobody knows why, so it is no success."""
    says = incident(5)
    says[ASKED][1] = planned(1, 0, more=True)
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (1, [applied(0)])
    assert fake.calls.count(ASKED) == 3


@pytest.mark.parametrize(
    "refused",
    [
        pytest.param(problem(429, "throttled", "One look-up at a time.", "1"), id="throttled"),
        pytest.param(problem(503, "overloaded", "Try again.", "1"), id="overloaded"),
        pytest.param(problem(502, "lookup_failed", "QStash was away.", "1"), id="upstream-away"),
    ],
)
def test_a_refusal_that_passes_is_waited_for(refused: Said) -> None:
    """For as long as it says; in the place of a plan or of its apply. A plan is applied once all the same."""
    says = incident(5, 5, 5)
    says[ASKED].insert(1, refused)
    says[applied(1)] = [refused]
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (0, [applied(0), applied(1), applied(2)])
    assert ended.stdout.count(" Asking again in 1 s.\n") == 2
    assert "10 runs cancelled in 2 plans" in ended.stdout


def test_a_refusal_is_not_waited_for_beyond_measure() -> None:
    """An hour: it ends with what came before, and the sentence."""
    says = incident(5)
    says[ASKED][1] = problem(429, "throttled", "Too many requests.", "3600")
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, fake.calls.count(ASKED)) == (1, 2)
    assert ended.stderr.startswith("Too many requests.\n5 runs cancelled in 1 plan, under decision d0.")


@pytest.mark.parametrize(("status", "code"), [(403, "policy_denied"), (403, "frozen"), (409, "approval_required"),
                                              (401, "unauthenticated"), (502, "upstream_refused")])  # fmt: skip
@pytest.mark.parametrize("at_apply", [False, True], ids=["plan", "apply"])
def test_a_refusal_that_stays_ends_it(status: int, code: str, at_apply: bool) -> None:
    """With its sentence, its rule, and the sum of what came before."""
    refused = problem(status, code, "It is not allowed any more.", rule="a/stop")
    says = incident(5, 5)
    if at_apply:
        says[applied(1)] = [refused]
    else:
        says[ASKED][1] = refused
    ended, program, _ = both(says)
    assert ended.returncode == 1
    assert ended.stderr.startswith("It is not allowed any more.")
    assert "5 runs cancelled in 1 plan, under decision d0." in ended.stderr
    assert "Refused by a/stop." in ended.stderr
    assert (program["outcome"], program["result"]["cancelled"], program["problem"]["code"]) == ("refused", 5, code)


def test_a_plan_that_is_gone_is_made_again() -> None:
    """After a restart of the gateway nothing was sent of it."""
    says = incident(5, 5, 5)
    says[applied(1)] = [problem(404, "not_found")]
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (0, [applied(0), applied(1), applied(2)])


UNKNOWN = problem(504, "outcome_unknown", "Stopped in the middle.", decision_id=DECISION_ID,
                  status_url=f"/gateway/v1/decisions/{DECISION_ID}")  # fmt: skip


def test_an_unknown_outcome_is_waited_for_and_then_counted() -> None:
    """By the number that was settled; the plan is not applied again."""
    settled = decision("unknown", settled={"at": AS_OF, "source": "read_back", "cancelled": 4})
    late = problem(404, "not_found", retry_after="2")
    says = incident(5, 5)
    says |= {applied(0): [UNKNOWN], DECIDED: [late, (200, decision("in_flight")), (200, settled)]}
    with fake_gateway(says) as fake:
        ended = cancel(fake, "--wait", "20s")
    assert (ended.returncode, applies(fake)) == (0, [applied(0), applied(1)])
    assert f"Plan 1: 4 runs cancelled, under decision {DECISION_ID}.\n" in ended.stdout
    assert "9 runs cancelled in 2 plans" in ended.stdout


@pytest.mark.parametrize(
    "shown",
    [
        pytest.param([(200, decision("unknown"))], id="still-open"),
        pytest.param([(200, decision("unknown", settled={"at": AS_OF, "source": "read_back", "cancelled": None}))],
                     id="settled-without-a-number"),
        pytest.param([problem(404, "not_found")], id="not-shown"),
        pytest.param([(200, b"<html>")], id="no-gateway"),
    ],
)  # fmt: skip
def test_what_stays_unknown_ends_it(shown: Sequence[Said]) -> None:
    """Nothing more is sent; it says what is certain, and of how many it is not."""
    says = incident(5, 5)
    unknown = problem(504, "outcome_unknown", "Stopped in the middle.", decision_id=DECISION_ID,
                      progress={"cancelled": 2})  # fmt: skip
    says |= {applied(1): [unknown], DECIDED: [*shown]}
    ended, program, fake = both(says)
    assert (ended.returncode, fake.calls.count(ASKED)) == (1, 2)
    assert ended.stderr.startswith("Stopped in the middle.\n7 runs cancelled in 2 plans, under decisions d0 and ")
    assert "Left: 3 runs of the last plan not known to be cancelled." in ended.stderr
    assert (program["outcome"], program["result"]["left"]) == ("unknown", {"unknown": 3})


def test_a_lost_connection_is_followed_by_the_plan() -> None:
    """An applied plan says how many; then it goes on."""
    says = incident(5, 5)
    seen = {**plan("applied", cancelled=5, runs=5), "plan": another(0)}
    says |= {applied(0): [(0, b"")], f"GET {ASKED.removeprefix('POST ')}/{another(0)}": [(200, seen)]}
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (0, [applied(0), applied(1)])
    assert f"Plan 1: 5 runs cancelled, by plan {another(0)}.\n" in ended.stdout


def test_a_gateway_that_is_not_there_ends_it_at_once() -> None:
    """Before anything was cancelled there is nothing to wait for."""
    with fake_gateway({}) as fake:
        pass
    ended = cancel(fake)
    assert ended.returncode == 1
    assert ended.stderr.startswith("No plan: no connection to")


def test_too_much_is_not_followed_by_more() -> None:
    """QStash cancelled more than was sent: the operators first."""
    says = incident(5, 5)
    says[applied(0)] = [done(0, 9, Gateway_Over_Cancelled="4")]
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (1, [applied(0)])
    assert ended.stderr.startswith("QStash cancelled 4 runs more than were sent to it: tell the operators.\n9 runs")


def test_a_plan_that_somebody_stopped_ends_it() -> None:
    """With the gateway's words and the numbers."""
    says = incident(5, 100)
    stopped = problem(409, "plan_stopped", "An operator stopped this plan.", cancelled=60, decision_id=DECISION_ID)
    says[applied(1)] = [stopped]
    with fake_gateway(says) as fake:
        ended = cancel(fake)
    assert ended.returncode == 1
    assert ended.stderr.startswith("An operator stopped this plan.\n65 runs cancelled in 2 plans")
    assert "Left: 40 runs of the last plan not cancelled." in ended.stderr


def test_nothing_found_is_no_failure() -> None:
    """No run matches, so none is left."""
    with fake_gateway({ASKED: [planned(0, 0)]}) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (0, [])
    assert ended.stdout.endswith("No run to cancel was found.\nNothing was cancelled.\n")


YOUNG = {"young": {"runs": 2, "sample": ["wfr_a", "wfr_b"]}}


@pytest.mark.parametrize("words", [("--until-none",), ()], ids=["until-none", "once"])
def test_nothing_cancelled_while_runs_are_left_is_a_failure(words: Sequence[str]) -> None:
    """The rule is one with and without --until-none, and that of the gateway's 409 `nothing_cancelled`."""
    with fake_gateway({ASKED: [planned(0, 0, skipped=YOUNG)]}) as fake:
        ended = command("cancel", "--label", "a", "--yes", *words, env=environment(fake))
    assert (ended.returncode, applies(fake)) == (1, [])
    said = " ".join(ended.stderr.split())
    assert said.startswith("No run can be cancelled now, although runs are left. Nothing was cancelled. Left: 2 runs")


@pytest.mark.parametrize("words", [("--until-none",), ()], ids=["until-none", "once"])
def test_all_that_may_be_cancelled_is_a_success(words: Sequence[str]) -> None:
    """Also while runs are left that the rule does not let be cancelled yet; those are named."""
    says: Says = {
        ASKED: [planned(0, 5, skipped=YOUNG), planned(1, 0, skipped=YOUNG)],
        applied(0): [(200, {"cancelled": 5}, {"Gateway-Decision": "d0", "Gateway-Skipped": 'young=("wfr_a");n=2'})],
    }
    with fake_gateway(says) as fake:
        ended = command("cancel", "--label", "a", "--yes", *words, env=environment(fake))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "2 runs younger than the rule lets be cancelled" in " ".join(ended.stdout.split())


def test_plans_whose_runs_had_all_ended_do_not_hide_that_runs_are_left() -> None:
    """Nothing was cancelled in all, and young ones run."""
    with fake_gateway(incident(0, skipped=YOUNG)) as fake:
        ended = cancel(fake)
    assert (ended.returncode, applies(fake)) == (1, [applied(0)])
    assert ended.stderr.startswith("No run can be cancelled now, although runs are left.\n0 runs cancelled in 1 plan")


def test_a_dry_run_shows_the_first_plan() -> None:
    """And says whether it is all."""
    with fake_gateway(incident(100)) as fake:
        ended = cancel(fake, "--dry-run")
    assert (ended.returncode, fake.calls) == (0, [ASKED])
    assert "at least 100 runs match, created until 2026-11-23T15:27:06Z; these go first\n" in ended.stdout


def test_json_is_one_object_with_the_sum() -> None:
    """Every plan with its decision, what is left, and the date; nothing else on standard output."""
    with fake_gateway(incident(100, 26)) as fake:
        ended = cancel(fake, "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    told = json.loads(ended.stdout)
    assert (told["outcome"], told["result"]) == (
        "cancelled",
        {
            "cancelled": 126,
            "plans": [
                {"plan": another(0), "decision_id": "d0", "cancelled": 100},
                {"plan": another(1), "decision_id": "d1", "cancelled": 26},
            ],
            "left": {},
            "to_date": AS_OF,
        },
    )


BEYOND = {"beyond_count": {"runs": 21, "sample": ["wfr_z"]}}


def test_a_total_that_is_known_is_said_as_one() -> None:
    """Above the question too; the first plan holds only a part of it."""
    says = incident(5)
    says[ASKED][0] = planned(0, 5, more=True, skipped=BEYOND, read_to_end=True)
    with fake_gateway(says) as fake:
        ended = cancel(fake, "--dry-run")
    assert "\n26 runs match in all, created until 2026-11-23T15:27:06Z; these go first\n" in ended.stdout


@pytest.mark.parametrize(
    ("first", "asks"),
    [
        (planned(0, 5), "Cancel all 5 runs? [y/N] "),
        (planned(0, 5, more=True), "Cancel at least 5 runs? [y/N] "),
        (planned(0, 5, more=True, skipped=BEYOND), "Cancel at least 26 runs? [y/N] "),
        (planned(0, 5, more=True, skipped=BEYOND, read_to_end=True), "Cancel all 26 runs? [y/N] "),
    ],
)  # fmt: skip
def test_it_asks_once(first: Said, asks: str) -> None:
    """Before the first plan, about all that match, if the list was read to its end, else about all that are known.

    A no cancels nothing.
    """
    says = incident(5, 5)
    says[ASKED][0] = first
    words = ("cancel", "--label", "a", "--until-none")
    with fake_gateway(says) as fake, on_terminal(*words, env=environment(fake)) as running:
        running.until(re.escape(asks))
        assert applies(fake) == []
        running.types("y\n")
        assert running.exit_code() == 0
        assert running.seen.count("[y/N]") == 1
        assert applies(fake) == [applied(0), applied(1)]
    with fake_gateway(says) as fake, on_terminal(*words, env=environment(fake)) as running:
        running.until(re.escape(asks))
        running.types("n\n")
        assert running.exit_code() == 1
        assert "Nothing was cancelled." in running.seen
        assert (fake.calls, applies(fake)) == ([ASKED], [])


def test_where_nobody_can_be_asked_it_wants_a_yes() -> None:
    """Exit code 2, and nothing is even planned."""
    with fake_gateway(incident(5)) as fake:
        ended = command("cancel", "--label", "a", "--until-none", env=environment(fake))
    assert (ended.returncode, fake.calls) == (2, [])
    assert "no terminal to ask on" in ended.stderr


@pytest.mark.parametrize("cause", ["revoked", "denied"])
def test_a_key_or_policy_that_holds_no_more_is_not_waited_for(cause: str) -> None:
    """It would go on by itself when somebody puts the key back."""
    members = {"error": "Not accepted any more.", "code": "upstream_unreachable", "cause": cause}
    assert not Refusal("Not accepted any more.", "upstream_unreachable", members, 502).passing
    assert Refusal("Away.", "upstream_unreachable", {"cause": "refused"}, 502).passing


@dataclass
class SlowToFail:
    """A gateway whose look-ups fail after a minute, and the seconds that have passed."""

    now_s: float = 0.0
    asked: int = 0

    async def plan(self, request: str, *, reason: str | None, told: object) -> Refusal:
        self.asked += 1
        self.now_s += 60
        return Refusal("Looking the runs up took longer than 60 s.", "plan_failed", {})

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_a_look_up_that_fails_after_a_minute_is_not_asked_for_again_and_again() -> None:
    """Its own time counts: a person on call learns after a minute that it cannot be done so."""
    slow = SlowToFail()
    incident = UntilNone(
        cast(Gateway, slow), Asked((("label", "a"),)), Silence(), Manner(dry_run=False, ask=False),
        clock=lambda: slow.now_s, sleep=slow.sleep,
    )  # fmt: skip
    ending = incident.end()
    assert (ending.how, slow.asked, slow.now_s) == (End.REFUSED, 1, 60)
