"""`demo`: the simulated upstream and the gateway with the shipped policies, ready to try with curl."""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

import gateway
from gateway.app import Gateway, build
from gateway.cli.keys import entry, new_key
from gateway.cli.trial.simulate import ABSENT, simulated
from gateway.cli.trial.tour import Tour, take_tour
from gateway.config import load_config
from gateway.log import Consoles
from gateway.policy.load import load_policies

if TYPE_CHECKING:
    from gateway.simulator.server import SimulatorServer

RUNS = 200
PORT = 8080
TOKEN_VARIABLE = "QSTASH_GATEWAY_DEMO_TOKEN"  # noqa: S105 - the name of a variable
TEAM = "billing"
OWN_URL = "https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"


@dataclass(frozen=True, slots=True)
class Demo:
    """What was made for this start: a key for each team of the policies, and the address."""

    keys: dict[str, str]
    url: str
    directory: Path


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("demo", help="try the gateway with a simulated upstream and keys made now")
    parser.add_argument("--tour", action="store_true", help="play four requests, show what was cancelled, and end")
    parser.add_argument("--port", type=int, default=None, help=f"default: {PORT}, or any free port where it is taken")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGINT or SIGTERM; with `--tour` returns 1 if the ledger is not what policy allows."""
    simulator = simulated(RUNS, "2025")
    if simulator is None:
        print(ABSENT, file=sys.stderr)
        return 2
    with (
        simulator,
        _prepared(simulator, arguments.port) as (demo, served),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        if not arguments.tour:
            runner.run(served.serve(lambda: _introduce(demo, simulator)))
            return 0
        if TEAM not in demo.keys:
            print(f"The tour plays a member of the team {TEAM}, which ./policies does not name.", file=sys.stderr)
            return 1
        return runner.run(take_tour(served, Tour(demo.url, demo.keys[TEAM], simulator.simulator)))


@contextmanager
def _prepared(simulator: SimulatorServer, port: int | None) -> Iterator[tuple[Demo, Gateway]]:
    policies = _policies()
    teams = sorted({team for rule in load_policies(policies).rules for team in rule.teams} - {"*"})
    keys = {team: new_key(f"{team}-demo") for team in teams}
    with tempfile.TemporaryDirectory(prefix="qstash-gateway-demo-") as name:
        directory = Path(name)
        chosen = _free_port() if port is None else port
        entries = "".join(f"    - {entry(key, team, f'{team}-demo')}\n" for team, key in keys.items())
        (directory / "config.yaml").write_text(
            f"version: 1\nlisten: 127.0.0.1:{chosen}\n"
            f'upstream: {{url: "{simulator.url}", token: {{env: {TOKEN_VARIABLE}}}, contract: "2025"}}\n'
            f'callers:\n  keys:\n{entries}policies: "{policies}"\naudit: {{directory: audit}}\n',
            encoding="utf-8",
        )
        os.environ[TOKEN_VARIABLE] = simulator.token
        # Checkpoints of the audit log belong to collectors, not into what a person reads here.
        with Path(os.devnull).open("wb") as nowhere:
            served = build(load_config(directory / "config.yaml"), consoles=Consoles.of(out=nowhere.fileno()))
            yield Demo(keys, f"http://127.0.0.1:{served.listener.getsockname()[1]}", directory), served


def _policies() -> Path:
    """`./policies` where present, else the copy in the wheel, else that of the source tree."""
    package = Path(gateway.__file__).parent
    for candidate in (Path("policies"), package / "_policies", package.parent / "policies"):
        if candidate.is_dir():
            return candidate.absolute()
    raise FileNotFoundError("no policies directory here, and none in this installation")


def _free_port() -> int:
    try:
        with socket.create_server(("127.0.0.1", PORT)):
            return PORT
    except OSError:
        return 0


def _introduce(demo: Demo, simulator: SimulatorServer) -> None:
    key = demo.keys.get(TEAM)
    runs = f"{demo.url}/v2/workflows/runs"
    print(f"The gateway listens on {demo.url}; behind it is a simulated QStash with {RUNS} runs.")
    print("Keys made for this start:\n" + "".join(f"  {team}: {text}\n" for team, text in demo.keys.items()))
    if key is None:
        print(
            f"No curl lines: they are for the team {TEAM}, which ./policies does not name.\nEnd with Ctrl-C.",
            flush=True,
        )
        return
    print(
        f"1. Allowed, and capped to 50 runs of exactly one workflow:\n  {_curl(key, f'{runs}?workflowUrl={OWN_URL}')}"
    )
    print(f"2. Refused, because a prefix also hits neighbours:\n  {_curl(key, f'{runs}?workflowUrl={OWN_URL}', '')}")
    print(f"3. Cancel everything, as clients send it by accident; refused:\n  {_curl(key, f'{runs}?count=100', '')}\n")
    print(f"What the simulator really cancelled: curl -s {simulator.url}/_simulator/ledger")
    print(f"The record: {_command()} audit show {demo.directory / 'audit'}\nEnd with Ctrl-C.", flush=True)


def _command() -> str:
    """How this process was started, to be typed again."""
    return "python -m gateway" if sys.argv[0].endswith("__main__.py") else sys.argv[0]


def _curl(key: str, url: str, more: str = "&workflowUrlExactMatch=true") -> str:
    return f"curl -sS -X DELETE -H 'Authorization: Bearer {key}' '{url}{more}'"
