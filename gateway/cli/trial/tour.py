"""The tour of `demo`: four requests, and whether what the simulator cancelled is what policy allows."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlencode, urlsplit

from gateway.app import Gateway

URL = "https://billing.example.com/api/invoice"
CAP = 50


class Run(Protocol):
    """A run of the simulator."""

    @property
    def run_id(self) -> str:
        """Its ID."""

    @property
    def url(self) -> str:
        """The URL of its workflow."""

    @property
    def running(self) -> bool:
        """Whether it can still be cancelled."""


class Simulator(Protocol):
    """The simulated upstream as the tour sees it."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Every run, with its state now."""


@dataclass(frozen=True, slots=True)
class Tour:
    """Where to play, with which key, against which runs."""

    url: str
    key: str
    simulator: Simulator


@dataclass(frozen=True, slots=True)
class _Stop:
    title: str
    query: list[tuple[str, str]]
    status: int
    allowed: frozenset[str]
    most: int


async def take_tour(gateway: Gateway, tour: Tour) -> int:
    """Serves while the tour is played; returns 0 if every step cancelled just what policy allows, else 1."""
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
    print("\nWhat was cancelled is what policy allows." if good else "\nNOT what policy allows.")
    return 0 if good else 1


def _play(tour: Tour) -> bool:
    results = [_step(tour, stop) for stop in _stops(_running(tour))]
    return all(results)


def _running(tour: Tour) -> dict[str, str]:
    return {run.run_id: run.url for run in tour.simulator.runs if run.running}


def _stops(running: dict[str, str]) -> list[_Stop]:
    own = [run_id for run_id, url in running.items() if url == URL]
    named = [run_id for run_id in own if run_id.startswith("wfr_billing_")][:2]
    exact = [("workflowUrl", URL), ("workflowUrlExactMatch", "true")]
    nothing: frozenset[str] = frozenset()
    return [
        _Stop("Allowed: two runs by ID", [("workflowRunIds", run_id) for run_id in named], 200, frozenset(named), 2),
        _Stop("Capped: the runs of one exact URL, 100 asked", [*exact, ("count", "100")], 200, frozenset(own), CAP),
        _Stop("Refused: a URL prefix, which has no boundary", [("workflowUrl", URL)], 403, nothing, 0),
        _Stop("Refused: nothing named, which means everything", [("count", "100")], 403, nothing, 0),
    ]


def _step(tour: Tour, stop: _Stop) -> bool:
    before = _running(tour)
    status, answer = _delete(tour, stop.query)
    gone = before.keys() - _running(tour).keys()
    good = status == stop.status and gone <= stop.allowed and len(gone) <= stop.most and bool(gone) == bool(stop.most)
    print(f"\n{stop.title}\n  DELETE /v2/workflows/runs?{urlencode(stop.query)[:100]}\n  {status} {answer}")
    print(f"  The simulator's ledger: {len(gone)} of {len(before)} running runs cancelled.{'' if good else ' WRONG'}")
    return good


def _delete(tour: Tour, query: list[tuple[str, str]]) -> tuple[int, str]:
    connection = http.client.HTTPConnection(urlsplit(tour.url).netloc, timeout=10)
    try:
        target = f"/v2/workflows/runs?{urlencode(query)}"
        connection.request("DELETE", target, headers={"Authorization": f"Bearer {tour.key}"})
        response = connection.getresponse()
        members = json.loads(response.read())
    finally:
        connection.close()
    return response.status, str(members.get("error", members))
