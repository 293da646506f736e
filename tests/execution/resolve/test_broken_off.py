"""What ends a plan in the middle: a lost answer, a key, a policy, the end of the process, a full log."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.simulator.exchange import Ending, Fault, Kind, rate_limited
from tests.execution.resolve.account import INVOICE, ids, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, Teams, progress, tree
from tests.support.gateway import Answer
from tests.support.waiting import until

Stop = Callable[[House], object]

LOST = Fault(acts=True, ending=Ending.RESET)


def test_an_order_whose_answer_is_lost_ends_the_plan_and_is_settled(house: House) -> None:
    """504 with how far it came; the order after it is not sent; the runs are read back for the true number."""
    runs = runs_of(INVOICE, 220)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(LOST))
    answer = house.cancel(tree(count=500))
    assert (answer.status, answer.json()["code"]) == (504, "outcome_unknown")
    assert progress(answer) == (100, 100, 20)
    assert house.orders == [ids(runs[:100]), ids(runs[100:200])]
    (outcome,) = house.records("outcome")
    assert (outcome["outcome"], outcome["carried_out"]) == ("unknown", None)
    assert outcome["progress"] == {"cancelled": 100, "unsent": ids(runs[200:]), "unknown": ids(runs[100:200])}
    settled = house.until_recorded("settled", outcome["decision_id"])
    assert (settled["cancelled"], settled["source"]) == (200, "read_back")


def test_a_lost_answer_of_an_order_that_was_half_carried_out_is_settled_with_the_true_number(house: House) -> None:
    """Of the hundred of unknown fate 40 were cancelled and 60 ended by themselves: 140 in all."""
    runs = runs_of(INVOICE, 220)
    house.begin(runs)
    lost = Fault(acts=True, acts_on_at_most=40, status=500, body='{"error": "some could not be cancelled"}')
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(lost))
    answer = house.cancel(tree(count=500))
    assert answer.status == 504
    house.account.end(*ids(run for run in runs[100:200] if house.account[run.run_id].running))
    settled = house.until_recorded("settled", answer.json()["decision_id"])
    assert (settled["cancelled"], settled["finished"], settled["ordered"]) == (140, 60, 200)


def test_an_order_that_upstream_refuses_ends_the_plan(build: Build) -> None:
    """After 100 cancelled the account is throttled: those are told, the others stand as not sent."""
    house = build()
    runs = runs_of(INVOICE, 220)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(rate_limited()))
    answer = house.cancel(tree(count=500))
    assert (answer.status, answer.json()["cause"]) == (504, "partial_refused")
    assert progress(answer) == (100, 0, 120)
    assert len(house.orders) == 2
    house.check_record()


def test_a_first_order_that_upstream_refuses_is_answered_as_a_refusal(house: House) -> None:
    """Nothing was cancelled, and that is certain."""
    house.begin(runs_of(INVOICE, 120))
    house.account.script(rate_limited())
    answer = house.cancel(tree(count=500))
    assert (answer.status, answer.headers["gateway-source"]) == (429, "upstream")
    assert len(house.orders) == 1


def test_a_second_look_that_fails_ends_the_plan(build: Build) -> None:
    """What cannot be looked at again is not cancelled."""
    house = build()
    house.begin(runs_of(INVOICE, 120))
    broken = Fault(on=Kind.LOGS, times=500, status=500, body="{}")
    house.account.when(Kind.CANCEL, 1, lambda: house.account.script(broken))
    answer = house.cancel(tree(count=500))
    assert (answer.status, answer.json()["cause"]) == (504, "partial_lookup_failed")
    assert (progress(answer), len(house.orders)) == ((100, 0, 20), 1)
    house.check_record()


def revoke(house: House) -> None:
    """The team's key is taken from the configuration, which is read anew."""
    setup = house.gateway.setup
    setup.teams = [team for team in setup.teams if team != "below"]
    _reload(house)


def forbid(house: House) -> None:
    """The team's rule is taken away."""
    policies = dict(Teams.POLICIES)
    policies["teams.yaml"] = policies["teams.yaml"].replace("[below, ", "[")
    house.gateway.setup.policies = policies
    _reload(house)


def lower_the_cap(house: House) -> None:
    """The team's rule allows 120 runs, of which 100 are being cancelled."""
    _change_rule(house, "resolve: true", "count: {cap: 120}, resolve: true")


def lower_the_most(house: House) -> None:
    """The team's rule refuses requests that mean more than 150 runs."""
    _change_rule(house, "max: 2000", "max: 150")


def _change_rule(house: House, old: str, new: str) -> None:
    policies = dict(Teams.POLICIES)
    assert old in policies["teams.yaml"]
    policies["teams.yaml"] = policies["teams.yaml"].replace(old, new)
    house.gateway.setup.policies = policies
    _reload(house)


def _reload(house: House) -> None:
    before = len(house.records("reload"))
    house.gateway.setup.write()
    house.gateway.process.send_signal(signal.SIGHUP)
    until(lambda: len(house.records("reload")) > before)
    assert house.records("reload")[-1]["outcome"] == "applied"


def end_the_process(house: House) -> None:
    """SIGTERM, and its listener is closed."""
    house.gateway.process.send_signal(signal.SIGTERM)
    until(lambda: _refuses(house))


def _refuses(house: House) -> bool:
    try:
        return house.gateway.request("GET", "/readyz", team=None).status == 503
    except OSError:
        return True


@pytest.mark.parametrize(
    ("happens", "cause", "applied"),
    [
        pytest.param(revoke, "partial_revoked", False, id="key revoked"),
        pytest.param(revoke, "partial_revoked", True, id="key revoked, plan"),
        pytest.param(forbid, "partial_denied", False, id="rule taken away"),
        pytest.param(lower_the_cap, "partial_denied", False, id="cap lowered"),
        pytest.param(lower_the_most, "partial_denied", True, id="most lowered, plan"),
        pytest.param(end_the_process, "partial_stopping", False, id="shut down"),
    ],
)
def test_what_changes_in_the_middle_stops_the_next_order(
    build: Build, happens: Stop, cause: str, applied: bool
) -> None:
    """It happens while the first order is carried out: the second is not sent, and the answer says how far it came."""
    house = build()
    runs = runs_of(INVOICE, 220)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 1, lambda: happens(house))
    answer = _carried_out(house, applied=applied)
    assert (answer.status, answer.json().get("cause")) == (504, cause)
    assert progress(answer) == (100, 0, 120)
    assert house.orders == [ids(runs[:100])]
    house.gateway.stop()
    house.check_record()


def _carried_out(house: House, *, applied: bool) -> Answer:
    if not applied:
        return house.cancel(tree(count=500))
    return house.apply(house.plan(tree(count=500)).json()["plan"])


def test_a_log_that_cannot_be_written_stops_the_next_order(build: Build) -> None:
    """What came of the first order cannot be recorded: the second is not sent. With space again the record is whole."""
    house = build()
    runs = runs_of(INVOICE, 220)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 1, lambda: _limit(house, _newest(house).stat().st_size))
    answer = house.cancel(tree(count=500))
    assert (answer.status, answer.json()["cause"]) == (504, "partial_audit")
    assert progress(answer) == (100, 0, 120)
    assert house.orders == [ids(runs[:100])]
    _limit(house, resource.RLIM_INFINITY)
    house.until_recorded("outcome", answer.json()["decision_id"])
    house.check_record()


def _newest(house: House) -> Path:
    return max(house.gateway.audit_directory.glob("*.jsonl"))


def _limit(house: House, size_bytes: int) -> None:
    resource.prlimit(house.gateway.process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
