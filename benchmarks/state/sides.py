"""The gateways that are compared: each differs from `without` in one thing. All cancel one run by its ID."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness.configuration import RUNS_POLICY
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure
from tests.support.state.postgres import Postgres, binaries

BEFORE, WITHOUT, STATE, SQLITE, POSTGRESQL = "before", "without", "state", "budget, SQLite", "budget, PostgreSQL"

Launches = Mapping[str, Callable[[Place], Launch]]

STORE = 'state: {url: "sqlite:state.db"}\n'
_OWNER = "owner: unchecked}"
_BUDGET = f"budget: {{runs: 1000000, per: 24h}}, {_OWNER}"


@contextmanager
def server() -> Iterator[Postgres]:
    """A PostgreSQL server that makes what it commits durable. Raises: CannotMeasure."""
    found = binaries()
    if found is None:
        raise CannotMeasure("PostgreSQL is not here: pip install --require-hashes -r requirements/dev.txt.")
    running = Postgres(found, durable=True)
    try:
        yield running
    finally:
        running.end()


def unused(before: Path | None) -> dict[str, Callable[[Place], Launch]]:
    """The gateways that take nothing of a store, `before` of another checkout."""
    launches: dict[str, Callable[[Place], Launch]] = {} if before is None else {BEFORE: partial(_of, before)}
    return {**launches, WITHOUT: gateway, STATE: partial(gateway, more=STORE)}


def every(before: Path | None, postgres: Postgres) -> dict[str, Callable[[Place], Launch]]:
    """These, and those with a budget on either database."""
    return {**unused(before), SQLITE: partial(_budgeted, more=STORE), POSTGRESQL: partial(_on_server, postgres)}


def _budgeted(place: Place, *, more: str) -> Launch:
    launch = gateway(place, more=more)
    policy = place.directory / "policies" / "runs.yaml"
    policy.write_text(RUNS_POLICY.replace(_OWNER, _BUDGET))
    return launch


def _on_server(postgres: Postgres, place: Place) -> Launch:
    more = f'state: {{url: "{postgres.new_database()}", password: {{file: "{postgres.password_file}"}}}}\n'
    launch = _budgeted(place, more=more)
    config = str(place.directory / "config.yaml")
    command = [sys.executable, "-m", "gateway", "state", "migrate", "--config", config]
    subprocess.run(command, cwd=Path(__file__).parents[2], check=True, stdout=subprocess.DEVNULL)
    return launch


def _of(root: Path, place: Place) -> Launch:
    launch = gateway(place)
    return replace(launch, environment={**launch.environment, "PYTHONPATH": str(root)})
