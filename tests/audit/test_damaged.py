"""Laws of chains that a start cannot continue: they prevent no start, they are told of, and they cannot be hidden."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.chain import MacKey, Sealer
from gateway.audit.journal import AuditSettings
from gateway.audit.recovery import Progress, Recovery
from gateway.audit.segment import OsDisk, chains_in
from tests.audit.faults import DONE, findings, open_log, opened, outcomes, plan, records, segments

KEY = MacKey(b"k" * 32)


def _directory(path: Path) -> None:
    path.mkdir()


def _link(path: Path) -> None:
    path.symlink_to("nowhere")


def _junk(path: Path) -> None:
    path.write_bytes(b"no record\n")


TRAPS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "a directory as segment": ("dead.000002.jsonl", _directory),
    "a link as segment": ("dead.000002.jsonl", _link),
    "a pipe as segment": ("dead.000002.jsonl", os.mkfifo),
    "a segment of junk": ("dead.000002.jsonl", _junk),
    "a directory as lock": ("dead.lock", _directory),
    "a link as lock": ("dead.lock", _link),
}


async def killed(directory: Path) -> None:
    """A chain with a key and an open intent, that nobody writes; its lock file is gone."""
    log = await open_log(directory, "dead", mac_key=KEY)
    await log.close(await log.intent(plan("closed")), DONE)
    await log.intent(plan("open"))
    await log.stop({})
    path = segments(directory, "dead")[0]
    path.write_bytes(b"".join(path.read_bytes().splitlines(True)[:-1]))
    (directory / "dead.lock").unlink()


async def start(directory: Path, chain: str) -> list[str]:
    """A start and an end of a gateway; the chains that it could not continue."""
    async with opened(directory, chain, mac_key=KEY) as log:
        return list(log.state.damaged)


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.unlink()


@pytest.mark.parametrize("trap", TRAPS)
async def test_a_trap_beside_a_chain_does_not_let_it_be_deleted_unseen(tmp_path: Path, trap: str) -> None:
    """Nobody without the key can hide a chain: its head is named although it cannot be continued."""
    name, lay = TRAPS[trap]
    await killed(tmp_path)
    lay(tmp_path / name)
    assert await start(tmp_path, "s1") == ["dead"]
    assert await start(tmp_path, "s2") == ["dead"]
    remove(tmp_path / name)
    segments(tmp_path, "dead")[0].unlink()
    assert findings(tmp_path, keys=[KEY]) == {"dead": "TAMPERED", "s1": "INTACT", "s2": "INTACT"}


@pytest.mark.parametrize("trap", TRAPS)
async def test_what_a_trap_left_open_is_closed_when_the_trap_is_gone(tmp_path: Path, trap: str) -> None:
    """The start after it goes on as if there had been none, and everything verifies."""
    name, lay = TRAPS[trap]
    await killed(tmp_path)
    lay(tmp_path / name)
    assert await start(tmp_path, "s1") == ["dead"]
    assert b"unknown" not in segments(tmp_path, "dead")[0].read_bytes()
    remove(tmp_path / name)
    assert await start(tmp_path, "s2") == []
    assert outcomes(tmp_path) == {"closed": ["cancelled"], "open": ["unknown"]}
    assert set(findings(tmp_path, keys=[KEY]).values()) == {"INTACT"}


async def test_a_chain_that_ended_and_was_trapped_is_named_too(tmp_path: Path) -> None:
    """Also where nothing was left open: the head is that of the file that can be read."""
    await start(tmp_path, "dead")
    (tmp_path / "dead.000002.jsonl").mkdir()
    await start(tmp_path, "s1")
    [said] = [record for record in records_of(tmp_path) if (record["event"], record["instance"]) == ("start", "s1")]
    assert said["heads"]["dead"]["seq"] == 2
    assert [damage["chain"] for damage in said["damaged"]] == ["dead"]


def records_of(directory: Path) -> list[dict]:
    """Every record, whatever else has the name of a segment."""
    for path in [path for path in directory.glob("*.jsonl") if path.is_dir()]:
        path.rmdir()
    return records(directory)


async def test_a_chain_of_which_nothing_could_be_read_must_still_be_there(tmp_path: Path) -> None:
    """A sealed `damaged` entry says that the chain exists, even where no head of it can be named."""
    await start(tmp_path / "old", "dead")
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    path = segments(tmp_path / "new", "dead")[0]
    path.unlink()
    path.mkdir()
    assert await start(tmp_path / "new", "s1") == ["dead"]
    path.rmdir()
    assert findings(tmp_path / "new", keys=[KEY])["dead"] == "TAMPERED"
    path.touch()
    assert findings(tmp_path / "new", keys=[KEY])["dead"] == "TAMPERED"
    shutil.copy(tmp_path / "old" / path.name, path)
    assert set(findings(tmp_path / "new", keys=[KEY]).values()) == {"INTACT"}


async def test_the_chains_of_which_nothing_is_known_are_named_first(tmp_path: Path) -> None:
    """A start names a hundred damaged chains; a flood of others does not push out one that has no head."""
    tmp_path.joinpath("zz.000001.jsonl").mkdir()
    await start(tmp_path, "c")
    line = segments(tmp_path, "c")[0].read_bytes().splitlines(True)[0]
    for number in range(120):
        (tmp_path / f"a{number:03}.000001.jsonl").write_bytes(line)
    await start(tmp_path, "s1")
    [said] = [record for record in records_of(tmp_path) if (record["event"], record["instance"]) == ("start", "s1")]
    assert (said["damaged"][0]["chain"], len(said["damaged"]), said["damaged_more"]) == ("zz", 100, 21)


async def test_a_chain_that_goes_away_meanwhile_prevents_no_start(tmp_path: Path) -> None:
    """`audit retire` may run beside it: a file that was listed and is gone names nothing, and nothing else is lost."""
    for chain in ("a", "b", "z"):
        await start(tmp_path, chain)
    recovery = Recovery(AuditSettings(tmp_path, mac_key=KEY), Sealer("new", key=KEY), OsDisk(), lambda: 1)
    listed = chains_in(segments(tmp_path))
    heads = recovery.run().heads
    segments(tmp_path, "z")[0].unlink()
    assert recovery.unnamed(heads, listed).keys() == {"b", "z"}


class Retiring(Progress):
    """Takes a chain away as soon as the first has been read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def read(self, size: int) -> None:
        self._path.unlink(missing_ok=True)
        super().read(size)


async def test_a_chain_that_was_retired_meanwhile_is_not_damaged(tmp_path: Path) -> None:
    """It was listed, and is gone when its turn comes: there is nothing to tell of."""
    for chain in ("a", "b"):
        await start(tmp_path, chain)
    progress = Retiring(segments(tmp_path, "b")[0])
    found = Recovery(AuditSettings(tmp_path), Sealer("new", key=None), OsDisk(), lambda: 1, progress).run()
    assert list(found.heads) == ["a"]
    assert found.damaged == {}
