"""How the `audit` commands are told what to read, and how they read it: streamed, chain by chain."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from gateway.audit.chain import Members, parse_line
from gateway.audit.reader import lines_of
from gateway.audit.segment import NotAFile, chains_in
from gateway.cli.output import fault_in_words, lost, printable
from gateway.core.errors import counted
from gateway.core.forms.times import record_instant, record_time
from gateway.files.values import duration_field

USAGE = 64


class UsageError(Exception):
    """A command line that cannot be carried out; the text is for the person who typed it."""


class Parser(argparse.ArgumentParser):
    """A parser of a command line whose mistakes end with 64."""

    # Exit code 2 means "torn tail" here, so a mistyped command exits with EX_USAGE of sysexits.
    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse like argparse, except that unknown arguments are an error of this command."""
        parsed, unknown = super().parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}")
        return parsed, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and what is wrong, and exit with 64."""
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {printable(message)}\n")


def add_paths(parser: argparse.ArgumentParser) -> None:
    """Add the last arguments of most of the commands."""
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="an audit directory, or files of it")


def add_span(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that bound the time of what is read."""
    form = "a time in RFC 3339, or how long ago, like 7d or 12h"
    parser.add_argument("--since", type=_moment, metavar="TIME", help=f"{what} from then on: {form}")
    parser.add_argument("--until", type=_moment, metavar="TIME", help=f"{what} before then, in the same form")


def _moment(text: str) -> str:
    """Return a moment as records write it. Raises: ArgumentTypeError: the text is none."""
    with suppress(ValueError):
        return record_time(max(0, time.time_ns() - duration_field().parse(text) * 1_000_000))
    try:
        return record_instant(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(f"{exc}; or how long ago, like 7d or 12h") from exc


def in_span(arguments: argparse.Namespace, ts: object) -> bool:
    """Return whether a record's time is from `--since` on and before `--until`."""
    # Times of records have one form, in which their order is that of their text.
    since, until, ts = arguments.since, arguments.until, str(ts)
    return (since is None or since <= ts) and (until is None or ts < until)


def typed(arguments: argparse.Namespace, *names: str) -> str:
    """Return the options that were given among those names, as a shell reads them."""
    given = ((name, getattr(arguments, name)) for name in names)
    return " ".join(f"--{name} {shlex.quote(str(value))}" for name, value in given if value is not None)


def files(paths: Sequence[Path]) -> list[Path]:
    """Return the segments among the paths and in them. Raises: UsageError: there is none."""
    found: list[Path] = []
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path}: no such file or directory")
        members = sorted(path.iterdir()) if path.is_dir() else [path]
        segments = [member for chain in chains_in(iter(members)).values() for _, member in chain]
        if not segments and not path.is_dir():
            raise UsageError(f"{path}: not a file of an audit log (<chain>.<number>.jsonl)")
        found += segments
    if not found:
        # An unmounted volume or a mistyped path is not an intact record.
        raise UsageError(f"no chain of an audit log in {', '.join(map(str, paths))}")
    return list(dict.fromkeys(found))


def entries(paths: Sequence[Path]) -> list[Path]:
    """Return the entries of the directories, and the given files.

    Raises: UsageError if there is no chain among them.
    """
    files(paths)
    found = [entry for path in paths for entry in (sorted(path.iterdir()) if path.is_dir() else [path])]
    return list(dict.fromkeys(found))


def read(command: str, paths: Sequence[Path], take: Callable[[Members, bytes], bool | None]) -> int | None:
    """Pass each record and its line to `take`, until that returns True or nobody reads what is printed.

    Return how many lines are not records; None if nothing can be read.
    """
    unread = 0
    try:
        for members, raw in _records(paths):
            if members is None:
                unread += 1
            elif take(members, raw):
                break
            if lost():
                break
    except (UsageError, OSError) as exc:
        print(f"audit {command}: {fault_in_words(exc)}", file=sys.stderr)
        return None
    return unread


def said(unread: int) -> int:
    """Say how many lines are not records, and return the exit code."""
    if unread:
        print(f"{counted(unread, 'line is no record', 'lines are no records')}; see audit verify", file=sys.stderr)
    return 1 if unread else 0


def _records(paths: Sequence[Path]) -> Iterator[tuple[Members | None, bytes]]:
    # Each chain is read in its own order, whatever the order of the files: later records continue earlier ones.
    for segments in chains_in(iter(files(paths))).values():
        for _, path in segments:
            yield from _records_in(path)


def _records_in(path: Path) -> Iterator[tuple[Members | None, bytes]]:
    try:
        for line in lines_of(path):
            raw = line.removesuffix(b"\n")
            members = parse_line(raw)
            yield (None if isinstance(members, str) else members), raw
    except (FileNotFoundError, NotAFile):
        yield None, b""  # retired meanwhile, or put there by somebody: nobody can tell what it held
