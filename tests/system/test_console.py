"""Lines to a descriptor that is slow, stuck, full, gone or closed: who writes them never notices."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.log import MAX_HELD_BYTES, Console, Consoles, make_log
from tests.support.waiting import until

PATIENCE_S = 30


def line(number: int, size: int = 200) -> bytes:
    """One line, known by its number."""
    return json.dumps({"n": number, "fill": "x" * size}).encode() + b"\n"


def numbers(text: bytes | bytearray) -> list[int]:
    """The numbers of whole lines; anything else between them is a fault."""
    return [json.loads(one)["n"] for one in text.splitlines()]


class Reader:
    """Reads a pipe on a thread while it is told to."""

    def __init__(self, descriptor: int) -> None:
        self.read, self.go = bytearray(), threading.Event()
        self._descriptor = descriptor
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ended(self, descriptor: int) -> None:
        """Gives the pipe back, once it is at its end."""
        self._thread.join(PATIENCE_S)
        os.close(descriptor)

    def _run(self) -> None:
        while self.go.wait() and (data := os.read(self._descriptor, 4096)):
            self.read += data


@contextmanager
def piped(*, nonblocking: bool = False, max_held_bytes: int = MAX_HELD_BYTES) -> Iterator[tuple[Console, Reader]]:
    """A console on a pipe, and its reader, which does not read yet."""
    reading, writing = os.pipe()
    if nonblocking:
        fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    console, reader = Console(writing, max_held_bytes=max_held_bytes), Reader(reading)
    os.close(writing)
    try:
        yield console, reader
    finally:
        reader.go.set()
        console.close(PATIENCE_S)
        reader.ended(reading)


@pytest.mark.parametrize("nonblocking", [False, True])
def test_a_reader_that_pauses_loses_nothing(nonblocking: bool) -> None:
    """EAGAIN passes: every line arrives, whole and in order, and the notice is gone."""
    with piped(nonblocking=nonblocking) as (console, reader):
        for number in range(1000):
            console.copy([line(number, number)])
        until(lambda: console.notice)
        reader.go.set()
        until(lambda: reader.read.count(b"\n") == 1000)
        assert numbers(reader.read) == list(range(1000))
        until(lambda: console.notice is None)
        assert console.dropped_lines == 0


@pytest.mark.parametrize("nonblocking", [False, True])
def test_what_does_not_fit_is_dropped_counted_and_said_until_lines_flow_again(nonblocking: bool) -> None:
    """Whole lines are dropped, never halves; the count stays, the notice ends."""
    with piped(nonblocking=nonblocking, max_held_bytes=100_000) as (console, reader):
        for number in range(2000):
            console.copy([line(number)])
        assert console.dropped_lines > 0
        assert f"{console.dropped_lines} were dropped" in str(console.notice)
        reader.go.set()
        until(lambda: console.notice is None)
        console.copy([line(2000)])
        until(lambda: reader.read.endswith(line(2000)))
        assert len(numbers(reader.read)) == 2001 - console.dropped_lines


def test_a_line_longer_than_a_pipe_takes_is_never_cut_by_another(tmp_path: Path) -> None:
    """Two consoles on one file, as with `2>&1`: lines of both, none inside another."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
    consoles, reader = Consoles.of(writing, writing), Reader(reading)
    os.close(writing)
    for number in range(12):
        consoles.out.copy([line(number, 100_000)])
        consoles.err.copy([line(1000 + number, 300)])
    reader.go.set()
    until(lambda: reader.read.count(b"\n") == 24)
    found = numbers(reader.read)
    assert [number for number in found if number < 1000] == list(range(12))
    assert [number for number in found if number >= 1000] == list(range(1000, 1012))
    consoles.out.close(PATIENCE_S)
    consoles.err.close(PATIENCE_S)


def test_a_reader_that_comes_back_reads_on(tmp_path: Path) -> None:
    """EPIPE is not the end: what the pipe had taken of a line waits in it, and the next reader gets the rest."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    first = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    console = Console(writing)
    os.close(writing)
    console.copy([line(1, 500_000)])
    until(lambda: console._taken)
    os.close(first)
    console.copy([line(2)])
    until(lambda: "Broken pipe" in str(console.notice))
    second = Reader(os.open(path, os.O_RDONLY))
    second.go.set()
    until(lambda: second.read.count(b"\n") == 2)
    assert numbers(second.read) == [1, 2]
    until(lambda: console.notice is None)
    console.close(PATIENCE_S)


def test_a_file_that_has_room_again_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """A line taken in part is ended before the next one begins; nothing is lost."""
    path = tmp_path / "log"
    program = (
        "import os, resource, sys, time; from gateway.log import Console; from tests.system.test_console import line\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "console = Console(1); [console.copy([line(n)]) for n in range(20)]\n"
        "while console.notice is None: time.sleep(0.01)\n"
        "assert os.fstat(1).st_size == 1000, os.fstat(1)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))\n"
        "while console.notice is not None: time.sleep(0.01)\n"
        "console.close(30)\n"
    )
    with path.open("wb") as file:
        subprocess.run([sys.executable, "-c", program], stdout=file, check=True, timeout=60)
    assert numbers(path.read_bytes()) == list(range(20))


@pytest.mark.parametrize("flags", [os.O_RDONLY, None])
def test_a_closed_stream_drops_and_says_so(flags: int | None) -> None:
    """As after `2>&-`: nothing raises, every line counts as dropped."""
    descriptor = os.open(os.devnull, flags or os.O_RDONLY)
    if flags is None:
        os.close(descriptor)
    console = Console(descriptor)
    console.copy([line(1), line(2)])
    assert console.dropped_lines == 2
    assert "closed" in str(console.notice)
    console.close(PATIENCE_S)


def test_a_full_device_ends_no_writer_and_delays_no_end() -> None:
    """`/dev/full` fails every write: the lines wait, the notice names the cause, close gives up after one more try."""
    descriptor = os.open("/dev/full", os.O_WRONLY)
    console = Console(descriptor)
    os.close(descriptor)
    console.copy([line(1)])
    until(lambda: "No space left" in str(console.notice))
    console.close(PATIENCE_S)
    assert console.dropped_lines == 1


def test_the_operators_log_takes_any_text() -> None:
    """One JSON object a line, whatever stands in it, from any number of threads."""
    with piped() as (console, reader):
        reader.go.set()
        log = make_log(console)
        threads = [threading.Thread(target=lambda n=n: log.error("event", text=f"\ud800\n{n}")) for n in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: reader.read.count(b"\n") == 20)
        assert {json.loads(one)["text"] for one in reader.read.splitlines()} == {f"\ud800\n{n}" for n in range(20)}
