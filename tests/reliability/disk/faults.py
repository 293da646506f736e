"""The faults: which system calls fail, with which error, and on which files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Failing:
    """Calls as strace injects them, `{}` standing for N; `on_files`: only calls on the audit files count.

    `durability` is that of the gateway; under `os` its event loop writes.
    `stays`: from the Nth call on all fail, so the gateway need not become ready again. `phase`: `start` or `serve`.
    """

    name: str
    injections: tuple[str, ...]
    on_files: bool = True
    stays: bool = False
    phase: str = "serve"
    durability: str = "fsync"


SERVING = (
    Failing("write ENOSPC", ("write:error=ENOSPC:when={}",)),
    Failing("write EIO", ("write:error=EIO:when={}",)),
    Failing("write ENOSPC, uncut", ("write:error=ENOSPC:when={}", "ftruncate:error=EIO:when=1")),
    Failing("write ENOSPC from N on", ("write:error=ENOSPC:when={}+",), stays=True),
    Failing("fdatasync EIO", ("fdatasync:error=EIO:when={}",)),
    Failing("fdatasync EIO, uncut", ("fdatasync:error=EIO:when={}", "ftruncate:error=EIO:when=1")),
    Failing("fdatasync EIO from N on", ("fdatasync:error=EIO:when={}+",), stays=True),
    Failing("fsync EIO", ("fsync:error=EIO:when={}",), on_files=False),
    Failing("openat EMFILE", ("openat:error=EMFILE:when={}",), on_files=False),
    Failing("openat ENOSPC", ("openat:error=ENOSPC:when={}",), on_files=False),
    Failing("openat EMFILE from N on", ("openat:error=EMFILE:when={}+",), on_files=False, stays=True),
    Failing("newfstatat EIO", ("newfstatat:error=EIO:when={}",)),
    Failing("socket EMFILE", ("socket:error=EMFILE:when={}",), on_files=False),
    Failing("os, write ENOSPC", ("write:error=ENOSPC:when={}",), durability="os"),
    Failing("os, write EIO", ("write:error=EIO:when={}",), durability="os"),
    Failing("os, write ENOSPC, uncut", ("write:error=ENOSPC:when={}", "ftruncate:error=EIO:when=1"), durability="os"),
    Failing("os, write ENOSPC from N on", ("write:error=ENOSPC:when={}+",), stays=True, durability="os"),
    Failing("os, fsync EIO", ("fsync:error=EIO:when={}",), on_files=False, durability="os"),
    Failing("os, openat EMFILE", ("openat:error=EMFILE:when={}",), on_files=False, durability="os"),
    Failing("os, newfstatat EIO", ("newfstatat:error=EIO:when={}",), durability="os"),
)
"""While it serves: each under a load that fills several files."""

STARTING = (
    Failing("write ENOSPC", ("write:error=ENOSPC:when={}",), on_files=False, phase="start"),
    Failing("write ENOSPC, files only", ("write:error=ENOSPC:when={}",), phase="start"),
    Failing("fdatasync EIO", ("fdatasync:error=EIO:when={}",), on_files=False, phase="start"),
    Failing("fsync EIO", ("fsync:error=EIO:when={}",), on_files=False, phase="start"),
    Failing("openat EMFILE", ("openat:error=EMFILE:when={}",), on_files=False, phase="start"),
    Failing("ftruncate EIO", ("ftruncate:error=EIO:when={}",), on_files=False, phase="start"),
    Failing("flock ENOLCK", ("flock:error=ENOLCK:when={}",), on_files=False, phase="start"),
)
"""From before the configuration is read: over the recovery of open intents and a torn line, to the first answer."""
