"""A process tree seen from outside, through /proc: CPU time, memory."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Memory:
    """Mebibytes in memory: all pages, and of them those that are no part of any file."""

    rss: float
    anonymous: float


def family(pid: int) -> list[int]:
    """The process and all below it."""
    found, left = [], [pid]
    while left:
        found.append(left.pop())
        for children in _children(found[-1]):
            left += map(int, children.split())
    return found


def _children(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for task in (_PROC / str(pid) / "task").iterdir():
            yield (task / "children").read_text()


def cpu_s(pid: int) -> float:
    """Seconds of CPU time, user and system, of the process tree so far."""
    return sum(map(_cpu_ticks, family(pid))) / _TICKS_PER_S


def _cpu_ticks(pid: int) -> int:
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def settle(reading: Callable[[], float], *, still_s: float, at_most_s: float = 20) -> None:
    """Waits until a reading stays the same for so long: what was in flight after a load has then come to its end."""
    end_s = time.monotonic() + at_most_s
    last, since_s = reading(), time.monotonic()
    while time.monotonic() - since_s < still_s and time.monotonic() < end_s:
        time.sleep(0.02)
        if (now := reading()) != last:
            last, since_s = now, time.monotonic()


def memory(pid: int) -> Memory:
    """Memory of the process tree. From `status`, because our own gateway keeps the rest of /proc from its user."""
    texts = [(_PROC / str(member) / "status").read_text() for member in family(pid)]

    def mebibytes(name: str) -> float:
        """The sum of one field."""
        found = (re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE) for text in texts)
        return sum(int(field[1]) for field in found if field) / 1024

    return Memory(mebibytes("VmRSS"), mebibytes("RssAnon"))
