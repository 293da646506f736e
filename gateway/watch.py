"""Files that are read again when they change, symbolic links that are pointed elsewhere included."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

EVERY_S = 1.0

Fingerprint = tuple[int, ...] | None


class NewsLog(Protocol):
    """Where operators read of it."""

    def info(self, event: str, **members: object) -> None:
        """News."""

    def error(self, event: str, **members: object) -> None:
        """A fault."""


class WatchedFile:
    """One file. `reload` reads and takes over its content, or raises and leaves what was there.

    `seen` is the fingerprint taken before the content was read first, so that no change in between is missed.
    """

    def __init__(self, path: Path, reload: Callable[[], None], *, seen: Fingerprint) -> None:
        self.path = path
        self.notice: str | None = None
        self._reload = reload
        self._seen = seen

    def check(self, log: NewsLog) -> None:
        """Reads the file again if it is not what it was; a file that cannot be read leaves a notice."""
        now = fingerprint(self.path)
        if now == self._seen:
            return
        self._seen = now
        try:
            self._reload()
        except Exception as fault:  # noqa: BLE001 - whatever is wrong with the file, the last good content stays
            self.notice = f"{self.path} cannot be used, the last good content stays: {fault}"
            log.error("reload_failed", file=str(self.path), problem=str(fault))  # noqa: TRY400 - a sentence, no traceback
            return
        self.notice = None
        log.info("reloaded", file=str(self.path))


def fingerprint(path: Path) -> Fingerprint:
    """What tells one content of a path from another without reading it; None where nothing can be found."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns, found.st_size


def fingerprints(directory: Path) -> tuple[tuple[str, Fingerprint], ...] | None:
    """The same for the YAML files of a directory that are not hidden, by name; None where it cannot be listed."""
    try:
        found = (path.name for path in directory.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
        names = sorted(name for name in found if not name.startswith("."))
    except OSError:
        return None
    return tuple((name, fingerprint(directory / name)) for name in names)


async def watch(files: Callable[[], Sequence[WatchedFile]], log: NewsLog) -> None:
    """Looks at the files of the moment every second, for ever; a slow file system does not hold up the loop."""
    while True:
        await asyncio.sleep(EVERY_S)
        for file in files():
            # A log that cannot be written to stops no rotation; every other fault is the file's notice.
            with contextlib.suppress(OSError):
                await asyncio.to_thread(file.check, log)
