"""The `schema` command: the JSON Schema of a file format, or the OpenAPI document of the gateway's own calls."""

from __future__ import annotations

import argparse
import sys

from gateway.authoring.schema import NAMES, rendered

OPENAPI = "openapi"
"""The name of the document that describes calls and no file."""


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command and its options."""
    parser = subparsers.add_parser("schema", help="print the JSON Schema of a file format, or what the calls are")
    parser.add_argument("name", choices=(*NAMES, OPENAPI), help="which format; openapi: the gateway's own calls")
    parser.set_defaults(run=run, product=True)


def run(args: argparse.Namespace) -> int:
    """Print the schema as it is shipped in schemas/."""
    sys.stdout.write(_description() if args.name == OPENAPI else rendered(args.name))
    return 0


def _description() -> str:
    from gateway.edge.described.document import rendered as described

    return described()
