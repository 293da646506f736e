"""How much a call does and holds, as numbers that no other load on the machine changes."""

from __future__ import annotations

import gc
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

TURNS = 5
"""How often what a call holds is measured: other threads of this process allocate too, and the least counts."""


def steps(call: Callable[[], object]) -> int:
    """Returns how many instructions of Python a call carries out, those of all that it calls in Python included."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    # Python 3.12.1 tells of no instruction until a frame has asked for them before the tracing begins.
    sys._getframe().f_trace_opcodes = True
    with _uncollected():
        sys.settrace(trace)
        try:
            call()
        finally:
            sys.settrace(before)
    return count


def most_held(call: Callable[[], object]) -> int:
    """Returns how many bytes a call holds at most at a time: what it copies in one step of C is no step of Python."""
    return min(_held(call) for _ in range(TURNS))


def _held(call: Callable[[], object]) -> int:
    with _uncollected():
        tracemalloc.start()
        try:
            call()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@contextmanager
def _uncollected() -> Iterator[None]:
    """Inside, no collection of garbage falls into the call: those that watch it are steps of Python as well."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
