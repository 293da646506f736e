"""Attacks on a directory whose operator then retires chains, as a routine: what was found before is found still."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from gateway.audit.chain import MacKey
from gateway.audit.evidence.retire import Choice, Retired, Retirement
from gateway.audit.evidence.verify import verify_listed
from gateway.audit.journal import AuditSettings
from gateway.audit.reader import ChainReader, Claim
from gateway.audit.segment import OsDisk, chains_in, segment_path
from gateway.core.errors import AuditFailure
from tests.audit.faults import DONE, findings, opened, plan, segments

KEY = MacKey(b"k" * 32)
DAY = 86_400 * 10**9
NUMBERS = count(1000)
SECOND_DAY, LATER = "1970-01-03", "1980-01-01"
WORST = ("TAMPERED", "OPEN", "TORN", "INTACT")


def _process(directory: Path, name: str, day: int, key: MacKey | None, *, decisions: int) -> None:
    """A life of a gateway: an intent that stays open over all of its chains, and decisions that fill them."""
    asyncio.run(_lived(directory, name, day, key, decisions=decisions))


async def _lived(directory: Path, name: str, day: int, key: MacKey | None, *, decisions: int) -> None:
    numbers = count(1)
    kept: dict[str, Any] = {
        "mac_key": key,
        "chain_bytes": 3000,
        "durability": "os",
        "new_name": lambda: f"{name}{next(numbers)}",
    }
    async with opened(directory, name, clock=lambda: day * DAY + 1, **kept) as log:
        receipt = await log.intent(plan(f"{name}-long"))
        for number in range(decisions):
            await log.close(await log.intent(plan(f"{name}-{number}")), DONE)
        await log.close(receipt, DONE)


def retire(
    directory: Path,
    choice: Choice,
    key: MacKey | None,
    *,
    disk: OsDisk | None = None,
    checkpoints: dict[str, list[Claim]] | None = None,
) -> Retired:
    """Retires with the key of the directory, where it has one."""
    keys = [key] if key is not None else []
    settings = AuditSettings(directory, mac_key=key, new_name=lambda: f"z{next(NUMBERS)}")
    run = Retirement(settings, keys, None, disk or OsDisk(), lambda: 9 * DAY)
    return replace(run, checkpoints=checkpoints or {}).run(choice)


@pytest.fixture(scope="module", params=[None, KEY], ids=["without a key", "with a key"])
def key(request: pytest.FixtureRequest) -> MacKey | None:
    return request.param


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, key: MacKey | None) -> Path:
    """Processes that roll over and one that does not, chains that went on record, and a process after that."""
    directory = tmp_path_factory.mktemp("history") / "audit"
    _process(directory, "a", 0, key, decisions=4)
    _process(directory, "b", 1, key, decisions=1)
    _process(directory, "c", 2, key, decisions=4)
    assert retire(directory, Choice(frozenset({"a1"})), key).gone == ["a1"]
    _process(directory, "d", 3, key, decisions=1)
    assert worst(directory, key) == "INTACT"
    assert len(chains_in(directory.iterdir())) > 6
    return directory


def worst(directory: Path, key: MacKey | None) -> str:
    """The worst that verification finds."""
    found = set(findings(directory, keys=[key] if key is not None else []).values())
    return next(finding for finding in WORST if finding in found)


def choices_for(directory: Path) -> list[Choice]:
    """Each chain by its name, those of the first days, and all."""
    named = [Choice(frozenset({chain})) for chain in chains_in(directory.iterdir()) if not chain.startswith("z")]
    return [*named, Choice(before=SECOND_DAY), Choice(before=LATER)]


def _rewrite(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))


def _replaced(make: Callable[[Path], object]) -> Callable[[Path], object]:
    def act(path: Path) -> None:
        path.rename(path.with_suffix(".kept"))
        make(path)

    return act


TAMPERINGS: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "emptied": lambda path: os.truncate(path, 0),
    "cut after its start": _rewrite(lambda lines: lines[:1]),
    "cut after its first cancel": _rewrite(lambda lines: lines[:3]),
    "without its last record": _rewrite(lambda lines: lines[:-1]),
    "without its last bytes": lambda path: os.truncate(path, path.stat().st_size - 9),
    "without its first record": _rewrite(lambda lines: lines[1:]),
    "without a record inside": _rewrite(lambda lines: lines[:2] + lines[3:]),
    "with two records in another order": _rewrite(lambda lines: [lines[0], *lines[2:0:-1], *lines[3:]]),
    "with a changed byte": lambda path: path.write_bytes(path.read_bytes().replace(b"nightly", b"weeklyy")),
    "under another number": lambda path: path.rename(segment_path(path.parent, path.name.partition(".")[0], 2)),
    "under another chain's name": lambda path: path.rename(segment_path(path.parent, "y", 1)),
    "under no segment's name": lambda path: path.rename(path.with_suffix(".bak")),
    "with a link in its place": _replaced(lambda path: path.symlink_to(path.with_suffix(".kept").name)),
    "with a pipe in its place": _replaced(os.mkfifo),
    "with a directory in its place": _replaced(Path.mkdir),
}


def content(directory: Path) -> dict[str, tuple[int, bytes]]:
    """What a verification can see: every entry, its kind, and the bytes of files."""
    return {
        path.name: (path.lstat().st_mode, path.read_bytes() if path.is_file() else b"") for path in directory.iterdir()
    }


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_no_retirement_takes_a_finding_away(history: Path, key: MacKey | None, tampering: str, tmp_path: Path) -> None:
    """Whichever chain was tampered with, and whichever are retired then: `verify` says the same after as before."""
    for chain in chains_in(history.iterdir()):
        tampered = shutil.copytree(history, tmp_path / chain)
        TAMPERINGS[tampering](segment_path(tampered, chain, 1))
        before, held = worst(tampered, key), content(tampered)
        for choice in choices_for(history):
            directory = shutil.copytree(history, tmp_path / "retiring")
            TAMPERINGS[tampering](segment_path(directory, chain, 1))
            done = retire(directory, choice, key)
            # The same files are the same finding.
            assert content(directory) == held or worst(directory, key) == before, (chain, choice)
            if before == "TAMPERED":
                assert (done.gone, done.record, done.refused) == ([], None, True)
            shutil.rmtree(directory)


class TamperingDisk(OsDisk):
    """Tampers once, when the first lock is taken, or when the file of the record is made."""

    def __init__(self, tamper: Callable[[], object], *, suffix: str) -> None:
        self._tamper: Callable[[], object] | None = tamper
        self._suffix = suffix

    def open(self, path: Path, flags: int) -> int:
        if self._tamper is not None and flags & os.O_CREAT and path.suffix == self._suffix:
            tamper, self._tamper = self._tamper, None
            tamper()
        return super().open(path, flags)


@pytest.mark.parametrize("moment", [".lock", ".jsonl"])
@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_what_is_tampered_with_meanwhile_is_found_as_well(
    history: Path, key: MacKey | None, tampering: str, moment: str, tmp_path: Path
) -> None:
    """A chain that stays is held to what the retirement read before, and to all that the chains that go said of it."""
    act = TAMPERINGS[tampering]
    for chain in chains_in(history.iterdir()):
        path = segment_path(shutil.copytree(history, tmp_path / f"{chain}-alone"), chain, 1)
        act(path)
        alone = worst(path.parent, key)
        for number, choice in enumerate(choices_for(history)[-3:]):
            path = segment_path(shutil.copytree(history, tmp_path / f"{chain}-{number}"), chain, 1)
            try:
                done = retire(path.parent, choice, key, disk=TamperingDisk(partial(act, path), suffix=moment))
            except (AuditFailure, OSError):
                continue
            if chain not in done.gone and alone == "TAMPERED":
                assert worst(path.parent, key) == "TAMPERED", (chain, choice)


def test_after_a_retirement_no_chain_can_be_lost_but_the_newest(
    history: Path, key: MacKey | None, tmp_path: Path
) -> None:
    """Every chain that stays is named by another, records of earlier retirements too."""
    for number, choice in enumerate(choices_for(history)):
        directory = shutil.copytree(history, tmp_path / str(number))
        newest = retire(directory, choice, key).record
        assert newest is not None
        for chain in chains_in(directory.iterdir()).keys() - {newest}:
            path = segment_path(directory, chain, 1)
            content = path.read_bytes()
            path.unlink()
            assert worst(directory, key) == "TAMPERED", (choice, chain)
            path.write_bytes(content)


def test_what_the_chains_that_go_said_is_said_as_they_said_it(
    history: Path, key: MacKey | None, tmp_path: Path
) -> None:
    """Also of a chain that was retired before, so that the record of that cannot be lost unseen."""
    directory = shutil.copytree(history, tmp_path / "audit")
    (earlier,) = [chain for chain in chains_in(directory.iterdir()) if chain.startswith("z")]
    assert retire(directory, Choice(before=LATER), key).record
    for path in segments(directory, earlier):
        path.unlink()
    found = findings(directory, keys=[key] if key is not None else [])
    assert {chain for chain, finding in found.items() if finding == "TAMPERED"} >= {"a1", earlier}


def test_a_chain_without_a_record_is_not_retired(history: Path, key: MacKey | None, tmp_path: Path) -> None:
    """There is no head of it to put on record."""
    directory = shutil.copytree(history, tmp_path / "audit")
    segment_path(directory, "y", 1).touch()
    assert retire(directory, Choice(frozenset("y")), key).kept == {"y": "it has no record"}
    assert worst(directory, key) == "INTACT"


def test_without_the_key_of_a_directory_nothing_goes(history: Path, tmp_path: Path) -> None:
    """Not even what a record says is retired already: without the key nobody knows who wrote that record."""
    directory = shutil.copytree(history, tmp_path / "audit")
    sealed = any(b'"mac":"' in path.read_bytes() for path in segments(directory))
    done = retire(directory, Choice(before=LATER), None)
    assert done.refused == sealed
    assert bool(done.gone) != sealed


async def test_a_kept_checkpoint_is_heard_before_what_it_speaks_of_goes(tmp_path: Path) -> None:
    """Afterwards nothing could be held against it but the head of the chain."""
    for name in ("audit", "other"):
        async with opened(tmp_path / name, "a") as log:
            await log.close(await log.intent(plan(name)), DONE)
    head = ChainReader("a").read(segments(tmp_path / "other")).head
    kept = {"a": [Claim(head.seq - 1, "0" * 64, "the checkpoint")]}
    assert findings(tmp_path / "audit", checkpoints=kept) == {"a": "TAMPERED"}
    assert retire(tmp_path / "audit", Choice(before="2999-01-01"), None, checkpoints=kept).refused


class Moments:
    """What stands in a directory at each look, with something done after each."""

    def __init__(self, directory: Path, *after: Callable[[], object]) -> None:
        self._directory, self._after, self.looks = directory, list(after), 0

    def __call__(self) -> list[Path]:
        found = sorted(self._directory.iterdir())
        self.looks += 1
        if self._after:
            self._after.pop(0)()
        return found


def test_verifying_beside_a_retirement_finds_nothing(history: Path, key: MacKey | None, tmp_path: Path) -> None:
    """Files that go away after they were listed are looked for again, as often as that happens."""
    directory = shutil.copytree(history, tmp_path / "audit")
    steps = [partial(retire, directory, choice, key) for choice in choices_for(history)]
    look = Moments(directory, *steps)
    reports = verify_listed(look, keys=[key] if key is not None else [], checkpoints={}, whole=True)
    assert {report.finding.name for report in reports} == {"INTACT"}
    assert look.looks > 3


def test_a_listing_that_saw_neither_the_record_nor_the_chain_is_no_finding(
    history: Path, key: MacKey | None, tmp_path: Path
) -> None:
    """Names that come and go while a directory is listed may both be missed; the next look shows them."""
    directory = shutil.copytree(history, tmp_path / "audit")
    before = set(directory.iterdir())
    assert retire(directory, Choice(frozenset("b")), key).gone == ["b"]
    looks = [sorted(before & set(directory.iterdir()))]
    keys = [key] if key is not None else []
    reports = verify_listed(
        lambda: looks.pop() if looks else sorted(directory.iterdir()), keys=keys, checkpoints={}, whole=True
    )
    assert {report.finding.name for report in reports} == {"INTACT"}


def test_a_directory_that_never_holds_still_is_not_called_intact(tmp_path: Path) -> None:
    """Somebody takes every file away as soon as it is listed: that is a finding, and it ends."""
    path = segment_path(tmp_path, "a", 1)

    def look() -> list[Path]:
        path.touch()
        found = list(tmp_path.iterdir())
        path.unlink()
        return found

    (report,) = verify_listed(look, checkpoints={}, whole=True)
    assert report.finding.name == "TAMPERED"
