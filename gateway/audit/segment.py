"""One file of a chain: created, appended to in whole batches, cut back after a failed one; and the port to the disk."""

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
# A pipe in a file's place would otherwise wait for its other end, and a link lead out of the directory.
_AS_IT_STANDS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_APPEND = os.O_WRONLY | os.O_APPEND | _AS_IT_STANDS


class Disk(Protocol):
    """The file operations of the log; every one may raise OSError."""

    def open(self, path: Path, flags: int) -> int:
        """A descriptor; a file made by it has mode 0600."""

    def write(self, descriptor: int, data: bytes) -> int:
        """How many bytes were taken, perhaps fewer than given."""

    def fdatasync(self, descriptor: int) -> None:
        """Returns when the file's data is on stable storage."""

    def truncate(self, descriptor: int, size: int) -> None:
        """Cuts the file."""

    def stat(self, path: Path) -> os.stat_result:
        """What the path names now."""

    def sync_directory(self, path: Path) -> None:
        """Returns when the directory's entries are on stable storage."""

    def unlink(self, path: Path) -> None:
        """Removes the name."""

    def close(self, descriptor: int) -> None:
        """Gives the descriptor back."""


class OsDisk:
    """The real one."""

    def open(self, path: Path, flags: int) -> int:
        """The system call open with mode 0600."""
        return os.open(path, flags, 0o600)

    def write(self, descriptor: int, data: bytes) -> int:
        """The system call write."""
        return os.write(descriptor, data)

    def fdatasync(self, descriptor: int) -> None:
        """The system call fdatasync."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """The system call ftruncate."""
        os.ftruncate(descriptor, size)

    def stat(self, path: Path) -> os.stat_result:
        """The system call lstat: a link in the file's place is not the file."""
        return path.lstat()

    def sync_directory(self, path: Path) -> None:
        """The system call fsync of the directory."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """The system call unlink."""
        path.unlink()

    def close(self, descriptor: int) -> None:
        """The system call close."""
        os.close(descriptor)


class AppendFailed(Exception):
    """A batch is not in the log. `cause` is `full` or `failed`; `suspect` says that its lines may be in the file.

    A suspect file is never written or synced again: after a failed fdatasync the kernel may call lost pages clean.
    `left_behind`: a new file could not be used, and its name is taken.
    """

    def __init__(self, error: OSError, *, suspect: bool = False, left_behind: bool = False) -> None:
        self.cause = "full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "failed"
        self.suspect = suspect
        self.left_behind = left_behind
        super().__init__(str(error))


class NotAFile(OSError):
    """A link, a pipe, a directory or the like stands where a file of the log should be."""

    def __init__(self, path: Path) -> None:
        super().__init__(f"{path}: not a file")


def open_segment(path: Path) -> BufferedReader:
    """Opens a file of the log for reading; nothing else that has its name is ever waited for or followed.

    Raises: NotAFile; OSError.
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
    """An open file of a chain. Its size is known, so that anything done to it by others shows."""

    def __init__(self, disk: Disk, path: Path, descriptor: int, *, durable: bool) -> None:
        self.path = path
        self._disk = disk
        self._descriptor = descriptor
        self._durable = durable
        self._inode = os.fstat(descriptor)
        self.size = self._inode.st_size

    @classmethod
    def create(cls, disk: Disk, path: Path, *, durable: bool) -> Segment:
        """A new file whose name is durable before it is used. Raises: AppendFailed."""
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
        """An existing file, to be continued at its end. Raises: AppendFailed."""
        try:
            return cls(disk, path, disk.open(path, _APPEND), durable=durable)
        except OSError as error:
            raise AppendFailed(error) from error

    def intrusion(self) -> str | None:
        """What others did to the file since the last batch, in a fixed word; None if nothing. Raises: AppendFailed."""
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

    def append(self, data: bytes) -> None:
        """Writes one batch, durable under `fsync`; all of it or nothing. Raises: AppendFailed."""
        try:
            self._appended(data)
        except AppendFailed:
            raise
        except BaseException:
            # No disk's error: the file is cut back as after one.
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
        """Cuts the file back to `size` bytes; whether that worked."""
        try:
            self._disk.truncate(self._descriptor, size)
        except OSError:
            return False
        self.size = size
        return True

    def close(self) -> None:
        """Gives the descriptor back; what was appended is in the file already, so an error here loses nothing."""
        with contextlib.suppress(OSError):
            self._disk.close(self._descriptor)


def removed(disk: Disk, path: Path) -> bool:
    """Removes a name; whether it is gone."""
    try:
        disk.unlink(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


class ChainLock:
    """An exclusive lock on a chain for as long as the process lives, or until released.

    Both the file `<chain>.lock` and the chain's first segment are locked: where somebody removes the lock file, which
    is but a name, the record itself still says that it is being written.
    """

    def __init__(self, disk: Disk, path: Path, descriptor: int) -> None:
        self._disk = disk
        self._path = path
        self._descriptors = [descriptor]
        self._inode = os.fstat(descriptor)

    @classmethod
    def take(cls, disk: Disk, directory: Path, chain: str, *, first: Path | None = None) -> ChainLock | None:
        """The lock, or None while another process holds it; `first` is the chain's first segment, where it has one.

        Raises: OSError.
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
        """Locks the chain's first segment as well; False while another process holds it. Raises: OSError."""
        descriptor = _locked(self._disk, first, 0)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        return True

    def lost(self) -> str | None:
        """What became of the lock file, in a fixed word; None while it is the one that is locked. Raises: OSError."""
        try:
            now = self._disk.stat(self._path)
        except FileNotFoundError:
            return "lock_deleted"
        return None if (now.st_dev, now.st_ino) == (self._inode.st_dev, self._inode.st_ino) else "lock_replaced"

    def renew(self) -> bool:
        """Makes and locks the lock file again; False while another process has it locked. Raises: OSError."""
        descriptor = _locked(self._disk, self._path, os.O_CREAT)
        if descriptor is None:
            return False
        self._descriptors.append(descriptor)
        self._inode = os.fstat(descriptor)
        return True

    def discard(self) -> None:
        """Removes the lock file of a chain that was never begun, and lets go of it."""
        removed(self._disk, self._path)
        self.release()

    def release(self) -> None:
        """Lets the next process continue the chain."""
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
    """The key in a file: its bytes without a newline at the end. Raises: AuditFailure."""
    try:
        secret = read_file(path, max_bytes=MAX_KEY_BYTES).content.rstrip(b"\r\n")
    except InvalidConfiguration as exc:
        raise AuditFailure(sentence(f"the MAC key {named(path)}", exc)) from exc
    if len(secret) < MIN_KEY_BYTES:
        raise AuditFailure(f"the MAC key {path} is shorter than {MIN_KEY_BYTES} bytes")
    return MacKey(secret)


def segment_path(directory: Path, chain: str, number: int) -> Path:
    """The file `<chain>.<number>.jsonl`, the number in six digits."""
    return directory / f"{chain}.{number:06d}.jsonl"


def named_segment(path: Path) -> tuple[str, int] | None:
    """The chain and number in a file's name; None if it is not the one spelling that the log gives a segment."""
    match = _NAME.fullmatch(path.name)
    if match is None or path.name != segment_path(path.parent, match["chain"], number := int(match["number"])).name:
        return None
    return (match["chain"], number) if number else None


def chains_in(paths: Iterable[Path]) -> dict[str, list[tuple[int, Path]]]:
    """The segments among the paths, by chain, each in order of its number."""
    chains: dict[str, list[tuple[int, Path]]] = {}
    for path in paths:
        if named := named_segment(path):
            chains.setdefault(named[0], []).append((named[1], path))
    return {chain: sorted(segments) for chain, segments in sorted(chains.items())}


def misnamed(paths: Iterable[Path]) -> dict[Path, str]:
    """The files that look like a segment of a chain without having its name: another spelling, or number 0."""
    likely = ((path, _LIKE_A_NAME.fullmatch(path.name)) for path in paths if named_segment(path) is None)
    return {path: match["chain"] for path, match in likely if match is not None}
