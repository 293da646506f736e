"""The watch on files that are read again when they change, or when a symbolic link to them does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.core.ports import OperatorsLog
from gateway.process import Net, report

EVERY_S = 1.0

Fingerprint = tuple[int, ...] | None


class WatchedFile:
    """One file. `reload` reads it and takes over its content, or raises and leaves the old content in force.

    `seen` is the fingerprint taken before the content was first read, so that no change in between is missed. The files
    `beside` it are read together with it, so a change in one of them counts as a change in it.
    """

    def __init__(
        self, path: Path, reload: Callable[[], None], *, seen: Fingerprint, beside: Sequence[Path] = ()
    ) -> None:
        self.path = path
        self._beside = tuple(beside)
        self.notice: str | None = None
        self._reload = reload
        self._seen = seen

    def check(self, log: OperatorsLog) -> None:
        """Read the file again if it has changed; leave a notice if it cannot be used."""
        now = fingerprint(self.path, *self._beside)
        if now == self._seen:
            return
        self._seen = now
        with Net() as net:
            self._reload()
            self.notice = None
            log.info("reloaded", file=str(self.path))
            return
        # Whatever is wrong with the file, the last good content stays.
        self.notice = f"{self.path} cannot be used, the last good content stays: {net.caught}"
        log.error("reload_failed", file=str(self.path), problem=str(net.caught))


def fingerprint(path: Path, *beside: Path) -> Fingerprint:
    """Return what tells one content of the paths from another without reading it; None if a path cannot be found."""
    try:
        found = [each.stat() for each in (path, *beside)]
    except OSError:
        return None
    return tuple(
        part for each in found for part in (each.st_dev, each.st_ino, each.st_mtime_ns, each.st_ctime_ns, each.st_size)
    )


def fingerprints(directory: Path) -> tuple[tuple[str, Fingerprint], ...] | None:
    """Return the fingerprints of a directory's YAML files that are not hidden, by name; None if it cannot be listed."""
    try:
        found = (path.name for path in directory.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
        names = sorted(name for name in found if not name.startswith("."))
    except OSError:
        return None
    return tuple((name, fingerprint(directory / name)) for name in names)


async def watch(files: Callable[[], Sequence[WatchedFile]], log: OperatorsLog) -> None:
    """Check every watched file once a second, until cancelled. A slow file system does not block the loop."""
    while True:
        await asyncio.sleep(EVERY_S)
        for file in files():
            # A fault of the file becomes its notice. Anything else, such as a lack of threads, is tried again.
            with Net() as net:
                await asyncio.to_thread(file.check, log)
            if net.fault is not None:
                report(net.fault, "a watched file was not looked at")
