"""Laws of retiring: a chain may be gone where a sealed record says so, and only as that record says."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.chain import MacKey
from gateway.audit.evidence.retire import Choice, Retired, Retirement
from gateway.audit.journal import AuditSettings
from gateway.audit.segment import ChainLock, OsDisk
from gateway.core.errors import AuditFailure
from tests.audit.faults import (
    DONE,
    Crash,
    FailingDisk,
    findings,
    open_log,
    opened,
    plan,
    records,
    segments,
    split,
    tampered,
)
from tests.audit.test_verify import run

KEY = MacKey(b"k" * 32)
DAY = 86_400 * 10**9


@pytest.fixture
async def directory(tmp_path: Path) -> Path:
    """Four chains with a key, one after the other, a day each."""
    for number, chain in enumerate("abcd"):
        async with opened(tmp_path / "audit", chain, mac_key=KEY, clock=lambda day=number: day * DAY + 1) as log:
            await log.close(await log.intent(plan(chain)), DONE)
    return tmp_path / "audit"


def retire(
    directory: Path, *chains: str, before: str | None = None, to: Path | None = None, disk: OsDisk | None = None
) -> Retired:
    """Retires with the key."""
    settings = AuditSettings(directory, mac_key=KEY)
    return Retirement(settings, [KEY], to, disk or OsDisk(), lambda: 9 * DAY).run(Choice(frozenset(chains), before))


def names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def delete(directory: Path, *chains: str) -> None:
    for path in [path for path in directory.iterdir() if path.name.partition(".")[0] in chains]:
        path.unlink()


async def test_what_a_record_retired_may_be_gone(directory: Path) -> None:
    """Chains that ended before a day are deleted, lock files too; verification accepts it, now and after a start."""
    done = retire(directory, before="1970-01-03")
    assert (done.gone, done.kept) == (["a", "b"], {})
    assert not [name for name in names(directory) if name[:2] in ("a.", "b.")]
    assert findings(directory, keys=[KEY])["a"] == "INTACT"
    async with opened(directory, "e", mac_key=KEY):
        pass
    assert tampered(directory, KEY) == set()


async def test_without_its_record_a_retired_chain_is_missing(directory: Path) -> None:
    """The record is as much of the directory as the chains: deleted, it is missed itself, and so are they."""
    done = retire(directory, "a", "c")
    async with opened(directory, "e", mac_key=KEY):
        pass
    assert done.record is not None
    delete(directory, done.record)
    assert tampered(directory, KEY) >= {"a", "c", done.record}


async def test_a_chain_named_only_by_a_retired_one_is_named_again(directory: Path) -> None:
    """When the chain after it goes, the record's own start names it: it cannot be deleted unseen."""
    retire(directory, "b")
    delete(directory, "a")
    assert tampered(directory, KEY) == {"a"}


async def test_an_unkeyed_record_retires_nothing(directory: Path) -> None:
    """Who has no key cannot excuse a deletion; nor is one that has none allowed to try."""
    keyless = Retirement(AuditSettings(directory), [], None, OsDisk(), lambda: 1)
    assert "sealed with a key" in keyless.run(Choice(frozenset("a"))).kept["a"]
    assert len(segments(directory, "a")) == 1


async def test_moved_files_are_the_same_bytes(directory: Path, tmp_path: Path) -> None:
    """With `to`, the files are elsewhere; put back, they are what the record says, and anything else is not."""
    before = segments(directory, "a")[0].read_bytes()
    (tmp_path / "old").mkdir()
    retire(directory, "a", to=tmp_path / "old")
    moved = tmp_path / "old" / "a.000001.jsonl"
    assert moved.read_bytes() == before
    back = directory / moved.name
    back.write_bytes(before)
    assert tampered(directory, KEY) == set()
    back.write_bytes(before.replace(b"nightly", b"weeklyy"))
    assert tampered(directory, KEY) == {"a"}


def _changed(directory: Path) -> None:
    path = segments(directory, "b")[0]
    path.write_bytes(path.read_bytes().replace(b"nightly", b"weeklyy"))


def _opened(directory: Path) -> None:
    path = segments(directory, "b")[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:2]))
    delete(directory, "c", "d")


REASONS: dict[str, Callable[[Path], object]] = {
    "a gateway writes it": lambda directory: ChainLock.take(OsDisk(), directory, "b"),
    "it does not verify": _changed,
    "it has open intents": _opened,
    "it is not there": lambda directory: delete(directory, "b"),
}


@pytest.mark.parametrize("reason", REASONS)
async def test_what_may_not_go_stays_and_nothing_goes_with_it(directory: Path, reason: str) -> None:
    """Live, open, damaged or unknown: if one that was named has to stay, all do, and nothing is recorded."""
    kept = REASONS[reason](directory)
    before = {name for name in names(directory) if name.endswith(".jsonl")}
    done = retire(directory, "a", "b")
    assert (done.gone, done.record) == ([], None)
    assert done.kept["b"] in (reason, "it does not verify")
    assert {name for name in names(directory) if name.endswith(".jsonl")} == before
    del kept


async def test_chains_with_records_of_retirement_stay(directory: Path) -> None:
    """They are what excuses the others; they are small."""
    done = retire(directory, "a")
    assert done.record is not None
    assert retire(directory, done.record).kept == {done.record: "it says of other chains that they are retired"}
    again = retire(directory, before="1980-01-01")
    assert again.gone == ["b", "c", "d"]
    assert done.record in again.kept


async def test_a_part_of_a_process_may_go(tmp_path: Path) -> None:
    """The first chains of a process that goes on in others, intents that were carried over included."""
    async with opened(tmp_path, "a", chain_bytes=2000, mac_key=KEY) as log:
        receipt = await log.intent(plan("long"))
        for number in range(8):
            await log.close(await log.intent(plan(str(number))), DONE)
        done = retire(tmp_path, "a")
        await log.close(receipt, DONE)
    assert done.gone == ["a"]
    assert tampered(tmp_path, KEY) == set()


class StoppingDisk(OsDisk):
    """Dies at the Nth sync of a directory."""

    def __init__(self, nth: int) -> None:
        self.nth = nth

    def sync_directory(self, path: Path) -> None:
        self.nth -= 1
        if self.nth <= 0:
            raise Crash
        super().sync_directory(path)


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_dying_in_the_middle_is_made_good_by_the_next_one(directory: Path, nth: int) -> None:
    """Nothing is gone without its record; what a record retired and is still there goes the next time."""
    with pytest.raises(Crash):
        retire(directory, "a", "b", disk=StoppingDisk(nth))
    assert tampered(directory, KEY) == set()
    retire(directory, before="1970-01-03")
    assert not segments(directory, "[ab]")
    assert tampered(directory, KEY) == set()


async def test_a_record_that_cannot_be_written_removes_nothing(directory: Path) -> None:
    """Not even what an earlier retirement left behind, which goes with the next that succeeds."""
    split(directory, "a", [2])
    second = segments(directory, "a")[1]
    content = second.read_bytes()
    retire(directory, "a")
    second.write_bytes(content)
    before = names(directory)
    with pytest.raises(AuditFailure, match="nothing was removed"):
        retire(directory, "b", disk=FailingDisk("write", 1, errno.ENOSPC))
    assert {name for name in before if name.endswith(".jsonl")} <= names(directory)
    assert retire(directory, "b").gone == ["b"]
    assert not second.exists()
    assert tampered(directory, KEY) == set()


async def test_the_record_is_not_written_into_a_chain_that_another_process_has(directory: Path) -> None:
    """Its name is new nearly always; where it is not, nothing is removed."""
    lock = ChainLock.take(OsDisk(), directory, "taken")
    settings = AuditSettings(directory, mac_key=KEY, new_name=lambda: "taken")
    with pytest.raises(AuditFailure, match="nothing was removed"):
        Retirement(settings, [KEY], None, OsDisk(), lambda: 9 * DAY).run(Choice(frozenset("a")))
    assert segments(directory, "a")
    assert lock is not None
    lock.release()


async def test_one_damaged_chain_keeps_all(directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also with `--before`, also where it was not meant: it is named, nothing goes, and the exit code says so."""
    (tmp_path / "key").write_bytes(KEY.secret)
    _changed(directory)
    before = names(directory)
    for words in (["--chain", "a"], ["--before", "1970-01-02"], ["--before", "1980-01-01"]):
        assert run("retire", directory, *words, "--mac-key", tmp_path / "key") == 1
        printed = capsys.readouterr()
        assert "kept    b: it does not verify\n0 chains retired\n" in printed.out
        assert "see audit verify" in printed.err
    assert names(directory) == before


async def test_an_archive_is_verified_with_the_directory_it_came_from(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone it misses what stayed, and says so; with both, record and files are held to each other."""
    (tmp_path / "key").write_bytes(KEY.secret)
    (tmp_path / "old").mkdir()
    assert retire(directory, "b", to=tmp_path / "old").gone == ["b"]
    assert run("verify", tmp_path / "old", "--mac-key", tmp_path / "key") == 1
    assert "with the directory that it was in: name both" in capsys.readouterr().out
    both = ("verify", directory, tmp_path / "old", "--mac-key", tmp_path / "key")
    assert run(*both) == 0
    moved = tmp_path / "old" / "b.000001.jsonl"
    moved.write_bytes(moved.read_bytes().replace(b"nightly", b"weeklyy"))
    assert run(*both) == 1


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It says what went and what stays; verification says what was retired; mistakes are usage errors."""

    async def two() -> None:
        for chain in "ab":
            log = await open_log(tmp_path / "audit", chain, mac_key=KEY)
            await log.stop({})

    asyncio.run(two())
    key = tmp_path / "key"
    key.write_bytes(KEY.secret)
    assert run("retire", tmp_path / "audit") == run("retire", tmp_path / "no", "--chain", "a") == 64
    assert run("retire", tmp_path / "audit", "--before", "yesterday") == 64
    assert run("retire", tmp_path / "audit", "--chain", "a") == 1
    assert run("retire", tmp_path / "audit", "--chain", "a", "--mac-key", key) == 0
    assert "retired a\n1 chain retired, on record in " in capsys.readouterr().out
    assert run("verify", tmp_path / "audit", "--mac-key", key) == 0
    assert "chain a: intact\n  retired up to seq 2" in capsys.readouterr().out
    (said,) = [record for record in records(tmp_path / "audit") if record["event"] == "retired"]
    assert (said["retired"], said["at"]["seq"], said["to"]) == ("a", 2, None)
    started = next(record for record in records(tmp_path / "audit") if record.get("command"))
    assert started["by"] == f"cli:{os.getuid()}"
    assert json.dumps(said)
