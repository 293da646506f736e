"""`cancel`, when more was cancelled than was sent, or less than was ordered: neither is taken for the end of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest

from tests.cli.fake_gateway import (
    APPLIED,
    AS_OF,
    ASKED,
    DECIDED,
    DECISION_ID,
    PLANS,
    SEEN,
    FakeGateway,
    Said,
    another,
    applied,
    decision,
    fake_gateway,
    plan,
)
from tests.cli.running import Done, command

Says = dict[str, list[Said]]
UNKNOWN = {"error": "Stopped in the middle.", "code": "outcome_unknown", "decision_id": DECISION_ID,
           "status_url": f"/gateway/v1/decisions/{DECISION_ID}"}  # fmt: skip


def cancel(fake: FakeGateway, *words: str) -> Done:
    """Cancels without a question."""
    env = {"QSTASH_GATEWAY_URL": fake.url, "QSTASH_GATEWAY_KEY": "qgk_ann_key"}
    return command("cancel", "--label", "a", "--yes", "--wait", "5s", *words, env=env)


def planned(number: int, runs: int, **members: object) -> Said:
    """The answer with the plan of that number."""
    shown: dict[str, object] = {"as_of": AS_OF, "more": False, **members}
    return (201, {**plan("ready", runs=runs, **shown), "plan": another(number)})


def cancelled(runs: int, **headers: str) -> Said:
    """The answer to an apply."""
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    return (200, {"cancelled": runs}, {"Gateway-Decision": "d", **more})


def ordered_before(runs: int) -> Mapping[str, object]:
    """The runs left out because an order was about them."""
    return {"done": {"runs": runs, "sample": []}}


def applies(fake: FakeGateway) -> list[str]:
    """The applies, in turn."""
    return [call for call in fake.calls if call.endswith("/apply")]


def settled(runs: int | None) -> dict[str, object]:
    """What was learnt later."""
    return {"at": AS_OF, "source": "read_back", "cancelled": runs}


def test_too_much_by_one_of_several_orders_is_not_followed_by_more() -> None:
    """The plan ends with a 504 and its decision says it, even if the number that was learnt later is lower."""
    before = decision("unknown", cancelled=250, over_cancelled=150)
    after = decision("unknown", cancelled=100, over_cancelled=0, settled=settled(100))
    for shown, runs in (([before, {**before, "settled": settled(250)}], 250), ([before, after], 100)):
        says: Says = {
            ASKED: [planned(0, 450), planned(1, 5)],
            applied(0): [(504, UNKNOWN)],
            applied(1): [cancelled(5)],
            DECIDED: [(200, one) for one in shown],
        }
        with fake_gateway(says) as fake:
            ended = cancel(fake, "--until-none")
        assert (ended.returncode, applies(fake)) == (1, [applied(0)])
        assert ended.stderr.startswith("QStash cancelled 150 runs more than were sent to it: tell the operators.\n")
        assert f"{runs} runs cancelled in 1 plan, under decision {DECISION_ID}." in ended.stderr


@pytest.mark.parametrize("state", ["applied", "unknown"])
def test_nor_is_it_where_only_the_plan_says_it(state: str) -> None:
    """The answer was lost: 250 are more than one order holds, although less than the plan has."""
    shown = {**plan("applied", runs=450, orders_sent=1, cancelled=250), "state": state, "plan": another(0)}
    shown["settled"] = settled(250) if state == "unknown" else None
    says: Says = {
        ASKED: [planned(0, 450), planned(1, 5)],
        applied(0): [(0, b"")],
        applied(1): [cancelled(5)],
        f"GET {PLANS}/{another(0)}": [(200, shown)],
    }
    with fake_gateway(says) as fake:
        ended = cancel(fake, "--until-none")
    assert (ended.returncode, applies(fake)) == (1, [applied(0)])
    assert ended.stderr.startswith(
        "QStash cancelled at least 150 runs more than were sent to it: tell the operators.\n"
    )


def test_too_much_is_no_whole_plan() -> None:
    """250 cancelled of 150 that were planned leave 50 that were never sent."""
    shown = decision("unknown", over_cancelled=150, settled=settled(250))
    with fake_gateway({ASKED: [(201, plan(runs=150))], APPLIED: [(504, UNKNOWN)], DECIDED: [(200, shown)]}) as fake:
        ended = cancel(fake)
    assert ended.returncode == 1
    assert f"250 runs cancelled, under decision {DECISION_ID}. Plan anew for the rest. QStash cancelled 150" in (
        ended.stderr.replace("\n", " ")
    )


@pytest.mark.parametrize(
    ("first", "calls"),
    [
        pytest.param(cancelled(60), 3, id="fewer-than-ordered"),
        pytest.param(cancelled(0), 2, id="none-of-those-ordered"),
        pytest.param((409, {"error": "Runs are left.", "code": "nothing_cancelled"}), 2, id="refused"),
    ],
)
def test_runs_of_unknown_fate_are_not_taken_for_gone(first: Said, calls: int) -> None:
    """Ordered, not cancelled, and left out of the next plan: two plans that cancel nothing end it without success."""
    empty = planned(1, 0, more=True, skipped=ordered_before(40))
    with fake_gateway({ASKED: [planned(0, 100), empty], applied(0): [first]}) as fake:
        ended = cancel(fake, "--until-none")
    assert (ended.returncode, applies(fake), fake.calls.count(ASKED)) == (1, [applied(0)], calls)
    assert ended.stderr.startswith("2 plans in a row cancelled nothing, although runs are left.\n")
    assert "Left: 40 runs ordered before whose fate is not known yet." in ended.stderr
    assert "Nothing is left" not in ended.stdout + ended.stderr


def test_fewer_than_ordered_are_followed_by_another_plan() -> None:
    """It decides: what is found then is cancelled, and only a plan that knows of no more is the end."""
    says: Says = {
        ASKED: [planned(0, 100), planned(1, 0, more=True, skipped=ordered_before(40)), planned(2, 40),
                planned(3, 0, skipped=ordered_before(100))],
        applied(0): [cancelled(60)],
        applied(2): [cancelled(40)],
    }  # fmt: skip
    with fake_gateway(says) as fake:
        ended = cancel(fake, "--until-none")
    assert (ended.returncode, applies(fake)) == (0, [applied(0), applied(2)])
    assert "Nothing is left to cancel.\n100 runs cancelled in 2 plans" in ended.stdout


def test_a_first_plan_without_runs_is_looked_at_again_if_some_are_left() -> None:
    """As after a command whose order has no certain end yet; the question is about the runs that the second one has."""
    empty = planned(0, 0, more=True, skipped=ordered_before(30))
    with fake_gateway({ASKED: [empty]}) as fake:
        ended = cancel(fake, "--until-none")
    assert (ended.returncode, fake.calls) == (1, [ASKED, ASKED])
    assert ended.stderr.endswith("Nothing was cancelled.\nLeft: 30 runs ordered before whose fate is not known yet.\n")
    says: Says = {ASKED: [empty, planned(1, 30), planned(2, 0)], applied(1): [cancelled(30)]}
    with fake_gateway(says) as fake:
        ended = cancel(fake, "--until-none")
    assert (ended.returncode, applies(fake)) == (0, [applied(1)])


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"more": True, "skipped": ordered_before(30)}, "Left: 30 runs ordered before whose fate is not known yet."),
        ({"more": True}, "although runs are left"),
        ({"skipped": {"young": {"runs": 2, "sample": []}}}, "Left: 2 runs younger than the rule lets be cancelled."),
    ],
)
def test_a_plan_without_runs_is_no_success_while_runs_are_left(members: Mapping[str, object], says: str) -> None:
    """A plain cancel; those that an order was about are gone if the plan knows of no more."""
    with fake_gateway({ASKED: [planned(0, 0, **members)]}) as fake:
        ended, shown = cancel(fake), cancel(fake, "--dry-run")
        program = json.loads(cancel(fake, "--json").stdout)
    assert (ended.returncode, shown.returncode, program["outcome"]) == (1, 0, "incomplete")
    assert says in ended.stderr
    with fake_gateway({ASKED: [planned(0, 0, skipped=ordered_before(30))]}) as fake:
        assert cancel(fake).returncode == 0


@pytest.mark.parametrize(
    ("runs", "headers", "code"),
    [
        (60, {}, 1),
        (60, {"Gateway_Skipped": "finished=();n=40"}, 0),
        (60, {"Gateway_Skipped": "finished=();n=30"}, 1),
        (200, {"Gateway_Over_Cancelled": "100"}, 0),
        (150, {"Gateway_Over_Cancelled": "100"}, 1),
    ],
)
def test_a_plain_cancel_of_fewer_than_were_ordered_is_incomplete(
    runs: int, headers: Mapping[str, str], code: int
) -> None:
    """Runs that were left out at the last moment were not ordered."""
    with fake_gateway({ASKED: [(201, plan(runs=100))], APPLIED: [cancelled(runs, **headers)]}) as fake:
        ended = cancel(fake)
    assert ended.returncode == code
    assert (f"{runs} runs cancelled" in ended.stderr, "Plan anew for the rest." in ended.stderr) == (bool(code),) * 2


@pytest.mark.parametrize(
    ("outcome", "says"), [("refused", "QStash refused it"), ("not_sent", "nothing of it was sent")]
)
@pytest.mark.parametrize("words", [(), ("--until-none",)], ids=["once", "until-none"])
def test_a_lost_answer_to_what_was_refused_is_no_success(outcome: str, says: str, words: Sequence[str]) -> None:
    """The plan is `applied` all the same; only its outcome says that nothing was cancelled."""
    seen: Said = (200, plan("applied", outcome=outcome))
    asked: Said = (201, plan(as_of=AS_OF))
    with fake_gateway({ASKED: [asked], APPLIED: [(0, b"")], SEEN: [seen]}) as fake:
        ended = cancel(fake, *words)
    assert (ended.returncode, applies(fake)) == (1, [APPLIED])
    assert f"The plan was applied, and {says}." in ended.stderr
