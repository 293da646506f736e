"""The listening sockets: addresses of this machine, and socket files, whose peers are identified by the kernel."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from gateway.config import Config
from gateway.files.addresses import Listen, UnixListen

BACKLOG = 2048

_REMEDY = "end what listens there, or change this address"


@dataclass(frozen=True, slots=True)
class Bound:
    """A listening socket, and its file if it is a Unix socket."""

    socket: socket.socket
    file: SocketFile | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a socket file, whose traffic never leaves the machine."""
        return self.file is not None

    def close(self) -> None:
        """Stop listening, and remove the file."""
        self.socket.close()
        if self.file is not None:
            self.file.remove()


def bind_all(places: Sequence[Listen | UnixListen], *, socket_mode: int) -> tuple[Bound, ...]:
    """Return a listening socket for each place.

    Raises: OSError: a place is taken or not allowed; the others are closed again.
    """
    with ExitStack() as undo:
        bound = []
        for place in places:
            bound.append(bind(place, socket_mode=socket_mode))
            undo.callback(bound[-1].close)
        undo.pop_all()
    return tuple(bound)


def bind(place: Listen | UnixListen, *, socket_mode: int) -> Bound:
    """Return a listening socket. Raises: OSError: the place is taken or not allowed."""
    if isinstance(place, UnixListen):
        listener = _bind_unix(place.path, socket_mode)
        return Bound(listener, SocketFile.of(place.path))
    six = ":" in place.host
    try:
        # Set explicitly: the system's own default accepts IPv4 on `[::]` on some machines only, Python's on none.
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
        remedy = f": {_REMEDY}" if exc.errno == errno.EADDRINUSE else ""
        raise OSError(f"cannot listen on {place}: {os.strerror(exc.errno) if exc.errno else exc}{remedy}") from exc


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
    """Lock the directory, so that no other process takes a socket that is bound but not yet listening for abandoned."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_abandoned(path: Path) -> None:
    """Remove a socket that a dead process left behind. Raises: OSError: somebody listens on it, or it is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    # Connecting to any other kind of file is refused too, and the file would then be deleted.
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError(f"{path} is there already and is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # Without a wait, a process that accepts nobody cannot hold us up: its full queue is an error.
        probe.settimeout(0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
        except BlockingIOError:
            raise OSError(f"another process listens on {path}, and is busy: {_REMEDY}") from None
        else:
            raise OSError(f"another process listens on {path}: {_REMEDY}")


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file of a bound socket, identified by its inode, so that only this file is removed at the end."""

    path: Path
    inode: tuple[int, int]

    @staticmethod
    def of(path: Path) -> SocketFile:
        """Return the file of a socket that was just bound."""
        found = path.lstat()
        return SocketFile(path, (found.st_dev, found.st_ino))

    def remove(self) -> None:
        """Remove the file, unless another process has put its own in that place."""
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()


def shown(listener: socket.socket) -> str:
    """Return the address as the configuration writes it, with the port that the kernel chose."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


class Listeners(NamedTuple):
    """The bound listeners: for probes, for scrapes (none where these are on the former), for callers, for people."""

    health: tuple[Bound, ...]
    metrics: tuple[Bound, ...]
    callers: tuple[Bound, ...]
    console: tuple[Bound, ...]


def bind_listeners(config: Config) -> Listeners:
    """Bind all listeners. Raises: OSError: an address cannot be bound."""
    scraped = config.metrics.listen if config.metrics is not None else None
    seen = config.console.listen if config.console is not None else None
    probed = config.health.listen if config.health is not None else ()
    with ExitStack() as undo:
        beside: list[tuple[Bound, ...]] = []
        for places in (probed, () if scraped is None else (scraped,), () if seen is None else (seen,)):
            beside.append(bind_all(places, socket_mode=0))
            for bound in beside[-1]:
                undo.callback(bound.close)
        # The listeners are bound last, so that a failed start leaves no socket file.
        listeners = bind_all(config.listen, socket_mode=config.socket_mode)
        undo.pop_all()
    health, metrics, console = beside
    return Listeners(health, metrics, listeners, console)
