"""How the `audit` commands are told what to read, and how they read it: streamed, chain by chain."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

from gateway.audit.chain import Members, parse_line
from gateway.audit.reader import cuts_in, first_record, lines_of, said_in
from gateway.audit.segment import NotAFile, chains_in, open_segment
from gateway.cli.output import fault_in_words, lost, printable
from gateway.core.errors import counted
from gateway.core.forms.times import record_instant, record_time
from gateway.files.values import duration_field

USAGE = 64
BLOCK_BYTES = 1024 * 1024


class UsageError(Exception):
    """A command line that cannot be carried out; the text is for the person who typed it."""


class Line(NamedTuple):
    """A line of a chain: where it stands, its members (or why it is no record), and its bytes."""

    path: Path
    number: int
    members: Members | str
    raw: bytes


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
        for line in lines_in(paths):
            if isinstance(line.members, str):
                unread += 1
            elif take(line.members, line.raw):
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


def lines_in(paths: Sequence[Path]) -> Iterator[Line]:
    """Yield the lines of the chains among the paths and in them, each record once.

    Each chain is read in its own order, whatever the order of the files: later records continue earlier ones.

    Raises: UsageError: there is no chain. OSError: a file cannot be read.
    """
    chains = {chain: _without_copies(segments) for chain, segments in chains_in(iter(files(paths))).items()}
    for chain in _in_order(chains):
        yield from _lines_of(chains[chain])


def _lines_of(segments: Sequence[Path]) -> Iterator[Line]:
    """Yield the records of a chain. Lines that were given up in a suspect file are only counted: they come again."""
    cuts, head, given_up = _cuts(segments), 0, 0
    for path in segments:
        for line in _all_in(path):
            if head >= cuts.get(path.name, head + 1):
                given_up += 1
                continue
            head = head if isinstance(line.members, str) else int(str(line.members["seq"]))
            yield line
    if given_up:
        lines = counted(given_up, "line is", "lines are")
        print(
            f"{printable(segments[0].name)}: {lines} left out, of files that were set aside as suspect", file=sys.stderr
        )


def _cuts(segments: Sequence[Path]) -> dict[str, int]:
    with suppress(FileNotFoundError, NotAFile):
        return cuts_in(segments, ())
    return {}


def _without_copies(segments: Sequence[tuple[int, Path]]) -> list[Path]:
    """Return the files of a chain in order, without those that are the beginning of another file of the same name."""
    kept: dict[int, list[Path]] = {}
    with_sizes = sorted(segments, key=lambda one: (one[0], -_size(one[1])))
    for number, path in with_sizes:
        same = kept.setdefault(number, [])
        if not (same and _begins(same[0], path)):
            same.append(path)
    return [path for number in sorted(kept) for path in kept[number]]


def _size(path: Path) -> int:
    with suppress(OSError):
        return path.lstat().st_size
    return 0


def _begins(longer: Path, path: Path) -> bool:
    """Return whether a file begins with all that stands in another; False if one of them cannot be read."""
    with suppress(OSError), open_segment(longer) as file, open_segment(path) as copy:
        while block := copy.read(BLOCK_BYTES):
            if file.read(len(block)) != block:
                return False
        return True
    return False


def _in_order(chains: Mapping[str, Sequence[Path]]) -> list[str]:
    """Return the chains in order of their names, but each behind all that its start names.

    Names begin with a time. A clock that was set back gives a chain a name before that of the one that it continues.
    """
    ordered: dict[str, None] = {}
    begun: set[str] = set()
    waiting = sorted(chains, reverse=True)
    while waiting:
        chain = waiting[-1]
        before = set() if chain in begun else _named_by(chains[chain][0]) & chains.keys() - begun
        begun.add(chain)
        waiting += sorted(before, reverse=True)
        if not before:
            ordered.setdefault(waiting.pop())
    return list(ordered)


def _named_by(first: Path) -> set[str]:
    """Return the chains that the start in a chain's first file names."""
    with suppress(FileNotFoundError, NotAFile):
        return {chain for chain, _ in said_in(first_record(first, ()), "")}
    return set()


def _all_in(path: Path) -> Iterator[Line]:
    try:
        for number, line in enumerate(lines_of(path), 1):
            raw = line.removesuffix(b"\n")
            yield Line(path, number, parse_line(raw), raw)
    except (FileNotFoundError, NotAFile) as fault:
        # Retired meanwhile, or put there by somebody: nobody can tell what it held.
        yield Line(path, 0, fault_in_words(fault), b"")
