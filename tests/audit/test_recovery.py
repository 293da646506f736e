"""Laws of a start after a death: chains are closed in themselves, once, wherever the process died."""

from __future__ import annotations

import contextlib
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from gateway.audit.journal import AuditSettings
from gateway.audit.recovery import Opening
from gateway.audit.segment import ChainLock, OsDisk
from gateway.core.errors import AuditFailure
from gateway.log import Console
from tests.audit.faults import (
    DONE,
    NOWHERE,
    Crash,
    CrashingDisk,
    FailingDisk,
    WatchedDisk,
    findings,
    open_log,
    opened,
    outcomes,
    plan,
    records,
    segments,
)


async def left_open(directory: Path, chain: str = "dead", *, torn: bytes = b"") -> None:
    """A chain with two open intents and perhaps an unfinished line, that nobody writes."""
    log = await open_log(directory, chain)
    await log.close(await log.intent(plan("closed")), DONE)
    await log.intent(plan("open-1"))
    await log.intent(plan("open-2"))
    await log.stop({"reason": "test"})
    (path,) = segments(directory, chain)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + torn)


async def test_open_intents_are_closed_unknown_in_their_own_chain(tmp_path: Path) -> None:
    """Each open intent gets one outcome, appended to the chain it stands in; closed ones are left alone."""
    await left_open(tmp_path)
    async with opened(tmp_path, "new"):
        pass
    assert outcomes(tmp_path) == {"closed": ["cancelled"], "open-1": ["unknown"], "open-2": ["unknown"]}
    assert len(segments(tmp_path, "dead")) == 1
    assert findings(tmp_path) == {"dead": "INTACT", "new": "INTACT"}


async def test_a_torn_tail_is_kept_aside_and_cut(tmp_path: Path) -> None:
    """The unfinished bytes move to a `.torn` file; the chain goes on after its last whole record."""
    await left_open(tmp_path, torn=b'{"v":1,"seq":5')
    assert findings(tmp_path) == {"dead": "OPEN"}
    async with opened(tmp_path, "new"):
        pass
    (torn,) = segments(tmp_path, suffix="torn")
    assert torn.read_bytes() == b'{"v":1,"seq":5'
    assert findings(tmp_path) == {"dead": "INTACT", "new": "INTACT"}


async def test_torn_bytes_are_durable_before_they_are_cut(tmp_path: Path) -> None:
    """A power cut between the two loses nothing: the copy and its name are synced before the file is shortened."""
    await left_open(tmp_path, torn=b"{")
    disk = WatchedDisk()
    begin(tmp_path, disk)
    assert disk.steps[:3] == ["fdatasync", "sync_directory", "truncate"]


async def test_a_record_longer_than_most_is_found_at_the_end(tmp_path: Path) -> None:
    """The head of a chain is named even where its last record is long and its process still lives."""
    log = await open_log(tmp_path, "long")
    await log.note("denied", {"decision_id": "d", "orders": ["x" * 100_000]})
    async with opened(tmp_path, "new"):
        pass
    await log.stop({})
    start = next(record for record in records(tmp_path) if record["instance"] == "new")
    assert start["heads"]["long"]["seq"] == 2


async def test_a_chain_that_is_written_is_left_alone(tmp_path: Path) -> None:
    """Where another process holds the lock nothing is appended; its head is named all the same."""
    await left_open(tmp_path)
    lock = ChainLock.take(OsDisk(), tmp_path, "dead")
    assert lock is not None
    before = segments(tmp_path, "dead")[0].read_bytes()
    async with opened(tmp_path, "new"):
        pass
    lock.release()
    assert segments(tmp_path, "dead")[0].read_bytes() == before
    start = next(record for record in records(tmp_path) if record["instance"] == "new")
    assert start["heads"]["dead"]["seq"] == 5


async def test_a_changed_chain_is_named_and_never_appended_to(tmp_path: Path) -> None:
    """Damage cannot prevent a start, and is not papered over."""
    await left_open(tmp_path)
    path = segments(tmp_path, "dead")[0]
    path.write_bytes(path.read_bytes().replace(b"nightly", b"weeklyy", 1))
    before = path.read_bytes()
    async with opened(tmp_path, "new") as log:
        assert list(log.state.damaged) == ["dead"]
    assert path.read_bytes() == before
    start = next(record for record in records(tmp_path) if record["event"] == "start" and record["instance"] == "new")
    assert [damage["chain"] for damage in start["damaged"]] == ["dead"]


async def test_recovering_again_adds_nothing(tmp_path: Path) -> None:
    """A recovered chain is clean; the next start leaves its bytes as they are."""
    await left_open(tmp_path)
    async with opened(tmp_path, "new"):
        pass
    before = segments(tmp_path, "dead")[0].read_bytes()
    async with opened(tmp_path, "newer"):
        pass
    assert segments(tmp_path, "dead")[0].read_bytes() == before


async def test_dying_at_any_point_of_a_recovery(tmp_path: Path) -> None:
    """For every disk operation N: dying there, and starting again, closes each intent exactly once."""
    nth = 0
    crashed = True
    while crashed:
        nth += 1
        directory = tmp_path / str(nth)
        await left_open(directory, torn=b'{"v":1,"se')
        try:
            begin(directory, CrashingDisk(nth))
            crashed = False
        except Crash:
            pass
        async with opened(directory, "after"):
            pass
        assert {name: len(found) for name, found in outcomes(directory).items()} == {
            "closed": 1,
            "open-1": 1,
            "open-2": 1,
        }
        assert set(findings(directory).values()) == {"INTACT"}
    assert nth > 8


def begin(directory: Path, disk: OsDisk) -> None:
    """Starts as a process would, up to its first record."""
    begun = Opening(AuditSettings(directory), "middle", time.time_ns, disk).begin({}, stdout=Console(NOWHERE))
    begun.journal.close()
    begun.console.close(1)


@pytest.mark.parametrize("operation", ["write", "fdatasync", "truncate", "open", "sync_directory"])
async def test_a_disk_failing_during_recovery_never_prevents_the_next_one(tmp_path: Path, operation: str) -> None:
    """For every call N of an operation that fails once: the start after it finds everything, and closes it once."""
    nth = 0
    reached = True
    while reached:
        nth += 1
        directory = tmp_path / str(nth)
        await left_open(directory, torn=b'{"v":1,"se')
        disk = FailingDisk(operation, nth, 28)
        with contextlib.suppress(AuditFailure):
            begin(directory, disk)
        reached = disk.reached
        async with opened(directory, "after"):
            pass
        assert {name: len(found) for name, found in outcomes(directory).items()} == {
            "closed": 1,
            "open-1": 1,
            "open-2": 1,
        }
        assert set(findings(directory).values()) == {"INTACT"}


VICTIM = textwrap.dedent(
    """
    import asyncio, sys, itertools
    from pathlib import Path
    from tests.audit.faults import open_log, plan, DONE

    def tell(word, name):
        sys.stdout.buffer.write(f"{word} {name}\\n".encode())
        sys.stdout.buffer.flush()

    async def caller(log, who, chain):
        for number in itertools.count():
            name = f"{chain}-{who}-{number}"
            receipt = await log.intent(plan(name))
            tell("intent", name)
            await asyncio.sleep(0.0005)
            await log.close(receipt, DONE)
            tell("closed", name)

    async def main(directory, chain):
        log = await open_log(Path(directory), chain, chain_bytes=30_000)
        tell("open", chain)
        await asyncio.gather(*(caller(log, who, chain) for who in range(4)))

    asyncio.run(main(*sys.argv[1:]))
    """
)


def test_kill_nine_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments: each acknowledged intent stands, closed once, with the truth where it was recorded."""
    told: dict[str, set[str]] = {"open": set(), "intent": set(), "closed": set()}
    for turn in range(6):
        for line in killed(tmp_path, f"turn{turn}"):
            word, name = line.split()
            told[word].add(name)
    begin(tmp_path, OsDisk())
    found = outcomes(tmp_path)
    assert len(told["open"]) == 6
    assert told["intent"]
    assert told["intent"] <= found.keys()
    assert all(len(names) == 1 for names in found.values())
    assert all(found[name] == ["cancelled"] for name in told["closed"])
    assert {finding for chain, finding in findings(tmp_path).items() if chain != "middle"} == {"INTACT"}


def killed(directory: Path, chain: str) -> list[str]:
    """What a process said before it was killed, at a random one of its first records."""
    with subprocess.Popen(
        [sys.executable, "-c", VICTIM, str(directory), chain], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    ) as process:
        assert process.stdout is not None
        lines = random.randrange(1, 200)  # noqa: S311 - a moment, not a secret
        said = [process.stdout.readline() for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        whole = [line for line in process.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return [*said, *whole]
