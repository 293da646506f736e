"""The command line in processes of its own: one that ends, and one that serves until it is told to stop."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

import pytest

from tests.support.forked import COMMAND, Process, started
from tests.support.waiting import until

END_S = 60
START_S = 20

Done = subprocess.CompletedProcess[str]


def command(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """Runs one command to its end."""
    environment = {**os.environ, **(env or {})}
    (out, out_end), (err, err_end) = _piped(), _piped()
    with ThreadPoolExecutor(2) as readers:
        with out_end, err_end:
            process = started(arguments, stdout=out_end, stderr=err_end, cwd=cwd, environment=environment)
        texts = [readers.submit(_read, stream) for stream in (out, err)]
        try:
            code = process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return Done([*COMMAND, *arguments], code, *(text.result() for text in texts))


def _piped() -> tuple[TextIO, BinaryIO]:
    """Both ends of a pipe."""
    reading, writing = os.pipe()
    return open(reading), open(writing, "wb")  # noqa: PTH123 - descriptors, which others close


def _read(stream: TextIO) -> str:
    with stream:
        return stream.read()


def ended(words: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Done:
    """Runs any program to its end; `env` is added to the environment."""
    return subprocess.run(
        words,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=END_S,
        check=False,
    )


@dataclass
class Serving:
    """A command that serves; `said` is what it wrote to standard output."""

    process: Process
    output: Path
    errors: Path

    @property
    def said(self) -> str:
        """Standard output so far."""
        return self.output.read_text()

    def find(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Waits until standard output matches."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if found := re.search(pattern, self.said):
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"{pattern!r} never came: {self.said} {self.errors.read_text()}")

    def answering(self) -> None:
        """Waits until a demo has said everything and its gateway answers, so that a signal ends it in good order."""
        self.find("End with Ctrl-C")
        connection = http.client.HTTPConnection(self.find(r"listens on http://([0-9.:]+);")[1], timeout=START_S)
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        connection.close()

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_S)


def interrupt(process: Process) -> None:
    """Ctrl-C for a command that waits, for an answer or for time to pass.

    Python does not notice a signal that comes just before it begins to read, so the process has to stand still.
    """
    until(lambda: all(_waits(process.pid) for _ in range(5)))
    process.send_signal(signal.SIGINT)


def _waits(pid: int) -> bool:
    """Whether a process, after a moment, waits for something; where there is no /proc, nobody can say."""
    time.sleep(0.01)
    path = Path(f"/proc/{pid}/stat")
    return not path.exists() or path.read_text().rpartition(")")[2].split()[0] == "S"


@contextmanager
def serving(*arguments: str, directory: Path, env: Mapping[str, str] | None = None) -> Iterator[Serving]:
    """Starts a command in `directory`, which holds its output, and ends it."""
    output, errors = directory / "stdout", directory / "stderr"
    environment = {**os.environ, **(env or {})}
    with output.open("wb") as out, errors.open("wb") as err:
        process = started(arguments, cwd=directory, environment=environment, stdout=out, stderr=err)
        try:
            yield Serving(process, output, errors)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(END_S)


def require_curl(found: str | None) -> None:
    """Skips the test where curl is missing; under CI=true fails it."""
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("curl is missing", pytrace=False)
    if found is None:
        pytest.skip("curl is missing")
