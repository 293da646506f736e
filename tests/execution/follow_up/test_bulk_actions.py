"""A filter that upstream works on under an action ID: its true total reaches the record, and what is wrong is told."""

from __future__ import annotations

import pytest

from gateway.core.errors import LookupFailed
from gateway.core.outcome import Accepted, Cancelled, Excess, NotSent, Outcome, Refused, Unknown
from tests.execution.follow_up.fakes import URL, ScriptedLog, Told, by_filter, by_ids, followed, report

ACCEPTED = Accepted(202, "act_1")
FAILED = LookupFailed("timeout", "The log could not be read; nothing was sent.")


def test_the_total_is_recorded_once_when_the_action_ends() -> None:
    """It is asked for at growing intervals, and what it says before the end is not taken for the end."""
    log = ScriptedLog([report(0, state="IN_PROGRESS"), report(3, state="IN_PROGRESS"), report(7)])
    told = followed(by_filter(), ACCEPTED, log)
    assert told.settled == [
        {
            "decision_id": "d1",
            "source": "bulk_action",
            "cancelled": 7,
            "action_id": "act_1",
            "over_cancelled": 0,
            "filter_wider": False,
        }
    ]
    assert log.asked_s == [0.5, 1.5, 3.5]
    assert told.alarms == []


def test_a_number_in_the_answer_is_not_the_last_word() -> None:
    """Where upstream answers a number and an action, the action's total is the true one."""
    told = followed(by_filter(), Cancelled(200, 2, "act_1"), ScriptedLog([report(9)]))
    assert [members["cancelled"] for members in told.settled] == [9]


def test_more_than_the_count_is_an_alarm() -> None:
    """Count is advisory upstream: what was cancelled above it is told as soon as it is seen, once."""
    log = ScriptedLog([report(12, state="IN_PROGRESS"), report(12)])
    told = followed(by_filter(10), ACCEPTED, log)
    assert [members["over_cancelled"] for members in told.settled] == [2]
    assert told.alarms == [("over_cancelled", {"decision_id": "d1", "cancelled": 12, "over_cancelled": 2})]
    assert told.exceeded == [Excess("d1", "billing", "billing/own", 2)]


def test_what_the_answer_said_already_is_no_second_alarm() -> None:
    """The edge has told the operators of a number above the count, and the gate whoever else wants to know."""
    told = followed(by_filter(10), Cancelled(200, 12, "act_1"), ScriptedLog([report(12)]))
    assert (told.alarms, told.exceeded) == ([], [])
    assert [members["over_cancelled"] for members in told.settled] == [2]


def test_a_wider_filter_is_an_alarm_before_the_end() -> None:
    """Told once, at the first report that shows it, and kept in the record even if a later one looks right."""
    wide = report(1, state="IN_PROGRESS", shown={"workflowUrl": [URL]})
    told = followed(by_filter(), ACCEPTED, ScriptedLog([wide, wide, report(1)]))
    assert told.alarms == [("filter_wider", {"decision_id": "d1", "action_id": "act_1"})]
    assert [members["filter_wider"] for members in told.settled] == [True]
    assert told.wider == [("billing", "billing/own", "QStash works on a wider filter than decision d1 sent")]
    assert told.exceeded == [Excess("d1", "billing", "billing/own")]


@pytest.mark.parametrize(("missing", "cause"), [(None, "not_found"), (FAILED, "timeout")])
def test_an_action_that_cannot_be_asked_for_is_settled_as_not_known(missing: LookupFailed | None, cause: str) -> None:
    """After five failures in a row: nobody knows the total, and the record says why."""
    log = ScriptedLog([missing])
    (members,) = followed(by_filter(), ACCEPTED, log).settled
    assert (members["cancelled"], members["cause"], members["filter_wider"]) == (None, cause, None)
    assert log.asked_s == [0.5, 1.5, 3.5, 7.5, 15.5]


def test_one_failure_is_not_the_end() -> None:
    """A report after a failure counts as if there had been none."""
    some = [None, FAILED, None, FAILED, report(0, state="IN_PROGRESS")]
    (members,) = followed(by_filter(), ACCEPTED, ScriptedLog([*some, *some, report(4)])).settled
    assert (members["cancelled"], "cause" in members) == (4, False)


def test_an_action_that_never_ends_is_given_up() -> None:
    """After ten minutes, asked at most every ten seconds; what it said so far is no total."""
    log = ScriptedLog([report(20, state="IN_PROGRESS")])
    (members,) = followed(by_filter(10), ACCEPTED, log).settled
    assert (members["cancelled"], members["cause"], members["over_cancelled"]) == (None, "deadline", 10)
    assert log.asked_s[-1] <= 600
    assert len(log.asked_s) < 70


def test_an_error_of_our_own_code_is_told() -> None:
    """It is on record and in the operators' log, by its class alone."""

    class Broken(ScriptedLog):
        async def action(self, action_id: str) -> None:
            raise ZeroDivisionError

    told = followed(by_filter(), ACCEPTED, Broken())
    assert [members["cause"] for members in told.settled] == ["internal_ZeroDivisionError"]
    assert told.alarms == [("settle_failed", {"decision_id": "d1", "error": "ZeroDivisionError"})]


@pytest.mark.parametrize(
    "outcome",
    [Cancelled(200, 3), Refused(403, ""), NotSent("dns"), Unknown("read_timeout")],
    ids=lambda outcome: outcome.name,
)
def test_a_filter_without_an_action_has_nothing_to_follow(outcome: Outcome) -> None:
    """Which runs a filter hit cannot be found out afterwards."""
    assert followed(by_filter(), outcome, ScriptedLog([report(1)])) == Told()


def test_run_ids_have_no_action_to_follow() -> None:
    """Upstream tracks filters; what became of run IDs is told by the runs."""
    log = ScriptedLog([report(1)])
    assert followed(by_ids("wfr_1"), Cancelled(200, 1, "act_1"), log) == Told()
    assert log.asked_s == []
