"""`qstash-gateway`, also `python -m gateway`."""

from __future__ import annotations

import sys

from gateway.cli.frugal import keep_out


def main() -> int:
    """Runs the command line, in a process that holds no more code than it needs."""
    # Before anything that would load it.
    keep_out()
    from gateway.cli.command import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
