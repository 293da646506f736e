"""The command line. Exit codes: 0 ok · 1 failed · 2 usage · 3 invalid configuration or policy · 4 cases failed."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway.errors import AuditFailure, InvalidConfiguration
from gateway.faults import NO_THREAD, word

INVALID = 3

COMMANDS = {
    "serve": "gateway.cli.serve",
    "demo": "gateway.cli.trial.demo",
    "simulate": "gateway.cli.trial.simulate",
    "init": "gateway.cli.policies.init",
    "check": "gateway.cli.policies.check",
    "schema": "gateway.cli.policies.schema",
    "test": "gateway.cli.policies.test",
    "explain": "gateway.cli.policies.explain",
    "cancel": "gateway.cli.cancel.command",
    "replay": "gateway.cli.policies.replay",
    "keys": "gateway.cli.keys",
    "probe": "gateway.cli.probe",
    "probe-upstream": "gateway.cli.probe_upstream",
    "audit": "gateway.cli.audit",
}
"""Where each command is. Only the one that is asked for is loaded; all of them where help or a mistake needs them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    parser = argparse.ArgumentParser(
        prog="qstash-gateway", description="An authenticating policy gateway for the bulk cancel of QStash workflows."
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # What is loaded stays: the cycle collector need not walk it, now or ever.
    gc.disable()
    for name in given[:1] if given and given[0] in COMMANDS else COMMANDS:
        import_module(COMMANDS[name]).register(commands)
    gc.freeze()
    gc.enable()
    parsed = parser.parse_args(given)
    try:
        code: int = parsed.run(parsed)
    except InvalidConfiguration as invalid:
        print(invalid, file=sys.stderr)
        return INVALID
    except (AuditFailure, OSError) as failure:
        print(f"qstash-gateway: {failure}", file=sys.stderr)
        return 1
    except RuntimeError as fault:
        if word(fault) != NO_THREAD:
            raise
        print("qstash-gateway: the system gives this process no thread", file=sys.stderr)
        return 1
    return code
