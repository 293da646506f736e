"""The process's requests to the kernel before it reads the token."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import re
import resource
import ssl
import stat
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

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


YOUNG_OBJECTS = 10_000
"""New containers before the collector looks at the young ones; requests leave hardly any cycles."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Threads that are started inside do not take the core from the thread that wakes them; they have it next.

    sched(7), SCHED_BATCH: with the usual policy, a thread that is handed work preempts the one that hands it over, only
    to wait for the interpreter that this one holds. Where the process has another policy, that stays.
    """
    if not hasattr(os, "SCHED_BATCH") or os.sched_getscheduler(0) != os.SCHED_OTHER:
        yield
        return
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


async def start_resolver() -> None:
    """Makes the loop start its threads for name look-ups now: with none to be had later, libuv ends the process."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().getaddrinfo("localhost", None)


def keep_what_lasts() -> None:
    """Takes all that is there now out of the collector's sight: code, policies and keys stay until they are replaced.

    Else each of its full looks walks over all of that, which costs more than to judge the requests in between.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


ENDINGS = (asyncio.CancelledError, GeneratorExit)
"""What is no fault: the task is cancelled, or its coroutine is closed."""

NO_THREAD = "no_thread"
_NO_THREAD_TEXTS = ("can't start new thread", "Failed to spawn tokio runtime thread")
"""Those of Python, and of the client library while it is made."""


class Net:
    """Holds every fault of the lines under `with Net() as net:`, so that those below go on. No net holds ENDINGS."""

    __slots__ = ("fault",)

    def __init__(self) -> None:
        self.fault: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if fault is None or isinstance(fault, ENDINGS):
            return False
        self.fault = fault
        return True

    @property
    def caught(self) -> BaseException:
        """The fault, for the lines that are only reached by one."""
        assert self.fault is not None
        return self.fault


def word(fault: BaseException) -> str:
    """A fixed word for the record: the fault's class, never its text; `no_thread` where the system gave no thread."""
    if isinstance(fault, RuntimeError) and str(fault).startswith(_NO_THREAD_TEXTS):
        return NO_THREAD
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(fault).__name__).lower()


def internal(fault: BaseException) -> str:
    """The same for an error of our own code: `internal_` and the class; `no_thread` as it is."""
    return NO_THREAD if word(fault) == NO_THREAD else f"internal_{type(fault).__name__}"


def place(fault: BaseException) -> str | None:
    """The file and line it was raised at, which hold nothing of a caller's, as its text may."""
    frames = list(traceback.walk_tb(fault.__traceback__))
    return f"{Path(frames[-1][0].f_code.co_filename).name}:{frames[-1][1]}" if frames else None


def report(fault: BaseException, found: str) -> None:
    """Tells the loop's exception handler, as the loop does with what nobody awaits; never raises. `found` is fixed."""
    context = {"message": found, "found": found, "exception": fault}
    asyncio.get_running_loop().call_exception_handler(context)


CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""Those of Python's own builds since 3.10. Distributions build it to take the system's, which the environment sets."""

_UNSAFE = 0x4 | 0x80 | 0x40000
"""openssl/ssl.h, as not every Python names them: SSL_OP_LEGACY_SERVER_CONNECT, SSL_OP_IGNORE_UNEXPECTED_EOF (with it an
answer that was cut off may be taken for whole; some set it), SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION."""


def server_context() -> ssl.SSLContext:
    """Returns a context for callers, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _settle(context)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(roots: Path) -> ssl.SSLContext:
    """Returns a context that checks names and certificates against the roots in a file. Raises: OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.load_verify_locations(cafile=roots)
    return context


def unverified_context() -> ssl.SSLContext:
    """Returns a context that takes every certificate: for a process that asks itself and sends nothing of worth."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _settle(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.set_ciphers(CIPHERS)
    context.options &= ~_UNSAFE
