"""Every disk operation of a busy log fails once, at each place in turn: nothing acknowledged is lost, nothing is open.

Faults are injected at the port for file operations; under it are real files.
"""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.log import AuditLog
from gateway.audit.segment import OsDisk
from gateway.core.errors import AuditFailure, AuditUnavailable
from tests.audit.faults import DONE, FailingDisk, findings, open_log, opened, outcomes, plan, records, segments
from tests.support.waiting import soon

FAULTS: dict[str, dict[str, Any]] = {
    "write-full": {"operation": "write", "error": errno.ENOSPC},
    "write-eio": {"operation": "write", "error": errno.EIO, "length": 3},
    "write-torn": {"operation": "write", "error": errno.ENOSPC, "torn": True},
    "write-torn-and-uncut": {"operation": "write", "error": errno.EIO, "torn": True, "uncut": True},
    "fdatasync-eio": {"operation": "fdatasync", "error": errno.EIO},
    "fdatasync-eio-twice": {"operation": "fdatasync", "error": errno.EIO, "length": 2},
    "fdatasync-and-uncut": {"operation": "fdatasync", "error": errno.EIO, "uncut": True},
    "open-emfile": {"operation": "open", "error": errno.EMFILE, "length": 2},
    "open-full": {"operation": "open", "error": errno.ENOSPC},
    "directory-eio": {"operation": "sync_directory", "error": errno.EIO},
    "stat-eio": {"operation": "stat", "error": errno.EIO},
}


class Ledger:
    """What callers were told, kept outside the log."""

    def __init__(self) -> None:
        self.durable: set[str] = set()
        self.refused: set[str] = set()

    async def decide(self, log: AuditLog, decision_id: str) -> None:
        try:
            receipt = await log.intent(plan(decision_id))
        except AuditUnavailable:
            self.refused.add(decision_id)
            return
        self.durable.add(decision_id)
        await log.close(receipt, DONE)


async def busy(directory: Path, disk: OsDisk, durability: str) -> Ledger:
    """Decisions in threes over several chains."""
    ledger = Ledger()
    try:
        log = await open_log(directory, disk=disk, chain_bytes=4000, retry_s=0.002, durability=durability)
    except AuditFailure:
        return ledger
    for first in range(0, 12, 3):
        await asyncio.gather(*(ledger.decide(log, f"d{first + number}") for number in range(3)))
        await asyncio.sleep(0.003)
    await log.stop({"reason": "test"})
    return ledger


PLACES = [
    (durability, fault)
    for durability in ("fsync", "os")
    for fault in FAULTS
    if durability == "fsync" or not fault.startswith("fdatasync")
]


@pytest.mark.parametrize(("durability", "fault"), PLACES)
async def test_each_operation_failing_in_turn(tmp_path: Path, durability: str, fault: str) -> None:
    """For N = 1, 2, 3 … until none is left: what was acknowledged stands, closed once with the truth."""
    nth = 1
    while True:
        directory = tmp_path / str(nth)
        disk = FailingDisk(nth=nth, **FAULTS[fault])
        ledger = await busy(directory, disk, durability)
        async with opened(directory, "after"):
            pass
        assert set(findings(directory).values()) == {"INTACT"}, f"{fault} {nth}"
        closed = outcomes(directory)
        intents = {record["decision_id"] for record in records(directory) if record["event"] == "intent"}
        assert ledger.durable <= intents, f"{fault} {nth}"
        assert intents == closed.keys(), f"{fault} {nth}"
        assert all(set(closed[name]) == {"cancelled"} for name in ledger.durable), f"{fault} {nth}"
        assert all(set(closed[name]) <= {"not_sent", "unknown"} for name in intents - ledger.durable), f"{fault} {nth}"
        if not FAULTS[fault].get("uncut"):
            assert all(len(found) == 1 for found in closed.values()), f"{fault} {nth}"
        if not disk.reached:
            break
        nth += 1
    assert nth > 3, "the fault was never reached"
    assert not ledger.refused


async def test_a_failed_fdatasync_is_never_repeated_on_the_same_file(tmp_path: Path) -> None:
    """The file is set aside as suspect, the next one names it and the last good record, the intent is `not_sent`."""
    disk = FailingDisk("fdatasync", 2, errno.EIO)
    async with opened(tmp_path, disk=disk) as log:
        with pytest.raises(AuditUnavailable):
            await log.intent(plan("d1"))
        await soon(lambda: log.state.ready)
    first, second = segments(tmp_path)
    named = [record for record in records(tmp_path) if record.get("suspect")]
    assert named[0]["suspect"] == [first.name]
    assert named[0]["last_good"]["seq"] == 1
    assert outcomes(tmp_path) == {"d1": ["not_sent"]}
    assert second.read_bytes().startswith(b'{"v":1,"seq":2,')
    assert findings(tmp_path) == {"one": "INTACT"}


class Panic(BaseException):
    """As a native library's."""


@pytest.mark.parametrize("fault", [Panic(), MemoryError()], ids=["panic", "memory"])
@pytest.mark.parametrize(
    ("operation", "durability"), [("write", "fsync"), ("fdatasync", "fsync"), ("stat", "fsync"), ("write", "os")]
)
async def test_a_fault_that_is_no_disks_costs_no_record_and_no_writer(
    tmp_path: Path, fault: BaseException, operation: str, durability: str
) -> None:
    """The intent is refused and closed as not sent, the log takes the next one, and the chain is intact."""

    class Faulty(OsDisk):
        armed = False

        def _burn(self, name: str) -> None:
            if self.armed and name == operation:
                self.armed = False
                raise fault

        def write(self, descriptor: int, data: bytes) -> int:
            if self.armed and operation == "write":
                super().write(descriptor, data[: len(data) // 2])
            self._burn("write")
            return super().write(descriptor, data)

        def fdatasync(self, descriptor: int) -> None:
            self._burn("fdatasync")
            super().fdatasync(descriptor)

        def stat(self, path: Path) -> os.stat_result:
            self._burn("stat")
            return super().stat(path)

    disk = Faulty()
    async with opened(tmp_path, disk=disk, durability=durability) as log:
        await log.close(await log.intent(plan("d0")), DONE)
        disk.armed = True
        with pytest.raises(AuditUnavailable) as refused:
            await log.intent(plan("d1"))
        assert refused.value.cause == f"internal_{type(fault).__name__}"
        await soon(lambda: log.state.ready)
        receipt = await log.intent(plan("d2"))
        disk.armed = True
        await log.close(receipt, DONE)
        await soon(lambda: log.state.ready)
    found = outcomes(tmp_path)
    assert (found["d0"], found["d2"]) == (["cancelled"], ["cancelled"])
    assert found.get("d1", ["not_sent"]) == ["not_sent"]
    assert set(findings(tmp_path).values()) <= {"INTACT", "TORN_TAIL"}
