"""The command `audit export`: the record for other programs, one object a line."""

from __future__ import annotations

import argparse

import orjson

from gateway.audit.chain import Members
from gateway.audit.decisions.joined import Owners
from gateway.audit.evidence import ocsf
from gateway.cli.audit.reading import USAGE, Parser, add_paths, add_span, in_span, read, said
from gateway.cli.audit.show import json_line


def register(commands: argparse._SubParsersAction[Parser]) -> None:
    """Add the command and its options."""
    parser = commands.add_parser("export", help="print every record for another program, one object a line")
    forms = "OCSF class 6003 (API Activity), or the lines as they stand in the file"
    parser.add_argument("--format", choices=("ocsf", "ndjson"), required=True, help=forms)
    add_span(parser, "records")
    parser.set_defaults(run=run_export, product=True)
    add_paths(parser)


def run_export(arguments: argparse.Namespace) -> int:
    """Print the records of a time.

    Return 1 if some lines are not records, 64 if there is nothing to read.
    """
    owners = Owners()

    def export(members: Members, raw: bytes) -> None:
        """Print one record, if it is of that time."""
        owner = owners.of(members)
        if in_span(arguments, members["ts"]):
            print(json_line(raw if arguments.format == "ndjson" else orjson.dumps(ocsf.event(members, owner))))

    unread = read("export", arguments.paths, export)
    return USAGE if unread is None else said(unread)
