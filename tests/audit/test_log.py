"""Laws of the log as the pipeline uses it."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway.audit.chain import MacKey
from gateway.audit.log import AuditLog, AuditSettings, Closing
from gateway.audit.record import denied_members
from gateway.core.errors import AuditFailure, AuditUnavailable
from gateway.core.outcome import Unknown
from gateway.core.plan import Denial
from gateway.log import Console
from tests.audit.faults import (
    DONE,
    EVER,
    UPSTREAM,
    FailingDisk,
    HeldDisk,
    StarvingClock,
    findings,
    open_log,
    opened,
    outcomes,
    plan,
    records,
    segments,
    until_taken,
)
from tests.support.waiting import soon, until


async def test_intent_is_in_the_file_before_it_returns(tmp_path: Path) -> None:
    """A receipt means that the line, with all its members, is in the file."""
    async with opened(tmp_path / "audit") as log:
        receipt = await log.intent(plan("d1"))
        (intent,) = [record for record in records(tmp_path / "audit") if record["event"] == "intent"]
        assert intent["seq"] == receipt.seq
        await log.close(receipt, DONE)
        assert outcomes(tmp_path / "audit") == {"d1": ["cancelled"]}
    members = (
        "decision_id team principal key_id remote dialect asked effective selects decision enforced rule narrowed "
        "shadow policy_digest upstream orders exceptions reason action trace_id request_id"
    )
    assert list(intent)[5:-2] == members.split()
    assert intent["narrowed"] == {"count": [100, 50]}
    assert intent["asked"]["count"] == 100
    assert intent["effective"]["count"] == 50
    assert intent["enforced"] == "permit"
    assert intent["upstream"] == UPSTREAM


async def test_denial_has_the_members_of_an_intent(tmp_path: Path) -> None:
    """A denied record answers the same questions, with nothing to send."""
    of = plan("d1")
    denial = Denial("billing/a", "deny", None, "no", None)
    denied = denied_members(
        "d1", principal=of.principal, asked=of.asked, denial=denial, remote=None, policy_digest="x", upstream=UPSTREAM
    )
    async with opened(tmp_path) as log:
        await log.intent(of)
        await log.note("denied", denied)
        intent, noted = records(tmp_path)[1:3]
    assert list(noted) == list(intent)
    assert noted["trace_id"] == intent["trace_id"] == "d1"
    assert (noted["enforced"], noted["orders"], noted["narrowed"]) == ("deny", [], None)


async def test_an_unknown_outcome_claims_nothing(tmp_path: Path) -> None:
    """What nobody knows is null, not false."""
    async with opened(tmp_path) as log:
        await log.close(await log.intent(plan("d1")), Closing(Unknown("timeout"), 0, 5, caller_gone=True))
        outcome = records(tmp_path)[-1]
    assert (outcome["carried_out"], outcome["cancelled"], outcome["cause"]) == (None, None, "timeout")


async def test_directory_and_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    """0700 and 0600; a missing parent is refused, not made."""
    async with opened(tmp_path / "audit"):
        assert stat.S_IMODE((tmp_path / "audit").stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "audit").iterdir()} == {0o600}
    with pytest.raises(AuditFailure):
        await open_log(tmp_path / "no" / "audit")


async def test_two_processes_never_write_one_chain(tmp_path: Path) -> None:
    """A chain that is locked, or has existed, is not opened again."""
    async with opened(tmp_path):
        with pytest.raises(AuditFailure):
            await open_log(tmp_path)
    with pytest.raises(AuditFailure):
        await open_log(tmp_path)


async def test_many_at_once_are_intact_chains(tmp_path: Path) -> None:
    """Concurrent decisions over several chains of one process: each is intact, and every intent is closed once."""

    async def decide(log: AuditLog, number: int) -> None:
        await log.close(await log.intent(plan(f"d{number}")), DONE)

    async with opened(tmp_path, chain_bytes=20_000, mac_key=MacKey(b"k" * 16)) as log:
        for first in range(0, 300, 50):
            await asyncio.gather(*(decide(log, first + number) for number in range(50)))
    assert len(segments(tmp_path)) > 5
    assert set(findings(tmp_path, keys=[MacKey(b"k" * 16)]).values()) == {"INTACT"}
    assert set(map(len, outcomes(tmp_path).values())) == {1}


async def test_clock_stepping_back_breaks_nothing(tmp_path: Path) -> None:
    """Order is by sequence; a clock that runs backwards leaves the chain intact."""
    times = iter(range(10**18, 0, -(10**12)))
    log = await AuditLog.open(
        AuditSettings(tmp_path),
        instance="one",
        upstream=UPSTREAM,
        start={},
        clock=lambda: next(times),
        stdout=Console(-1),
    )
    await log.close(await log.intent(plan("d1")), DONE)
    await log.stop({})
    assert findings(tmp_path) == {"one": "INTACT"}


async def test_closing_twice_records_once(tmp_path: Path) -> None:
    """Whoever closes an intent again adds nothing."""
    async with opened(tmp_path) as log:
        receipt = await log.intent(plan("d1"))
        await asyncio.gather(log.close(receipt, DONE), log.close(receipt, DONE))
        await log.close(receipt, DONE)
    assert outcomes(tmp_path) == {"d1": ["cancelled"]}


async def test_a_full_disk_refuses_intents_and_comes_back(tmp_path: Path) -> None:
    """ENOSPC: 503 at once, not ready; after a write that worked: ready, and the record says what was left out."""
    disk = FailingDisk("write", 2, errno.ENOSPC, length=EVER)
    async with opened(tmp_path, disk=disk, retry_s=0.05) as log:
        with pytest.raises(AuditUnavailable) as refused:
            await log.intent(plan("d1"))
        assert refused.value.cause == "full"
        assert (log.state.ready, log.state.reason) == (False, "full")
        await log.note("denied", {"decision_id": "d2"})
        with pytest.raises(AuditUnavailable):
            await log.intent(plan("d3"))
        disk.mend()
        await soon(lambda: log.state.ready)
        await log.intent(plan("d4"))
        assert log.state.left_out == 1
    (recovery,) = [record for record in records(tmp_path) if record["event"] == "recovery"]
    assert (recovery["reason"], recovery["left_out"]) == ("write_full", 1)


async def test_an_outcome_that_cannot_be_written_is_owed(tmp_path: Path) -> None:
    """The close returns, the log takes no intents, and the true outcome is written when it can be."""
    disk = FailingDisk("write", 3, errno.EIO, length=EVER)
    async with opened(tmp_path, disk=disk, retry_s=0.05, wait_s=0.1) as log:
        receipt = await log.intent(plan("d1"))
        await log.close(receipt, DONE)
        assert (log.state.ready, log.state.reason) == (False, "unclosed")
        with pytest.raises(AuditUnavailable) as refused:
            await log.intent(plan("d2"))
        assert refused.value.cause == "unclosed"
        disk.mend()
        await soon(lambda: log.state.ready)
    assert outcomes(tmp_path) == {"d1": ["cancelled"]}
    assert findings(tmp_path) == {"one": "INTACT"}


@pytest.mark.alone
async def test_a_slow_disk_never_holds_the_loop(tmp_path: Path) -> None:
    """While fdatasync hangs the loop goes on; the slow intent is refused, and closed `not_sent` once it has landed."""
    disk = HeldDisk()
    async with opened(tmp_path, disk=disk, wait_s=0.1) as log:
        disk.gate.clear()
        waiting = asyncio.create_task(log.intent(plan("d1")))
        for _ in range(10):
            await asyncio.sleep(0.001)
        with pytest.raises(AuditUnavailable) as refused:
            await waiting
        assert refused.value.cause == "slow"
        assert (log.state.ready, log.state.reason) == (False, "unclosed") or log.state.reason == "slow"
        disk.gate.set()
        await soon(lambda: log.state.ready and not log.state.open_intents)
    assert outcomes(tmp_path) == {"d1": ["not_sent"]}


async def test_a_caller_that_goes_away_leaves_no_open_intent(tmp_path: Path) -> None:
    """An intent cancelled while it waits is closed `not_sent`."""
    disk = HeldDisk()
    async with opened(tmp_path, disk=disk) as log:
        disk.gate.clear()
        waiting = asyncio.create_task(log.intent(plan("d1")))
        await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        disk.gate.set()
        await soon(lambda: outcomes(tmp_path))
    assert outcomes(tmp_path) == {"d1": ["not_sent"]}


async def test_the_queue_is_bounded_for_all_but_closes(tmp_path: Path) -> None:
    """Beyond `queue_records` intents are refused and notes counted; closes are taken."""
    disk = HeldDisk()
    async with opened(tmp_path, disk=disk, queue_records=3, wait_s=5) as log:
        receipt = await log.intent(plan("d0"))
        disk.gate.clear()
        waiting = [asyncio.create_task(log.intent(plan(f"d{number}"))) for number in range(1, 4)]
        await asyncio.sleep(0)
        with pytest.raises(AuditUnavailable) as refused:
            await log.intent(plan("d9"))
        assert refused.value.cause == "queue"
        log.note_soon("refused", {"decision_id": "n"})
        closing = asyncio.create_task(log.close(receipt, DONE))
        await asyncio.sleep(0)
        disk.gate.set()
        await asyncio.gather(closing, *waiting)
        assert log.state.left_out == 1
    assert outcomes(tmp_path)["d0"] == ["cancelled"]
    assert [record["left_out"] for record in records(tmp_path) if record["event"] == "recovery"] == [1]


async def test_a_flood_of_notes_keeps_no_intent_from_being_recorded(tmp_path: Path) -> None:
    """While the disk is slow, refusals and denials fill half of the queue; the other half is for intents."""
    disk = HeldDisk()
    async with opened(tmp_path, disk=disk, queue_records=10, wait_s=5) as log:
        await log.intent(plan("d0"))
        disk.gate.clear()
        for number in range(100):
            log.note_soon("refused", {"decision_id": f"n{number}"})
        waiting = asyncio.create_task(log.intent(plan("d1")))
        await asyncio.sleep(0)
        disk.gate.set()
        assert (await waiting).decision_id == "d1"
        assert log.state.left_out == 95


@pytest.mark.parametrize("attack", ["segment_deleted", "segment_replaced", "segment_truncated", "segment_extended"])
async def test_a_file_touched_by_others_is_noticed_at_the_next_commit(tmp_path: Path, attack: str) -> None:
    """The log goes on in a new file that says what was done, and verification calls it tampering."""
    async with opened(tmp_path) as log:
        await log.close(await log.intent(plan("d1")), DONE)
        (path,) = segments(tmp_path)
        content = path.read_bytes()
        if attack in ("segment_deleted", "segment_replaced"):
            path.unlink()
        if attack == "segment_replaced":
            path.write_bytes(content)
        if attack == "segment_truncated":
            os.truncate(path, 0)
        if attack == "segment_extended":
            path.write_bytes(content + b"{}\n")
        await log.intent(plan("d2"))
        assert log.state.reason == attack
        newest = segments(tmp_path)[-1]
        assert json.loads(newest.read_bytes().splitlines()[0])["reason"] == attack
    if attack != "segment_replaced":
        assert findings(tmp_path) == {"one": "TAMPERED"}


async def test_after_the_stop_nothing_is_taken(tmp_path: Path) -> None:
    """The last record is the stop with the number of open intents; later intents are refused."""
    log = await open_log(tmp_path)
    await log.intent(plan("d1"))
    await log.stop({"reason": "sigterm"})
    with pytest.raises(AuditUnavailable) as refused:
        await log.intent(plan("d2"))
    assert refused.value.cause == "stopped"
    assert (records(tmp_path)[-1]["event"], records(tmp_path)[-1]["open"]) == ("stop", 1)


async def test_a_stop_on_a_dead_disk_ends(tmp_path: Path) -> None:
    """Where no byte can be written any more, stopping still returns."""
    log = await open_log(tmp_path, disk=FailingDisk("write", 2, errno.EIO, length=EVER), wait_s=0.1)
    await log.note("denied", {"decision_id": "d1"})
    await log.stop({"reason": "sigterm"})
    assert not log.state.ready


async def test_copies_on_stdout_are_the_durable_lines(tmp_path: Path) -> None:
    """With `stdout` each line of the file is printed, and checkpoints between them."""
    reader, writer = os.pipe()
    async with opened(tmp_path, stdout=True, stdout_descriptor=writer) as log:
        await log.intent(plan("d1"))
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        printed = pipe.read().splitlines(keepends=True)
    copies = [line for line in printed if b'"event":"checkpoint"' not in line]
    assert b"".join(copies) == b"".join(path.read_bytes() for path in segments(tmp_path))
    last = json.loads(printed[-1])
    assert (last["event"], last["seq"]) == ("checkpoint", records(tmp_path)[-1]["seq"])


async def test_a_blocked_or_broken_stdout_does_not_hold_up_the_log(tmp_path: Path) -> None:
    """A pipe that nobody reads, or that is gone, costs copies, never records."""
    reader, writer = os.pipe()
    async with opened(tmp_path / "blocked", stdout=True, stdout_descriptor=writer) as log:
        for number in range(300):
            await log.intent(plan(f"d{number}"))
    assert len(records(tmp_path / "blocked")) == 302
    os.close(reader)
    async with opened(tmp_path / "broken", stdout=True, stdout_descriptor=writer) as log:
        await log.intent(plan("d"))
        assert log.state.copies_dropped == 0, "a reader may come back"
    await soon(lambda: log.state.copies_dropped)
    os.close(writer)


async def test_checkpoints_are_signed_and_shown(tmp_path: Path) -> None:
    """The state carries the last checkpoint; a thousand records make a new one."""
    async with opened(tmp_path, mac_key=MacKey(b"k" * 16), durability="os") as log:
        assert checkpoint_of(log)["seq"] == 1
        await asyncio.gather(*(log.note("denied", {"decision_id": str(number)}) for number in range(1200)))
        await soon(lambda: checkpoint_of(log)["seq"] >= 1000)
        assert len(checkpoint_of(log)["mac"]) == 64


def checkpoint_of(log: AuditLog) -> dict[str, Any]:
    """The last checkpoint that the state shows."""
    assert log.state.checkpoint is not None
    return dict(log.state.checkpoint)


async def test_start_says_how_the_chain_is_made(tmp_path: Path) -> None:
    """The first record names the kind of chain and the key's id."""
    async with opened(tmp_path, "plain"):
        pass
    async with opened(tmp_path, "signed", mac_key=MacKey(b"k" * 16)):
        pass
    plain, signed = (record for record in records(tmp_path) if record["event"] == "start")
    assert (plain["chain"], plain["key_id"]) == ("sha256", None)
    assert (signed["chain"], signed["key_id"]) == ("hmac-sha256", MacKey(b"k" * 16).key_id)
    assert list(signed["heads"]) == ["plain"]


@pytest.mark.alone
async def test_a_writer_that_gets_no_time_on_the_processor_is_no_slow_disk(tmp_path: Path) -> None:
    """An intent waits longer for a thread that does not run than it would for storage, and then it is durable."""
    clock = StarvingClock()
    log = await open_log(tmp_path, clock=clock, wait_s=0.2, durability="os")
    await clock.starve(log)
    intent = asyncio.ensure_future(log.intent(plan("d1")))
    await asyncio.sleep(0.4)
    assert not intent.done()
    assert log.state.ready
    clock.let_go.set()
    await log.close(await intent, DONE)
    await log.stop({})
    assert outcomes(tmp_path) == {"d1": ["cancelled"]}


@pytest.mark.alone
async def test_a_writer_that_does_not_run_at_all_refuses_in_the_end_and_says_why(tmp_path: Path) -> None:
    """After five waits the intent is refused as `starved`; when the thread runs it is closed as not sent."""
    clock = StarvingClock()
    log = await open_log(tmp_path, clock=clock, wait_s=0.4, durability="os")
    await clock.starve(log)
    with pytest.raises(AuditUnavailable) as refused:
        await log.intent(plan("d1"))
    assert (refused.value.cause, log.state.reason) == ("starved", "starved")
    clock.let_go.set()
    await soon(lambda: log.state.ready)
    await log.stop({})
    assert outcomes(tmp_path) == {"d1": ["not_sent"]}


@pytest.mark.alone
def test_a_loop_that_was_late_itself_calls_no_disk_late(tmp_path: Path) -> None:
    """The timer of an intent fires after its record was written, where the loop had no turn: it is durable."""

    async def story() -> None:
        log = await open_log(tmp_path, wait_s=0.1, durability="os")
        intent = asyncio.ensure_future(log.intent(plan("d1")))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251 - the loop has no turn
        until(lambda: len(records(tmp_path)) == 2)
        assert (await intent).decision_id == "d1"
        assert log.state.ready
        await until_taken(log, "d2")
        await log.stop({})

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(story())
