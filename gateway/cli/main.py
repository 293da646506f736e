"""The command line. Exit codes: 0 ok · 1 failed · 2 usage · 3 invalid configuration or policy · 4 cases failed."""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from gateway import __version__
from gateway.cli.output import FAILED, fault_in_words, guarded, printable
from gateway.core.errors import AuditFailure, InvalidConfiguration, StateFailure
from gateway.process import NO_THREAD, word

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
    "decisions": "gateway.cli.cancel.decisions",
    "freeze": "gateway.cli.freezes.freeze",
    "thaw": "gateway.cli.freezes.thaw",
    "approvals": "gateway.cli.approvals.listed",
    "approve": "gateway.cli.approvals.approve",
    "reject": "gateway.cli.approvals.reject",
    "replay": "gateway.cli.policies.replay",
    "keys": "gateway.cli.keys",
    "probe": "gateway.cli.probe",
    "probe-upstream": "gateway.cli.probe_upstream",
    "audit": "gateway.cli.audit.command",
    "state": "gateway.cli.state.command",
}
"""The module of each command. Only the requested one is loaded; help and mistakes load all of them."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Exit like argparse, with the typed text printed so that no terminal acts on it."""
        super().error(printable(message))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    A fault of a standard stream changes the code only of a command that is run for its output: from 0 to 1.
    """
    with guarded() as streams:
        try:
            command = parsed(sys.argv[1:] if arguments is None else arguments)
            return streams.end(_run(command), product=command.product)
        except SystemExit as asked:
            # Help was asked for, or the command line is wrong.
            code = asked.code if isinstance(asked.code, int) else FAILED
            raise SystemExit(streams.end(code, product=True)) from None


def parsed(given: Sequence[str]) -> argparse.Namespace:
    """Parse a command line. Raises: SystemExit if it asks for help or is not valid."""
    parser = _Parser(
        prog="qstash-gateway", description="An authenticating policy gateway for the bulk cancel of QStash workflows."
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    # A command that is run for its output, rather than for what it does or finds, sets `product`.
    parser.set_defaults(product=False)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    # Loaded modules stay, so the cycle collector never needs to walk them.
    gc.disable()
    for name in given[:1] if given and given[0] in COMMANDS else COMMANDS:
        import_module(COMMANDS[name]).register(commands)
    gc.freeze()
    gc.enable()
    return parser.parse_args(given)


def _run(command: argparse.Namespace) -> int:
    try:
        code: int = command.run(command)
    except InvalidConfiguration as invalid:
        print("\n".join(printable(str(problem)) for problem in invalid.problems), file=sys.stderr)
        return INVALID
    except StateFailure as failure:
        print(f"qstash-gateway: {fault_in_words(failure)}", file=sys.stderr)
        return INVALID
    except (AuditFailure, OSError) as failure:
        print(f"qstash-gateway: {fault_in_words(failure)}", file=sys.stderr)
        return FAILED
    except RuntimeError as fault:
        if word(fault) != NO_THREAD:
            raise
        print("qstash-gateway: the system gives this process no thread", file=sys.stderr)
        return FAILED
    return code
