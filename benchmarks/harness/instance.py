"""One gateway on its core, ours or a peer, with a stub upstream of its own on the other."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from benchmarks.harness.launch import Launch, Place, nginx
from benchmarks.harness.machine import CannotMeasure, Cores
from benchmarks.harness.observe import settle
from benchmarks.harness.process import Process
from benchmarks.harness.proof import Proof, prove
from benchmarks.harness.requests import ask, cancel, free_port, refusals

START_S = 60
_POLL_S = 0.002
_STILL_S = 0.5


class Upstream(Protocol):
    """What an instance needs of its upstream."""

    @property
    def port(self) -> int:
        """Where it listens."""

    def stop(self) -> int:
        """Ends it; how many cancels reached it."""


class Stub:
    """nginx as the upstream: answers who has the token, and counts every cancel that reaches it."""

    def __init__(
        self,
        directory: Path,
        cores: Cores,
        *,
        name: str = "stub.conf",
        changes: Mapping[str, str] | None = None,
        tls: bool = False,
    ) -> None:
        """`changes` are made to its configuration `name`; with `tls` it is only waited for until it listens."""
        directory.mkdir(parents=True, exist_ok=True)
        place = Place(directory, free_port(), 0)
        self._port = place.port
        self._cancels = directory / "cancels"
        launch = nginx(place, name, changes=changes)
        self._process = Process(launch.command, core=cores.load, directory=directory)
        try:
            # A request without TLS is refused with 400 where there is TLS.
            answer = 400 if tls else 404
            wait_until(self._process, lambda: ask(self.port, b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n") == answer)
        except BaseException:
            self._process.stop()
            raise

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def stop(self) -> int:
        """Ends it; how many requests it counted. Counted then, since a line is written after its answer."""
        self._process.stop()
        return self._cancels.stat().st_size // len("x\n")


class Instance:
    """Started and answering after its constructor; `start_s` is how long the first 200 took."""

    def __init__(
        self,
        kind: str,
        launch: Callable[[Place], Launch],
        *,
        directory: Path,
        cores: Cores,
        stub: Callable[[Path, Cores], Upstream] = Stub,
        start_s: float = START_S,
    ) -> None:
        self.kind = kind
        self.directory = directory
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        self._numbers = itertools.count()
        self._stopped = False
        self._stub = stub(directory / "upstream", cores)
        self.port, self.upstream_port = free_port(), self._stub.port
        self._launch = launch(Place(directory, self.port, self._stub.port))
        started_s = time.perf_counter()
        self.process = Process(
            self._launch.command, core=cores.gateway, directory=directory, environment=self._launch.environment
        )
        try:
            good = cancel()
            # Asked once and waited for: a question that is given up would still be answered, and counted.
            wait_until(
                self.process,
                lambda: ask(self.port, good.numbered(next(self._numbers)), timeout_s=start_s) == 200,
                at_most_s=start_s,
            )
        except BaseException:
            self._abandon()
            raise
        self.start_s = time.perf_counter() - started_s

    def probe(self) -> None:
        """Raises CannotMeasure unless it refuses what it has to refuse."""
        for wrong, request in refusals().items():
            status = ask(self.port, request.numbered(next(self._numbers)))
            if status != request.status:
                raise CannotMeasure(f"{self.kind} answers {status} to a request that is {wrong}.")

    def stop(self) -> Proof | None:
        """Ends it; what its record proves, if it keeps one. Raises: CannotMeasure, if it does not end by itself."""
        if self._launch.audit is not None:
            # An intent that the end overtakes is closed as not sent, which is right, and no measurement.
            settle(partial(_size, self._launch.audit), still_s=_STILL_S)
        self._stopped = True
        try:
            self.process.stop()
        finally:
            at_upstream = self._stub.stop()
        return prove(self._launch.audit, upstream=at_upstream) if self._launch.audit is not None else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends it without a proof, unless `stop` did."""
        self._abandon()

    def _abandon(self) -> None:
        if self._stopped:
            return
        self._stopped = True
        try:
            self.process.stop()
        finally:
            self._stub.stop()


Proofs = list[tuple[str, Proof]]
"""What each record proves, with the name of who kept it."""


@contextmanager
def started(
    launches: Mapping[str, Callable[[Place], Launch]], *, directory: Path, cores: Cores, proofs: Proofs
) -> Iterator[dict[str, Instance]]:
    """Instances by name, ended after use; what they prove is added. Raises: CannotMeasure, if one does not count."""
    with ExitStack() as stack:
        instances = {}
        for number, (name, launch) in enumerate(launches.items()):
            home = directory / f"instance-{number}"
            instances[name] = stack.enter_context(Instance(name, launch, directory=home, cores=cores))
        yield instances
        for name, instance in instances.items():
            if (proof := instance.stop()) is None:
                continue
            proofs.append((name, proof))
            if not proof.holds:
                raise CannotMeasure(f"{name} {proof.sentence}; see {instance.directory}.")


def turns(rounds: int, cells: Sequence[Callable[[], None]]) -> Iterator[Callable[[], None]]:
    """Every cell once in each round, backwards in every other one, so that no place in the order is favoured."""
    for number in range(rounds):
        yield from cells if number % 2 == 0 else reversed(cells)


def _size(audit: Path) -> int:
    return sum(path.stat().st_size for path in audit.glob("*.jsonl"))


def wait_until(process: Process, answers: Callable[[], bool], *, at_most_s: float = START_S) -> None:
    """Asks again and again until a process answers as it should. Raises: CannotMeasure, if it never does."""
    deadline_s = time.monotonic() + at_most_s
    while time.monotonic() < deadline_s and process.running:
        try:
            if answers():
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(_POLL_S)
    raise CannotMeasure(f"It did not start: {process.log}\n{process.said()}")
