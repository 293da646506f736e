"""The command `audit follow`: the records that are written from now on."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from gateway.audit.chain import parse_line
from gateway.audit.evidence.following import Following
from gateway.cli.audit.reading import USAGE, Parser, UsageError, add_paths, files
from gateway.cli.audit.show import human_line
from gateway.cli.output import fault_in_words, folded, lost, printable, wait_for_reader_to_leave

LOOK_S = 0.2
"""How long to wait between two looks at the files, in seconds."""

REST = 9
"""How many times as long as a look the wait is at least. A directory may have thousands of files."""


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("follow", help="print records while they are written; Ctrl-C ends it")
    parser.set_defaults(run=run_follow, product=True)
    add_paths(parser)


def run_follow(arguments: argparse.Namespace) -> int:
    """Print records until nobody reads them, and return 0; 64 if there is nothing to read. Ctrl-C ends the program."""
    try:
        for path in arguments.paths:
            if not path.is_dir():
                files([path])
        following = Following(arguments.paths, _tell_cut)
    except (UsageError, OSError) as exc:
        print(f"audit follow: {fault_in_words(exc)}", file=sys.stderr)
        return USAGE
    with following:
        while not lost():
            begun = time.monotonic()
            for line in following.lines():
                _show(line)
            sys.stdout.flush()
            if wait_for_reader_to_leave(max(LOOK_S, REST * (time.monotonic() - begun))):
                break
    return 0


def _show(line: bytes) -> None:
    members = parse_line(line)
    if isinstance(members, str):
        print(f"audit follow: a line is no record: {members}; see audit verify", file=sys.stderr)
    else:
        print(folded(human_line(members)))


def _tell_cut(path: Path) -> None:
    cut = f"{printable(str(path))}: lines that were printed are not in it any more, or were changed; see audit verify"
    print(f"audit follow: {cut}", file=sys.stderr)
