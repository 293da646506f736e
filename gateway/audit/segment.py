"""One file of a chain, written in whole batches and cut back after a failed one; and the port to the disk."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import stat
from collections.abc import Iterable
from io import BufferedReader
from pathlib import Path
from typing import Protocol

from gateway.audit.chain import MacKey
from gateway.core.errors import AuditFailure, InvalidConfiguration
from gateway.files.source import named, read_file, sentence

CHAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_NAME = re.compile(rf"(?P<chain>{CHAIN_NAME.pattern})\.(?P<number>[0-9]{{6,}})\.jsonl")
_LIKE_A_NAME = re.compile(r"(?P<chain>[^.]+)\.\d+\.jsonl", re.IGNORECASE)
# Otherwise a pipe in a file's place would wait for its other end, and a link would lead out of the directory.
_AS_IT_STANDS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_APPEND = os.O_WRONLY | os.O_APPEND | _AS_IT_STANDS


class Disk(Protocol):
    """The file operations of the log; every one may raise OSError."""

    def open(self, path: Path, flags: int) -> int:
        """Open a file, and return the descriptor; a file created by this has mode 0600."""

    def write(self, descriptor: int, data: bytes) -> int:
        """Write bytes, and return how many were written, perhaps fewer than given."""

    def fdatasync(self, descriptor: int) -> None:
        """Wait until the file's data is on stable storage."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut the file to `size` bytes."""

    def stat(self, path: Path) -> os.stat_result:
        """Return the status of what the path names now."""

    def sync_directory(self, path: Path) -> None:
        """Wait until the directory's entries are on stable storage."""

    def unlink(self, path: Path) -> None:
        """Remove the name."""

    def close(self, descriptor: int) -> None:
        """Close the descriptor."""


class OsDisk:
    """The real disk, by system calls."""

    def open(self, path: Path, flags: int) -> int:
        """Call open, with mode 0600 for a new file."""
        return os.open(path, flags, 0o600)

    def write(self, descriptor: int, data: bytes) -> int:
        """Call write."""
        return os.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        """Call fdatasync."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Call ftruncate."""
        os.ftruncate(descriptor, size)

    def stat(self, path: Path) -> os.stat_result:
        """Call lstat: a link in the file's place is not the file."""
        return os.lstat(path)

    def sync_directory(self, path: Path) -> None:
        """Call fsync on the directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Call unlink."""
        path.unlink()

    def close(self, descriptor: int) -> None:
        """Call close."""
        os.close(descriptor)


class AppendFailed(Exception):
    """Raised when a batch is not in the log. `cause` is `full` or `failed`. If `suspect`, the file may hold its lines.

    A suspect file is never written or synced again: after a failed fdatasync the kernel may report lost pages as clean.
    `left_behind` says that a new file cannot be used, but its name is taken.
    """

    def __init__(self, error: OSError, *, suspect: bool = False, left_behind: bool = False) -> None:
        self.cause = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
        self.suspect = suspect
        self.left_behind = left_behind
        super().__init__(str(error))


class NotAFile(OSError):
    """Raised for a link, a pipe, a directory or the like in the place of a file of the log."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: not a file")


def open_segment(path: Path) -> BufferedReader:
    """Open a file of the log for reading. Anything else in its place is never waited for or followed.

    Raises:
        NotAFile: a link, a pipe or the like is in its place.
        OSError: it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | _AS_IT_STANDS)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):  # a link, a socket
            raise NotAFile(path) from exc
        raise
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise NotAFile(path)


class Segment:
    """An open file of a chain. Its size is known, so that any change by others shows."""

    def __init__(self, disk: Disk, path: Path, descriptor: int, *, durable: bool) -> None:
        self.path = path
        self._disk = disk
        self._descriptor = descriptor
        self._durable = durable
        self._inode = os.fstat(descriptor)
        self.size = self._inode.st_size

    @classmethod
    def create(cls, disk: Disk, path: Path, *, durable: bool) -> Segment:
        """Create a file whose name is durable before it is used. Raises: AppendFailed: it cannot be created."""
        try:
            descriptor = disk.open(path, _APPEND | os.O_CREAT | os.O_EXCL)
        except OSError as error:
            raise AppendFailed(error, left_behind=isinstance(error, FileExistsError)) from error
        try:
            disk.sync_directory(path.parent)
            return cls(disk, path, descriptor, durable=durable)
        except OSError as error:
            disk.close(descriptor)
            raise AppendFailed(error, left_behind=not removed(disk, path)) from error

    @classmethod
    def resume(cls, disk: Disk, path: Path, *, durable: bool) -> Segment:
        """Open an existing file to continue at its end. Raises: AppendFailed: it cannot be opened."""
        try:
            return cls(disk, path, disk.open(path, _APPEND), durable=durable)
        except OSError as error:
            raise AppendFailed(error) from error

    def intrusion(self) -> str | None:
        """Return what others did to the file since the last batch, as a fixed word; None if nothing.

        Raises: AppendFailed: the file cannot be looked at.
        """
        try:
            now = self._disk.stat(self.path)
        except FileNotFoundError:
            return "segment_deleted"
        except OSError as error:
            raise AppendFailed(error) from error
        if (now.st_dev, now.st_ino) != (self._inode.st_dev, self._inode.st_ino):
            return "segment_replaced"
        if now.st_size == self.size:
            return None
        return "segment_truncated" if now.st_size < self.size else "segment_extended"

    def write_at_once(self, data: bytes) -> bool:
        """Write one batch with a single call, and return whether the disk took all of it. If not, `cut` must follow.

        Raises: OSError: the call failed, so `cut` must follow as well.
        """
        if data and self._disk.write(self._descriptor, data) != len(data):
            return False
        self.size += len(data)
        return True

    def append(self, data: bytes) -> None:
        """Write one batch, all of it or nothing, durable under `fsync`. Raises: AppendFailed: it is not in the log."""
        try:
            self._appended(data)
        except AppendFailed:
            raise
        except BaseException:
            # Not an error of the disk, but the file is cut back as after one.
            self.cut(self.size)
            raise
        self.size += len(data)

    def _appended(self, data: bytes) -> None:
        try:
            self._write_all(data)
        except OSError as error:
            raise AppendFailed(error, suspect=not self.cut(self.size)) from error
        try:
            if self._durable:
                self._disk.fdatasync(self._descriptor)
        except OSError as error:
            self.cut(self.size)
            raise AppendFailed(error, suspect=True) from error

    def _write_all(self, data: bytes) -> None:
        while data:
            taken = self._disk.write(self._descriptor, data)
            if taken <= 0:
                raise OSError(errno.EIO, "the disk took nothing")
            data = data[taken:]

    def cut(self, size: int) -> bool:
        """Cut the file back to `size` bytes, and return whether that worked."""
        try:
            self._disk.truncate(self._descriptor, size)
        except OSError:
            return False
        self.size = size
        return True

    def close(self) -> None:
        """Close the descriptor. An error is ignored: it loses nothing, as what was appended is in the file already."""
        with contextlib.suppress(OSError):
            self._disk.close(self._descriptor)


def removed(disk: Disk, path: Path) -> bool:
    """Remove a name, and return whether it is gone."""
    try:
        disk.unlink(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


class ChainLock:
    """An exclusive lock on a chain, held until it is released or the process ends.

    Both the file `<chain>.lock` and the chain's first segment are locked. If somebody removes the lock file, the
    segment still shows that the chain is being written.
    """

    def __init__(self, disk: Disk, path: Path, descriptor: int) -> None:
        self._disk = disk
        self._path = path
        self._descriptors = [descriptor]
        self._inode = os.fstat(descriptor)

    @classmethod
    def take(cls, disk: Disk, directory: Path, chain: str, *, first: Path | None = None) -> ChainLock | None:
        """Lock a chain. Return the lock, or None while another process holds it.

        `first` is the chain's first segment, if it has one. Raises: OSError: a file cannot be opened or locked.
        """
        path = directory / f"{chain}.lock"
        descriptor = _locked(disk, path, os.O_CREAT)
        if descriptor is None:
            return None
        lock = cls(disk, path, descriptor)
        with contextlib.ExitStack() as undo:
            undo.callback(lock.release)
            if first is None or lock.hold(first):
                undo.pop_all()
                return lock
        return None

    def hold(self, first: Path) -> bool:
        """Lock the chain's first segment as well. Return False while another process holds it.

        Raises: OSError: the file cannot be opened or locked.
        """
        descriptor = _locked(self._disk, first, 0)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        return True

    def lost(self) -> str | None:
        """Return what became of the lock file, as a fixed word; None while it is the one that is locked.

        Raises: OSError: the file cannot be looked at.
        """
        try:
            now = self._disk.stat(self._path)
        except FileNotFoundError:
            return "lock_deleted"
        return None if (now.st_dev, now.st_ino) == (self._inode.st_dev, self._inode.st_ino) else "lock_replaced"

    def renew(self) -> bool:
        """Make and lock the lock file again. Return False while another process has it locked.

        Raises: OSError: the file cannot be opened or locked.
        """
        descriptor = _locked(self._disk, self._path, os.O_CREAT)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        self._inode = os.fstat(descriptor)
        return True

    def discard(self) -> None:
        """Remove the lock file of a chain that was never begun, and release the lock."""
        removed(self._disk, self._path)
        self.release()

    def release(self) -> None:
        """Release the lock, so that another process can continue the chain."""
        while self._descriptors:
            os.close(self._descriptors.pop())


def _locked(disk: Disk, path: Path, flags: int) -> int | None:
    descriptor = disk.open(path, os.O_RDWR | _AS_IT_STANDS | flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


MIN_KEY_BYTES, MAX_KEY_BYTES = 16, 65_536


def load_mac_key(path: Path) -> MacKey:
    """Read the key in a file: its bytes without a newline at the end.

    Raises: AuditFailure: the file cannot be read, or the key is too short or too long.
    """
    try:
        secret = read_file(path, max_bytes=MAX_KEY_BYTES).content.rstrip(b"\r\n")
    except InvalidConfiguration as exc:
        raise AuditFailure(sentence(f"the MAC key {named(path)}", exc)) from exc
    if len(secret) < MIN_KEY_BYTES:
        raise AuditFailure(f"the MAC key {path} is shorter than {MIN_KEY_BYTES} bytes")
    return MacKey(secret)


def segment_path(directory: Path, chain: str, number: int) -> Path:
    """Return the path of the file `<chain>.<number>.jsonl`, with the number in six digits."""
    return directory / f"{chain}.{number:06d}.jsonl"


def named_segment(path: Path) -> tuple[str, int] | None:
    """Return the chain and number in a file's name; None unless it is spelt exactly as the log names a segment."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.name != segment_path(path.parent, match["chain"], number := int(match["number"])).name:
        return None
    return (match["chain"], number) if number else None


def chains_in(paths: Iterable[Path]) -> dict[str, list[tuple[int, Path]]]:
    """Return the segments among the paths, by chain, each chain's in order of their numbers."""
    chains: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        if named := named_segment(path):
            chains.setdefault(named[0], []).append((named[1], path))
    return {chain: sorted(segments) for chain, segments in sorted(chains.items())}


def misnamed(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the files whose names are almost those of segments, each with its chain.

    Such a name is spelt differently, or has the number 0.
    """
    likely = ((path, _LIKE_A_NAME.fullmatch(path.name)) for path in paths if named_segment(path) is None)
    return {path: match["chain"] for path, match in likely if match is not None}
