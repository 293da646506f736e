"""Plans: shown first, applied once, by who made them, and judged anew."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor

from gateway.simulator.exchange import Kind
from tests.execution.resolve.account import INVOICE, REMINDER, ids, now_ms, oldest_first, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, Teams, by_ids, exactly, skipped, tree
from tests.support.proxies import READING
from tests.support.waiting import until

GONE = "00000000-0000-7000-8000-000000000000"


def test_a_plan_shows_what_would_be_cancelled_and_sends_nothing(house: House) -> None:
    """Number, sample, oldest and newest, by workflow and by label; on record with every run, its URL and creation."""
    runs = [*runs_of(INVOICE, 12, labels=["nightly"]), *runs_of(REMINDER, 3, name="reminder", labels=["nightly", "b"])]
    house.begin(runs)
    answer = house.plan(tree())
    shown = answer.json()
    assert (answer.status, shown["state"], shown["runs"]) == (201, "ready", 15)
    assert shown["by_workflow"] == {INVOICE: 12, REMINDER: 3}
    assert shown["by_label"] == {"nightly": 15, "b": 3}
    assert str(shown["sample"]).count("workflowRunId") == 10
    assert str(shown["oldest"]) < str(shown["newest"])
    assert house.sent == []
    (plan,) = house.records("plan")
    assert (plan["decision_id"], plan["digest"]) == (shown["plan"], shown["digest"])
    assert plan["runs"] == [[run.run_id, run.url, run.created_ms] for run in oldest_first(runs)]
    assert house.records("intent") == []


def test_the_digest_says_which_runs_and_changes_with_them(house: House) -> None:
    """The same runs have the same digest; one that ends or starts again makes another."""
    house.begin(runs_of(INVOICE, 5))
    first, second = house.plan(tree()).json(), house.plan(tree()).json()
    assert (first["digest"] == second["digest"], first["plan"] == second["plan"]) == (True, False)
    assert house.see(first["plan"]).json()["digest"] == first["digest"]
    house.account.restart("wfr_run_0002")
    assert house.plan(tree()).json()["digest"] != first["digest"]


def test_a_plan_says_when_policy_lowered_the_count_and_which_rule_did(house: House) -> None:
    """The number asked for and the one left; nothing where nothing was lowered."""
    house.begin(runs_of(INVOICE, 8))
    lowered = house.plan(exactly(INVOICE), team="capped").json()
    assert (lowered["count"], lowered["narrowed"]) == (5, {"count": [100, 5], "by": "capped/invoice"})
    as_asked = house.plan(exactly(INVOICE, count=4), team="capped").json()
    assert (as_asked["count"], as_asked["narrowed"]) == (4, None)


def test_a_plan_is_applied_once(house: House) -> None:
    """Exactly its runs; a second time is 409, and the plan says what came of it."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    plan = house.plan(tree()).json()["plan"]
    house.account.add_runs(runs_of(INVOICE, 3, name="late"))
    assert house.apply(plan).json() == {"cancelled": 4}
    again = house.apply(plan)
    assert (again.status, again.json()["code"]) == (409, "plan_applied")
    assert house.orders == [ids(runs)]
    assert (house.see(plan).json()["state"], house.see(plan).json()["cancelled"]) == ("applied", 4)


def test_applying_twice_at_the_same_time_joins(house: House) -> None:
    """Both are told the true number; one intent, one order."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    plan = house.plan(tree()).json()["plan"]
    with ThreadPoolExecutor(2) as pool:
        with house.answers.held():
            first = pool.submit(house.apply, plan)
            until(lambda: house.account.arrived(Kind.CANCEL) > 0)
            second = pool.submit(house.apply, plan)
            until(lambda: house.records("joined"))
        answers = [first.result().json(), second.result().json()]
    assert answers == [{"cancelled": 4}] * 2
    assert (house.orders, len(house.records("intent")), len(house.records("joined"))) == ([ids(runs)], 1, 1)


def test_a_plan_belongs_to_who_made_it(house: House) -> None:
    """For another principal, also one with the same rights, it is as if there were none: the same 404."""
    house.begin(runs_of(INVOICE, 4))
    plan = house.plan(tree()).json()["plan"]
    for answer in (house.see(plan, team="second"), house.apply(plan, team="second")):
        assert answer.status == 404
        assert "plan again" in str(answer.json()["error"])
    unknown = house.apply(GONE)
    assert (unknown.status, unknown.json()["error"]) == (404, house.apply(plan, team="second").json()["error"])
    assert house.sent == []
    assert house.apply(plan).json() == {"cancelled": 4}


def test_applying_cancels_only_what_still_is_the_run_that_was_planned(house: House) -> None:
    """An old plan is looked at again before its first order: the ended and the restarted are left out and named."""
    runs = runs_of(INVOICE, 6)
    house.begin(runs)
    planned_ms = now_ms()
    plan = house.plan(tree()).json()["plan"]
    house.account.end(runs[0].run_id)
    house.account.restart(runs[3].run_id)
    until(lambda: now_ms() - planned_ms > 2_100)
    answer = house.apply(plan)
    assert answer.json() == {"cancelled": 4}
    assert skipped(answer) == f'finished=("{runs[0].run_id}");n=1, restarted=("{runs[3].run_id}");n=1'
    assert house.account[runs[3].run_id].running


def test_run_ids_can_be_planned_too(house: House) -> None:
    """What is applied are those of them that run."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    house.account.end(runs[2].run_id)
    shown = house.plan(by_ids(ids(runs)), team="by-id").json()
    assert (shown["runs"], shown["skipped"]) == (3, {"finished": {"runs": 1, "sample": [runs[2].run_id]}})
    assert house.apply(shown["plan"], team="by-id").json() == {"cancelled": 3}


def test_a_plan_of_nothing_applies_to_nothing(house: House) -> None:
    """No order is built of no runs."""
    house.begin([])
    plan = house.plan(tree()).json()["plan"]
    assert house.apply(plan).json() == {"cancelled": 0}
    assert house.sent == []


def test_a_refused_plan_cannot_be_applied(house: House) -> None:
    """There is none: the refusal of its runs is answered as a refusal of the request."""
    house.begin(runs_of(INVOICE, 21))
    refused = house.plan(exactly(INVOICE), team="capped")
    assert (refused.status, refused.json()["code"]) == (403, "policy_denied")
    assert house.apply(refused.json()["decision_id"], team="capped").status == 409
    assert house.sent == []


def test_a_preview_is_never_a_success(house: House) -> None:
    """409 with the number, the sample and the plan; also where nothing would be cancelled."""
    house.begin(runs_of(INVOICE, 4))
    shown = house.preview(tree())
    assert (shown.status, shown.json()["code"], shown.json()["runs"]) == (409, "preview", 4)
    assert "nothing was sent" in str(shown.json()["error"])
    assert house.sent == []
    assert house.apply(shown.json()["plan"]).json() == {"cancelled": 4}
    assert house.preview(tree()).status == 409
    assert house.preview("").status == 403


def test_a_look_up_that_takes_too_long_answers_with_the_plan_which_is_there_to_be_applied(house: House) -> None:
    """After ten seconds 409 and the plan's name; nothing was sent, and nothing will be until it is applied."""
    runs = runs_of(INVOICE, 4)
    house.begin(runs)
    with house.answers.held(READING):
        answer = house.cancel(tree())
        assert (answer.status, answer.json()["code"], answer.json()["state"]) == (409, "plan_pending", "looking")
        plan = answer.json()["plan"]
        assert str(plan) in str(answer.json()["error"])
        assert house.apply(plan).status == 409
    until(lambda: house.see(plan).json()["state"] == "ready")
    assert (house.sent, house.records("intent")) == ([], [])
    assert house.apply(plan).json() == {"cancelled": 4}
    assert house.orders == [ids(runs)]


def test_a_plan_is_judged_anew_when_it_is_applied(build: Build) -> None:
    """The policies have changed since: a rule that is gone refuses, a lower count takes the oldest."""
    house = build()
    runs = runs_of(INVOICE, 9)
    house.begin(runs)
    plans = [house.plan(tree()).json()["plan"] for _ in range(2)]
    _rewrite(house, "resolve: true", "count: {cap: 3}, resolve: true")
    assert house.apply(plans[0]).json() == {"cancelled": 3}
    assert house.orders == [ids(runs[:3])]
    _rewrite(house, "[below, ", "[")
    assert house.apply(plans[1]).status == 403
    assert len(house.orders) == 1


def test_a_plan_that_is_gone_says_to_plan_again(build: Build) -> None:
    """Plans live in the one process: after a restart it is a 404, and what it would have cancelled still runs."""
    house = build()
    house.begin(runs_of(INVOICE, 4))
    plan = house.plan(tree()).json()["plan"]
    house.gateway.stop()
    house.gateway.start()
    answer = house.apply(plan)
    assert (answer.status, "plan again" in str(answer.json()["error"])) == (404, True)
    assert house.sent == []


def _rewrite(house: House, old: str, new: str) -> None:
    policies = dict(house.gateway.setup.policies)  # type: ignore[arg-type]
    policies["teams.yaml"] = Teams.POLICIES["teams.yaml"].replace(old, new)
    house.gateway.setup.policies = policies
    before = len(house.records("reload"))
    house.gateway.setup.write()
    house.gateway.process.send_signal(signal.SIGHUP)
    until(lambda: len(house.records("reload")) > before)
