"""Where requests come in: an address, with or without TLS, or a socket file whose peers the kernel names."""

from __future__ import annotations

import fcntl
import os
import socket
import ssl
import stat
import struct
from asyncio import BaseTransport
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gateway.document.file import named, read_file
from gateway.endpoints import Listen, TlsFiles, UnixListen
from gateway.errors import InvalidConfiguration, Problem

BACKLOG = 2048
_CREDENTIALS = struct.Struct("3i")
"""pid, uid and gid: `struct ucred` of unix(7)."""


def bind(listen: Listen | UnixListen, *, socket_mode: int) -> socket.socket:
    """A bound socket, listening. Raises: OSError, if the place is taken or not allowed."""
    if isinstance(listen, UnixListen):
        return _bind_unix(listen.path, socket_mode)
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    return socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)


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
    def of(listen: Listen | UnixListen) -> SocketFile | None:
        """The file that `bind` has made; None for an address."""
        if not isinstance(listen, UnixListen):
            return None
        found = listen.path.lstat()
        return SocketFile(listen.path, (found.st_dev, found.st_ino))

    def remove(self) -> None:
        """Removes the file, unless another process has put its own in that place."""
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self.inode:
                self.path.unlink()


def tls_context(files: TlsFiles) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate and key. Raises: InvalidConfiguration, at the place that names them."""
    problems = [problem for path in (files.certificate, files.key) for problem in _unreadable(files, path)]
    if problems:
        raise InvalidConfiguration(problems)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(files.certificate, files.key, password=_encrypted)
    except (OSError, ValueError) as exc:
        raise InvalidConfiguration([files.at.problem(_unusable(files, exc))]) from exc
    return context


def _unreadable(files: TlsFiles, path: Path) -> Iterator[Problem]:
    try:
        read_file(path)
    except InvalidConfiguration as exc:
        yield from (files.at.problem(f"the file {named(path)}: {fault.message}") for fault in exc.problems)


def _unusable(files: TlsFiles, fault: Exception) -> str:
    if isinstance(fault, ssl.SSLError) and fault.reason == "KEY_VALUES_MISMATCH":
        return f"the key {files.key} is not that of the certificate {files.certificate}"
    if not isinstance(fault, OSError):
        return f"the key {files.key} {fault}"
    return f"{files.certificate} and {files.key} are not a certificate and a key in PEM"


def _encrypted() -> str:
    """In the place of a question on the terminal."""
    raise ValueError("is encrypted: nobody is there to type a passphrase")


def shown(listener: socket.socket) -> str:
    """The address as the configuration writes it, with the port that the kernel chose."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def unix_peer(transport: BaseTransport) -> str | None:
    """`unix:uid=…,pid=…` of the process that connected to a socket file; None for any other connection."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return f"unix:uid={uid},pid={pid}"
