"""How the process uses its core: threads that wait their turn, and a collector that leaves alone what lasts."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Iterator

YOUNG_OBJECTS = 10_000
"""New containers before the collector looks at the young ones; requests leave hardly any cycles."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Threads that are started inside do not take the core from the thread that wakes them; they have it next.

    sched(7), SCHED_BATCH: with the usual policy, a thread that is handed work preempts the one that hands it over, only
    to wait for the interpreter that this one holds. Where the process has another policy, that stays.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextlib.contextmanager
def hearing_no_signal() -> Iterator[None]:
    """Threads that are started inside leave signals to the others.

    A signal that the main thread holds back would end the process through any thread that does not.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def start_resolver() -> None:
    """Makes the loop start its threads for name look-ups now: with none to be had later, libuv ends the process."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().getaddrinfo("localhost", None)


def keep_what_lasts() -> None:
    """Takes all that is there now out of the collector's sight: code, policies and keys stay until they are replaced.

    Else each of its full looks walks over all of that, which costs more than to judge the requests in between.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
