"""The `approvals` command: the cancels that wait for one's team."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator, Sequence

from gateway.cli.approvals.said import about
from gateway.cli.cancel.answers import Lost, Refusal
from gateway.cli.cancel.command import USAGE, add_connection, gateway_of
from gateway.cli.cancel.flow import KEY, URL
from gateway.cli.output import FAILED, folded, printable, printable_json
from gateway.core.forms.shown import Members
from gateway.process import forbid_core_dumps


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `approvals`."""
    parser = subparsers.add_parser(
        "approvals",
        help="show which cancels wait for your team's approval",
        description=f"Asks the gateway at ${URL} (https://HOST or unix:PATH), with the key in ${KEY}.",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object, as the gateway answers it")
    add_connection(parser)
    parser.set_defaults(run=run, product=True)


def run(arguments: argparse.Namespace) -> int:
    """Show what waits. Return 0 if it was shown, 1 if the gateway does not show it, 2 if it cannot be asked."""
    forbid_core_dumps()
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    found = asyncio.run(gateway.approvals())
    if isinstance(found, Refusal | Lost):
        why = found.sentence if isinstance(found, Refusal) else f"Nothing is known: {found.why}."
        print(folded(printable(why), sys.stderr), file=sys.stderr)
        return FAILED
    if arguments.json:
        print(printable_json(json.dumps({"approvals": [dict(one) for one in found]}, indent=2)))
        return 0
    for line in _lines(found):
        print(folded(printable(line)))
    return 0


def _lines(plans: Sequence[Members]) -> Iterator[str]:
    """Yield some lines for each plan, and how to say something of one."""
    if not plans:
        yield "No cancel waits for your approval."
        return
    for plan in plans:
        yield str(plan.get("plan"))
        yield from (f"  {line}" for line in about(plan))
    yield "To see the runs of one, and to approve or reject it: qstash-gateway approve PLAN, qstash-gateway reject PLAN"
