"""The gateway as it is, with one thing beside it: at SIGUSR1 it appends to a file what it holds.

It is asked from inside because the gateway forbids core dumps, and with them most of /proc to everyone but root.
The handler runs on the thread of the event loop, between two of its steps.
"""

from __future__ import annotations

import asyncio
import gc
import json
import re
import signal
import sys
from collections import Counter
from pathlib import Path

from gateway.cli.main import main

HOLDINGS = "holdings"
"""The file, in the working directory."""

_SELF = Path("/proc/self")


def holdings() -> dict[str, object]:
    """Memory in KiB, objects that the collector tracks, threads, tasks by what they run, and descriptors by kind."""
    gc.collect()
    rollup = (_SELF / "smaps_rollup").read_text()
    return {
        "rss_kib": _kib(rollup, "Rss"),
        "pss_kib": _kib(rollup, "Pss"),
        "anonymous_kib": _kib(rollup, "Anonymous"),
        "objects": len(gc.get_objects()) + gc.get_freeze_count(),
        "threads": len(list((_SELF / "task").iterdir())),
        "tasks": _tasks(),
        "descriptors": _descriptors(),
    }


def _kib(rollup: str, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", rollup, re.MULTILINE)
    return int(found[1]) if found else 0


def _tasks() -> dict[str, int]:
    coroutines = (task.get_coro() for task in asyncio.all_tasks() if not task.done())
    return dict(sorted(Counter(getattr(coroutine, "__qualname__", "?") for coroutine in coroutines).items()))


def _descriptors() -> dict[str, int]:
    """Files by name, sockets by the port that they are connected to (0: none, or they listen)."""
    remote = _remote_ports()
    kinds: Counter[str] = Counter()
    for link in list((_SELF / "fd").iterdir()):
        try:
            name = str(link.readlink())
        except FileNotFoundError:
            continue  # the descriptor that lists the others
        kinds[f"{remote[name][0]}->{remote[name][1]}" if name in remote else name.partition(":")[0]] += 1
    return dict(kinds)


def _remote_ports() -> dict[str, tuple[int, int]]:
    ports = {}
    for line in (_SELF / "net" / "tcp").read_text().splitlines()[1:]:
        fields = line.split()
        local, remote = (int(address.rpartition(":")[2], 16) for address in fields[1:3])
        ports[f"socket:[{fields[9]}]"] = (local, remote)
    return ports


def _append(number: int, frame: object) -> None:
    with Path(HOLDINGS).open("a") as file:
        file.write(json.dumps(holdings()) + "\n")


def serve() -> int:
    """Runs the gateway's own command line; the exit code."""
    signal.signal(signal.SIGUSR1, _append)
    return main()


if __name__ == "__main__":
    sys.exit(serve())
