"""System calls of a serving gateway, listed by strace with their times; and the turns in which a thread of it waits."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.harness.instance import Instance, Proofs, started
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.load import Opened, open_loop
from benchmarks.harness.machine import CannotMeasure, Cores, program
from benchmarks.harness.requests import Request
from benchmarks.instructions.counting import WARM, below, kinds, send

CONNECTIONS = (1, 32)
PER_S = 60
"""A rate at which no request meets another, so that each wakes every thread that it needs."""

_SETTLE_S = 0.3
_LIST = "calls"
_IDLE = "idle"
_IDLE_S = 3
_CALL = re.compile(r"^\d+ +(\d+\.\d+) (?!<\.\.\.|---|\+\+\+)", re.MULTILINE)
"""A line of strace that begins a call: neither the end of one that was interrupted, nor a signal, nor an exit."""

Windows = Mapping[str, tuple[float, float]]


def system_calls(requests: int, *, directory: Path, cores: Cores, proofs: Proofs) -> dict[str, float]:
    """Counts the system calls of one cancel and one denial, at c=1 and c=32. Raises: CannotMeasure."""
    program("strace")
    windows: dict[str, tuple[float, float]] = {}
    place = directory / "traced"
    with started({"traced": _under_strace}, directory=place, cores=cores, proofs=proofs) as instances:
        (instance,) = instances.values()
        windows[_IDLE] = _window(partial(time.sleep, _IDLE_S))
        for connections in CONNECTIONS:
            for name, request in kinds().items():
                _send_over(instance.port, request, WARM, connections)
                load = partial(_send_over, instance.port, request, requests, connections)
                windows[f"{name} c={connections}"] = _window(load)
    text = next(place.rglob(_LIST)).read_text(errors="replace")
    return {name: calls / requests for name, calls in count_calls(text, windows).items()}


def _window(load: Callable[[], None]) -> tuple[float, float]:
    """The Unix seconds between which a load begins and has come to its end."""
    time.sleep(_SETTLE_S)
    began_s = time.time()
    load()
    time.sleep(_SETTLE_S)
    return began_s, time.time()


def count_calls(text: str, windows: Windows) -> dict[str, float]:
    """Counts the calls in what strace wrote, by the window of Unix seconds in which they began.

    What the gateway calls in the window `idle` it also calls in the others, by their length, and that is taken off.
    """
    times_s = [float(line[1]) for line in _CALL.finditer(text)]
    counts = {name: sum(begin <= at_s < end for at_s in times_s) for name, (begin, end) in windows.items()}
    lengths_s = {name: end - begin for name, (begin, end) in windows.items()}
    idle_per_s = counts.pop(_IDLE) / lengths_s[_IDLE]
    return {name: calls - idle_per_s * lengths_s[name] for name, calls in counts.items()}


def _send_over(port: int, request: Request, requests: int, connections: int) -> None:
    """Sends so many requests over as many connections at once."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 60)) for _ in range(connections)]
        with ThreadPoolExecutor(connections) as pool:
            each = max(1, requests // connections)
            sent = []
            for number, connection in enumerate(opened):
                own = replace(request, head=f"{request.head}{number}-")
                sent.append(pool.submit(send, connection, own, each))
            for one in sent:
                one.result()


def _under_strace(place: Place) -> Launch:
    # -D: the gateway stays our own child, which the end of the measurement is told to.
    strace = (program("strace"), "-D", "-f", "-ttt", "-qq", "-s", "0", "-o", str(place.directory / _LIST))
    return below(gateway(place), strace)


def switches(seconds: float, *, directory: Path, cores: Cores, proofs: Proofs) -> dict[str, float]:
    """Counts how often a thread of the gateway goes to sleep for one request of 60 a second. Raises: CannotMeasure."""
    found = {}
    launches: Mapping[str, Callable[[Place], Launch]] = {"switched": gateway}
    with started(launches, directory=directory / "switched", cores=cores, proofs=proofs) as instances:
        (instance,) = instances.values()
        for name, request in kinds().items():
            open_loop(instance.port, Opened(request, PER_S, 1, 1))
            before = _voluntary(instance)
            load = Opened(kinds()[name], PER_S, 1, seconds)
            open_loop(instance.port, load)
            found[name] = (_voluntary(instance) - before) / len(load.due_s(0))
    return found


def _voluntary(instance: Instance) -> int:
    tasks = Path(f"/proc/{instance.process.pid}/task")
    return sum(read_switches((task / "status").read_text()) for task in tasks.iterdir())


def read_switches(status: str) -> int:
    """Reads the voluntary context switches of one thread. Raises: CannotMeasure."""
    found = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)
    if found is None:
        raise CannotMeasure("The kernel does not say how often a thread went to sleep.")
    return int(found[1])
