"""How the work of a call grows with its input: a ratio within one run, never a number of seconds."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

MOST = 2.5
"""How much more work twice the input may be: linear is 2, the square 4."""

TURNS = 40
"""How often a pair is measured before it is called too much: others use this machine, and the least time counts."""


Sized = Callable[[int], Callable[[], object]]
"""The call to measure, made for an input of some size."""


def too_much(call: Sized, *, size: int) -> str | None:
    """Why a call costs more than linear work; None where it does not, from `size` to twice that or from there on.

    A step at one size is no square: that shows at every size.
    """
    return _pair(call, size) and _pair(call, 2 * size)


def _pair(call: Sized, size: int) -> str | None:
    # What takes no longer than a plain loop over its input is linear, however it compares with what is nothing at all.
    small, large = call(size), call(2 * size)
    least = most = plain = math.inf
    for _ in range(TURNS):
        least, most = min(least, _seconds(small)), min(most, _seconds(large))
        plain = min(plain, _seconds(lambda: _plain_loop(size)))
        if most <= MOST * max(least, plain):
            return None
    return f"{most / least:.1f} times the work for twice the input"


def _plain_loop(size: int) -> int:
    steps = 0
    for _ in range(size):
        steps += 1
    return steps


def _seconds(call: Callable[[], object]) -> float:
    # The time of this thread: what others do on the machine is no work of the call.
    start = time.thread_time()
    call()
    return time.thread_time() - start
