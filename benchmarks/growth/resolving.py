"""What it costs to look up the runs that a cancel means, by the number of pages that the look-up reads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from benchmarks.growth.tables import Bench
from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.observe import cpu_s
from benchmarks.harness.requests import TOKEN, ask, delete
from gateway.simulator.asked import Contract
from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run
from gateway.simulator.server import SimulatorServer

PAGES = (1, 10, 200)
RUNS_A_PAGE = 10

READ_TOKEN = TOKEN[::-1]
_READ = "read_token: {file: read-token}"
WORKFLOW = "https://app7.example.com/api/many"
RUNAWAY = "https://app8.example.com/api/many"
"""A workflow of which one request cancels a hundred runs at most."""
_QUERY = "workflowUrl=https%3A%2F%2Fapp7.example.com%2Fapi%2Fmany-{}&workflowUrlExactMatch=true&count=2000"
_CANCELS = 20
"""As many where each is small, since CPU time is told in hundredths of a second."""
_POLICY = """\
version: 1
name: bench
description: Runs are looked up, and cancelled by their IDs.
teams: [bench]
allow:
  - id: resolved
    workflowUrl: {prefix: ["https://app7.example.com/api"]}
    label: {any: true}
    resolve: true
    runs: {max: 2000}
  - id: a-hundred
    workflowUrl: {prefix: ["https://app8.example.com/api"]}
    resolve: true
    runs: {cap: 100}
"""
"""Two thousand runs fill the 200 pages of the longest list here."""


class _Account:
    """A simulated upstream in this process, with so many runs of each of some workflows."""

    def __init__(self, workflows: int, runs: int) -> None:
        created_ms = time.time_ns() // 1_000_000 - 3_600_000
        made = [
            Run(f"wfr_bench_{workflow}_{number:012d}", f"{WORKFLOW}-{workflow}", created_ms + number)
            for workflow in range(workflows)
            for number in range(runs)
        ]
        self._simulator = Simulator(made, contract=Contract.V2025)
        self._server = SimulatorServer(self._simulator, token=TOKEN, read_token=READ_TOKEN)

    def started(self, directory: Path, cores: Cores) -> Self:
        """Answers from now on."""
        self._server.start()
        return self

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._server.port

    @property
    def running(self) -> int:
        """How many runs have not been cancelled."""
        return sum(run.running for run in self._simulator.runs)

    def stop(self) -> int:
        """Ends it; how many calls reached it that were not readings."""
        self._server.stop()
        return len(self._server.ledger)


def pages(bench: Bench) -> list[str]:
    """More and more pages; the names under which they are kept. Empty where this version looks up no runs."""
    if not can_resolve(bench.directory / "check"):
        return []
    names = {1: "1 page"} | {count: f"{count} pages" for count in PAGES[1:]}
    for count in [*PAGES] * bench.rounds:
        _resolve(bench, names[count], pages=count)
    return list(names.values())


def can_resolve(directory: Path) -> bool:
    """Whether this version of the gateway takes a rule that has runs looked up."""
    launch = resolving_gateway(Place(directory, 1, 2))
    command = [*launch.command[:3], "check", *launch.command[4:]]
    done = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **launch.environment})
    return done.returncode == 0


def resolving_gateway(place: Place) -> Launch:
    """The project with a rule that has runs looked up, and the read-only token that it is done with."""
    launch = gateway(place)
    config, token = place.directory / "config.yaml", place.directory / "read-token"
    token.write_text(READ_TOKEN + "\n")
    token.chmod(0o600)
    config.write_text(config.read_text().replace("token: {file: token}", f"token: {{file: token}}, {_READ}"))
    (place.directory / "policies" / "bench.yaml").write_text(_POLICY)
    return launch


def _resolve(bench: Bench, name: str, *, pages: int) -> None:
    """Cancels of all runs of so many pages, in an account of their own. Raises: CannotMeasure, if one still runs."""
    cancels = max(1, _CANCELS // pages)
    account = _Account(cancels, RUNS_A_PAGE * pages)
    directory = bench.directory / "resolving"
    with Instance(name, resolving_gateway, directory=directory, cores=bench.cores, stub=account.started) as instance:
        before_s, started_s = cpu_s(instance.process.pid), time.perf_counter()
        answers = {ask(instance.port, delete(_QUERY.format(number)), timeout_s=60) for number in range(cancels)}
        took_s = (time.perf_counter() - started_s) / cancels
        used_s = (cpu_s(instance.process.pid) - before_s) / cancels
        if answers != {200} or account.running:
            raise CannotMeasure(f"Cancels of {name} were answered with {answers}; {account.running} runs go on.")
        bench.samples.add(name, "took_ms", took_s * 1e3)
        bench.samples.add(name, "cpu_us", used_s * 1e6)
        sys.stderr.write(f"  {name}: {took_s * 1e3:.0f} ms\n")
