"""The `init` command, which writes commented files to start from, or adds a team's files. It overwrites nothing."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.authoring.scaffold import scaffold, team_files
from gateway.cli.output import printable
from gateway.config import named_policies

OK, FAILED = 0, 1
CONFIG, FIRST_TEAM = "config.yaml", "billing"
_TEAM = "(?!guardrails$)[a-z](?:[a-z0-9-]{0,49}[a-z0-9])?"


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("init", help="write a configuration, policies and cases to start from, or a team's")
    parser.add_argument("directory", type=Path, metavar="DIR", help="where to; made if it does not exist")
    parser.add_argument(
        "--team",
        type=_team,
        metavar="TEAM",
        help=f"the team (default: {FIRST_TEAM}); where there is a {CONFIG} already, only this team's files are added",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the files and return 0.

    Return 1, with nothing written, if a file is there already or the configuration names no policy directory.

    Raises: OSError if a file cannot be written; then nothing is written either.
    """
    config = args.directory / CONFIG
    if config.exists() and args.team is not None:
        return _add(config, args.team)
    team = args.team or FIRST_TEAM
    files = {args.directory / name: text for name, text in scaffold(team).items()}
    if not _written(files):
        _say(_instead(config))
        return FAILED
    if args.team is not None:
        _say(f"\nThere was no {config} to add the team {team} to: a new directory was begun; its first team is {team}.")
    _say(f"\nNext: write the QStash token into {args.directory / 'qstash-token'} (mode 0600), then")
    _say_next(config, team, args.directory / "policies")
    return OK


def _instead(config: Path) -> str:
    """Return what to do if no files to start from can be written."""
    if config.is_file():
        return f"To add a team to what is there: qstash-gateway init --team TEAM {config.parent}"
    return (
        f"There is no {config}, so a whole new start would be written there. Name the directory of the {CONFIG} "
        "that a team is to be added to, or for a new start one that does not exist yet."
    )


def _add(config: Path, team: str) -> int:
    """Add a team's two files to the policies of a configuration. Change no other file."""
    policies = named_policies(config)
    if policies is None or not policies.is_dir():
        _say(f"{config} names no directory of policies that is there; nothing was written.")
        _say(f"Correct it first: qstash-gateway check --config {config}")
        return FAILED
    schemas = (policies.parent / "schemas" / "policy.json").is_file()
    shown = Path(os.path.relpath(policies)) if not config.is_absolute() else policies
    if not _written({shown / name: text for name, text in team_files(team, schemas=schemas).items()}):
        _say(f"The team {team} has its files: edit them, or name another team.")
        return FAILED
    _say(f"\nNext: put your workflow's URL into {shown / f'{team}.yaml'}, then")
    _say_next(config, team, shown)
    return OK


def _written(files: Mapping[Path, str]) -> bool:
    """Write all the files, or none if one of them is there already. Return whether they were written.

    Raises: OSError if one cannot be written; then none of them stays.
    """
    standing = [path for path in files if os.path.lexists(path)]
    for path in standing:
        _say(f"{path} is there already; nothing was written.")
    if standing:
        return False
    made: list[Path] = []
    try:
        for path, text in files.items():
            _write(path, text, made)
    except OSError as fault:
        for path in reversed(made):
            with suppress(OSError):
                path.rmdir() if path.is_dir() else path.unlink()
        raise OSError(f"{_in_the_way(fault)}; nothing was written") from fault
    for path in files:
        _say(f"wrote {path}")
    return True


def _write(path: Path, text: str, made: list[Path]) -> None:
    """Write one new file and the directories above it. Add to `made` each path that was not there before."""
    for above in (*reversed(path.parents), path.parent):
        if not above.exists():
            above.mkdir()
            made.append(above)
    with path.open("x", encoding="utf-8") as file:
        made.append(path)
        file.write(text)


def _in_the_way(fault: OSError) -> str:
    path = Path(str(fault.filename))
    standing = next((one for one in (path, *path.parents) if one.exists()), path)
    if not standing.is_dir():
        return f"{standing} is a file where a directory is wanted"
    return f"{path} cannot be written: {fault.strerror}"


def _say_next(config: Path, team: str, policies: Path) -> None:
    _say(f"  qstash-gateway keys new --team {team} --id ci     and paste the line it prints into {config}")
    _say(f"  qstash-gateway check --config {config}")
    _say(f"  qstash-gateway test {policies}")


def _say(text: str) -> None:
    """Print lines, with every character spelled out that a terminal would act on."""
    print("\n".join(map(printable, text.split("\n"))))


def _team(text: str) -> str:
    if not re.fullmatch(_TEAM, text):
        raise argparse.ArgumentTypeError("lower-case letters, digits and '-', beginning with a letter; not guardrails")
    return text
