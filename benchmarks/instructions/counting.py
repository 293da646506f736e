"""Instructions of a whole serving gateway, counted by valgrind; a start is the same each time and cancels out."""

from __future__ import annotations

import fcntl
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from threading import Barrier, BrokenBarrierError

from benchmarks.harness.instance import Instance
from benchmarks.harness.launch import Launch, Place, gateway
from benchmarks.harness.machine import CannotMeasure, Cores, program
from benchmarks.harness.requests import OVER_CAP, Request, cancel, exchange
from gateway.audit.decisions.index import LOCK

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


@dataclass(frozen=True, slots=True)
class Counting:
    """A gateway that is counted from its start to its end, and the load that it answers meanwhile."""

    name: str
    load: Callable[[Instance], None]
    launch: Callable[[Place], Launch] = gateway


def instructions(requests: int, *, directory: Path, cores: Cores) -> dict[str, float]:
    """Counts the instructions of one cancel and one denial over a kept connection.

    Three gateways at once: one answers `WARM` requests of each kind, each of the others so many more of one kind. What
    they count more than the first, divided by the requests, is the cost of one. Raises: CannotMeasure.
    """
    gateways = [Counting(name or "none", partial(_load, more_of=name, requests=requests)) for name in ("", *kinds())]
    start, *more = totals(gateways, directory=directory, cores=cores)
    return {name: (total - start) / requests for name, total in zip(kinds(), more, strict=True)}


def _load(instance: Instance, *, more_of: str, requests: int) -> None:
    with socket.create_connection(("127.0.0.1", instance.port), _ANSWER_S) as connection:
        for name, request in kinds().items():
            send(connection, request, WARM + (requests if name == more_of else 0))


def totals(gateways: Sequence[Counting], *, directory: Path, cores: Cores) -> list[int]:
    """Counts all instructions of each gateway, all at once. Raises: CannotMeasure.

    They serve for the same time, so that what a gateway does each second at rest is the same in all of them. None of
    them keeps the index of decisions: its thread works behind the requests, in one count and not in another.
    """
    both = (cores, Cores(cores.load, cores.gateway))  # nothing is timed, so both may count
    with ThreadPoolExecutor(len(gateways)) as pool:
        together = Barrier(len(gateways))
        return list(pool.map(partial(_total, directory=directory, together=together), gateways, cycle(both)))


def _total(counting: Counting, cores: Cores, *, directory: Path, together: Barrier) -> int:
    """All instructions of one gateway, from its start to its end; it waits for the others before and after its load."""
    place = directory / f"counted-{counting.name}"
    with ExitStack() as held:
        held.enter_context(_waiting(together))
        launch = partial(_counted, launch=counting.launch, held=held)
        instance = held.enter_context(Instance(counting.name, launch, directory=place, cores=cores, start_s=_START_S))
        together.wait(_START_S)
        counting.load(instance)
        together.wait(_LOAD_S)
        proof = instance.stop()
        if proof is None or not proof.holds:
            raise CannotMeasure(f"The record of a counted gateway says otherwise: {proof and proof.sentence}.")
        return read_total(instance.process.log.read_text(errors="replace"))


def _counted(place: Place, *, launch: Callable[[Place], Launch], held: ExitStack) -> Launch:
    """The launch below valgrind; until `held` ends, this process has the lock of whoever keeps the index."""
    made = launch(place)
    if made.audit is not None:
        made.audit.mkdir(mode=0o700)
        lock = held.enter_context((made.audit / LOCK).open("ab"))
        fcntl.flock(lock, fcntl.LOCK_EX)
    return below(made, (program("valgrind"), *_COUNTER))


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


def below(launch: Launch, before: Sequence[str]) -> Launch:
    """A gateway below another program, with the same order of its sets each time."""
    return Launch((*before, *launch.command), {**launch.environment, "PYTHONHASHSEED": "0"}, audit=launch.audit)
