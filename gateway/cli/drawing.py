"""What draws tables on terminals is kept out of every process but that of the command which needs it."""

from __future__ import annotations

import sys

DRAWING = ("rich", "pygments")


def keep_out() -> None:
    """Makes it absent for this process: httpx and structlog load it wherever it is installed, and do without it."""
    for name in DRAWING:
        # Python reads None as "there is no such module".
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]


def let_in() -> None:
    """Takes `keep_out` back, once everything else is loaded."""
    for name in DRAWING:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
