"""Where requests come in: an address, or a socket in the file system whose peers the kernel names."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from asyncio import BaseTransport

from gateway.endpoints import Listen, UnixListen

BACKLOG = 2048
_CREDENTIALS = struct.Struct("3i")


def bind(listen: Listen | UnixListen, *, socket_mode: int) -> socket.socket:
    """A bound socket, listening. Raises: OSError, if the place is taken or not allowed."""
    if isinstance(listen, UnixListen):
        return _bind_unix(listen, socket_mode)
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    return socket.create_server((listen.host, listen.port), family=family, backlog=BACKLOG)


def _bind_unix(listen: UnixListen, mode: int) -> socket.socket:
    path = str(listen.path)
    _remove_abandoned(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Nobody may connect between bind and chmod.
        before = os.umask(0o777)
        try:
            listener.bind(path)
        finally:
            os.umask(before)
        os.chmod(path, mode)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_abandoned(path: str) -> None:
    """Removes a socket that a process left behind when it died; one that answers is left alone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except FileNotFoundError:
            return
        else:
            raise OSError(f"another process listens on {path}")


def shown(listener: socket.socket) -> str:
    """The address as the configuration writes it, with the port that the kernel chose."""
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if listener.family == socket.AF_INET6 else f"{name[0]}:{name[1]}"


def unix_peer(transport: BaseTransport) -> str | None:
    """`unix:uid=…,pid=…` of the process that connected to a socket in the file system; None for any other."""
    connection = transport.get_extra_info("socket")
    if connection is None or connection.family != socket.AF_UNIX:
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(credentials)
    return f"unix:uid={uid},pid={pid}"
