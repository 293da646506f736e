"""`qstash-gateway`, also `python -m gateway`."""

from __future__ import annotations

import sys
import zoneinfo

from gateway.cli.lean import keep_out
from gateway.cli.output import occupy

INTERRUPTED = 130
"""128 and the number of SIGINT, as shells say it."""


def main() -> int:
    """Runs the command line, in a process that holds no more code than it needs; Ctrl-C ends it with 130."""
    # Before anything that would open a file, or load what is kept out.
    occupy()
    keep_out()
    # Zones come from the package tzdata alone. Where the machine's are, how old they are, and which variable names
    # others, depends on how Python was built; a policy's hours may not.
    zoneinfo.reset_tzpath(())
    try:
        from gateway.cli.main import main as command

        return command()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
