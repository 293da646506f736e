"""The `simulate` command, which runs the simulated upstream on a port until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from typing import TYPE_CHECKING

from gateway.cli.output import fault_in_words
from gateway.core.errors import counted

if TYPE_CHECKING:
    from gateway.simulator.server import SimulatorServer

CONTRACTS = ("2025", "2026-09")
"""The contracts that the simulator can speak, the newest last."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
MAX_PORT, MAX_DIGITS = 65_535, 9
ABSENT = "This installation has no simulator: it is left out of the image. Install qstash-gateway from its wheel."


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("simulate", help="run a simulated QStash upstream on 127.0.0.1")
    parser.add_argument("--port", type=port, default=8081, help="0 takes a free port (default: 8081)")
    parser.add_argument("--contract", choices=CONTRACTS, default=CONTRACTS[-1], help="version of the contract")
    parser.add_argument("--runs", type=_natural, default=200, metavar="N", help="runs to begin with (default: 200)")
    parser.add_argument("--latency-ms", type=_natural, default=0, metavar="N", help="least time of every answer")
    parser.add_argument("--token", help="the full token to accept (default: made at this start)")
    parser.add_argument("--read-token", metavar="TOKEN", help="the read-only token to accept (default: made as well)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGINT or SIGTERM, then return 0. Return 1 if the port is taken, 2 if there is no simulator."""
    try:
        server = simulated(
            arguments.runs,
            arguments.contract,
            token=arguments.token,
            read_token=arguments.read_token,
            port=arguments.port,
            latency_ms=arguments.latency_ms,
        )
    except (OSError, OverflowError) as exc:
        print(f"Cannot listen on port {arguments.port}: {fault_in_words(exc)}", file=sys.stderr)
        return 1
    if server is None:
        print(ABSENT, file=sys.stderr)
        return 2
    # The signals are blocked before the server's thread exists, so that only sigwait receives them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    with server:
        print(f"Simulated upstream ({arguments.contract}, {counted(arguments.runs, 'run')}): {server.url}")
        print(f"Token: {server.token}")
        print(f"Read-only token: {server.read_token}")
        print(f"Ledger: {server.url}/_simulator/ledger", flush=True)
        signal.sigwait(STOP_SIGNALS)
    return 0


def simulated(
    runs: int,
    contract: str,
    *,
    token: str | None = None,
    read_token: str | None = None,
    port: int = 0,
    latency_ms: int = 0,
) -> SimulatorServer | None:
    """Return the simulated upstream with `runs` runs, not started; None if this installation has no simulator.

    Raises: OSError if the port is taken; OverflowError if there is no such port.
    """
    try:
        from gateway.simulator.asked import Contract
        from gateway.simulator.core import Simulator
        from gateway.simulator.runs import make_runs
        from gateway.simulator.server import SimulatorServer
    except ModuleNotFoundError as exc:
        if not (exc.name or "").startswith("gateway.simulator"):
            raise
        return None
    made = make_runs(runs, time.time_ns() // 1_000_000, seed=0)
    simulator = Simulator(made, contract=Contract(contract))
    return SimulatorServer(simulator, token=token, read_token=read_token, port=port, latency_ms=latency_ms)


def port(text: str) -> int:
    """Read the number of a port for argparse. Raises: ArgumentTypeError if it is not one."""
    number = _natural(text)
    if number > MAX_PORT:
        raise argparse.ArgumentTypeError(f"a port is at most {MAX_PORT}")
    return number


def _natural(text: str) -> int:
    # Many digits would take long to read, and no option needs so many.
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS):
        raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, in at most {MAX_DIGITS} digits")
    return int(text)
