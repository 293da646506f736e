"""`init`: writes a commented starting point for a new team, and never over anything."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from gateway.policy_tools.scaffold import scaffold

OK, FAILED = 0, 1
_TEAM = "(?!guardrails$)[a-z](?:[a-z0-9-]{0,49}[a-z0-9])?"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command."""
    parser = subparsers.add_parser("init", help="write a configuration, policies and cases to start from")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to; made if it does not exist")
    parser.add_argument("--team", type=_team, default="billing", metavar="TEAM", help="the team (default: billing)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Returns 1, with nothing written, if one of the files is there already."""
    files = {args.directory / name: text for name, text in scaffold(args.team).items()}
    standing = [path for path in files if path.exists()]
    for path in standing:
        print(f"{path} is there already; nothing was written")
    if standing:
        return FAILED
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        print(f"wrote {path}")
    _say_next(args.directory, args.team)
    return OK


def _say_next(directory: Path, team: str) -> None:
    print(f"\nNext: write the QStash token into {directory / 'qstash-token'} (mode 0600), then")
    print(f"  qstash-gateway keys new --team {team} --id ci     and paste the line it prints into config.yaml")
    print(f"  qstash-gateway check --config {directory / 'config.yaml'}")
    print(f"  qstash-gateway test {directory / 'policies'}")


def _team(text: str) -> str:
    if not re.fullmatch(_TEAM, text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and '-', beginning with a letter; not guardrails")
    return text
