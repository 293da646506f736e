"""The one rule for what a net may catch, and the fixed words for what was caught.

A panic of a native library is a BaseException (`pyo3_runtime.PanicException`), and so `except Exception` is no net. A
library's SystemExit or KeyboardInterrupt is a fault like any other: this process is ended by signals, which the loop
takes as calls, and it may not end between an intent and its outcome because something inside it says so.
"""

from __future__ import annotations

import asyncio
import re
import traceback
from pathlib import Path
from types import TracebackType
from typing import Self

ENDINGS = (asyncio.CancelledError, GeneratorExit)
"""What is no fault: the task is cancelled, or its coroutine is closed."""

NO_THREAD = "no_thread"
_NO_THREAD_TEXTS = ("can't start new thread", "Failed to spawn tokio runtime thread")
"""Those of Python, and of the client library while it is made."""


class Net:
    """Holds every fault of the lines under `with Net() as net:`, so that those below go on. No net holds ENDINGS."""

    __slots__ = ("fault",)

    def __init__(self) -> None:
        self.fault: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if fault is None or isinstance(fault, ENDINGS):
            return False
        self.fault = fault
        return True

    @property
    def caught(self) -> BaseException:
        """The fault, for the lines that are only reached by one."""
        assert self.fault is not None
        return self.fault


def word(fault: BaseException) -> str:
    """A fixed word for the record: the fault's class, never its text; `no_thread` where the system gave no thread."""
    if isinstance(fault, RuntimeError) and str(fault).startswith(_NO_THREAD_TEXTS):
        return NO_THREAD
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(fault).__name__).lower()


def internal(fault: BaseException) -> str:
    """The same for an error of our own code: `internal_` and the class; `no_thread` as it is."""
    return NO_THREAD if word(fault) == NO_THREAD else f"internal_{type(fault).__name__}"


def place(fault: BaseException) -> str | None:
    """The file and line it was raised at, which hold nothing of a caller's, as its text may."""
    frames = list(traceback.walk_tb(fault.__traceback__))
    return f"{Path(frames[-1][0].f_code.co_filename).name}:{frames[-1][1]}" if frames else None


def report(fault: BaseException, found: str) -> None:
    """Tells the loop's exception handler, as the loop does with what nobody awaits; never raises. `found` is fixed."""
    context = {"message": found, "found": found, "exception": fault}
    asyncio.get_running_loop().call_exception_handler(context)
