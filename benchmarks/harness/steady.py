"""Measurements during which the machine stood still are none: noticed from the load's own core, and repeated."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from benchmarks.harness.machine import CannotMeasure

STALL_S = 0.5
"""Nothing that is measured keeps the load's core from waking a thread for so long; others on the machine may."""

_TRIES = 3
_BEAT_S = 0.05

Value = TypeVar("Value")


class Pulse:
    """Wakes up again and again while it is used; `longest_s` is by how much it was late at worst."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._done.is_set():
            before_s = time.perf_counter()
            self._done.wait(_BEAT_S)
            self.longest_s = max(self.longest_s, time.perf_counter() - before_s - _BEAT_S)


def steadily(measure: Callable[[], Value], *, pulse: Callable[[], Pulse] = Pulse) -> Value:
    """The value of a measurement, whatever it raises included, but repeated where the machine stood still meanwhile.

    Raises: CannotMeasure, if it never ran on.
    """
    for _ in range(_TRIES):
        with pulse() as watched:
            result = _tried(measure)
        if watched.longest_s < STALL_S:
            return result()
        sys.stderr.write(f"  the machine stood still for {watched.longest_s:.1f} s: this measurement is repeated\n")
    raise CannotMeasure(f"The machine stood still in {_TRIES} measurements of one cell: others are using it.")


def _tried(measure: Callable[[], Value]) -> Callable[[], Value]:
    """The measurement made, as a function that gives its value or raises its fault."""
    try:
        value = measure()
    except CannotMeasure as fault:
        return partial(_raised, fault)
    return lambda: value


def _raised(fault: CannotMeasure) -> NoReturn:
    raise fault
