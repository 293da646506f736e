"""The `reject` command."""

from __future__ import annotations

import argparse

from gateway.cli.approvals import said


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `reject`."""
    said.register(subparsers, "reject")
