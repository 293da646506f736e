"""The `demo` command, which runs the simulated upstream and the gateway, to try with curl.

The policies are those in `./policies`, or else the shipped ones.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import shutil
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
from gateway.cli.trial.simulate import ABSENT, CONTRACTS, port, simulated
from gateway.cli.trial.tour import ON_CALL_URL, Tour, take_tour
from gateway.config import load_config
from gateway.log import Consoles
from gateway.policy.format.load import CASES_SUFFIX, SUFFIX
from gateway.serving.reload import checked_policies

if TYPE_CHECKING:
    from gateway.simulator.server import SimulatorServer

RUNS = 200
PORT, CONSOLE_PORT = 8080, 8082
TOKEN_VARIABLE = "QSTASH_GATEWAY_DEMO_TOKEN"  # noqa: S105 - the name of a variable
READ_TOKEN_VARIABLE = "QSTASH_GATEWAY_DEMO_READ_TOKEN"  # noqa: S105 - as well
TEAM, ON_CALL, OPERATORS = "billing", "oncall", "platform"
OWN_URL = "https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice"


@dataclass(frozen=True, slots=True)
class Place:
    """The directory of the demo's configuration, policies and record, and whether it stays when the demo ends."""

    directory: Path
    kept: bool

    @property
    def record(self) -> Path:
        """The audit directory."""
        return self.directory / "audit"


@dataclass(frozen=True, slots=True)
class Demo:
    """The parts that were made for this start: keys, addresses, and the directory.

    There is a key for each team of the policies, and one for operators. `contract` is the one that upstream speaks;
    `looks_up` says that a rule of those on call has runs looked up. The tour has no `console`.
    """

    keys: dict[str, str]
    url: str
    console: str | None
    place: Place
    contract: str
    looks_up: bool


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("demo", help="try the gateway with a simulated upstream and keys made now")
    parser.add_argument("--tour", action="store_true", help="play six requests, show what was cancelled, and end")
    parser.add_argument("--contract", choices=CONTRACTS, default=CONTRACTS[0], help="what the simulated QStash speaks")
    parser.add_argument("--port", type=port, default=None, help=f"default: {PORT}, or any free port where it is taken")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="a new directory for its record and files, which stay")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM. With `--tour`, return 1 if the ledger is not what policy allows."""
    simulator = simulated(RUNS, arguments.contract)
    if simulator is None:
        print(ABSENT, file=sys.stderr)
        return 2
    with (
        simulator,
        _place(arguments.keep) as directory,
        _prepared(simulator, arguments, directory) as (demo, served),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        if not arguments.tour:
            runner.run(served.serve(lambda: _introduce(demo, simulator)))
            print(_left_behind(demo) if demo.place.kept else "The demo has ended, and its record is gone with it.")
            return 0
        if TEAM not in demo.keys:
            print(f"The tour plays a member of the team {TEAM}, which ./policies does not name.", file=sys.stderr)
            return 1
        on_call = demo.keys[ON_CALL] if demo.looks_up else None
        print(_left_behind(demo))
        tour = Tour(demo.url, demo.keys[TEAM], on_call, simulator.simulator, caps=demo.contract == CONTRACTS[0])
        return runner.run(take_tour(served, tour))


@contextmanager
def _place(keep: Path | None) -> Iterator[Place]:
    """Yield the directory for everything that a demo writes: one that is removed at the end, or the one to keep.

    Raises: OSError if the directory to keep is not empty, or cannot be made.
    """
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="qstash-gateway-demo-") as name:
            yield Place(Path(name), kept=False)
        return
    keep.mkdir(mode=0o700, exist_ok=True)
    if any(keep.iterdir()):
        raise OSError(f"{keep} is not empty; a demo is kept in a directory of its own")
    yield Place(keep.absolute(), kept=True)


@contextmanager
def _prepared(
    simulator: SimulatorServer, arguments: argparse.Namespace, place: Place
) -> Iterator[tuple[Demo, Gateway]]:
    given, port, contract = _policies(), arguments.port, arguments.contract
    policies = checked_policies(given)
    keys = {team: new_key(f"{team}-demo") for team in sorted(policies.teams | {OPERATORS})}
    directory = place.directory
    _copy(given, directory / "policies")
    looks_up = any(rule.resolution is not None for rule in policies.for_team(ON_CALL).enforced.allows)
    chosen = _free_port(PORT) if port is None else port
    entries = "".join(f"    - {entry(key, team, f'{team}-demo')}\n" for team, key in keys.items())
    (directory / "config.yaml").write_text(
        f"version: 1\nlisten: 127.0.0.1:{chosen}\n"
        f'upstream: {{url: "{simulator.url}", token: {{env: {TOKEN_VARIABLE}}}, '
        f'read_token: {{env: {READ_TOKEN_VARIABLE}}}, contract: "{contract}"}}\n'
        f"callers:\n  keys:\n{entries}policies: policies\naudit: {{directory: audit}}\n"
        f"{'' if arguments.tour else _for_people(port)}",
        encoding="utf-8",
    )
    os.environ |= {TOKEN_VARIABLE: simulator.token, READ_TOKEN_VARIABLE: simulator.read_token}
    # Checkpoints of the audit log are for collectors, and not for the person who reads the terminal.
    with Path(os.devnull).open("wb") as nowhere:
        served = build(load_config(directory / "config.yaml"), consoles=Consoles.of(out=nowhere.fileno()))
        [url, *console] = [
            f"http://127.0.0.1:{bound.socket.getsockname()[1]}" for bound in (*served.listeners, *served.console)
        ]
        yield Demo(keys, url, next(iter(console), None), place, contract, looks_up), served


def _copy(given: Path, directory: Path) -> None:
    """Copy the policies to the demo's directory, without their cases, which have been judged."""
    directory.mkdir()
    for path in given.glob(f"*{SUFFIX}"):
        if not path.name.endswith(CASES_SUFFIX):
            shutil.copyfile(path, directory / path.name)


def _policies() -> Path:
    """Return `./policies` if it is there, or else the copy in the wheel, or else that of the source tree."""
    package = Path(gateway.__file__).parent
    for candidate in (Path("policies"), package / "_policies", package.parent / "policies"):
        if candidate.is_dir():
            return candidate.absolute()
    raise FileNotFoundError("no policies directory here, and none in this installation")


def _for_people(port: int | None) -> str:
    """Return the keys of the configuration that the console needs; where a port was chosen, its own is any."""
    chosen = _free_port(CONSOLE_PORT) if port is None else 0
    state = f'state: {{url: "sqlite:state.db"}}\noperators: {{teams: [{OPERATORS}]}}\n'
    return f'console: {{listen: "127.0.0.1:{chosen}"}}\n{state}'


def _free_port(wanted: int) -> int:
    try:
        with socket.create_server(("127.0.0.1", wanted)):
            return wanted
    except OSError:
        return 0


def _introduce(demo: Demo, simulator: SimulatorServer) -> None:
    key = demo.keys.get(TEAM)
    runs = f"{demo.url}/v2/workflows/runs"
    print(f"The gateway listens on {demo.url}; behind it is a simulated QStash with {RUNS} runs.")
    roles = {team: f"{team} (operators)" if team == OPERATORS else team for team in demo.keys}
    print("Keys made for this start:\n" + "".join(f"  {roles[team]}: {text}\n" for team, text in demo.keys.items()))
    print(f"The console, for people: {demo.console}/ (log in with one of these keys)\n")
    if key is None:
        print(
            f"No curl lines: they are for the team {TEAM}, which ./policies does not name.\n"
            f"The record: {_show(demo)}\n{_left_behind(demo)}\nEnd with Ctrl-C.",
            flush=True,
        )
        return
    capped = "capped to 50 runs of" if demo.contract == CONTRACTS[0] else "although its cap of 50 is advisory now:"
    print(f"1. Allowed, {capped} exactly one workflow:\n  {_curl(key, f'{runs}?workflowUrl={OWN_URL}')}")
    print(f"2. Refused, because a prefix also hits neighbours:\n  {_curl(key, f'{runs}?workflowUrl={OWN_URL}', '')}")
    print(f"3. Cancel everything, as clients send it by accident; refused:\n  {_curl(key, f'{runs}?count=100', '')}")
    if demo.looks_up:
        print(f"4. On call: which runs a cancel means, looked up and cancelled by ID:\n  {_dry_run(demo)}")
        asked = f"{demo.url}/v2/workflows/dlq/restart?workflowUrl={OWN_URL}"
        line = _curl(demo.keys[ON_CALL], asked, "", "POST")
        print(f"5. On call: the failed runs of one workflow start again:\n  {line}")
    print(f"\nWhat the simulator really cancelled: curl -s {simulator.url}/_simulator/ledger")
    print(f"The record: {_show(demo)}\n{_left_behind(demo)}\nEnd with Ctrl-C.", flush=True)


def _show(demo: Demo) -> str:
    """Return the command that shows the record."""
    return f"{_command()} audit show {shlex.quote(str(demo.place.record))}"


def _left_behind(demo: Demo) -> str:
    """Return the sentence on what becomes of the record when the demo ends."""
    if demo.place.kept:
        return f"The record stays: {_show(demo)}"
    return "The record goes when the demo ends; demo --keep DIR keeps it."


def _dry_run(demo: Demo) -> str:
    where = f"QSTASH_GATEWAY_URL={demo.url} QSTASH_GATEWAY_KEY={demo.keys[ON_CALL]}"
    return f"{where} {_command()} cancel --prefix {ON_CALL_URL} --dry-run"


def _command() -> str:
    """Return how this program is called, from any directory."""
    started = Path(sys.argv[0])
    if started.name != "__main__.py":
        return shlex.quote(str(started.absolute()))
    installed = Path(sys.executable).with_name("qstash-gateway")
    if installed.exists():
        return shlex.quote(str(installed))
    return f"{shlex.quote(sys.executable)} -m gateway"


def _curl(key: str, url: str, more: str = "&workflowUrlExactMatch=true", method: str = "DELETE") -> str:
    return f"curl -sS -X {method} -H 'Authorization: Bearer {key}' '{url}{more}'"
