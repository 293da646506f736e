"""Laws of the records that the event loop writes itself, where no sync is waited for."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from gateway.audit.log import AuditLog
from gateway.audit.segment import OsDisk
from gateway.audit.writer import MAX_AT_ONCE, SLOW_WRITE_S
from gateway.core.errors import AuditUnavailable
from tests.audit.faults import (
    DONE,
    EVER,
    FailingDisk,
    findings,
    open_log,
    opened,
    outcomes,
    plan,
    records,
    segments,
    until_taken,
)
from tests.support.waiting import PATIENCE_S, soon


class SeenDisk(OsDisk):
    """Counts each operation by whether the event loop's thread called it, and whether two met."""

    def __init__(self) -> None:
        self.on_loop: Counter[str] = Counter()
        self.elsewhere: Counter[str] = Counter()
        self.met = 0
        self.slow: frozenset[str] = frozenset()
        self.pause_s = SLOW_WRITE_S * 1.5
        self._one = threading.Lock()

    @property
    def writes(self) -> int:
        """How many there were on any thread."""
        return self.on_loop["write"] + self.elsewhere["write"]

    def _seen(self, operation: str) -> None:
        on_loop = threading.current_thread() is threading.main_thread()
        (self.on_loop if on_loop else self.elsewhere)[operation] += 1
        if not self._one.acquire(blocking=False):
            self.met += 1
            return
        try:
            time.sleep(self.pause_s if operation in self.slow else 0)
        finally:
            self._one.release()

    def open(self, path: Path, flags: int) -> int:
        self._seen("open")
        return super().open(path, flags)

    def write(self, descriptor: int, data: bytes) -> int:
        self._seen("write")
        return super().write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        self._seen("fdatasync")
        super().fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        self._seen("truncate")
        super().truncate(descriptor, size)

    def stat(self, path: Path) -> os.stat_result:
        self._seen("stat")
        return super().stat(path)

    def sync_directory(self, path: Path) -> None:
        self._seen("sync_directory")
        super().sync_directory(path)

    def unlink(self, path: Path) -> None:
        self._seen("unlink")
        super().unlink(path)

    def close(self, descriptor: int) -> None:
        self._seen("close")
        super().close(descriptor)


async def decide(log: AuditLog, decision_id: str) -> None:
    """An intent, durable, and its outcome."""
    await log.close(await log.intent(plan(decision_id)), DONE)


async def decide_on_the_loop(log: AuditLog, disk: SeenDisk, name: str) -> None:
    """Decides until the loop has written both records of a decision: one that meets the thread at work leaves them."""
    async with asyncio.timeout(PATIENCE_S):
        for number in count():
            before = disk.on_loop["write"]
            await decide(log, f"{name}-{number}")
            if disk.on_loop["write"] == before + 2:
                return
            await asyncio.sleep(0.001)


def unlock(directory: Path) -> None:
    """Removes all lock files."""
    for lock in directory.glob("*.lock"):
        lock.unlink()


async def test_the_loop_writes_where_no_sync_is_waited_for_and_only_there(tmp_path: Path) -> None:
    """Under `os` both records of a decision are written without the thread, under `fsync` none is."""
    quick, durable = SeenDisk(), SeenDisk()
    async with opened(tmp_path / "os", disk=quick, durability="os", quiet_s=0.0) as log:
        for number in range(10):
            await decide_on_the_loop(log, quick, f"d{number}")
    async with opened(tmp_path / "fsync", disk=durable) as log:
        await decide(log, "d1")
    assert not durable.on_loop


async def test_records_of_one_turn_are_one_write(tmp_path: Path) -> None:
    """Decisions that meet share a look at the file and a write."""
    disk = SeenDisk()
    async with opened(tmp_path, disk=disk, durability="os") as log:
        before = disk.writes
        await asyncio.gather(*(decide(log, f"d{number}") for number in range(20)))
        assert disk.writes == before + 2
    assert findings(tmp_path) == {"one": "INTACT"}


async def test_of_all_that_is_done_to_files_the_loop_does_a_look_and_an_append(tmp_path: Path) -> None:
    """Chains that begin anew, files and locks that vanish, the start and the stop: all of that is the thread's."""
    disk = SeenDisk()
    async with opened(tmp_path, disk=disk, durability="os", chain_bytes=4000, quiet_s=0.0) as log:
        for number in range(30):
            await decide(log, f"d{number}")
        segments(tmp_path)[-1].unlink()
        await decide(log, "after the file")
        unlock(tmp_path)
        await soon(lambda: log.state.reason == "lock_deleted")
        await decide_on_the_loop(log, disk, "after the lock")
    assert set(disk.on_loop) == {"stat", "write"}
    assert disk.elsewhere["write"] > 0
    assert disk.elsewhere["sync_directory"] > 3
    assert not disk.met


@pytest.mark.parametrize("operation", ["write", "stat"])
async def test_a_slow_disk_holds_the_loop_once(tmp_path: Path, operation: str) -> None:
    """After one slow operation no other is done on the loop, for as long as the disk stays slow and a while after."""
    disk = SeenDisk()
    async with opened(tmp_path, disk=disk, durability="os", wait_s=30.0, quiet_s=3600.0) as log:
        await decide(log, "before")
        disk.on_loop.clear()
        disk.slow = frozenset((operation,))
        for number in range(4):
            await decide(log, f"slow{number}")
        disk.slow = frozenset()
        for number in range(4):
            await decide(log, f"quick{number}")
        assert max(disk.on_loop["stat"], disk.on_loop["write"]) <= 1
    assert findings(tmp_path) == {"one": "INTACT"}


@pytest.mark.parametrize("operation", ["write", "stat"])
async def test_a_disk_that_has_been_quick_for_a_while_is_written_to_by_the_loop_again(
    tmp_path: Path, operation: str
) -> None:
    """By itself, with the next records."""
    disk = SeenDisk()
    disk.slow = frozenset((operation,))
    async with opened(tmp_path, disk=disk, durability="os", wait_s=30.0, quiet_s=0.5) as log:
        await decide(log, "before")
        disk.slow = frozenset()
        await decide_on_the_loop(log, disk, "after")
    assert findings(tmp_path) == {"one": "INTACT"}


async def test_a_disk_that_hangs_on_the_thread_never_holds_the_loop(tmp_path: Path) -> None:
    """While the thread waits for the disk the loop goes on: intents are refused as slow, and none waits behind it."""
    gate, held = threading.Event(), threading.Event()

    class Hanging(SeenDisk):
        def stat(self, path: Path) -> os.stat_result:
            if path.name.endswith(".lock"):
                held.set()
                gate.wait()
            return super().stat(path)

    disk = Hanging()
    log = await open_log(tmp_path, disk=disk, durability="os", wait_s=0.2)
    await soon(held.is_set)
    disk.on_loop.clear()
    for number in range(3):
        with pytest.raises(AuditUnavailable):
            await asyncio.wait_for(log.intent(plan(f"d{number}")), 30)
    assert not disk.on_loop
    gate.set()
    await until_taken(log, "after")
    await log.stop({})
    assert findings(tmp_path) == {"one": "INTACT"}


async def test_work_that_moves_between_the_loop_and_the_thread_keeps_its_order(tmp_path: Path) -> None:
    """With a disk that is now quick and now slow, no two operations meet, and every record is in the order it came."""
    disk = SeenDisk()
    disk.pause_s = SLOW_WRITE_S * 1.1
    given: list[str] = []
    waits: list[asyncio.Future[None]] = []

    async def noted(log: AuditLog, name: str) -> None:
        given.append(name)
        await log.note("denied", {"decision_id": name})

    async with opened(tmp_path, disk=disk, durability="os", wait_s=30.0, quiet_s=0.02, chain_bytes=20_000) as log:
        for turn in range(40):
            disk.slow = frozenset(("write",)) if turn % 8 == 7 else frozenset()
            waits += [asyncio.ensure_future(noted(log, f"{turn}-{number}")) for number in range(5)]
            await asyncio.sleep(0.005 if turn % 2 else 0)
            waits.append(asyncio.ensure_future(noted(log, f"{turn}-last")))
            if turn % 3:
                await asyncio.gather(*waits)
        await asyncio.gather(*waits)
        while disk.on_loop["write"] <= 5:  # all the others met the thread at work
            await noted(log, f"more-{len(given)}")
            await asyncio.sleep(0.001)
    told = [record for record in records_in_order(tmp_path) if record["event"] == "denied"]
    assert [record["decision_id"] for record in told] == given
    assert set(findings(tmp_path).values()) == {"INTACT"}
    assert disk.on_loop["write"] > 5
    assert disk.elsewhere["write"] > 5
    assert not disk.met


async def test_what_the_thread_was_given_is_not_overtaken(tmp_path: Path) -> None:
    """More records at once than the loop writes are the thread's; one that comes after them is written after them."""
    given: list[str] = []
    async with opened(tmp_path, disk=SeenDisk(), durability="os") as log:
        for turn in range(5):
            for number in range(MAX_AT_ONCE + 1):
                given.append(f"{turn}-{number}")
                log.note_soon("denied", {"decision_id": given[-1]})
            await asyncio.sleep(0)
            given.append(f"{turn}-last")
            await log.note("denied", {"decision_id": given[-1]})
    assert [record["decision_id"] for record in records(tmp_path) if record["event"] == "denied"] == given


def records_in_order(directory: Path) -> list[dict]:
    """The records of all chains, each chain after the one that it continues."""
    chains: dict[str, list[dict]] = {}
    for record in records(directory):
        chains.setdefault(record["instance"], []).append(record)
    begins = {(found[0].get("continues") or {}).get("chain"): found for found in chains.values()}
    ordered, last = list(begins[None]), "one"
    while last in begins:
        ordered += begins[last]
        last = begins[last][0]["instance"]
    return ordered


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("uncut", [False, True], ids=["cut", "uncut"])
async def test_a_write_of_the_loop_that_fails_is_the_threads_to_mend(
    tmp_path: Path, error: int, *, uncut: bool
) -> None:
    """As any failed write: half of the batch is cut off or its file set aside, and the intent is refused and closed."""
    disk = FailingDisk("write", 2, error, torn=True, uncut=uncut)
    async with opened(tmp_path, disk=disk, durability="os") as log:
        with pytest.raises(AuditUnavailable) as refused:
            await log.intent(plan("d1"))
        assert refused.value.cause == ("full" if error == errno.ENOSPC else "failed")
        await soon(lambda: log.state.ready)
        await decide(log, "d2")
    assert findings(tmp_path) == {"one": "INTACT"}
    assert outcomes(tmp_path)["d2"] == ["cancelled"]
    assert len(segments(tmp_path)) == 1 + uncut
    if uncut:
        assert outcomes(tmp_path)["d1"] == ["not_sent"]


async def test_an_outcome_that_the_loop_could_not_write_is_owed(tmp_path: Path) -> None:
    """Until it is written the log takes no intent, and it is written once."""
    disk = FailingDisk("write", 3, errno.EIO, length=EVER)
    async with opened(tmp_path, disk=disk, durability="os", retry_s=0.05) as log:
        receipt = await log.intent(plan("d1"))
        closing = asyncio.ensure_future(log.close(receipt, DONE))
        await soon(lambda: log.state.reason == "unclosed")
        with pytest.raises(AuditUnavailable):
            await log.intent(plan("d2"))
        disk.mend()
        await closing
        await soon(lambda: log.state.ready)
    assert outcomes(tmp_path) == {"d1": ["cancelled"]}
