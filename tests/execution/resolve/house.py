"""A gateway, the account behind it, and what both say afterwards; and the rules of the teams that live there."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlencode

from gateway.simulator.account import LogManner
from gateway.simulator.exchange import Call
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer
from tests.execution.resolve.account import API, INVOICE, SEARCH, MovingAccount, named
from tests.execution.resolve.laws import violations
from tests.support.gateway import Answer, RunningGateway
from tests.support.proxies import HeldAnswers
from tests.support.waiting import until


class Teams:
    """Teams that have one rule each, or two, named for what they may do."""

    NAMES: ClassVar = (
        "below",
        "capped",
        "by-id",
        "all",
        "forced",
        "oncall",
        "search",
        "second",
        "third",
        "fourth",
        "fifth",
    )

    POLICIES: ClassVar = {
        "guard.yaml": """\
version: 1
name: guard
teams: ["*"]
deny:
  - {id: locked, label: {any_of: [locked]}, message: "Locked runs stay."}
""",
        "teams.yaml": f"""\
version: 1
name: teams
teams: [below, second, third, fourth, fifth]
allow:
  - {{id: tree, workflowUrl: {{prefix: ["{API}"]}}, label: {{any: true}}, resolve: true, runs: {{max: 2000}}}}
""",
        "capped.yaml": f"""\
version: 1
name: capped
teams: [capped]
allow:
  - id: invoice
    workflowUrl: {{exact: ["{INVOICE}"]}}
    label: {{any_of: [nightly], optional: true}}
    count: {{cap: 5}}
    resolve: true
    runs: {{max: 20, older_than: 5m}}
""",
        "by-id.yaml": f"""\
version: 1
name: by-id
teams: [by-id]
allow:
  - id: own
    workflowRunIds: {{max: 200, prefix: [wfr_]}}
    workflowUrl: {{prefix: ["{API}"]}}
    resolve: true
    runs: {{max: 200}}
""",
        "oncall.yaml": f"""\
version: 1
name: oncall
teams: [oncall]
allow:
  - id: hundred-at-a-time
    workflowUrl: {{prefix: ["{API}"]}}
    resolve: true
    runs: {{cap: 100}}
""",
        "search.yaml": f"""\
version: 1
name: search
teams: [search]
allow:
  - id: own
    workflowUrl: {{prefix: ["{SEARCH}"]}}
    resolve: true
    runs: {{max: 50}}
""",
        "all.yaml": """\
version: 1
name: all
teams: [all]
allow:
  - {id: everything, selects: [everything], resolve: true, runs: {max: 50}}
""",
        "forced.yaml": f"""\
version: 1
name: forced
teams: [forced]
require:
  - {{id: looked-up, resolve: true, runs: {{max: 10}}}}
allow:
  - {{id: invoice, workflowUrl: {{prefix: ["{INVOICE}"]}}}}
""",
    }


def tree(*, url: str = API, **fields: object) -> str:
    """The query of a request for everything at or below a URL."""
    return urlencode({"workflowUrl": url, **fields})


def exactly(url: str, **fields: object) -> str:
    """The query of a request for one URL."""
    return urlencode({"workflowUrl": url, "workflowUrlExactMatch": "true", **fields})


def by_ids(run_ids: Iterable[str]) -> str:
    """The query of a request for these runs."""
    return urlencode([("workflowRunIds", run_id) for run_id in run_ids])


@dataclass
class House:
    """A gateway in front of a moving account. What is sent must stand on the disk when it arrives."""

    account: MovingAccount
    server: SimulatorServer
    answers: HeldAnswers
    gateway: RunningGateway
    unrecorded: list[str] = field(default_factory=list)
    _since: int = 0

    def begin(self, runs: Iterable[Run], *, log: LogManner | None = None) -> None:
        """A new account with these runs."""
        self.account.begin(runs, log=log)
        self.account.witness = self._witness
        self.unrecorded.clear()
        self._since = len(self.gateway.records())

    def _witness(self, call: Call) -> None:
        """Called when a cancel arrives, before its effect: its plan and its intent must be in the files by now."""
        if violations(self.records(), [*self.sent, call.query], open_allowed=1_000):
            self.unrecorded.append(call.query)

    def records(self, event: str | None = None, *, decision: str | None = None) -> list[dict[str, object]]:
        """The records since the account began."""
        found = self.gateway.records()[self._since :]
        found = [record for record in found if event in (None, record["event"])]
        return [record for record in found if decision in (None, record.get("decision_id"))]

    @property
    def sent(self) -> list[str]:
        """The queries that arrived, in turn."""
        return [entry.call.query for entry in self.account.ledger]

    @property
    def orders(self) -> list[list[str]]:
        """The run IDs of each cancel that arrived."""
        return [named(query) for query in self.sent]

    @property
    def cancelled(self) -> list[str]:
        """The runs that were cancelled, in turn."""
        return list(self.account.cancelled)

    def check_record(self) -> None:
        """Every cancel was planned, intended and recorded before it arrived; every intent is closed."""
        assert self.unrecorded == []
        assert not violations(self.records(), self.sent)

    def cancel(self, query: str, *, team: str = "below") -> Answer:
        """A cancel."""
        return self.gateway.request(target=f"/v2/workflows/runs?{query}", team=team, timeout_s=60)

    def preview(self, query: str, *, team: str = "below") -> Answer:
        """A preview of a cancel."""
        return self.gateway.request(target=f"/preview/v2/workflows/runs?{query}", team=team, timeout_s=60)

    def plan(self, query: str, *, team: str = "below") -> Answer:
        """A plan for a cancel."""
        asked = json.dumps({"request": query}).encode()
        headers = {"Content-Type": "application/json"}
        return self.gateway.request("POST", "/gateway/v1/plans", team=team, body=asked, headers=headers, timeout_s=60)

    def see(self, plan_id: object, *, team: str = "below") -> Answer:
        """A plan as it is now."""
        return self.gateway.request("GET", f"/gateway/v1/plans/{plan_id}", team=team)

    def apply(self, plan_id: object, *, team: str = "below") -> Answer:
        """Applies a plan."""
        return self.gateway.request("POST", f"/gateway/v1/plans/{plan_id}/apply", team=team, timeout_s=60)

    def until_recorded(self, event: str, decision: object) -> dict[str, object]:
        """The first record of an event about a decision, once it is there."""
        until(lambda: bool(self.records(event, decision=str(decision))))
        return self.records(event, decision=str(decision))[0]


def skipped(answer: Answer) -> str:
    """The `Gateway-Skipped` header."""
    return answer.headers.get("gateway-skipped", "")


def progress(answer: Answer) -> tuple[int, int, int]:
    """How many runs an answer in the middle of a plan says are cancelled, of unknown fate, and not sent."""
    found = answer.json()["progress"]
    assert isinstance(found, dict)
    return found["cancelled"], found["unknown"]["runs"], found["unsent"]["runs"]
