"""What this process does without: code that it never runs, and memory that is taken ahead of need."""

from __future__ import annotations

import os
import sys
from types import ModuleType

DRAWING = ("rich", "pygments")
"""What draws on terminals: httpx and structlog load it wherever it is installed, and do without it."""

ABSENT = (*DRAWING, "httpx._main")
"""The last is the command line of httpx, which does without it as well."""

UVICORN = "uvicorn.main"
"""uvicorn's command line, with its process supervisors. The package names three things of it that nobody here uses."""

ALLOCATOR = "MIMALLOC_ARENA_EAGER_COMMIT"
"""pyreqwest's allocator reads it once, when it is loaded. Left alone it touches 7 MB before anything asks for them."""


RESOLVERS = "UV_THREADPOOL_SIZE"
"""libuv's threads, which only resolve the names of upstream for targets too long for kept connections; else four."""


def keep_out() -> None:
    """Makes it absent for this process, whatever is loaded after."""
    for name in ABSENT:
        # Python reads None as "there is no such module".
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    sys.modules.setdefault(UVICORN, _empty(UVICORN, ("Server", "main", "run")))
    os.environ.setdefault(ALLOCATOR, "0")
    os.environ.setdefault(RESOLVERS, "2")


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
