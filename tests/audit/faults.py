"""Disks that fail, crash or are slow, and the plans and readings that the laws are stated with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from gateway.audit.chain import MacKey
from gateway.audit.evidence.verify import verify
from gateway.audit.log import AuditLog, AuditSettings, Closing
from gateway.audit.segment import OsDisk, segment_path
from gateway.audit.writer import CHECKPOINT_RECORDS
from gateway.core.errors import AuditUnavailable
from gateway.core.outcome import Cancelled
from gateway.core.plan import Narrowing, Order, Permit, Plan
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.log import Console
from tests.support.waiting import PATIENCE_S

UPSTREAM = "https://qstash.upstash.io"
DONE = Closing(Cancelled(200, 3), over_cancelled=0, duration_ms=5, caller_gone=False)
EVER = 10**9
NOWHERE = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def plan(decision_id: str, label: str = "nightly") -> Plan:
    """A narrowed filter cancel."""
    selection = ByFilter(workflow_urls=("https://a.example/api",), exact=True, labels=(label,))
    asked, effective = ActionRequest(selection, 100), ActionRequest(selection, 50)
    permit = Permit(
        "billing/own-workflows", "permit", None, effective, narrowing=Narrowing("count", "billing/own-workflows")
    )
    orders = (Order(selection, effective.count),)
    return Plan(decision_id, Principal("billing", "ci"), asked, permit, orders, "ab" * 32, "192.0.2.7")


@asynccontextmanager
async def opened(
    directory: Path, chain: str = "one", *, disk: OsDisk | None = None, **settings: Any
) -> AsyncIterator[AuditLog]:
    """A log that is stopped at the end."""
    log = await open_log(directory, chain, disk=disk, **settings)
    try:
        yield log
    finally:
        await log.stop({"reason": "test"})


async def open_log(
    directory: Path,
    chain: str = "one",
    *,
    disk: OsDisk | None = None,
    stdout_descriptor: int = NOWHERE,
    clock: Callable[[], int] = time.time_ns,
    start: Mapping[str, object] = MappingProxyType({"version": "test"}),
    **settings: Any,
) -> AuditLog:
    """A log with quick retries."""
    settings = {"retry_s": 0.01, **settings}
    return await AuditLog.open(
        AuditSettings(directory, **settings),
        instance=chain,
        upstream=UPSTREAM,
        start=start,
        clock=clock,
        disk=disk,
        stdout=Console(stdout_descriptor),
    )


async def until_taken(log: AuditLog, decision_id: str) -> None:
    """Decides until the log takes the intent: one that waits for milliseconds only may find any disk slow."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            with contextlib.suppress(AuditUnavailable):
                await log.close(await log.intent(plan(decision_id)), DONE)
                return
            await asyncio.sleep(0.001)


def segments(directory: Path, chain: str = "*", *, suffix: str = "jsonl") -> list[Path]:
    """The files of a chain, or of all, in order."""
    return sorted(directory.glob(f"{chain}.*.{suffix}"))


def split(directory: Path, chain: str, at: Sequence[int]) -> None:
    """The same chain in several files, as faults leave it: each but the first begins after so many lines."""
    (path,) = segments(directory, chain)
    lines = path.read_bytes().splitlines(keepends=True)
    for number, (first, last) in enumerate(pairwise([0, *at, len(lines)]), 1):
        segment_path(directory, chain, number).write_bytes(b"".join(lines[first:last]))


def records(directory: Path) -> list[dict]:
    """Every whole line of every segment, file by file."""
    lines = []
    for path in segments(directory):
        lines += [line for line in path.read_bytes().split(b"\n")[:-1] if line]
    return [json.loads(line) for line in lines]


def outcomes(directory: Path) -> dict[str, list[str]]:
    """Outcomes by decision."""
    found: dict[str, list[str]] = {}
    for record in records(directory):
        if record["event"] == "outcome":
            found.setdefault(record["decision_id"], []).append(record["outcome"])
    return found


def findings(directory: Path, **kwargs: Any) -> dict[str, str]:
    """What verification says of each chain."""
    reports = verify(sorted(directory.iterdir()), **{"checkpoints": {}, "whole": True, **kwargs})
    return {report.chain: report.finding.name for report in reports}


def tampered(directory: Path, *keys: MacKey) -> set[str]:
    """The chains that verification, given the keys, says were tampered with."""
    return {chain for chain, finding in findings(directory, keys=keys).items() if finding == "TAMPERED"}


class FailingDisk(OsDisk):
    """Fails the Nth call of one operation (and `length` - 1 after it), perhaps after taking half of the bytes.

    One that fails for `EVER` fails until it is mended.
    """

    def __init__(
        self, operation: str, nth: int, error: int, *, length: int = 1, torn: bool = False, uncut: bool = False
    ) -> None:
        self.calls = 0
        self.operation, self.nth, self.error, self.length, self.torn, self.uncut = (
            operation,
            nth,
            error,
            length,
            torn,
            uncut,
        )

    def mend(self) -> None:
        """Fails no more."""
        self.length = 0

    @property
    def reached(self) -> bool:
        return self.calls >= self.nth

    def _fails(self, operation: str) -> bool:
        if operation == "truncate" and self.uncut and self.reached:
            return True
        if operation != self.operation:
            return False
        self.calls += 1
        return self.nth <= self.calls < self.nth + self.length

    def _check(self, operation: str) -> None:
        if self._fails(operation):
            raise OSError(self.error, os.strerror(self.error))

    def open(self, path: Path, flags: int) -> int:
        self._check("open")
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> int:
        if self._fails("write"):
            if self.torn:
                super().write(descriptor, data[: len(data) // 2])
            raise OSError(self.error, os.strerror(self.error))
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._check("fdatasync")
        super().fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._check("truncate")
        super().truncate(descriptor, size)

    def stat(self, path: Path) -> os.stat_result:
        self._check("stat")
        return super().stat(path)

    def sync_directory(self, path: Path) -> None:
        self._check("sync_directory")
        super().sync_directory(path)


class Crash(BaseException):
    """The process died here."""


class CrashingDisk(OsDisk):
    """Dies at the Nth operation; a write takes half of its bytes first."""

    def __init__(self, nth: int) -> None:
        self.calls, self.nth = 0, nth

    def _step(self) -> None:
        self.calls += 1
        if self.calls >= self.nth:
            raise Crash

    def open(self, path: Path, flags: int) -> int:
        self._step()
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> int:
        if self.calls + 1 == self.nth:
            super().write(descriptor, data[: len(data) // 2])
        self._step()
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._step()
        super().fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._step()
        super().truncate(descriptor, size)

    def sync_directory(self, path: Path) -> None:
        self._step()
        super().sync_directory(path)


class WatchedDisk(OsDisk):
    """Remembers the order of what makes things durable or gone."""

    def __init__(self) -> None:
        self.steps: list[str] = []

    def fdatasync(self, descriptor: int) -> None:
        super().fdatasync(descriptor)
        self.steps.append("fdatasync")

    def sync_directory(self, path: Path) -> None:
        super().sync_directory(path)
        self.steps.append("sync_directory")

    def truncate(self, descriptor: int, size: int) -> None:
        super().truncate(descriptor, size)
        self.steps.append("truncate")


class HeldDisk(OsDisk):
    """Does not come back from fdatasync until let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def fdatasync(self, descriptor: int) -> None:
        assert self.gate.wait(PATIENCE_S), "whoever lets go was held too"
        super().fdatasync(descriptor)


class StarvingClock:
    """Holds the writer's thread outside of every commit, where it asks for the time of a checkpoint."""

    def __init__(self) -> None:
        self.let_go, self._armed, self._held = threading.Event(), threading.Event(), threading.Event()

    def __call__(self) -> int:
        if self._armed.is_set() and threading.current_thread().name == "audit-writer":
            self._armed.clear()
            self._held.set()
            self.let_go.wait()
        return time.time_ns()

    async def starve(self, log: AuditLog) -> None:
        """Returns when the thread stands still."""
        self._armed.set()
        for number in range(CHECKPOINT_RECORDS):
            log.note_soon("denied", {"decision_id": str(number)})
        await asyncio.to_thread(self._held.wait)
