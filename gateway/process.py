"""The process and its surroundings: requests to the kernel, the net for faults, and the settings of TLS."""

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
from typing import ClassVar, Self

_PR_SET_DUMPABLE = 4


def unblock_standard_error() -> None:
    """Reopen descriptor 2 so that it never blocks, if it is a pipe: native libraries write to it directly.

    Opening it anew leaves the pipe as it is for other processes. A socket, or another user's pipe, cannot be reopened
    and is left alone.
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
    """Forbid core files, which would hold the token: set their limit to zero and make the process not dumpable.

    On Linux, a process that is not dumpable also writes no core to a pipe (`core_pattern`), and hides
    /proc/<pid>/environ and /proc/<pid>/mem even from its own user.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def raise_descriptor_limit() -> int:
    """Raise the limit of file descriptors to the hard limit (65,536 if unlimited), and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted


YOUNG_OBJECTS = 10_000
"""The number of new objects after which the garbage collector runs; requests leave hardly any cycles."""


@contextlib.contextmanager
def giving_way() -> Iterator[None]:
    """Make threads started inside wait for the thread that wakes them, instead of preempting it (SCHED_BATCH).

    sched(7): under the usual policy, a thread that is given work preempts the one that gives it, only to wait for the
    interpreter lock which that one still holds. If the process has another policy, it is kept.
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
    """Make the loop start its threads for name look-ups now: if it cannot start one later, libuv ends the process."""
    with contextlib.suppress(OSError):
        await asyncio.get_running_loop().getaddrinfo("localhost", None)


def keep_what_lasts() -> None:
    """Exempt all present objects from garbage collection: code, policies and keys stay until they are replaced.

    Otherwise each full collection walks over all of them, which costs more than judging the requests in between.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


ENDINGS = (asyncio.CancelledError, GeneratorExit)
"""The exceptions that are not faults: the task is cancelled, or its coroutine is closed."""

NO_THREAD = "no_thread"
_NO_THREAD_TEXTS = ("can't start new thread", "Failed to spawn tokio runtime thread")
"""The error texts of Python, and of the HTTP client library while it is set up."""


class Net:
    """A context manager that catches every exception except ENDINGS and keeps it in `fault`; the code below goes on.

    What was not caught is None in the class, so there is no constructor.
    """

    fault: BaseException | None = None
    ended: BaseException | None = None
    _last: ClassVar[bool] = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if fault is not None and self._last and isinstance(fault, asyncio.CancelledError):
            self.ended = fault
            return True
        if fault is None or isinstance(fault, ENDINGS):
            return False
        self.fault = fault
        return True

    @property
    def caught(self) -> BaseException:
        """The fault, for code that is reached only if there is one."""
        assert self.fault is not None
        return self.fault


def fault_of(caught: BaseException) -> BaseException:
    """Return what an `except BaseException` caught, or raise it again if it is one of ENDINGS, as a `Net` does.

    It is for what every request passes: a Net costs 2,400 instructions even if nothing is caught, a `try` none. The 15
    of a cancel were 3 % of it.
    """
    if isinstance(caught, ENDINGS):
        raise caught
    return caught


class LastNet(Net):
    """The outermost net of a task: it catches a cancellation as well, and keeps it in `ended`."""

    _last = True


def word(fault: BaseException) -> str:
    """Return a fixed word for the record: the fault's class, never its text; `no_thread` if no thread could start."""
    if isinstance(fault, RuntimeError) and str(fault).startswith(_NO_THREAD_TEXTS):
        return NO_THREAD
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(fault).__name__).lower()


def internal(fault: BaseException) -> str:
    """Return the word for an error in our own code: `internal_` and the fault's class, or `no_thread`."""
    return NO_THREAD if word(fault) == NO_THREAD else f"internal_{type(fault).__name__}"


def place(fault: BaseException) -> str | None:
    """Return the file and line where it was raised, if known; unlike its text, they hold nothing from a caller."""
    frames = list(traceback.walk_tb(fault.__traceback__))
    return f"{Path(frames[-1][0].f_code.co_filename).name}:{frames[-1][1]}" if frames else None


def report(fault: BaseException, found: str) -> None:
    """Report a fault to the loop's exception handler; `found` is a fixed text that says what failed. Never raises."""
    context = {"message": found, "found": found, "exception": fault}
    asyncio.get_running_loop().call_exception_handler(context)


CIPHERS = "@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"
"""The ciphers of Python's own builds since 3.10; distributions' builds use the system's, which can be overridden."""

_UNSAFE = 0x4 | 0x80 | 0x40000
"""The unsafe options, by number because not every Python names them (openssl/ssl.h): SSL_OP_LEGACY_SERVER_CONNECT,
SSL_OP_IGNORE_UNEXPECTED_EOF (an answer that was cut off may pass for a whole one; some systems set it) and
SSL_OP_ALLOW_UNSAFE_LEGACY_RENEGOTIATION."""


def server_context() -> ssl.SSLContext:
    """Return a TLS context for callers, still without a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    _settle(context)
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    return context


def client_context(roots: Path) -> ssl.SSLContext:
    """Return a TLS context that checks names and certificates against the roots in a file. Raises: OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.load_verify_locations(cafile=roots)
    return context


def machine_context() -> ssl.SSLContext:
    """Return a TLS context that checks names and certificates against the roots that this machine trusts.

    The environment can name others (SSL_CERT_FILE, SSL_CERT_DIR), so it is for what is sent without a secret.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.load_default_certs()
    return context


def unverified_context() -> ssl.SSLContext:
    """Return a TLS context that accepts every certificate, for a process that asks itself and sends no secret."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _settle(context)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _settle(context: ssl.SSLContext) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.MAXIMUM_SUPPORTED
    context.set_ciphers(CIPHERS)
    context.options &= ~_UNSAFE
