"""The entry point of `qstash-gateway` and of `python -m gateway`."""

from __future__ import annotations

import sys
import zoneinfo

from gateway.cli.lean import keep_out
from gateway.cli.output import occupy

INTERRUPTED = 130
"""The exit code after Ctrl-C, by the convention of shells: 128 plus the number of SIGINT."""


def main() -> int:
    """Run the command line with no more code loaded than needed, and return its exit code; 130 after Ctrl-C."""
    # These come first, before anything opens a file or loads a module that is to be kept out.
    occupy()
    keep_out()
    # Time zones come from the package tzdata only. The machine's own zones, their age and the variable that overrides
    # them depend on how Python was built, and a policy's hours must not depend on that.
    zoneinfo.reset_tzpath(())
    try:
        from gateway.cli.main import main as command

        return command()
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
