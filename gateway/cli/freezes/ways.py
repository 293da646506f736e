"""The two ways to a freeze, and what is said of it: through a gateway, or with --state straight into the store."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from collections.abc import Coroutine, Iterable
from pathlib import Path
from typing import TypeVar

from gateway.cli.cancel.answers import Lost, Refusal
from gateway.cli.cancel.command import add_connection
from gateway.cli.output import FAILED, folded, printable
from gateway.core.errors import StateUnavailable
from gateway.files.nodes import Place
from gateway.state.settings import StateSettings, address

T = TypeVar("T")

_STATE = (
    "straight into the store, where no gateway can be reached: sqlite:PATH of the state.db beside the record, or "
    "postgresql://USER@HOST/DATABASE"
)

_OTHERWISE = "Whoever has the gateway's machine can use --state."


def add_ways(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where the freeze is kept."""
    parser.add_argument("--state", metavar="URL", help=_STATE)
    parser.add_argument("--password-file", type=Path, metavar="PATH", help="the password for PostgreSQL")
    add_connection(parser)


def settings_of(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> StateSettings:
    """Return the store that --state names. Raises: SystemExit if it names none."""
    try:
        found = address(arguments.state)
    except ValueError as exc:
        parser.error(f"--state: {exc}")
    file = None if found.file is None else Path.cwd() / found.file
    return StateSettings(file, found.url, Place("--state", 1, 1), arguments.password_file, connections=1)


def again(arguments: argparse.Namespace) -> str:
    """Return the options that lead to the same store, as a shell takes them."""
    options = ["--state", arguments.state]
    if arguments.password_file is not None:
        options += ["--password-file", str(arguments.password_file)]
    return f" {shlex.join(options)}"


def kept(asked: Coroutine[None, None, T]) -> T:
    """Return what the store answers.

    Raises: StateFailure: it cannot be used. SystemExit: it does not answer, which is said on standard error.
    """
    try:
        return asyncio.run(asked)
    except StateUnavailable as away:
        sentence = f"the store does not answer ({away.cause}): it may have been done, and may not. Try again."
        print(f"qstash-gateway: {sentence}", file=sys.stderr)
        raise SystemExit(FAILED) from None


def refused(found: Refusal | Lost) -> int:
    """Say why nothing was done, or that nobody knows; return the exit code."""
    if isinstance(found, Refusal):
        sentence = found.sentence
    elif found.sent:
        sentence = f"It may have been done, and may not: {found.why}. Look: GET /gateway/v1/freezes. {_OTHERWISE}"
    else:
        sentence = f"Nothing was done: {found.why}. {_OTHERWISE}"
    print(folded(printable(sentence), sys.stderr), file=sys.stderr)
    return FAILED


def say(lines: Iterable[str]) -> None:
    """Print sentences."""
    for line in lines:
        print(folded(printable(line)))
