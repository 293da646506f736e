"""Laws of a log that is being opened, of its locks, and of what a start says of the chains before it."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from gateway.audit.chain import GENESIS, Head, MacKey, Record, Sealer
from gateway.audit.journal import AuditSettings
from gateway.audit.log import AuditLog
from gateway.audit.recovery import Opening
from gateway.audit.segment import ChainLock, OsDisk, segment_path
from gateway.core.errors import AuditFailure, AuditUnavailable
from gateway.log import Console
from tests.audit.faults import (
    DONE,
    NOWHERE,
    UPSTREAM,
    FailingDisk,
    HeldDisk,
    findings,
    open_log,
    opened,
    outcomes,
    plan,
    records,
    segments,
    until_taken,
)
from tests.support.waiting import soon

KEY = MacKey(b"k" * 32)


def beginning(directory: Path, disk: OsDisk, *, wait_s: float = 2.0) -> AuditLog:
    """A log that is not waited for."""
    settings = AuditSettings(directory, wait_s=wait_s)
    return AuditLog.begin(settings, instance="one", upstream=UPSTREAM, start={}, disk=disk, stdout=Console(NOWHERE))


def held() -> HeldDisk:
    """A disk that does not come back from its first sync until it is let go."""
    disk = HeldDisk()
    disk.gate.clear()
    return disk


async def test_until_it_is_open_the_log_says_how_far_it_is_and_takes_no_intent(tmp_path: Path) -> None:
    """What comes in the first moments waits for it; then intents are refused at once, with a word of their own."""
    disk = held()
    log = beginning(tmp_path, disk, wait_s=0.1)
    assert (log.state.ready, log.state.reason) == (False, "recovering")
    assert log.state.progress is not None
    assert "chains" in log.state.progress
    with pytest.raises(AuditUnavailable) as refused:
        await log.intent(plan("d1"))
    assert refused.value.cause == "recovering"
    with pytest.raises(AuditUnavailable):
        await log.keep("plan", {"decision_id": "d2"})
    disk.gate.set()
    await log.opened()
    await until_taken(log, "d3")
    await log.stop({})
    assert outcomes(tmp_path).keys() == {"d3"}
    assert outcomes(tmp_path)["d3"][-1] == "cancelled"


async def test_an_intent_that_comes_a_moment_too_early_is_not_turned_away(tmp_path: Path) -> None:
    """Opening takes milliseconds nearly always; a caller does not see it."""
    disk = held()
    log = beginning(tmp_path, disk, wait_s=20)
    waiting = asyncio.create_task(log.intent(plan("d1")))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    disk.gate.set()
    await log.close(await waiting, DONE)
    await log.stop({})
    assert findings(tmp_path) == {"one": "INTACT"}


async def test_what_was_denied_meanwhile_is_on_record(tmp_path: Path) -> None:
    """Notes are kept until the log is open, as many as may wait; the answer does not wait for them."""
    disk = held()
    log = beginning(tmp_path, disk, wait_s=0.05)
    for number in range(3):
        await log.note("denied", {"decision_id": str(number)})
        log.note_soon("refused", {"decision_id": str(number)})
    disk.gate.set()
    await log.opened()
    await soon(lambda: log.state.ready)
    await log.stop({})
    events = [record["event"] for record in records(tmp_path)]
    assert sorted(events) == ["denied"] * 3 + ["refused"] * 3 + ["start", "stop"]


async def test_a_process_that_is_told_to_end_meanwhile_ends(tmp_path: Path) -> None:
    """The opening has a moment, and is then given up; the next start finds nothing damaged."""
    disk = held()
    log = beginning(tmp_path, disk)
    waiting = asyncio.create_task(log.intent(plan("d1")))
    await log.stop({})
    with pytest.raises(AuditUnavailable):
        await waiting
    disk.gate.set()
    async with opened(tmp_path, "two"):
        pass
    assert set(findings(tmp_path).values()) <= {"INTACT"}
    assert outcomes(tmp_path) == {}


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("operation", ["write", "open"])
async def test_a_start_on_a_full_disk_says_what_to_do(tmp_path: Path, operation: str, error: int) -> None:
    """Room has to be made before the next start; other faults are not said to be a lack of it."""
    log = beginning(tmp_path, FailingDisk(operation, 1, error))
    with pytest.raises(AuditFailure) as failed:
        await log.opened()
    assert (". Make room, then start again" in str(failed.value)) == (error != errno.EIO)
    await log.stop({})


async def test_a_log_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    """Whoever waits for it hears of the failure, also of an error of our own code."""
    log = beginning(tmp_path, FailingDisk("fdatasync", 1, 5))
    with pytest.raises(AuditFailure, match="cannot be used"):
        await log.opened()
    await log.stop({})

    class Panic(BaseException):
        """What a native library raises."""

    class PanickingDisk(OsDisk):
        def fdatasync(self, descriptor: int) -> None:
            raise Panic("panicked")

    with pytest.raises(AuditFailure, match="panicked"):
        await beginning(tmp_path / "other", PanickingDisk()).opened()


@pytest.mark.parametrize("attack", ["deleted", "replaced"])
async def test_a_chain_whose_lock_file_is_taken_away_is_still_locked(tmp_path: Path, attack: str) -> None:
    """Another gateway that starts meanwhile leaves it alone; its own process says so within a second, and goes on."""
    async with opened(tmp_path) as log:
        receipt = await log.intent(plan("d1"))
        (tmp_path / "one.lock").unlink()
        if attack == "replaced":
            (tmp_path / "one.lock").touch()
        begin(tmp_path, "two")
        await soon(lambda: log.state.reason in ("lock_deleted", "lock_replaced"))
        await soon(lambda: any(record["event"] == "recovery" for record in records(tmp_path)))
        assert ChainLock.take(OsDisk(), tmp_path, "one") is None
        begin(tmp_path, "three")
        await log.close(receipt, DONE)
    assert outcomes(tmp_path) == {"d1": ["cancelled"]}
    assert set(findings(tmp_path).values()) == {"INTACT"}
    said = [record for record in records(tmp_path) if record["event"] == "recovery" and record["reason"] != "restart"]
    assert [record["instance"] for record in said] == ["one"]


def begin(directory: Path, chain: str, *, key: MacKey | None = None) -> None:
    """Starts as a process would, up to its first record."""
    settings = AuditSettings(directory, mac_key=key)
    begun = Opening(settings, chain, lambda: 1, OsDisk()).begin({}, stdout=Console(NOWHERE))
    begun.journal.close()
    begun.console.close(1)


def heads(directory: Path) -> dict[str, set[str]]:
    """Which chains each start names."""
    return {record["instance"]: set(record["heads"]) for record in records(directory) if record["event"] == "start"}


@pytest.mark.parametrize("key", [None, KEY])
async def test_a_start_names_only_what_no_start_names(tmp_path: Path, key: MacKey | None) -> None:
    """Of forty starts each names the one before it, and no chain can go alone, or be cut, for all that."""
    for number in range(40):
        begin(tmp_path, f"c{number:02d}", key=key)
    named = heads(tmp_path)
    assert [len(named[f"c{number:02d}"]) for number in range(40)] == [0, *[1] * 39]
    for path in segments(tmp_path)[:-1]:
        content = path.read_bytes()
        path.unlink()
        assert "TAMPERED" in findings(tmp_path).values(), path.name
        path.write_bytes(b"".join(content.splitlines(True)[:-1]))
        assert "TAMPERED" in findings(tmp_path).values(), path.name
        path.write_bytes(content)
    assert set(findings(tmp_path).values()) == {"INTACT"}


async def test_a_live_chain_that_has_grown_is_named_again(tmp_path: Path) -> None:
    """What others write is held to where each start saw it."""
    async with opened(tmp_path, "live") as log:
        begin(tmp_path, "s1")
        begin(tmp_path, "s2")
        await log.note("denied", {"decision_id": "d"})
        begin(tmp_path, "s3")
    assert {chain: "live" in named for chain, named in heads(tmp_path).items()} == {
        "live": False,
        "s1": True,
        "s2": False,
        "s3": True,
    }


async def test_a_start_that_no_key_vouches_for_names_nothing(tmp_path: Path) -> None:
    """A chain planted to say that all is named does not keep the next start from naming it."""
    begin(tmp_path, "a", key=KEY)
    begin(tmp_path, "b", key=KEY)
    known = {record["instance"]: record for record in records(tmp_path) if record["event"] == "start"}
    planted = Record(1, "start", {"heads": known["b"]["heads"], "damaged": [], "continues": None})
    write(tmp_path, "z", [planted])
    delete(tmp_path, "b")
    begin(tmp_path, "zz", key=KEY)
    assert "a" in heads(tmp_path)["zz"]


def write(directory: Path, chain: str, sealed: Iterable[Record], *, number: int = 1, after: Head = GENESIS) -> Head:
    """A file as version 0.1 made it."""
    lines, head = Sealer(chain, key=None).seal(after, sealed)
    segment_path(directory, chain, number).write_bytes(b"".join(lines))
    return head


def delete(directory: Path, chain: str) -> None:
    for path in [path for path in directory.iterdir() if path.name.startswith(f"{chain}.")]:
        path.unlink()


def old_start(heads: dict[str, Head]) -> Record:
    """The first record of a chain of version 0.1, which named every head."""
    named = {chain: {"seq": head.seq, "head": head.digest} for chain, head in heads.items()}
    return Record(1, "start", {"version": "0.1.0", "chain": "sha256", "key_id": None, "heads": named, "damaged": []})


async def test_chains_of_the_version_before_are_read_recovered_and_named(tmp_path: Path) -> None:
    """Starts that name all heads, files with gaps and empty ones behind a fault: intact, and closed where left open."""
    known: dict[str, Head] = {}
    for number in range(10):
        stop = Record(1, "stop", {"open": 0})
        known[f"o{number}"] = write(tmp_path, f"o{number}", [old_start(known), stop])
    head = write(tmp_path, "p", [old_start(known), Record(1, "intent", {"decision_id": "d1"})])
    segment_path(tmp_path, "p", 2).touch()
    write(tmp_path, "p", [Record(1, "intent", {"decision_id": "d2"})], number=4, after=head)
    assert set(findings(tmp_path).values()) == {"INTACT", "OPEN"}
    begin(tmp_path, "q")
    assert outcomes(tmp_path) == {"d1": ["unknown"], "d2": ["unknown"]}
    assert set(findings(tmp_path).values()) == {"INTACT"}
    assert heads(tmp_path)["q"] == {"p"}


async def test_a_chain_with_a_key_is_not_continued_without_it(tmp_path: Path) -> None:
    """Its intents stay open, and it is named; lines without a MAC would make it look tampered with."""
    log = await open_log(tmp_path, "keyed", mac_key=KEY)
    await log.intent(plan("d1"))
    await log.stop({})
    before = segments(tmp_path, "keyed")[0].read_bytes()
    async with opened(tmp_path, "plain") as plain:
        assert list(plain.state.damaged) == ["keyed"]
    assert segments(tmp_path, "keyed")[0].read_bytes() == before
    async with opened(tmp_path, "right", mac_key=KEY):
        pass
    assert outcomes(tmp_path) == {"d1": ["unknown"]}


async def test_damaged_chains_are_named_once_and_not_for_every_look_at_the_state(tmp_path: Path) -> None:
    """The readiness page looks at it, and a stranger may ask for that as often as he likes."""
    names = [f"odd{number:04}" for number in range(300)]
    for name in names:
        segment_path(tmp_path, name, 1).write_bytes(b"no record\n")
    async with opened(tmp_path) as log:
        assert list(log.state.damaged) == names
        assert log.state.damaged is log.state.damaged


async def test_what_is_no_file_holds_up_no_start(tmp_path: Path) -> None:
    """A pipe with the name of a segment, or of the place for a torn line, is damage, and never waited for."""
    os.mkfifo(segment_path(tmp_path, "pipe", 1))
    write(tmp_path, "torn", [old_start({})])
    os.mkfifo(tmp_path / "torn.000001.torn")
    with segment_path(tmp_path, "torn", 1).open("ab") as file:
        file.write(b"{")
    async with opened(tmp_path) as log:
        assert list(log.state.damaged) == ["pipe", "torn"]
