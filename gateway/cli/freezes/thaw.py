"""The `thaw` command, which ends a freeze: through the gateway, or with --state straight in the store."""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial

from gateway.cli.cancel.answers import Lost, Refusal
from gateway.cli.cancel.command import USAGE, gateway_of
from gateway.cli.cancel.flow import KEY, URL
from gateway.cli.freezes.ways import add_ways, kept, refused, say, settings_of
from gateway.cli.output import FAILED
from gateway.core.forms.shown import PLAN_ID
from gateway.process import forbid_core_dumps

_ON = "Thawed. Every gateway that reads the store goes on within a second."


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `thaw`."""
    parser = subparsers.add_parser(
        "thaw",
        help="end a freeze",
        description=f"Ends a freeze through the gateway at ${URL} (https://HOST or unix:PATH), with an operator's key "
        f"in ${KEY}; or with --state straight in the store.",
    )
    parser.add_argument("freeze", type=_freeze_id, metavar="ID", help="the freeze, as a refusal or `freeze` names it")
    add_ways(parser)
    parser.set_defaults(run=partial(run, parser))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """End a freeze. Return 0 if it is ended, 1 if it is not or there is none, 2 if nobody can be asked."""
    forbid_core_dumps()
    if arguments.state is not None:
        from gateway.cli.freezes.beside import thaw

        if kept(thaw(settings_of(parser, arguments), arguments.freeze)) is None:
            print("qstash-gateway: no freeze in force has this ID", file=sys.stderr)
            return FAILED
        say([_ON])
        return 0
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    found = asyncio.run(gateway.thaw(arguments.freeze))
    if isinstance(found, Refusal | Lost):
        return refused(found)
    say([_ON])
    return 0


def _freeze_id(text: str) -> str:
    if not PLAN_ID.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "that is no ID of a freeze, which is like 01a20940-2aab-7277-8e2b-a745c03af883"
        )
    return text
