"""The `schema` command, which prints the JSON Schema of a file format, for editors and for readers of the record."""

from __future__ import annotations

import argparse
import sys

from gateway.authoring.schema import NAMES, rendered


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("schema", help="print the JSON Schema of a file format")
    parser.add_argument("name", choices=NAMES, help="which format")
    parser.set_defaults(run=run, product=True)


def run(args: argparse.Namespace) -> int:
    """Print the schema as it is shipped in schemas/."""
    sys.stdout.write(rendered(args.name))
    return 0
