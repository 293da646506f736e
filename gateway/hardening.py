"""The process's requests to the kernel before it reads the token."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import sys

_PR_SET_DUMPABLE = 4


def unblock_standard_error() -> None:
    """Gives the number 2 an opening of its own that never blocks, where it is a pipe: native libraries write there.

    The pipe's other openings, and so other processes, stay as they are. A socket, or another user's pipe, cannot be
    opened again and is left alone.
    """
    try:
        if not stat.S_ISFIFO(os.fstat(2).st_mode):
            return
        own = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    os.dup2(own, 2)
    os.close(own)


def forbid_core_dumps() -> None:
    """No core file holds the token: a limit of zero, and not dumpable, which also binds a core pattern with a pipe.

    On Linux a process that is not dumpable also keeps /proc/<pid>/environ and /proc/<pid>/mem from its own user.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def raise_descriptor_limit() -> int:
    """Takes the most file descriptors the process may have; returns how many that is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
