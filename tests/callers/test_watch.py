"""A file is read again when its content may have changed, however it was put there."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from gateway.files.watch import WatchedFile, fingerprint, watch
from tests.callers.virtual_time import run
from tests.support.stand_ins import Lines


class Taken:
    """Takes over the text of a file; an empty one is refused."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.texts: list[str] = []

    def __call__(self) -> None:
        text = self._path.read_text()
        if not text:
            raise ValueError("it is empty")
        self.texts.append(text)


def watched(path: Path) -> tuple[WatchedFile, Taken, Lines]:
    """A file as it is watched from now on."""
    taken = Taken(path)
    return WatchedFile(path, taken, seen=fingerprint(path)), taken, Lines()


def renamed(path: Path) -> None:
    new = path.with_suffix(".new")
    new.write_text("two")
    new.rename(path)


def symlinked(path: Path) -> None:
    target = path.with_suffix(".two")
    target.write_text("two")
    link = path.with_suffix(".link")
    link.symlink_to(target)
    link.rename(path)


def written(path: Path) -> None:
    path.write_text("two")


def written_with_the_old_time(path: Path) -> None:
    before = path.stat()
    path.write_text("two")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [renamed, symlinked, written, written_with_the_old_time])
def test_a_change_is_seen_whatever_made_it(tmp_path: Path, change: object) -> None:
    """Of the same length in every case; and without a change nothing is read."""
    path = tmp_path / "secret"
    path.write_text("one")
    file, taken, log = watched(path)
    file.check(log)
    assert taken.texts == []
    assert callable(change)
    change(path)
    file.check(log)
    file.check(log)
    assert taken.texts == ["two"]
    assert [event for event, _ in log.said] == ["reloaded"]


def test_the_swap_of_kubernetes_is_seen(tmp_path: Path) -> None:
    """The file is a link through `..data`, and only that one is pointed elsewhere."""
    for name in ("one", "two"):
        (tmp_path / f"..{name}").mkdir()
        (tmp_path / f"..{name}" / "token").write_text(name)
    (tmp_path / "..data").symlink_to("..one")
    path = tmp_path / "token"
    path.symlink_to("..data/token")
    file, taken, log = watched(path)
    (tmp_path / "..data_tmp").symlink_to("..two")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    file.check(log)
    assert taken.texts == ["two"]


def test_what_cannot_be_used_leaves_a_notice_until_it_can(tmp_path: Path) -> None:
    """Emptied, gone, and back again: the notice comes and goes, and each fault is logged once."""
    path = tmp_path / "secret"
    path.write_text("one")
    file, taken, log = watched(path)
    path.write_text("")
    file.check(log)
    file.check(log)
    assert file.notice == f"{path} cannot be used, the last good content stays: it is empty"
    path.unlink()
    file.check(log)
    assert "the last good content stays" in str(file.notice)
    path.write_text("two")
    file.check(log)
    assert [file.notice, *taken.texts] == [None, "two"]
    assert [event for event, _ in log.said] == ["reload_failed", "reload_failed", "reloaded"]


def test_a_change_between_the_first_reading_and_the_watch_is_seen(tmp_path: Path) -> None:
    """The fingerprint is that of before the first reading."""
    path = tmp_path / "secret"
    path.write_text("one")
    before = fingerprint(path)
    renamed(path)
    taken = Taken(path)
    WatchedFile(path, taken, seen=before).check(Lines())
    assert taken.texts == ["two"]


class NoReader(Lines):
    """A log whose reader has gone."""

    def info(self, event: str, **members: object) -> None:
        raise BrokenPipeError

    def error(self, event: str, **members: object) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("log", [Lines(), NoReader()])
def test_every_file_is_looked_at_every_second(tmp_path: Path, log: Lines) -> None:
    """One that fails, or a log that nobody reads, does not keep the others from being read."""
    broken, whole = tmp_path / "broken", tmp_path / "whole"
    for path in (broken, whole):
        path.write_text("one")
    files = [watched(path) for path in (broken, whole)]
    seen = asyncio.Event()
    looked_at = [*(file for file, _, _ in files), WatchedFile(whole, seen.set, seen=fingerprint(whole))]

    async def scenario() -> None:
        task = asyncio.create_task(watch(lambda: looked_at, log))
        broken.unlink()
        renamed(whole)
        await seen.wait()
        task.cancel()
        await asyncio.wait([task])

    run(scenario())
    assert files[0][0].notice is not None
    assert files[1][1].texts == ["two"]
