"""The `freeze` command: through the gateway that the environment names, or with --state straight into the store.

The way into the store needs no gateway, no key and no operators: whoever may write it is trusted.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from functools import partial

from gateway.cli.cancel.answers import Lost, Refusal
from gateway.cli.cancel.command import USAGE, gateway_of
from gateway.cli.cancel.flow import KEY, URL
from gateway.cli.freezes.ways import add_ways, again, kept, refused, say, settings_of
from gateway.core import grammar
from gateway.core.forms.shown import Members
from gateway.core.forms.times import instant_ms, run_time
from gateway.files.values import duration_field
from gateway.process import forbid_core_dumps
from gateway.state.freezes import Scope, scope_in_words


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `freeze`."""
    parser = subparsers.add_parser(
        "freeze",
        help="stop cancels now, in every gateway that shares the state",
        description=f"Freezes through the gateway at ${URL} (https://HOST or unix:PATH), with an operator's key in "
        f"${KEY}; or with --state straight into the store. Without --team and --rule everything is frozen.",
    )
    scope = parser.add_mutually_exclusive_group()
    scope.add_argument("--team", metavar="T", help="only the calls of this team")
    scope.add_argument("--rule", metavar="FILE/ID", help="only what this allow admits")
    parser.add_argument("--reason", required=True, type=_reason, metavar="TEXT", help="why, for callers and the record")
    parser.add_argument("--until", type=_until, metavar="TIME", help="when it ends by itself: RFC 3339, or like 2h")
    add_ways(parser)
    parser.set_defaults(run=partial(run, parser))


def run(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Freeze. Return 0 if the store has it, 1 if it was refused or nobody knows, 2 if nobody can be asked."""
    forbid_core_dumps()
    scope = Scope(arguments.team, arguments.rule)
    if arguments.state is not None:
        from gateway.cli.freezes.beside import freeze

        settings = settings_of(parser, arguments)
        made = kept(freeze(settings, scope, reason=arguments.reason, until_ms=arguments.until))
        where = f"Every gateway that reads {settings.shown} stops within seconds, and records it."
        say([f"Calls {scope_in_words(scope)} are frozen by {made.by}. {where}"])
        say([f"To end it: qstash-gateway thaw {made.freeze_id}{again(arguments)}"])
        return 0
    gateway = gateway_of(arguments)
    if gateway is None:
        return USAGE
    members: dict[str, object] = {"reason": arguments.reason}
    members |= {name: value for name, value in (("team", scope.team), ("rule", scope.rule)) if value is not None}
    if arguments.until is not None:
        members["until"] = run_time(arguments.until)
    found = asyncio.run(gateway.freeze(members))
    if isinstance(found, Refusal | Lost):
        return refused(found)
    say(_frozen(found, scope))
    return 0


def _frozen(freeze: Members, scope: Scope) -> Iterator[str]:
    """Yield what is frozen, where, and how it ends."""
    until = freeze.get("until")
    ends = f"until {until}" if isinstance(until, str) else "until somebody thaws them"
    yield f"Calls {scope_in_words(scope)} are frozen {ends}. In force in: {_names(freeze.get('in_force'))}."
    if freeze.get("silent"):
        yield (
            f"Nothing is known of: {_names(freeze.get('silent'))}. A gateway that has ended is named for ten minutes; "
            "one that runs and cannot reach the store goes on with the freezes that it read before."
        )
    yield f"To end it: qstash-gateway thaw {freeze.get('id')}"


def _names(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) and value else "none"


def _reason(text: str) -> str:
    try:
        return grammar.reason(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from exc


def _until(text: str) -> int:
    """Return a moment to come in Unix milliseconds. Raises: ArgumentTypeError: the text is none."""
    now_ms = time.time_ns() // 1_000_000
    try:
        return now_ms + duration_field().parse(text)
    except ValueError:
        pass
    try:
        until_ms = instant_ms(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; or how long, like 2h or 30m") from exc
    if until_ms <= now_ms:
        raise argparse.ArgumentTypeError("that is past, so the freeze would stop nothing")
    return until_ms
