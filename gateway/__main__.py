"""`qstash-gateway`, also `python -m gateway`."""

from __future__ import annotations

import sys
import zoneinfo

from gateway.cli.frugal import keep_out


def main() -> int:
    """Runs the command line, in a process that holds no more code than it needs."""
    # Before anything that would load it.
    keep_out()
    # Zones come from the package tzdata alone. Where the machine's are, how old they are, and which variable names
    # others, depends on how Python was built; a policy's hours may not.
    zoneinfo.reset_tzpath(())
    from gateway.cli.command import main as command

    return command()


if __name__ == "__main__":
    sys.exit(main())
