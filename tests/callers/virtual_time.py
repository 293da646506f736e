"""An event loop whose clock jumps to the next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(selectors.DefaultSelector):
    """Where nothing is ready, the time until the next timer has passed.

    Threads get `threads_s` to be ready, and as long again while one of them has work: a busy machine lets it wait.
    """

    now_s = 0.0

    def __init__(self, threads_s: float) -> None:
        super().__init__()
        self._threads_s = threads_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(self._threads_s if timeout is None else min(timeout, self._threads_s))
        while not ready and timeout and self._threads_s and _others_work():
            ready = super().select(self._threads_s)
        if not ready and timeout:
            self.now_s += timeout
        return ready


def _others_work() -> bool:
    """Whether another thread of this process runs, or would; where there is no /proc, nobody can say."""
    for thread in Path("/proc/self/task").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            state = (thread / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "S" and int(thread.name) != threading.get_native_id():
                return True
    return False


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, threads_s: float) -> None:
        self._jumping = _Jumping(threads_s)
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(scenario: Coroutine[Any, Any, T], *, threads_s: float = 0) -> T:
    """Runs a scenario in which hours take no time; before each jump, work on threads has `threads_s` to end."""
    with asyncio.Runner(loop_factory=partial(_Loop, threads_s)) as runner:
        return runner.run(scenario)
