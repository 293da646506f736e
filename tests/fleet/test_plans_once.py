"""Plans that are applied with an Idempotency-Key in a fleet: elsewhere, everywhere at once, after a death."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gateway.simulator.exchange import Kind
from tests.execution.resolve.account import INVOICE, ids, runs_of
from tests.fleet.house import Fleet
from tests.fleet.test_shared import PLANS, planned, refused, sharing
from tests.support.gateway import Answer, RunningGateway
from tests.support.state.postgres import Postgres
from tests.support.waiting import until

RUNS = 3
TOLD = {"cancelled": RUNS}


def apply(gateway: RunningGateway, plan: str, key: str) -> Answer:
    """Applies a plan with a key; comes again where there is no place for it."""
    while True:
        answer = gateway.request("POST", f"{PLANS}/{plan}/apply", headers={"Idempotency-Key": key}, timeout_s=60)
        if answer.status != 429:
            return answer
        time.sleep(0.1)


def state(gateway: RunningGateway, plan: str) -> object:
    """What a gateway says of a plan."""
    return gateway.request("GET", f"{PLANS}/{plan}").json().get("state")


def begun(house: Fleet) -> str:
    """A plan of all runs of the account, made at the first gateway."""
    house.account.begin(runs_of(INVOICE, RUNS, labels=["found"]))
    return planned(house, house.gateways[0])


def test_a_plan_is_applied_with_a_key_at_another_gateway_and_repeated_at_a_third(
    postgres: Postgres, tmp_path: Path
) -> None:
    """The repeat is answered with the same bytes and a decision of its own; another key finds the plan applied."""
    with sharing(postgres, tmp_path) as house:
        plan = begun(house)
        first = apply(house.gateways[1], plan, "k")
        assert (first.status, first.json()) == (200, TOLD)
        for gateway in (house.gateways[2], house.gateways[0], house.gateways[1]):
            again = apply(gateway, plan, "k")
            assert (again.status, again.body, again.headers["gateway-replayed"]) == (200, first.body, "true")
            assert again.headers["gateway-decision"] != first.headers["gateway-decision"]
        assert apply(house.gateways[2], plan, "l").json()["code"] == "plan_applied"
        other = house.gateways[0].request(
            target="/v2/workflows/runs?workflowRunIds=x", headers={"Idempotency-Key": "k"}
        )
        assert other.status in (403, 422)
        assert len(house.sent) == 1
        assert [len(one.records("intent")) for one in house.gateways] == [0, 1, 0]


def test_the_same_key_and_plan_at_all_gateways_at_once_is_sent_once_and_answered_truly(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Whoever does not get the claim waits for the answer of the one that has it: it has the same key."""
    with sharing(postgres, tmp_path, latency_ms=300) as house, ThreadPoolExecutor(12) as pool:
        plan = begun(house)
        asked = [pool.submit(apply, house.gateways[number % 3], plan, "k") for number in range(12)]
        answers = [one.result(120) for one in asked]
        assert {(one.status, one.body) for one in answers} == {(200, b'{"cancelled":3}')}
        assert len({one.headers["gateway-decision"] for one in answers}) == 12
        assert len(house.sent) == 1
        assert sorted(house.account.cancelled) == sorted(ids(house.account.runs))


def test_a_plan_whose_gateway_died_between_its_claim_and_its_intent_is_never_sent(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Nobody takes the claim over, with the key or without; the plan ends as unknown, also after the next start."""
    with sharing(postgres, tmp_path) as house, ThreadPoolExecutor(1) as pool:
        plan, dead = begun(house), house.gateways[0]
        database = house.database.rpartition("/")[2]
        with postgres.locked("admissions", house.database):
            asked = pool.submit(apply, dead, plan, "k")
            until(lambda: postgres.sql("SELECT claimed_by FROM plans WHERE claimed_by IS NOT NULL", database))
            dead.kill()
        assert asked.exception(60) is not None
        for gateway in house.gateways[1:]:
            assert refused(gateway, plan) in ("plan_applied", "outcome_unknown")
            assert apply(gateway, plan, "k").status == 409
        until(lambda: {state(one, plan) for one in house.gateways[1:]} == {"unknown"})
        dead.start()
        assert [state(one, plan) for one in house.gateways] == ["unknown"] * 3
        assert {apply(one, plan, "k").status for one in house.gateways} == {409}
        assert (house.sent, [one.records("intent") for one in house.gateways]) == ([], [[], [], []])
        until(lambda: postgres.sql("SELECT count(*) FROM admissions WHERE NOT closed", database) == "0")


def test_a_plan_whose_gateway_died_with_its_order_out_is_told_by_number_once_that_is_known(
    postgres: Postgres, tmp_path: Path
) -> None:
    """The key answers with the decision, and nothing more is sent; after the next start also with the number."""
    with sharing(postgres, tmp_path) as house, ThreadPoolExecutor(1) as pool:
        plan, dead = begun(house), house.gateways[0]
        house.account.when(Kind.CANCEL, 1, dead.process.kill)
        asked = pool.submit(apply, dead, plan, "k")
        assert asked.exception(60) is not None
        dead.kill()
        [intent] = dead.records("intent")

        def told() -> dict[str, object]:
            """What a repeat is told at another gateway."""
            answer = apply(house.gateways[1], plan, "k")
            assert (answer.status, answer.json()["code"]) == (409, "outcome_unknown")
            return answer.json()

        assert told()["decision"] == intent["decision_id"]
        dead.start()
        until(lambda: told()["cancelled"] == RUNS)
        assert len(house.sent) == 1
