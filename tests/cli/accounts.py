"""A gateway, the account behind it, and a person who may cancel runs of one team there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.simulator.core import Simulator
from gateway.simulator.runs import Run, make_runs
from gateway.simulator.server import SimulatorServer
from tests.cli.running import Done, command
from tests.support.gateway import REAL_TOKEN, RunningGateway, Setup
from tests.support.proxies import HeldAnswers

HOST = "https://billing.example.com/api"
INVOICE = f"{HOST}/invoice"

POLICY = f"""\
version: 1
name: billing
teams: [billing]
allow:
  - id: own
    workflowUrl: {{prefix: ["{HOST}"]}}
    label: {{any: true}}
    created: {{any: true}}
    count: {{any: true}}
    resolve: true
    runs: {{max: 150, older_than: 5m}}
  - id: own-runs
    workflowRunIds: {{max: 20}}
    workflowUrl: {{prefix: ["{HOST}"]}}
    resolve: true
    runs: {{max: 20}}
"""


@dataclass
class Account:
    """A gateway, the account behind it, and the environment of a person who may call it."""

    gateway: RunningGateway
    server: SimulatorServer
    answers: HeldAnswers
    before: tuple[Run, ...]

    @property
    def environment(self) -> dict[str, str]:
        """Where the gateway is, and the key."""
        return {"QSTASH_GATEWAY_URL": self.gateway.url, "QSTASH_GATEWAY_KEY": self.gateway.key()}

    @property
    def cancelled(self) -> tuple[str, ...]:
        """What upstream cancelled."""
        return self.server.simulator.cancelled

    def meant(self, url: str, *, older_ms: int = 300_000, label: str | None = None) -> list[str]:
        """The running runs of exactly this URL, oldest first."""
        latest = self.before[-1].created_ms + 30_000 - older_ms
        return [
            run.run_id
            for run in self.before
            if run.url == url and run.running and run.created_ms <= latest and (label is None or label in run.labels)
        ]

    def cancel(self, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
        """Runs the command where nobody can be asked."""
        return command("cancel", *arguments, env={**self.environment, **(env or {})})


@contextmanager
def an_account(directory: Path, *, runs: int = 300, latency_ms: int = 0, policy: str = POLICY) -> Iterator[Account]:
    """So many runs of three teams, half a minute apart, and a gateway whose files are in that new directory."""
    made = make_runs(runs, time.time_ns() // 1_000_000, seed=0)
    directory.mkdir()
    with (
        SimulatorServer(Simulator(made), token=REAL_TOKEN, latency_ms=latency_ms) as server,
        HeldAnswers(server.port) as answers,
    ):
        (directory / "read-token").write_text(server.read_token)
        (directory / "read-token").chmod(0o600)
        setup = Setup(
            answers.url, directory, policies={"billing.yaml": policy}, upstream=", read_token: {file: read-token}"
        )
        with RunningGateway(setup) as gateway:
            yield Account(gateway, server, answers, made)
