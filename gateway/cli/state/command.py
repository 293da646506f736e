"""The commands `state migrate`, `check`, `copy` and `rebuild`. A store that cannot be used is exit code 3."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

from gateway.cli.output import printable
from gateway.config import load_config
from gateway.core.errors import StateFailure, counted
from gateway.state.settings import StateSettings, stated


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands under `state` and their options."""
    group = subparsers.add_parser("state", help="make, check or copy the store of freezes, budgets and plans")
    commands = group.add_subparsers(dest="state_command", required=True, metavar="COMMAND")
    migrate = commands.add_parser("migrate", help="make the tables, or bring them to the revision of this version")
    check = commands.add_parser("check", help="open the store as serve does, and say what is in it")
    copy = commands.add_parser("copy", help="copy everything into an empty store that was migrated")
    copy.add_argument("--to", required=True, metavar="URL", help="sqlite:FILE or postgresql://USER@HOST/DATABASE")
    copy.add_argument("--password-file", type=Path, metavar="FILE", help="holds the password of that store")
    rebuild = commands.add_parser("rebuild", help="put budgets back that were lost with their store, from the record")
    rebuild.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="audit directory")
    runs = ((migrate, run_migrate), (check, run_check), (copy, run_copy), (rebuild, run_rebuild))
    for parser, run in runs:
        parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="the gateway's configuration")
        parser.set_defaults(run=run)


def run_migrate(arguments: argparse.Namespace) -> int:
    """Bring the store to the revision of this version and return 0. Raises: StateFailure: it cannot be."""
    from gateway.store.tables import REVISION
    from gateway.store.upkeep.migrate import migrate

    settings = _settings(arguments)
    before = asyncio.run(migrate(settings))
    told = {None: f"has its tables now, at revision {REVISION}", REVISION: f"is at revision {REVISION} already"}
    print(printable(f"the state {settings.shown} {told.get(before, f'went from revision {before} to {REVISION}')}"))
    return 0


def run_check(arguments: argparse.Namespace) -> int:
    """Print what the store holds and return 0. Raises: StateFailure: it cannot be used."""
    from gateway.store.tables import REVISION
    from gateway.store.upkeep.copying import summary

    settings = _settings(arguments)
    held = asyncio.run(summary(settings))
    print(printable(f"ok: the state {settings.shown} has revision {REVISION}; {_in_words(held)}"))
    return 0


def run_copy(arguments: argparse.Namespace) -> int:
    """Copy the store of the configuration into another and return 0. Raises: StateFailure: one cannot be used."""
    from gateway.store.upkeep.copying import copy

    settings = _settings(arguments)
    try:
        target = stated(arguments.to, arguments.password_file, settings)
    except ValueError as fault:
        raise StateFailure(f"--to: {fault}") from fault
    held = asyncio.run(copy(settings, target))
    print(printable(f"copied to {target.shown}: {_in_words(held)}"))
    return 0


def run_rebuild(arguments: argparse.Namespace) -> int:
    """Put what decisions on record have taken back into the store. Raises: StateFailure: it cannot be used."""
    from gateway.cli.state.rebuild import taken_in
    from gateway.store.upkeep.rebuilding import restore

    settings = _settings(arguments)
    try:
        found = taken_in(arguments.paths)
    except OSError as fault:
        raise StateFailure(f"{fault.filename} cannot be read: {fault.strerror}") from fault
    put_back = asyncio.run(restore(settings, found))
    told = f"{counted(len(found), 'decision')} on record took of a budget; put back into the state {settings.shown}"
    print(printable(f"{told}: {put_back or 'none, it had them all'}"))
    return 0


def _settings(arguments: argparse.Namespace) -> StateSettings:
    settings = load_config(arguments.config).state
    if settings is None:
        raise StateFailure(f"{arguments.config} has no section 'state', so there is no store")
    return settings


def _in_words(held: dict[str, int]) -> str:
    found = [counted(number, name.removesuffix("s")) for name, number in held.items() if number]
    return ", ".join(found) or "nothing is in it"
