"""Run IDs whose order may have been lost: the runs themselves say what became of them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.core.errors import LookupFailed
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.run import STARTED, Listing
from tests.execution.follow_up.fakes import CREATED_MS, ScriptedLog, Told, a_run, by_filter, by_ids, followed, plan_of

LOST = Unknown("read_timeout")
FAILED = LookupFailed("timeout", "The log could not be read; nothing was sent.")


def all_cancelled(run_ids: Sequence[str], at_s: float) -> Listing:
    """Every run asked for was cancelled."""
    return Listing(tuple(map(a_run, run_ids)))


def test_each_run_is_counted_by_what_became_of_it() -> None:
    """Two seconds after the outcome; what other callers ended is no cancel."""

    def look(run_ids: Sequence[str], at_s: float) -> Listing:
        seen = [a_run("wfr_1"), a_run("wfr_2"), a_run("wfr_3", "RUN_SUCCESS"), a_run("wfr_4", "RUN_FAILED")]
        return Listing(tuple(seen), ("wfr_5",))

    log = ScriptedLog(look=look)
    told = followed(by_ids("wfr_1", "wfr_2", "wfr_3", "wfr_4", "wfr_5", "wfr_6"), LOST, log)
    assert told.settled == [
        {
            "decision_id": "d1",
            "source": "read_back",
            "cancelled": 2,
            "ordered": 6,
            "still_running": 0,
            "finished": 2,
            "gone": 1,
            "unreadable": 1,
        }
    ]
    assert log.asked_s == [2]


def test_what_upstream_had_said_is_never_learnt_to_be_fewer() -> None:
    """The record has what was seen; a budget, also one that another process took of, counts what was certain."""
    for certain, learnt in ((3, 3), (1, 2)):
        lost = Unknown("partial_audit", 504, Progress(certain, (), ("wfr_2",)))
        told = followed(by_ids("wfr_1", "wfr_2"), lost, ScriptedLog(look=all_cancelled))
        assert ([one["cancelled"] for one in told.settled], told.learnt) == ([2], [learnt])


def test_an_index_that_lags_is_looked_at_again() -> None:
    """Only at the runs that seemed to run still, until none does."""

    def look(run_ids: Sequence[str], at_s: float) -> Listing:
        return Listing(
            tuple(a_run(run_id, STARTED if run_id == "wfr_2" and at_s < 10 else "RUN_CANCELED") for run_id in run_ids)
        )

    log = ScriptedLog(look=look)
    (members,) = followed(by_ids("wfr_1", "wfr_2"), LOST, log).settled
    assert (members["cancelled"], members["still_running"]) == (2, 0)
    assert log.looked_up == [("wfr_1", "wfr_2"), ("wfr_2",), ("wfr_2",)]


def test_an_order_that_never_arrived_leaves_its_runs_running() -> None:
    """Five looks in half a minute, then that is the answer: nothing was cancelled."""
    log = ScriptedLog(look=lambda run_ids, at_s: Listing(tuple(a_run(run_id, STARTED) for run_id in run_ids)))
    (members,) = followed(by_ids("wfr_1", "wfr_2"), LOST, log).settled
    assert (members["cancelled"], members["still_running"], "cause" in members) == (0, 2, False)
    assert log.asked_s == [2, 6, 12, 20, 30]


def test_what_was_certainly_not_sent_is_not_counted() -> None:
    """A run of the plan that someone else cancelled after the plan had stopped is not this plan's."""
    runs = [a_run(f"wfr_{number}", STARTED) for number in range(4)]
    outcome = Unknown("partial_revoked", 200, Progress(1, unsent=("wfr_2", "wfr_3"), unknown=("wfr_1",)))
    log = ScriptedLog(look=all_cancelled)
    (members,) = followed(plan_of(runs=runs), outcome, log).settled
    assert (members["ordered"], members["cancelled"]) == (2, 2)
    assert log.looked_up == [("wfr_0", "wfr_1")]


def test_where_nothing_was_sent_nothing_is_looked_up() -> None:
    """Every run of the plan is unsent."""
    runs = [a_run("wfr_0", STARTED)]
    outcome = Unknown("partial_stopping", None, Progress(0, unsent=("wfr_0",), unknown=()))
    assert followed(plan_of(runs=runs), outcome, ScriptedLog(look=all_cancelled)) == Told()


def test_another_run_under_the_same_id_is_not_the_one_ordered() -> None:
    """A custom ID that was started again says nothing of the run before it, whatever its state."""
    runs = [a_run("wfr_0", STARTED), a_run("wfr_1", STARTED), a_run("wfr_2", STARTED)]
    now = [
        a_run("wfr_0"),
        a_run("wfr_1", created_ms=CREATED_MS + 1),
        a_run("wfr_2", STARTED, created_ms=CREATED_MS + 1),
    ]
    log = ScriptedLog(look=lambda run_ids, at_s: Listing(tuple(now)))
    (members,) = followed(plan_of(runs=runs), LOST, log).settled
    assert (members["cancelled"], members["gone"], members["still_running"]) == (1, 2, 0)
    assert len(log.looked_up) == 1


def test_an_entry_whose_id_cannot_be_read_may_be_any_run_that_is_missing() -> None:
    """Then a missing run is called unreadable, not gone."""
    log = ScriptedLog(look=lambda run_ids, at_s: Listing((a_run("wfr_0"),), ("?",)))
    (members,) = followed(by_ids("wfr_0", "wfr_1"), LOST, log).settled
    assert (members["cancelled"], members["gone"], members["unreadable"]) == (1, 0, 1)


def test_a_failed_look_is_made_up_for_by_the_next() -> None:
    """Nothing of the failure is left in the record."""

    def look(run_ids: Sequence[str], at_s: float) -> Listing:
        if at_s < 5:
            raise FAILED
        return all_cancelled(run_ids, at_s)

    (members,) = followed(by_ids("wfr_0"), LOST, ScriptedLog(look=look)).settled
    assert (members["cancelled"], "cause" in members) == (1, False)


def test_without_a_look_at_every_run_nobody_knows() -> None:
    """Many IDs are asked for in parts; where one part is never answered there is no total."""

    def look(run_ids: Sequence[str], at_s: float) -> Listing:
        if "wfr_0" not in run_ids:
            raise FAILED
        return all_cancelled(run_ids, at_s)

    runs = [a_run(f"wfr_{number}", STARTED) for number in range(250)]
    log = ScriptedLog(look=look)
    (members,) = followed(plan_of(runs=runs), LOST, log).settled
    assert (members["cancelled"], members["cause"], members["ordered"]) == (None, "timeout", 250)
    assert max(map(len, log.looked_up)) == 100


def test_many_runs_are_all_looked_at() -> None:
    """Two thousand, in parts."""
    runs = [a_run(f"wfr_{number}", STARTED) for number in range(2000)]
    (members,) = followed(plan_of(runs=runs), LOST, ScriptedLog(look=all_cancelled)).settled
    assert members["cancelled"] == 2000


def test_an_action_id_for_run_ids_is_as_good_as_no_answer() -> None:
    """Upstream keeps no total for them, so the runs are asked."""
    (members,) = followed(by_ids("wfr_0"), Accepted(202, "act_1"), ScriptedLog(look=all_cancelled)).settled
    assert (members["source"], members["cancelled"]) == ("read_back", 1)


@pytest.mark.parametrize(
    "outcome", [Cancelled(200, 1), Refused(403, ""), NotSent("dns")], ids=lambda outcome: outcome.name
)
def test_what_is_known_is_not_asked_again(outcome: Outcome) -> None:
    """No reading for an outcome that says everything."""
    assert followed(by_ids("wfr_0"), outcome, ScriptedLog(look=all_cancelled)) == Told()


def test_without_a_read_token_nothing_is_read_back() -> None:
    """Nor is a filter, which names no run."""
    log = ScriptedLog(look=all_cancelled)
    assert followed(by_ids("wfr_0"), LOST, log, reads_back=False) == Told()
    assert followed(by_filter(), LOST, log) == Told()
    assert log.asked_s == []
