"""Plans over the wire: listed, stopped in every moment, and sent again after a 429; with what the record says of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from gateway.audit.evidence.decisions import DecisionStats
from gateway.simulator.exchange import Ending, Fault, Kind
from tests.execution.resolve.account import INVOICE, ids, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import House, exactly, progress, tree
from tests.support.gateway import Answer
from tests.support.waiting import until

GONE = "00000000-0000-7000-8000-000000000000"
LOST = Fault(acts=True, ending=Ending.RESET)


def slow(seconds: int, *, times: int = 1) -> Fault:
    """A 429 whose burst limit resets in so many seconds; the simulator's answers have a `Date`."""
    headers = {
        "Burst-RateLimit-Limit": "100",
        "Burst-RateLimit-Remaining": "0",
        "Burst-RateLimit-Reset": str(int(time.time()) + seconds),
    }
    return Fault(times=times, status=429, body='{"error": "Exceeded burst rate limit."}', headers=headers)


def stop(house: House, plan: object, *, team: str = "below", body: bytes = b"") -> Answer:
    """Stops a plan."""
    return house.gateway.request("DELETE", f"/gateway/v1/plans/{plan}", team=team, body=body)


def listed(house: House, *, team: str = "below") -> list[dict[str, object]]:
    """The plans of a team's key."""
    answer = house.gateway.request("GET", "/gateway/v1/plans", team=team)
    assert answer.status == 200
    plans = answer.json()["plans"]
    assert isinstance(plans, list)
    return plans


def planned(house: House, number: int) -> str:
    """A plan of so many runs."""
    house.begin(runs_of(INVOICE, number))
    return str(house.plan(tree(count=500)).json()["plan"])


def while_applied(house: House, plan: str, act: Callable[[], Answer]) -> tuple[Answer, Answer]:
    """Applies a plan and acts meanwhile; the answers to the apply and to the act."""
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(house.apply, plan)
        acted = act()
        return applying.result(), acted


def stopped_in_flight(house: House, plan: str) -> tuple[Answer, Answer]:
    """Applies a plan and stops it once upstream has its first order; upstream answers after that."""
    with ThreadPoolExecutor(1) as pool:
        with house.answers.held():
            applying = pool.submit(house.apply, plan)
            until(lambda: house.account.arrived(Kind.CANCEL) == 1)
            stopped = stop(house, plan)
        return applying.result(), stopped


def test_plans_are_listed_as_each_is_shown(build: Build) -> None:
    """The newest first, one's own only, and without a query."""
    house = build()
    house.begin(runs_of(INVOICE, 3))
    first, second = (str(house.plan(query).json()["plan"]) for query in (tree(), exactly(INVOICE)))
    plans = listed(house)
    assert [plan["plan"] for plan in plans] == [second, first]
    shown = house.see(first).json()
    assert {**plans[1], "expires_in_s": 0} == {**shown, "expires_in_s": 0}
    assert listed(house, team="second") == []
    assert house.gateway.request("GET", "/gateway/v1/plans?limit=1", team="below").status == 400


def test_a_plan_that_is_stopped_is_not_applied(house: House) -> None:
    """200 with the plan, as often as it is asked; the apply is 409 and nothing was sent."""
    plan = planned(house, 4)
    for _ in range(2):
        answer = stop(house, plan)
        assert (answer.status, answer.json()["state"], answer.json()["runs"]) == (200, "stopped", 4)
    refused = house.apply(plan)
    assert (refused.status, refused.json()["code"]) == (409, "plan_stopped")
    assert (house.sent, house.records("intent")) == ([], [])


def test_a_plan_of_another_is_stopped_by_nobody_else(house: House) -> None:
    """It is as if there were none: the same 404 for another's and for what never was, and it can still be applied."""
    plan = planned(house, 4)
    theirs, nobodys = stop(house, plan, team="second"), stop(house, GONE)
    assert (theirs.status, nobodys.status) == (404, 404)
    assert theirs.json()["error"] == nobodys.json()["error"]
    assert stop(house, "not-an-id").status == 404
    assert house.apply(plan).json() == {"cancelled": 4}


def test_a_stop_is_read_strictly(house: House) -> None:
    """A query or a body would be something that the gateway does not heed."""
    plan = planned(house, 4)
    assert stop(house, f"{plan}?force=true").status == 400
    assert stop(house, plan, body=b'{"reason": "x"}').status == 400
    assert house.see(plan).json()["state"] == "ready"


def test_a_look_up_is_ended_by_a_stop(build: Build) -> None:
    """The cancel that waits for it is told, and the next look-up can begin at once."""
    house = build()
    house.begin(runs_of(INVOICE, 4))
    house.account.script(Fault(on=Kind.LOGS, acts=True, delay_before_ms=30_000))
    with ThreadPoolExecutor(1) as pool:
        cancel = pool.submit(house.cancel, tree())
        until(lambda: listed(house))
        (looking,) = listed(house)
        stopped = stop(house, looking["plan"])
        assert (stopped.status, stopped.json()["state"]) == (200, "stopped")
        assert (cancel.result().status, cancel.result().json()["code"]) == (409, "plan_stopped")
    assert house.cancel(exactly(INVOICE)).json() == {"cancelled": 4}


def test_a_stop_while_an_order_is_out_waits_for_its_answer(house: House) -> None:
    """202; the order's number counts and is on record with who stopped it; the order after it is not sent."""
    plan, runs = planned(house, 220), runs_of(INVOICE, 220)
    applied, answer = stopped_in_flight(house, plan)
    assert (answer.status, answer.json()["state"]) == (202, "applying")
    said = applied.json()
    assert (applied.status, said["code"], applied.headers["gateway-source"]) == (409, "plan_stopped", "gateway")
    assert (said["cancelled"], said["orders_sent"], said["unsent"]["runs"]) == (100, 1, 120)  # type: ignore[index]
    assert house.orders == [ids(runs[:100])]
    (outcome,) = house.records("outcome")
    (intent,) = house.records("intent")
    assert (outcome["outcome"], outcome["cancelled"], outcome["stopped_by"]) == ("cancelled", 100, intent["principal"])
    again = stop(house, plan)
    assert (again.status, again.json()["state"], again.json()["cancelled"]) == (200, "stopped", 100)


def test_a_stop_behind_an_order_of_unknown_fate_leaves_it_unknown(build: Build) -> None:
    """504 as without the stop; the plan ends as unknown, and what the runs' states say later stands in it."""
    house = build()
    plan = planned(house, 220)
    house.account.script(LOST)
    applied, answer = stopped_in_flight(house, plan)
    assert (applied.status, answer.status) == (504, 202)
    assert progress(applied) == (0, 100, 120)
    assert house.see(plan).json()["state"] == "unknown"
    settled = house.until_recorded("settled", applied.json()["decision_id"])
    until(lambda: house.see(plan).json()["settled"])
    found = house.see(plan).json()["settled"]
    assert isinstance(found, dict)
    assert (found["source"], found["cancelled"]) == (settled["source"], 100)
    (outcome,) = house.records("outcome")
    assert "stopped_by" not in outcome
    assert len(house.orders) == 1


def test_an_order_that_was_throttled_is_sent_again_and_both_are_on_record(house: House) -> None:
    """After the reset that upstream named, by its own clock, and never before."""
    runs = runs_of(INVOICE, 150)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(slow(2)))
    began_s = time.monotonic()
    assert house.cancel(tree(count=500)).json() == {"cancelled": 150}
    assert time.monotonic() - began_s >= 2
    assert house.orders == [ids(runs[:100]), ids(runs[100:]), ids(runs[100:])]
    chunks = [
        (chunk["number"], chunk.get("attempt"), chunk["outcome"], chunk["cancelled"])
        for chunk in house.records("chunk")
    ]
    assert chunks == [(1, None, "cancelled", 100), (2, 1, "refused", None), (2, 2, "cancelled", 50)]
    assert house.cancelled == ids(runs)


def test_a_throttled_order_that_is_lost_when_it_is_sent_again_is_not_sent_a_third_time(build: Build) -> None:
    """The second may have been carried out; whatever upstream says then, the plan is over."""
    house = build()
    runs = runs_of(INVOICE, 150)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 1, lambda: house.account.script(slow(1)))
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(LOST))
    answer = house.cancel(tree(count=500))
    assert answer.status == 504
    assert progress(answer) == (0, 100, 50)
    assert house.orders == [ids(runs[:100])] * 2
    house.check_record()


def test_a_stop_ends_the_wait_for_upstream_at_once(house: House) -> None:
    """With the certain number; the order that waited is not sent any more."""
    plan, runs = planned(house, 150), runs_of(INVOICE, 150)
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(slow(50)))

    def stopped() -> Answer:
        until(lambda: len(house.records("chunk")) == 2)
        return stop(house, plan)

    began_s = time.monotonic()
    applied, answer = while_applied(house, plan, stopped)
    assert time.monotonic() - began_s < 40
    assert answer.status == 202
    assert (applied.status, applied.json()["code"], applied.json()["cancelled"]) == (409, "plan_stopped", 100)
    assert house.orders == [ids(runs[:100]), ids(runs[100:])]


def test_others_are_served_while_a_plan_waits(house: House) -> None:
    """Neither the connections nor the look-ups of other teams, nor those of its own, are held by it."""
    plan = planned(house, 4)
    house.account.script(slow(50))

    def others() -> Answer:
        until(lambda: len(house.records("chunk")) == 1)
        house.account.add_runs(runs_of(INVOICE, 2, name="more"))
        answer = house.cancel(exactly(INVOICE), team="second")
        assert stop(house, plan).status == 202, "it waited no more"
        return answer

    _, answer = while_applied(house, plan, others)
    assert answer.json()["cancelled"] == 6


@pytest.mark.parametrize("graceful", [True, False], ids=["stopped", "killed"])
def test_a_process_that_ends_during_a_wait_leaves_the_certain_number(build: Build, *, graceful: bool) -> None:
    """Asked to end it ends at once; killed, the next start closes the intent. The order is not sent again."""
    house = build()
    runs = runs_of(INVOICE, 150)
    house.begin(runs)
    house.account.when(Kind.CANCEL, 2, lambda: house.account.script(slow(50)))
    with ThreadPoolExecutor(1) as pool:
        cancel = pool.submit(_answered, house)
        until(lambda: len(house.records("chunk")) == 2)
        began_s = time.monotonic()
        if graceful:
            house.gateway.stop()
        else:
            house.gateway.kill()
        answer = cancel.result()
        house.gateway.stop()
    assert time.monotonic() - began_s < 30
    house.gateway.start()
    (outcome,) = house.records("outcome")
    assert outcome["outcome"] == "unknown"
    if graceful:
        assert answer is not None
        assert (answer.status, progress(answer)) == (504, (100, 0, 50))
        assert outcome["cause"] == "partial_stopping"
    stats = DecisionStats()
    for record in house.records():
        stats.add(record)
    assert stats.cancelled == 100
    assert len(house.orders) == 2
    house.check_record()


def _answered(house: House) -> Answer | None:
    try:
        return house.cancel(tree(count=500))
    except OSError:
        return None


def test_a_filter_that_was_throttled_is_never_sent_again(build: Build) -> None:
    """Without a look-up the answer is upstream's 429, at once."""
    policies = {
        "p.yaml": f"""\
version: 1
name: p
teams: [below]
allow:
  - {{id: direct, workflowUrl: {{exact: ["{INVOICE}"]}}}}
"""
    }
    house = build(policies=policies)
    house.begin(runs_of(INVOICE, 4))
    house.account.script(slow(2))
    answer = house.cancel(exactly(INVOICE))
    assert (answer.status, answer.headers["gateway-source"]) == (429, "upstream")
    assert len(house.sent) == 1
    assert json.loads(json.dumps(house.records("chunk"))) == []
