"""The command `audit retire`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gateway.audit.evidence.retire import Choice, Retirement
from gateway.audit.journal import AuditSettings
from gateway.audit.segment import OsDisk, load_mac_key
from gateway.cli.audit.reading import USAGE, Parser, UsageError
from gateway.cli.audit.verify import checkpoints_of
from gateway.cli.output import fault_in_words, printable
from gateway.config import load_config
from gateway.core.errors import AuditFailure, counted
from gateway.files.values import date_field


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("retire", help="take old chains out of the directory, on record")
    parser.add_argument("--before", type=_day, metavar="DATE", help="chains that ended before this day, UTC")
    parser.add_argument("--chain", action="append", default=[], metavar="NAME", help="this chain")
    parser.add_argument("--to", type=Path, metavar="DIRECTORY", help="move the files there instead of deleting them")
    parser.add_argument("--mac-key", action="append", default=[], type=Path, metavar="FILE", help="then older keys")
    parser.add_argument("--checkpoint", action="append", default=[], type=Path, metavar="FILE", help="kept checkpoints")
    parser.add_argument("--config", type=Path, metavar="FILE", help="the gateway's, which names the key")
    parser.add_argument("path", type=Path, metavar="PATH", help="an audit directory")
    parser.set_defaults(run=run_retire)


def run_retire(arguments: argparse.Namespace) -> int:
    """Retire chains and return 0; return 64 if the command line is wrong or a file cannot be read.

    Return 1 if a named chain has to stay, if anything was tampered with, or if nothing can be recorded.
    """
    try:
        retirement = _retirement(arguments)
    except (AuditFailure, UsageError, OSError) as exc:
        print(f"audit retire: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    done = retirement.run(Choice(frozenset(arguments.chain), arguments.before))
    if done.refused:
        print("audit retire: nothing is retired before this is settled, see audit verify", file=sys.stderr)
    for chain, why in done.kept.items():
        print(f"kept    {printable(chain)}: {why}")
    for chain in done.gone:
        print(f"retired {chain}")
    print(f"{counted(len(done.gone), 'chain')} retired" + (f", on record in {done.record}" if done.record else ""))
    return 1 if done.refused or done.kept.keys() & set(arguments.chain) else 0


def _retirement(arguments: argparse.Namespace) -> Retirement:
    for directory in filter(None, (arguments.path, arguments.to)):
        if not directory.is_dir():
            raise UsageError(f"{directory}: no directory")
    if arguments.before is None and not arguments.chain:
        raise UsageError("say which: --before DATE, or --chain NAME")
    configured = load_config(arguments.config).audit.mac_key if arguments.config is not None else None
    keys = [load_mac_key(path) for path in [*([configured] if configured else []), *arguments.mac_key]]
    settings = AuditSettings(arguments.path, mac_key=keys[0] if keys else None)
    checkpoints = checkpoints_of(arguments.checkpoint, keys)
    return Retirement(settings, keys, arguments.to, OsDisk(), time.time_ns, checkpoints)


def _day(text: str) -> str:
    """Return a date as records write it. Raises: ArgumentTypeError if the text is not a date."""
    try:
        return date_field().parse(text).isoformat()
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; a day in UTC is written YYYY-MM-DD, like 2026-08-31") from exc
