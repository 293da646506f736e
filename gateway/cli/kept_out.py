"""What this process does without: what draws tables on terminals, and the command lines of libraries.

Libraries load them wherever they are installed, and do without them where they are not.
"""

from __future__ import annotations

import sys
from types import ModuleType

DRAWING = ("rich", "pygments")
"""Tried by httpx and structlog. One command of ours draws, and takes them back."""

ABSENT = (*DRAWING, "httpx._main")

UVICORN = "uvicorn.main"
"""uvicorn's command line, with its process supervisors. The package names three things of it that nobody here uses."""


def keep_out() -> None:
    """Makes it absent for this process."""
    for name in ABSENT:
        # Python reads None as "there is no such module".
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    sys.modules.setdefault(UVICORN, _empty(UVICORN, ("Server", "main", "run")))


def let_in() -> None:
    """Takes the drawing back, once everything else is loaded."""
    for name in DRAWING:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


def _empty(name: str, members: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, "Left out: a command line.")
    for member in members:
        setattr(module, member, None)
    return module
