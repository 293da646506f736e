"""Instructions of a whole serving gateway, counted by valgrind; a start is the same each time and cancels out."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Barrier, BrokenBarrierError

from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure, Cores, program
from benchmarks.harness.requests import OVER_CAP, Request, cancel, exchange

WARM = 50
"""Requests of each kind before what is counted: code paths that are new to Python cost more the first times."""

_COUNTER = ("--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")
"""The cheapest tool that counts instructions; without its simulated caches it does nothing else."""

_START_S = 300
_ANSWER_S = 120
_LOAD_S = 600
_TOTAL = re.compile(r"^==\d+== I\s+refs:\s+([\d,]+)$", re.MULTILINE)

Requests = Mapping[str, Request]


def kinds() -> Requests:
    """Makes a request of each kind that is counted."""
    return {"cancel": cancel(), "denial": cancel(OVER_CAP, status=403)}


def instructions(requests: int, *, directory: Path, cores: Cores, more: str = "") -> dict[str, float]:
    """Counts the instructions of one cancel and one denial over a kept connection; `more` is more configuration.

    Three gateways at once: one answers `WARM` requests of each kind, each of the others so many more of one kind. What
    they count more than the first, divided by the requests, is the cost of one. They serve for the same time, so that
    what a gateway does each second at rest cancels out too. Raises: CannotMeasure.
    """
    names = ("", *kinds())
    both = (cores, Cores(cores.load, cores.gateway))  # nothing is timed, so both may count
    with ThreadPoolExecutor(len(names)) as pool:
        together = Barrier(len(names))
        launch = partial(_under_valgrind, more=more)
        run = partial(_total, launch=launch, requests=requests, directory=directory, together=together)
        totals = dict(zip(names, pool.map(run, names, cycle(both)), strict=True))
    return {name: (totals[name] - totals[""]) / requests for name in kinds()}


def _total(
    more_of: str,
    cores: Cores,
    *,
    launch: Callable[[Place], Launch],
    requests: int,
    directory: Path,
    together: Barrier,
) -> int:
    """All instructions of one gateway, from its start to its end; it waits for the others before and after its load."""
    place = directory / f"counted-{more_of or 'none'}"
    with (
        _waiting(together),
        Instance(more_of or "start", launch, directory=place, cores=cores, start_s=_START_S) as instance,
    ):
        together.wait(_START_S)
        with socket.create_connection(("127.0.0.1", instance.port), _ANSWER_S) as connection:
            for name, request in kinds().items():
                send(connection, request, WARM + (requests if name == more_of else 0))
        together.wait(_LOAD_S)
        proof = instance.stop()
        if proof is None or not proof.holds:
            raise CannotMeasure(f"The record of a counted gateway says otherwise: {proof and proof.sentence}.")
        return read_total(instance.process.log.read_text(errors="replace"))


@contextmanager
def _waiting(together: Barrier) -> Iterator[None]:
    """Lets nobody wait for one that failed. Raises: CannotMeasure, where another one did."""
    try:
        yield
    except BrokenBarrierError as broken:
        raise CannotMeasure("Another gateway that was counted at the same time failed.") from broken
    except BaseException:
        together.abort()
        raise


def send(connection: socket.socket, request: Request, requests: int) -> None:
    """Sends so many requests one after the other. Raises: CannotMeasure, if one is answered otherwise."""
    for number in range(requests):
        status = exchange(connection, request.numbered(10_000_000 + number))
        if status != request.status:
            raise CannotMeasure(f"A request was answered with {status} where {request.status} was expected.")


def read_total(said: str) -> int:
    """Reads the sum from what valgrind says at the end. Raises: CannotMeasure."""
    found = _TOTAL.findall(said)
    if len(found) != 1:
        raise CannotMeasure(f"valgrind counted nothing:\n{said[-2000:]}")
    return int(found[0].replace(",", ""))


def _under_valgrind(place: Place, more: str = "") -> Launch:
    return wrapped(place, (program("valgrind"), *_COUNTER), more=more)


def wrapped(place: Place, before: Sequence[str], *, more: str = "") -> Launch:
    """The project below another program, with the same order of its sets each time."""
    launch = gateway(place, more=more)
    return Launch((*before, *launch.command), {**launch.environment, "PYTHONHASHSEED": "0"}, audit=launch.audit)
