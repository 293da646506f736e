"""Laws of a chain that goes on in another: intents are carried over, closed once, and no start reads much."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.chain import MacKey, Record
from gateway.audit.events.reloads import reload_members
from gateway.audit.evidence.verify import digest_of
from gateway.audit.journal import AuditSettings
from gateway.audit.log import AuditLog
from gateway.audit.reader import lines_of
from gateway.audit.recovery import Opening, Progress
from gateway.audit.segment import NotAFile, OsDisk, segment_path
from gateway.core.errors import AuditFailure, AuditUnavailable
from gateway.log import Console
from gateway.serving.clock import recorded
from tests.audit.faults import (
    DONE,
    NOWHERE,
    Crash,
    CrashingDisk,
    FailingDisk,
    findings,
    open_log,
    opened,
    outcomes,
    plan,
    records,
    segments,
)
from tests.support.waiting import soon

SMALL = 3000
KEY = MacKey(b"k" * 32)


async def decide(log: AuditLog, name: str) -> None:
    await log.close(await log.intent(plan(name)), DONE)


async def written(directory: Path, chain: str = "one", *, decisions: int = 12, **settings: Any) -> None:
    """A process with an intent that stays open over all of its chains but the last."""
    async with opened(directory, chain, chain_bytes=SMALL, **settings) as log:
        receipt = await log.intent(plan(f"{chain}-long"))
        for number in range(decisions):
            await decide(log, f"{chain}-{number}")
        await log.close(receipt, DONE)


def starts(directory: Path) -> list[dict]:
    return [record for record in records(directory) if record["event"] == "start"]


def begin(directory: Path, disk: OsDisk | None = None, *, progress: Progress | None = None) -> None:
    """Starts as a process would, up to its first record."""
    opening = Opening(AuditSettings(directory), "zz", lambda: 1, disk or OsDisk(), progress or Progress())
    begun = opening.begin({}, stdout=Console(NOWHERE))
    begun.journal.close()
    begun.console.close(1)


async def test_an_intent_is_closed_once_whichever_chain_its_outcome_stands_in(tmp_path: Path) -> None:
    """It is carried from chain to chain by their starts; all are intact, and each says where it goes on from."""
    await written(tmp_path, mac_key=KEY)
    assert set(findings(tmp_path, keys=[KEY]).values()) == {"INTACT"}
    assert all(found == ["cancelled"] for found in outcomes(tmp_path).values())
    carried = [start for start in starts(tmp_path) if start["continues"]]
    assert len(carried) > 3
    assert all("one-long" in start["intents"] for start in carried[:-1])
    stops = {record["instance"]: record for record in records(tmp_path) if record["event"] == "stop"}
    assert all(stops[start["continues"]["chain"]]["continued_by"] == start["instance"] for start in carried)


async def test_the_files_stay_small(tmp_path: Path) -> None:
    """A chain ends with the batch that brings it over the size; it may be a record longer, not more."""
    await written(tmp_path, decisions=40)
    assert max(path.stat().st_size for path in segments(tmp_path)) < 2 * SMALL


async def test_a_start_says_the_policies_of_its_moment(tmp_path: Path) -> None:
    """After a reload, the chains begun later name the digest in force."""
    async with opened(tmp_path, chain_bytes=SMALL) as log:
        applied = reload_members("signal", old_digest="a", new_digest="b", problems=())
        await log.note("reload", applied)
        await log.note("reload", reload_members("signal", old_digest="b", new_digest="c", problems=["no"]))
        for number in range(6):
            await decide(log, str(number))
    assert {start["policy_digest"] for start in starts(tmp_path) if start["continues"]} == {"b"}


async def test_copies_are_the_lines_of_all_chains(tmp_path: Path) -> None:
    """Standard output gets every line, also the end and the beginning of chains, in the order of the files."""
    printed = tmp_path / "printed"
    with printed.open("wb") as out:
        await written(tmp_path / "audit", stdout=True, stdout_descriptor=out.fileno())
    copies = [line for line in printed.read_bytes().splitlines(True) if b'"event":"checkpoint"' not in line]
    by_chain = [segment.read_bytes() for segment in in_order(tmp_path / "audit")]
    assert b"".join(copies) == b"".join(by_chain)


def in_order(directory: Path) -> list[Path]:
    """The files, each chain after the one that it goes on for."""
    after = {
        start["continues"]["chain"] if start["continues"] else None: start["instance"] for start in starts(directory)
    }
    chains, last = [], after[None]
    while last is not None:
        chains.append(last)
        last = after.get(last)
    return [path for chain in chains for path in segments(directory, chain)]


@pytest.mark.parametrize("settings", [{}, {"mac_key": KEY}])
async def test_dying_at_any_point_of_a_hand_over(tmp_path: Path, settings: dict) -> None:
    """For every disk operation N: what was acknowledged stands, every intent is closed once, and all is intact."""
    nth = 0
    died = True
    while died:
        nth += 1
        directory = tmp_path / str(nth)
        directory.mkdir()
        died = await _lived(directory, nth, settings)
        async with opened(directory, "zz", **settings):
            pass
        keys = list(settings.values())
        assert set(findings(directory, keys=keys).values()) == {"INTACT"}, nth
        intents = [record["decision_id"] for record in records(directory) if record["event"] == "intent"]
        assert sorted(intents) == sorted(outcomes(directory)), nth
        assert all(len(found) == 1 for found in outcomes(directory).values()), nth
    assert nth > 40


async def _lived(directory: Path, nth: int, settings: dict) -> bool:
    """Whether a journal that fills several chains died at its Nth operation."""
    names = iter(f"one-{number}" for number in range(100))
    kept = AuditSettings(directory, chain_bytes=1500, new_name=lambda: next(names), **settings)
    disk = CrashingDisk(nth)
    begun = None
    try:
        begun = Opening(kept, "one", lambda: 1, disk).begin({}, stdout=Console(NOWHERE))
        for number in range(8):
            begun.journal.commit([Record(1, "intent", {"decision_id": f"d{number}", "orders": ["x" * 300]})])
            if number:
                begun.journal.commit([Record(1, "outcome", {"decision_id": f"d{number - 1}", "outcome": "cancelled"})])
    except Crash:
        return True
    finally:
        disk.nth = 10**9
        _let_go(begun)
    return False


def _let_go(begun: object) -> None:
    """What the kernel does at the end of a process: it closes the descriptors, and with them the locks."""
    if begun is None:
        return
    journal = begun.journal  # type: ignore[attr-defined]
    for lock in (journal._lock, journal._before, journal._heir.lock if journal._heir else None):
        if lock is not None:
            lock.release()


@pytest.mark.parametrize("operation", ["write", "fdatasync", "open", "sync_directory", "stat"])
async def test_an_operation_that_fails_in_a_hand_over_is_made_good(tmp_path: Path, operation: str) -> None:
    """For every call N that fails once: the log goes on, nothing is open, and no empty file is left in the way."""
    nth, reached = 0, True
    while reached:
        nth += 1
        directory = tmp_path / str(nth)
        disk = FailingDisk(operation, nth, 28)
        try:
            log = await open_log(directory, disk=disk, chain_bytes=1500, retry_s=0.002)
        except AuditFailure:
            continue
        for number in range(4):
            try:
                await decide(log, f"d{number}")
            except AuditUnavailable:
                await soon(partial(_is_ready, log))
        await log.stop({})
        reached = disk.reached
        assert set(findings(directory).values()) == {"INTACT"}, nth
        assert all(len(found) == 1 for found in outcomes(directory).values()), nth
        assert {record["decision_id"] for record in records(directory) if record["event"] == "intent"} == set(
            outcomes(directory)
        )


def _is_ready(log: AuditLog) -> bool:
    return log.state.ready


async def test_a_death_between_the_two_records_leaves_the_intents_to_the_old_chain(tmp_path: Path) -> None:
    """A hand-over to a chain without a record: open until the next start, which closes them where they stand."""
    await written(tmp_path, decisions=2)
    _, last = in_order(tmp_path)[:2]
    for path in in_order(tmp_path)[2:]:
        path.unlink()
    last.write_bytes(b"")
    assert set(findings(tmp_path).values()) == {"OPEN", "INTACT"}
    begin(tmp_path)
    assert outcomes(tmp_path)["one-long"] == ["unknown"]
    assert set(findings(tmp_path).values()) <= {"INTACT", "OPEN"}
    begin_again = [record for record in records(tmp_path) if record["event"] == "recovery"]
    assert [record["closed"] for record in begin_again] == [2]


async def test_a_hand_over_that_is_still_waited_for_is_no_damage(tmp_path: Path) -> None:
    """Without open intents it is a torn tail; with them, they are open."""
    async with opened(tmp_path, chain_bytes=SMALL) as log:
        for number in range(20):
            await log.note("denied", {"decision_id": str(number), "orders": ["x" * 300]})
    paths = in_order(tmp_path)
    for path in paths[2:]:
        path.unlink()
    paths[1].write_bytes(b"")
    assert findings(tmp_path)["one"] == "TORN"


def _cut(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))


def _begin_otherwise(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[1:]))


ATTACKS: dict[str, Callable[[Path, Path], None]] = {
    "the later chain deleted": lambda old, new: new.unlink(),
    "the later chain without its start": lambda old, new: _begin_otherwise(new),
    "the earlier chain deleted": lambda old, new: old.unlink(),
    "the earlier chain cut before its end": lambda old, new: _cut(old),
}


@pytest.mark.parametrize("attack", ATTACKS)
async def test_a_hand_over_that_does_not_fit_is_found(tmp_path: Path, attack: str) -> None:
    """Each end says which is the other, so neither can go, or change, alone."""
    await written(tmp_path)
    old, new = in_order(tmp_path)[1:3]
    ATTACKS[attack](old, new)
    assert "TAMPERED" in findings(tmp_path).values()


STRANGE: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
    "a link": lambda path: path.symlink_to(os.devnull),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("which", [0, 1, 2])
async def test_no_file_at_a_hand_over_is_named_and_not_opened(tmp_path: Path, strange: str, which: int) -> None:
    """Looking at both chains once more, as they may have gone on, does not wait for the pipe either."""
    await written(tmp_path, mac_key=KEY)
    path = in_order(tmp_path)[which]
    path.unlink()
    STRANGE[strange](path)
    assert findings(tmp_path, keys=[KEY])[path.name.partition(".")[0]] == "TAMPERED"
    begin(tmp_path)


@pytest.mark.parametrize("strange", STRANGE)
@pytest.mark.parametrize("read", [digest_of, lambda path: list(lines_of(path))])
def test_no_reader_opens_what_is_no_file(tmp_path: Path, strange: str, read: Callable[[Path], object]) -> None:
    """Whoever put it there after a look at the name: the open itself neither waits nor follows."""
    path = segment_path(tmp_path, "one", 1)
    STRANGE[strange](path)
    with pytest.raises(NotAFile):
        read(path)
    assert recorded(tmp_path, None) == {}


@pytest.mark.parametrize("decisions", [120, 1200])
async def test_of_a_long_history_a_start_reads_the_last_chain_and_the_ends_of_others(
    tmp_path: Path, decisions: int
) -> None:
    """After a death: one chain to its end, of each other a few kilobytes at most; ten times the history is no more."""
    await written(tmp_path, decisions=decisions, durability="os")
    *others, last = in_order(tmp_path)
    last.write_bytes(b"".join(last.read_bytes().splitlines(True)[:-1]))
    progress = Progress()
    begin(tmp_path, progress=progress)
    ends = sum(min(path.stat().st_size, 4096) for path in others)
    lines = sum(len(path.read_bytes().splitlines(True)[0]) for path in others)
    assert progress.chains == len(others) + 1 > decisions / 10
    assert progress.read_bytes <= ends + 3 * lines + 4 * last.stat().st_size


async def test_reading_beside_a_hand_over_finds_no_damage(tmp_path: Path) -> None:
    """While a process goes from chain to chain, verification sees open intents at worst."""
    seen: set[str] = set()
    async with opened(tmp_path, chain_bytes=1000, durability="os") as log:
        working = asyncio.create_task(_work(log))
        while not working.done():
            seen |= set((await asyncio.to_thread(findings, tmp_path)).values())
        await working
    assert "TAMPERED" not in seen


async def _work(log: AuditLog) -> None:
    for number in range(150):
        await decide(log, str(number))
