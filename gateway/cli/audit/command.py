"""The command line of `audit`: each command below it has a module, or shares one."""

from __future__ import annotations

import argparse

from gateway.cli.audit import export, follow, policy, report, retire, show, verify
from gateway.cli.audit.reading import Parser


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands under `audit` and their options."""
    group = subparsers.add_parser("audit", help="verify, show, report, export or follow the audit log")
    commands = group.add_subparsers(dest="audit_command", required=True, metavar="COMMAND", parser_class=Parser)
    for module in (verify, retire, show, report, policy, export, follow):
        module.register(commands)
