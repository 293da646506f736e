"""The command line. Exit codes: 0 ok · 1 failed · 2 usage · 3 invalid configuration or policy · 4 cases failed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gateway.cli import audit, keys, probe, serve
from gateway.cli.policies import check, explain, init, replay, schema, test
from gateway.cli.trial import demo, simulate
from gateway.errors import AuditFailure, InvalidConfiguration

INVALID = 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="qstash-gateway", description="An authenticating policy gateway for the bulk cancel of QStash workflows."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (serve, demo, simulate, init, check, schema, test, explain, replay, keys, probe, audit):
        module.register(commands)
    parsed = parser.parse_args(arguments)
    try:
        code: int = parsed.run(parsed)
    except InvalidConfiguration as invalid:
        print(invalid, file=sys.stderr)
        return INVALID
    except (AuditFailure, OSError) as failure:
        print(f"qstash-gateway: {failure}", file=sys.stderr)
        return 1
    return code
