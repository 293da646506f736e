"""`serve`: the gateway."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import uvloop

from gateway.app import build
from gateway.config import load_config
from gateway.listeners import shown


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("serve", help="run the gateway")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serves until SIGTERM or SIGINT; returns 0 then."""
    gateway = build(load_config(arguments.config))

    def ready() -> None:
        health = shown(gateway.health) if gateway.health is not None else None
        upstream = gateway.config.upstream.url
        gateway.log.info("serving", listen=shown(gateway.listener), health=health, upstream=upstream)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(gateway.serve(ready))
    gateway.log.info("stopped")
    return 0
