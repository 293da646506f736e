"""A deadline like `asyncio.timeout`, for a loop that is known: asyncio asks for the running loop, and its task, anew.

Each of those questions is a system call, and a cancel would ask five times.
"""

from __future__ import annotations

import asyncio
from types import TracebackType


class Deadline:
    """A context that cancels the task inside it after some seconds, and turns that cancellation into TimeoutError.

    A cancellation from elsewhere passes through, also if it comes with the deadline. Use it once, inside a task of
    `loop`.
    """

    __slots__ = ("_asked_before", "_loop", "_over", "_seconds", "_task", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._over = False

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        self._task, self._asked_before = task, task.cancelling()
        self._timer = self._loop.call_later(self._seconds, self._end)

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        # As in asyncio.Timeout: whoever else has asked the task to end is not told of a deadline instead.
        ours = self._over and self._task.uncancel() <= self._asked_before
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise TimeoutError from fault

    def _end(self) -> None:
        self._over = True
        self._task.cancel()
