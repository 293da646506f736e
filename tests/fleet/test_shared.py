"""What three gateways share holds across them: budgets, freezes, plans and keys used once; also after a fault."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from gateway.simulator.exchange import Kind
from tests.cli.running import command
from tests.execution.resolve.account import INVOICE, ids, named, runs_of
from tests.execution.resolve.house import by_ids, exactly
from tests.execution.resolve.laws import violations
from tests.fleet.house import Fleet, fleet
from tests.support.gateway import Answer, RunningGateway
from tests.support.state.fixtures import postgresql_settings
from tests.support.state.postgres import Postgres
from tests.support.waiting import until

BUDGET = 30
POLICIES = {
    "teams.yaml": f"""\
version: 1
name: teams
teams: [billing, search, oncall]
allow:
  - id: budgeted
    workflowRunIds: {{max: 50, prefix: [wfr_bud]}}
    workflowUrl: {{exact: ["{INVOICE}"]}}
    resolve: true
    runs: {{max: 50}}
    budget: {{runs: {BUDGET}, per: 24h}}
  - id: direct
    workflowUrl: {{exact: ["{INVOICE}"]}}
    label: {{any_of: [direct]}}
    count: {{max: 100}}
  - id: found
    workflowUrl: {{exact: ["{INVOICE}"]}}
    label: {{any_of: [found]}}
    resolve: true
    runs: {{max: 2500}}
"""
}
DIRECT = exactly(INVOICE, label="direct", count=50)
FOUND = exactly(INVOICE, label="found", count=2_000)
TEAMS = ("billing", "search", "oncall", "platform")
FREEZES = "/gateway/v1/freezes"
PLANS = "/gateway/v1/plans"
JSON = {"Content-Type": "application/json"}


@contextmanager
def sharing(postgres: Postgres, directory: Path, *, latency_ms: int = 0) -> Iterator[Fleet]:
    """A fleet whose state is in a database of its own."""
    settings = asyncio.run(postgresql_settings(postgres))
    more = (
        f'state: {{url: "{settings.url}", password: {{file: "{postgres.password_file}"}}}}\n'
        "operators: {teams: [platform]}\n"
    )
    with fleet(directory, policies=POLICIES, teams=TEAMS, more=more, latency_ms=latency_ms) as house:
        house.database = settings.url or ""
        yield house


def patiently(gateway: RunningGateway, query: str, team: str) -> Answer:
    """A cancel that is asked for again while the gateway has no place for it, or no state."""
    end_s = time.monotonic() + 60
    while True:
        answer = gateway.request(target=f"/v2/workflows/runs?{query}", team=team, timeout_s=60)
        if answer.status not in (429, 503) or time.monotonic() > end_s:
            return answer
        time.sleep(0.05)


def freeze(gateway: RunningGateway, **scope: str) -> Answer:
    """A freeze by an operator."""
    body = json.dumps({**scope, "reason": "QStash is acting up"}).encode()
    return gateway.request("POST", FREEZES, team="platform", body=body, headers=JSON, timeout_s=60)


def budgeted(house: Fleet, number: int, *, each: int = 4) -> list[Answer]:
    """So many cancels of four runs each, over all gateways that run, at once."""
    running = [one for one in house.gateways if one.process.poll() is None]
    names = ids(house.account.runs)
    parts = [names[first : first + each] for first in range(0, number * each, each)]
    teams = TEAMS[:3]
    with ThreadPoolExecutor(9) as pool:
        asked = [
            pool.submit(patiently, running[at % len(running)], by_ids(part), teams[at % 3])
            for at, part in enumerate(parts)
        ]
        return [one.result(120) for one in asked]


def test_a_budget_is_one_budget_for_the_whole_fleet(postgres: Postgres, tmp_path: Path) -> None:
    """Fifteen cancels of four runs at once, of three teams over three gateways: seven fit into thirty runs."""
    with sharing(postgres, tmp_path) as house:
        house.account.begin(runs_of(INVOICE, 60, name="bud"))
        answers = budgeted(house, 15)
        assert sorted(one.status for one in answers) == [200] * 7 + [403] * 8
        assert {one.json()["code"] for one in answers if one.status == 403} == {"budget_exhausted"}
        assert len(house.account.cancelled) == 28


def test_a_budget_outlives_a_gateway_and_the_database(postgres: Postgres, tmp_path: Path) -> None:
    """One gateway is killed and PostgreSQL started again in the middle: what was cancelled stays counted."""
    with sharing(postgres, tmp_path) as house:
        house.account.begin(runs_of(INVOICE, 60, name="bud"))
        first = budgeted(house, 3)
        assert [one.status for one in first] == [200] * 3
        house.gateways[0].kill()
        postgres.stop()
        begun_s = time.monotonic()
        away = house.gateways[1].request(target=f"/v2/workflows/runs?{by_ids(['wfr_bud_0030'])}", team="billing")
        assert (away.status, away.json()["code"]) == (503, "state_unavailable")
        assert time.monotonic() - begun_s < 20  # an upper bound of an upper bound: a busy machine
        assert house.gateways[1].cancel(DIRECT).status == 200
        postgres.start()
        house.gateways[0].start()
        later = budgeted(house, 15)
        assert len(house.account.cancelled) <= BUDGET
        assert {one.status for one in later} <= {200, 403}
        for one in house.gateways:
            one.stop()
        verified = command("audit", "verify", *(str(one.audit_directory) for one in house.gateways))
        assert verified.returncode == 0, verified.stdout
        records = [record for one in house.gateways for record in one.records()]
        looked_up = [query for query in house.sent if named(query)]
        assert not violations([one for one in records if one.get("rule") != "teams/direct"], looked_up)


def chain_of(gateway: RunningGateway) -> str:
    """The chain that a gateway writes, by which the fleet knows it."""
    return str(json.loads(gateway.request("GET", "/readyz").body)["audit"]["checkpoint"]["chain"])


def is_frozen(gateway: RunningGateway) -> bool:
    """Whether a direct cancel is refused there by now."""
    return gateway.cancel(DIRECT).status == 403


def test_a_freeze_holds_in_every_gateway(postgres: Postgres, tmp_path: Path) -> None:
    """Set through one, it is answered by all with who and why, until it is thawed through another.

    Those that the answer names have it when it comes; on a busy machine others may have it later.
    """
    with sharing(postgres, tmp_path) as house:
        house.account.begin(runs_of(INVOICE, 3, labels=["direct"]))
        made = freeze(house.gateways[0], team="billing")
        assert made.status == 201
        reached = made.json()["in_force"]
        assert isinstance(reached, list)
        chains = [chain_of(gateway) for gateway in house.gateways]
        assert chains[0] in reached
        assert set(reached) <= set(chains)
        for chain, gateway in zip(chains, house.gateways, strict=True):
            if chain not in reached:
                until(partial(is_frozen, gateway))
            answer = gateway.cancel(DIRECT)
            assert (answer.status, answer.json()["code"]) == (403, "frozen")
            assert "QStash is acting up" in answer.body.decode()
            assert gateway.cancel(DIRECT, team="search").status == 200
        name = f"{FREEZES}/{made.json()['id']}"
        assert house.gateways[1].request("DELETE", name, team="platform").status == 200
        until(lambda: {one.cancel(DIRECT).status for one in house.gateways} == {200})
        assert [len(one.records("freeze")) for one in house.gateways] == [1, 0, 0]
        assert [len(one.records("thaw")) for one in house.gateways] == [0, 1, 0]


def planned(house: Fleet, gateway: RunningGateway) -> str:
    """A plan made at one gateway, once every other can show that it is ready."""
    made = gateway.request("POST", PLANS, body=json.dumps({"request": FOUND}).encode(), headers=JSON, timeout_s=60)
    assert made.status in (200, 201, 202), made.body
    name = str(made.json()["plan"])
    until(lambda: {one.request("GET", f"{PLANS}/{name}").json().get("state") for one in house.gateways} == {"ready"})
    return name


def test_a_freeze_ends_a_plan_that_another_gateway_applies(postgres: Postgres, tmp_path: Path) -> None:
    """No order starts once the freeze has answered; with the database stopped it still holds."""
    with sharing(postgres, tmp_path, latency_ms=20) as house, ThreadPoolExecutor(1) as pool:
        house.account.begin(runs_of(INVOICE, 2_000, labels=["found"]))
        name = planned(house, house.gateways[0])
        asked = pool.submit(house.gateways[2].request, "POST", f"{PLANS}/{name}/apply", timeout_s=120)
        until(lambda: house.account.arrived(Kind.CANCEL) >= 2)
        made = freeze(house.gateways[1], team="billing")
        assert made.status == 201
        then = house.account.arrived(Kind.CANCEL)
        answer = asked.result(120)
        # The order that was out when the freeze came in force may have arrived since.
        assert house.account.arrived(Kind.CANCEL) <= then + 1 < 20
        assert answer.status != 200
        postgres.stop()
        for gateway in house.gateways:
            assert gateway.cancel(DIRECT).json()["code"] == "frozen"
            assert gateway.cancel(DIRECT, team="search").status == 200


def test_a_gateway_that_stood_still_while_it_applied_a_plan_and_another_was_asked_sends_nothing_twice(
    postgres: Postgres, tmp_path: Path
) -> None:
    """Its claim is never taken over: the other refuses, and the first goes on when it is woken."""
    with sharing(postgres, tmp_path) as house, ThreadPoolExecutor(1) as pool:
        house.account.begin(runs_of(INVOICE, 250, labels=["found"]))
        name = planned(house, house.gateways[0])
        still = house.gateways[0].process
        house.account.when(Kind.CANCEL, 1, lambda: still.send_signal(signal.SIGSTOP))
        asked = pool.submit(house.gateways[0].request, "POST", f"{PLANS}/{name}/apply", timeout_s=120)
        until(lambda: house.account.arrived(Kind.CANCEL) == 1)
        until(lambda: refused(house.gateways[1], name) in ("plan_applied", "outcome_unknown"))
        assert refused(house.gateways[2], name) in ("plan_applied", "outcome_unknown")
        still.send_signal(signal.SIGCONT)
        answer = asked.result(120)
        assert (answer.status, answer.json()) == (200, {"cancelled": 250})
        assert sorted(house.account.cancelled) == sorted(ids(house.account.runs))
        assert len(house.sent) == 3


def refused(gateway: RunningGateway, plan: str) -> object:
    """The code with which a gateway refuses to apply a plan."""
    answer = gateway.request("POST", f"{PLANS}/{plan}/apply", timeout_s=60)
    assert answer.status >= 400, answer.body
    return answer.json()["code"]


def test_a_key_that_is_used_once_is_used_once_in_the_fleet(postgres: Postgres, tmp_path: Path) -> None:
    """The same Idempotency-Key from 100 callers over three gateways: one send, 100 true answers."""
    with sharing(postgres, tmp_path, latency_ms=300) as house:
        house.account.begin(runs_of(INVOICE, 3, labels=["direct"]))
        target = f"/v2/workflows/runs?{DIRECT}"
        once = {"Idempotency-Key": "tonight-1"}

        def asked(number: int) -> Answer:
            """One of the callers; it comes again where there was no place for it."""
            while True:
                answer = house.gateways[number % 3].request(target=target, headers=once, timeout_s=60)
                if answer.status != 429:
                    return answer
                time.sleep(0.1)

        with ThreadPoolExecutor(100) as pool:
            answers = list(pool.map(asked, range(100)))
        assert {(one.status, one.body) for one in answers} == {(200, b'{"cancelled":3}')}
        assert len(house.sent) == 1
        other = house.gateways[2].request(target=target.replace("count=50", "count=49"), headers=once)
        assert (other.status, other.json()["code"]) == (422, "idempotency_key_reused")
