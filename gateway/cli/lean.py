"""Measures that keep unused code, and memory that is not needed yet, out of the process."""

from __future__ import annotations

import os
import sys
from types import ModuleType

DRAWING = ("rich", "pygments")
"""Packages that draw on terminals. httpx and structlog load them if they are installed, and work without them."""

ABSENT = (*DRAWING, "httpx._main")
"""The modules that are kept out. The last is the command line of httpx, which httpx does not need."""

UVICORN = "uvicorn.main"
"""uvicorn's command line, with its process supervisors. The package imports three names from it, all unused here."""

ALLOCATOR = "MIMALLOC_ARENA_EAGER_COMMIT"
"""A variable that pyreqwest's allocator reads once, when it is loaded; by default it touches 7 MB ahead of need."""


RESOLVERS = "UV_THREADPOOL_SIZE"
"""The number of libuv's threads, by default four.

They only resolve upstream's name, for requests whose target is too long for a kept connection.
"""


def keep_out() -> None:
    """Keep the unused modules out of this process, whatever is loaded later, and set the two variables."""
    for name in ABSENT:
        # Python reads None as "there is no such module".
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    sys.modules.setdefault(UVICORN, _empty(UVICORN, ("Server", "main", "run")))
    os.environ.setdefault(ALLOCATOR, "0")
    os.environ.setdefault(RESOLVERS, "2")


def let_in() -> None:
    """Allow the drawing packages again, once everything else is loaded."""
    for name in DRAWING:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


def _empty(name: str, members: tuple[str, ...]) -> ModuleType:
    module = ModuleType(name, "Left out: a command line.")
    for member in members:
        setattr(module, member, None)
    return module
