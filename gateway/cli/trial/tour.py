"""The tour of `demo`: six requests, and the check that the simulator cancelled what policy allows."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from gateway.app import Gateway
from gateway.core.errors import counted

URL = "https://billing.example.com/api/invoice"
CAP = 50
ON_CALL_URL = "https://search.example.com/api"
PLANS = "/gateway/v1/plans"
RUNS = "/v2/workflows/runs"

Members = dict[str, object]


class Run(Protocol):
    """A run of the simulator."""

    @property
    def run_id(self) -> str:
        """The run's ID."""

    @property
    def url(self) -> str:
        """The URL of the run's workflow."""

    @property
    def running(self) -> bool:
        """True if the run can still be cancelled."""


class Simulator(Protocol):
    """The simulated upstream as the tour sees it."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run in its present state."""


@dataclass(frozen=True, slots=True)
class Tour:
    """The address, the keys and the runs of one tour.

    `on_call` is None if policies give those on call no rule; `caps` says that `count` bounds what upstream cancels.
    """

    url: str
    key: str
    on_call: str | None
    simulator: Simulator
    caps: bool


@dataclass(frozen=True, slots=True)
class _Stop:
    title: str
    query: list[tuple[str, str]]
    status: int
    allowed: frozenset[str]
    most: int


async def take_tour(gateway: Gateway, tour: Tour) -> int:
    """Serve while the tour is played. Return 0 if every step cancelled just what policy allows, else 1."""
    ready = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(gateway.serve(lambda: ready.set_result(None)))
    await asyncio.wait({serving, ready}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving  # it could not begin, and raises why
    try:
        good = await asyncio.to_thread(_play, tour)
    finally:
        signal.raise_signal(signal.SIGTERM)
        await serving
    kept = "is what policy allows" if tour.caps else "is what policy can promise under this contract"
    print(f"\nWhat was cancelled {kept}." if good else "\nNOT what policy allows.")
    return 0 if good else 1


def _play(tour: Tour) -> bool:
    results = [_step(tour, stop) for stop in _stops(_running(tour), caps=tour.caps)]
    return all(results) and (tour.on_call is None or _plan_and_apply(tour, tour.on_call))


def _running(tour: Tour) -> dict[str, str]:
    return {run.run_id: run.url for run in tour.simulator.runs if run.running}


def _stops(running: dict[str, str], *, caps: bool) -> list[_Stop]:
    own = [run_id for run_id, url in running.items() if url == URL]
    named = [run_id for run_id in own if run_id.startswith("wfr_billing_")][:2]
    exact = [("workflowUrl", URL), ("workflowUrlExactMatch", "true")]
    nothing: frozenset[str] = frozenset()
    capped = "Capped: the runs of one exact URL, 100 asked"
    if not caps:
        capped = "Advisory: the runs of one exact URL; a cap of 50 bounds nothing under this contract"
    return [
        _Stop("Allowed: two runs by ID", [("workflowRunIds", run_id) for run_id in named], 200, frozenset(named), 2),
        _Stop(capped, [*exact, ("count", "100")], 200, frozenset(own), CAP if caps else len(own)),
        _Stop("Refused: a URL prefix, which has no boundary", [("workflowUrl", URL)], 403, nothing, 0),
        _Stop("Refused: nothing named, which means everything", [("count", "100")], 403, nothing, 0),
    ]


def _step(tour: Tour, stop: _Stop) -> bool:
    before = _running(tour)
    status, members = _ask(tour, tour.key, "DELETE", f"{RUNS}?{urlencode(stop.query)}")
    gone = before.keys() - _running(tour).keys()
    good = status == stop.status and gone <= stop.allowed and len(gone) <= stop.most and bool(gone) == bool(stop.most)
    print(f"\n{stop.title}\n  DELETE {RUNS}?{urlencode(stop.query)[:100]}\n  {status} {_said(members)}")
    _ledger(len(gone), len(before), good=good)
    return good


def _plan_and_apply(tour: Tour, key: str) -> bool:
    """Play the two steps of a person on call: a plan cancels nothing; applied, it cancels exactly its runs."""
    before = _running(tour)
    request = f"DELETE {RUNS}?{urlencode([('workflowUrl', ON_CALL_URL + '/')])}"
    status, plan = _ask(tour, key, "POST", PLANS, {"request": request})
    found = plan.get("runs", 0)
    good = status == http.client.CREATED and _running(tour) == before
    print(f"\nPlanned: which runs one URL and all below it mean, under any contract\n  POST {PLANS}")
    print(f"  {status} {counted(int(str(found)), 'run') + ' found' if good else _said(plan)}")
    _ledger(len(before) - len(_running(tour)), len(before), good=good)
    path = f"{PLANS}/{plan.get('plan')}/apply"
    status, result = _ask(tour, key, "POST", path)
    gone = before.keys() - _running(tour).keys()
    meant = all(before[run_id].startswith(f"{ON_CALL_URL}/") for run_id in gone)
    good = good and status == http.client.OK and meant and 0 < len(gone) == found == result.get("cancelled")
    print(f"\nApplied: exactly those, by their IDs\n  POST {path}\n  {status} {_said(result)}")
    _ledger(len(gone), len(before), good=good)
    return good


def _ledger(gone: int, running: int, *, good: bool) -> None:
    print(f"  The simulator's ledger: {gone} of {running} running runs cancelled.{'' if good else ' WRONG'}")


def _said(members: Members) -> object:
    return members.get("error", members)


def _ask(tour: Tour, key: str, method: str, target: str, body: Members | None = None) -> tuple[int, Members]:
    connection = http.client.HTTPConnection(urlsplit(tour.url).netloc, timeout=30)
    headers = {"Authorization": f"Bearer {key}"} | ({} if body is None else {"Content-Type": "application/json"})
    try:
        connection.request(method, target, body=None if body is None else json.dumps(body), headers=headers)
        response = connection.getresponse()
        members = json.loads(response.read())
    finally:
        connection.close()
    return response.status, members if isinstance(members, dict) else {}
