"""Where requests come in: addresses of this machine, and socket files whose peers the kernel names."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.files.addresses import Listen, UnixListen

BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Bound:
    """A socket that listens, and the file that it has in the file system."""

    socket: socket.socket
    file: SocketFile | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a socket file: what it carries never leaves the machine."""
        return self.file is not None

    def close(self) -> None:
        """Stops listening, and removes the file."""
        self.socket.close()
        if self.file is not None:
            self.file.remove()


def bind_all(places: Sequence[Listen | UnixListen], *, socket_mode: int) -> tuple[Bound, ...]:
    """Returns a listening socket for each place.

    Raises: OSError, if one is taken or not allowed; nothing is left of the others then.
    """
    with ExitStack() as undo:
        bound = []
        for place in places:
            bound.append(bind(place, socket_mode=socket_mode))
            undo.callback(bound[-1].close)
        undo.pop_all()
    return tuple(bound)


def bind(place: Listen | UnixListen, *, socket_mode: int) -> Bound:
    """Returns a listening socket. Raises: OSError, if the place is taken or not allowed."""
    if isinstance(place, UnixListen):
        listener = _bind_unix(place.path, socket_mode)
        return Bound(listener, SocketFile.of(place.path))
    six = ":" in place.host
    try:
        # Said explicitly: without it `[::]` takes IPv4 on some machines, and with Python's default on none.
        return Bound(
            socket.create_server(
                (place.host, place.port),
                family=socket.AF_INET6 if six else socket.AF_INET,
                backlog=BACKLOG,
                dualstack_ipv6=six,
            )
        )
    except ValueError as exc:
        raise OSError(f"cannot listen on {place}: this machine has no IPv6 that takes IPv4 as well") from exc
    except OSError as exc:
        raise OSError(f"cannot listen on {place}: {os.strerror(exc.errno) if exc.errno else exc}") from exc


def _bind_unix(path: Path, mode: int) -> socket.socket:
    with _alone_in(path.parent):
        _remove_abandoned(path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody may connect between bind and chmod.
            before = os.umask(0o777)
            try:
                listener.bind(str(path))
            finally:
                os.umask(before)
            path.chmod(mode)
            listener.listen(BACKLOG)
        except OSError as exc:
            listener.close()
            raise OSError(f"cannot listen on {path}: {exc.strerror}") from exc
    return listener


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One process at a time, so that none takes the socket of another, bound but not yet listening, for abandoned."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Removes a socket that a process left behind when it died; one that is listened on, or another file, stays."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    # Connecting to any other file is refused as well, and it would be lost.
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(f"{path} is there already and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Not to be held up by a process that accepts nobody: a full queue is an error then.
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:
            raise OSError(f"another process listens on {path}, and is busy") from None
        else:
            raise OSError(f"another process listens on {path}")


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a bound socket, known by its inode, so that only this one is removed at the end."""

    path: Path
    inode: tuple[int, int]

    @staticmethod
    def of(path: Path) -> SocketFile:
        """The file of a socket that was just bound."""
        found = path.lstat()
        return SocketFile(path, (found.st_dev, found.st_ino))

    def remove(self) -> None:
        """Removes the file, unless another process has put its own in that place."""
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()


def shown(listener: socket.socket) -> str:
    """The address as the configuration writes it, with the port that the kernel chose."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"
