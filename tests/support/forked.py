"""Processes of the gateway that are forked from one which has loaded it; `tests.support.nursery` is that one.

A test whose law is about how a process is loaded or started, or whose environment is read before the gateway runs,
starts a fresh one.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

from tests.support.nursery import LONGEST

ROOT = Path(__file__).parents[2]
NO_MATTER = ("QSTASH_", "PYTEST_")
"""What the names of variables begin with that are read once the gateway runs, or by no gateway."""
MEASURED = "COVERAGE"
PACKAGE = "gateway"
COMMAND = (sys.executable, "-m", PACKAGE)

ABLE = hasattr(os, "pidfd_open")
"""A process that is another one's child can be waited for on Linux only."""


class Nursery:
    """One for each process that runs tests; it ends with that process."""

    def __init__(self) -> None:
        self.environment = dict(os.environ)
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "tests.support.nursery", str(theirs.fileno())]
        null = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                command, cwd=ROOT, stdin=null, stdout=null, pass_fds=[theirs.fileno()], start_new_session=True
            )
        self._one_at_a_time = threading.Lock()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends it; what was forked stays."""
        self._orders.close()
        self._process.wait()

    def ask(self, order: Mapping[str, object], descriptors: Sequence[int] = ()) -> int:
        """Sends an order, and returns the number that is its answer."""
        with self._one_at_a_time:
            socket.send_fds(self._orders, [json.dumps(order).encode()], descriptors)
            answer = self._orders.recv(LONGEST)
        assert answer, "the process that gateways are forked from has ended"
        return int(answer)

    def may_fork(self, arguments: Sequence[str], directory: Path, environment: Mapping[str, str]) -> bool:
        """Whether a forked process would be as a fresh one: it would load this gateway, under the same variables."""
        differ = dict(set(environment.items()) ^ set(self.environment.items()))
        return (
            (directory.resolve() == ROOT or not (directory / PACKAGE).exists())
            and all(name.startswith(NO_MATTER) for name in differ)
            and not any(name.startswith(MEASURED) for name in environment)
            and len(json.dumps([*arguments, dict(environment)])) < LONGEST // 2
        )


@cache
def nursery() -> Nursery:
    """The one of this process."""
    return Nursery()


class Forked:
    """What tests use of `subprocess.Popen`, for a process that is another one's child."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = os.pidfd_open(pid)
        self._one_at_a_time = threading.Lock()

    def __del__(self) -> None:
        os.close(self._ended)

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        return self._after(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended. Raises: TimeoutExpired."""
        code = self._after(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("gateway", timeout)
        return code

    def _after(self, timeout: float | None) -> int | None:
        poll = select.poll()
        poll.register(self._ended, select.POLLIN)
        if self.returncode is None and poll.poll(None if timeout is None else timeout * 1000):
            with self._one_at_a_time:
                if self.returncode is None:
                    self.returncode = nursery().ask({"ended": self.pid})
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Nothing, where it has ended."""
        if self.poll() is None:
            signal.pidfd_send_signal(self._ended, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = subprocess.Popen[bytes] | Forked


def started(
    arguments: Sequence[str],
    *,
    stdout: IO[bytes],
    stderr: IO[bytes],
    environment: Mapping[str, str],
    cwd: Path | None = None,
    session: bool = False,
    before: Sequence[str] = (),
    fresh: bool = False,
) -> Process:
    """Starts a command of the gateway without input: forked where that makes no difference, and fresh where it does."""
    directory = (cwd or Path()).absolute()
    with Path(os.devnull).open("rb") as nothing:
        if fresh or before or not (ABLE and nursery().may_fork(arguments, directory, environment)):
            return subprocess.Popen(
                [*before, *COMMAND, *arguments],
                stdin=nothing,
                stdout=stdout,
                stderr=stderr,
                cwd=directory,
                env=environment,
                start_new_session=session,
            )
        order = {
            "arguments": list(arguments),
            "cwd": str(directory),
            "environment": dict(environment),
            "session": session,
        }
        return Forked(nursery().ask(order, [file.fileno() for file in (nothing, stdout, stderr)]))
