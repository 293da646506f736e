"""What is left of a budget is shown wherever people ask, and stands on every answer under its rule."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gateway.simulator.server import SimulatorServer
from tests.execution.resolve.account import MovingAccount, runs_of
from tests.execution.resolve.house import exactly
from tests.support.gateway import Answer, RunningGateway, Setup
from tests.support.state.fixtures import postgresql_settings
from tests.support.state.postgres import Postgres
from tests.support.waiting import until

URL, PLAIN, NONE, MANY = (f"https://jobs.example.com/api/{name}" for name in ("few", "plain", "none", "many"))
POLICY = f"""\
version: 1
name: own
teams: [billing, search]
allow:
  - {{id: few, workflowUrl: {{exact: ["{URL}", "{NONE}", "{MANY}"]}}, resolve: true, runs: {{max: 4}},
     budget: {{runs: 10, requests: 9, per: 24h, shared: team}}}}
  - {{id: plain, workflowUrl: {{exact: ["{PLAIN}"]}}, resolve: true, runs: {{max: 4}}}}
"""
JSON = {"Content-Type": "application/json"}
PLANS, WHOAMI, EXPLAIN = "/gateway/v1/plans", "/gateway/v1/whoami", "/gateway/v1/explain"
LONGEST_S = 6.0
"""The two seconds of a page whose store does not answer, on a busy machine."""


@dataclass
class House:
    """A gateway with a budget, and the account behind it."""

    setup: Setup
    account: MovingAccount = field(default_factory=MovingAccount)
    gateway: RunningGateway = field(init=False)

    def ask(self, method: str, target: str, body: object = None, *, team: str = "billing") -> Answer:
        """One call."""
        content = None if body is None else json.dumps(body).encode()
        return self.gateway.request(method, target, body=content, headers=JSON if content else {}, team=team)

    def plan(self, url: str = URL) -> Answer:
        """A plan of all runs of a workflow."""
        return self.ask("POST", PLANS, {"request": exactly(url)})

    def shown(self, team: str = "billing") -> dict[str, object]:
        """The budgets of `whoami`, by rule."""
        rules = self.ask("GET", WHOAMI, team=team).json()["rules"]
        assert isinstance(rules, list)
        return {rule["rule"]: rule.get("budget") for rule in rules}

    def runs_left(self) -> object:
        """How many runs `whoami` says are left."""
        return self.shown()["own/few"]["left"]["runs"]  # type: ignore[index]


def begun(stack: ExitStack, directory: Path, state: str) -> House:
    """A running gateway with this state."""
    account = MovingAccount()
    server = stack.enter_context(SimulatorServer(account))
    place = directory / "gateway"
    place.mkdir()
    (place / "read-token").write_text(server.read_token)
    setup = Setup(
        server.url,
        place,
        policies={"own.yaml": POLICY},
        teams=("billing", "search", "platform"),
        more=state + "operators: {teams: [platform]}\n",
        upstream=", read_token: {file: read-token}",
        contract="2026-09",
        token=server.token,
        limits="{per_principal: {in_flight: 64, requests_per_minute: 0}}",
    )
    house = House(setup, account)
    house.gateway = stack.enter_context(RunningGateway(setup))
    return house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A gateway whose state is a file."""
    with ExitStack() as stack:
        yield begun(stack, tmp_path, 'state: {url: "sqlite:state.db"}\n')


def left_on(answer: Answer) -> str:
    """The runs that the header of an answer says are left."""
    return answer.headers.get("gateway-budget", "").partition(";")[0]


def test_pages_say_what_is_left_to_the_caller(house: House) -> None:
    """`whoami`, `explain` and plans, before and after a cancel; another team has its own, other rules have none."""
    whole = {"runs": 10, "requests": 9, "per": "1d", "shared": "team"}
    budget = house.shown()["own/few"]
    assert isinstance(budget, dict)
    assert {name: budget[name] for name in whole} == whole
    assert (budget["left"]["runs"], budget["left"]["requests"]) == (10, 9)
    assert house.shown()["own/plain"] is None
    house.account.begin(runs_of(URL, 3))
    planned = house.plan()
    assert planned.json()["budget"]["left"]["runs"] == 10  # type: ignore[index]
    assert house.ask("POST", f"{PLANS}/{planned.json()['plan']}/apply").json() == {"cancelled": 3}
    until(lambda: house.runs_left() == 7)
    assert house.shown("search")["own/few"]["left"]["runs"] == 10  # type: ignore[index]
    explained = house.ask("POST", EXPLAIN, {"request": exactly(URL)}).json()["budget"]
    assert (explained["runs"], explained["left"]["runs"], explained["left"]["requests"]) == (10, 7, 8)  # type: ignore[index]
    assert "budget" not in house.ask("POST", EXPLAIN, {"request": exactly(PLAIN)}).json()
    ended = house.ask("GET", f"{PLANS}/{planned.json()['plan']}").json()
    assert (ended["state"], "budget" in ended) == ("applied", False)


def test_every_answer_under_the_rule_says_what_is_left(house: House) -> None:
    """Also those that end before anything is taken: previews, plans, look-ups that find nothing or fail, freezes."""
    house.account.begin([*runs_of(URL, 3), *runs_of(MANY, 5, name="many")])
    target = f"/v2/workflows/runs?{exactly(URL)}"
    preview = house.ask("DELETE", f"/preview{target}")
    assert (preview.status, left_on(preview)) == (409, "left=10")
    planned = house.plan()
    plan = f"{PLANS}/{planned.json()['plan']}"
    assert (planned.status, left_on(planned), left_on(house.ask("GET", plan))) == (201, "left=10", "left=10")
    nothing = house.ask("DELETE", f"/v2/workflows/runs?{exactly(NONE)}")
    assert (nothing.json(), left_on(nothing)) == ({"cancelled": 0}, "left=10")
    many = house.ask("DELETE", f"/v2/workflows/runs?{exactly(MANY)}")
    assert (many.status, many.json()["code"], left_on(many)) == (403, "policy_denied", "left=10")
    frozen = house.ask("POST", "/gateway/v1/freezes", {"reason": "x"}, team="platform").json()
    for refused in (house.ask("DELETE", target), house.ask("POST", f"{plan}/apply")):
        assert (refused.json()["code"], left_on(refused)) == ("frozen", "left=10")
    house.ask("DELETE", f"/gateway/v1/freezes/{frozen['id']}", team="platform")
    assert left_on(house.ask("POST", f"{plan}/apply")) == "left=7"
    again = house.ask("POST", f"{plan}/apply")
    # Its plan is over before anybody asks which rule it stands under.
    assert (again.json()["code"], left_on(again)) == ("plan_applied", "")
    assert left_on(house.ask("DELETE", f"/v2/workflows/runs?{exactly(PLAIN)}")) == ""
    assert left_on(house.ask("DELETE", f"/v2/workflows/runs?{exactly('https://other.example/')}")) == ""


def test_a_store_that_is_away_leaves_it_out_and_the_page_is_answered(postgres: Postgres, tmp_path: Path) -> None:
    """The page says that it does not know; an answer without the header comes within the deadline of one call."""
    settings = asyncio.run(postgresql_settings(postgres))
    with ExitStack() as stack:
        state = f'state: {{url: "{settings.url}", password: {{file: "{settings.password}"}}}}\n'
        house = begun(stack, tmp_path, state)
        house.account.begin(runs_of(URL, 3))
        assert house.runs_left() == 10
        postgres.stop()
        started = time.monotonic()
        budget = house.shown()["own/few"]
        assert isinstance(budget, dict)
        assert (budget["runs"], budget["left"]) == (10, None)
        explained = house.ask("POST", EXPLAIN, {"request": exactly(URL)}).json()["budget"]
        assert explained["left"] is None  # type: ignore[index]
        away = house.ask("DELETE", f"/v2/workflows/runs?{exactly(URL)}")
        assert (away.json()["code"], left_on(away)) == ("state_unavailable", "")
        assert time.monotonic() - started < LONGEST_S
