"""The `serve` command, which runs the gateway."""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop

from gateway.app import build
from gateway.config import load_config
from gateway.files.watch import fingerprint, fingerprints
from gateway.log import Consoles
from gateway.process import NO_THREAD, unblock_standard_error, word
from gateway.serving.reload import Files
from gateway.serving.server import StopSignals
from gateway.serving.sockets import Bound, shown


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("serve", help="run the gateway")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT, then return 0."""
    unblock_standard_error()
    consoles = Consoles.of()
    consoles.take_over()
    # SIGHUP means "reload". Until there is something to reload, it must not end the process.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # The fingerprint is taken before the configuration is read, so that no change in between is missed.
    before = fingerprint(arguments.config)
    config = load_config(arguments.config)
    seen = before, fingerprints(config.policies)
    files = Files(arguments.config.absolute(), seen)
    gateway = build(config, files, consoles, before_binding=StopSignals.hold_back)

    def ready() -> None:
        """Log where the gateway listens and which upstream it calls, once it takes cancels."""
        listen, health = _shown(gateway.listeners), _shown(gateway.health)
        beside = {"metrics": gateway.metrics, "console": gateway.console}
        more = {name: _shown(bound) for name, bound in beside.items() if bound}
        gateway.log.info("serving", listen=listen, health=health, upstream=gateway.config.upstream.url, **more)

    served = False
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(gateway.serve(ready))
            served = True
    except RuntimeError as fault:
        # Closing the loop takes a thread. By then everything has been ended and recorded.
        if not served or word(fault) != NO_THREAD:
            raise
    gateway.log.info("stopped")
    return 0


def _shown(listeners: Sequence[Bound]) -> str | list[str] | None:
    """Return the address that is listened on, a list if there are several, or None."""
    addresses = [shown(bound.socket) for bound in listeners]
    return addresses if len(addresses) > 1 else next(iter(addresses), None)
