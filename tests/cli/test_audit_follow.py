"""`audit follow` prints each record that is written from now on once, whole, wherever it is written."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from gateway.audit.evidence.following import MOST_OPEN, Following
from tests.audit.decisions.chains import Chain, an_id, intent, outcome
from tests.cli.running import END_S, START_S, command, interrupt
from tests.support.forked import COMMAND

SECOND = "01890000-0000-7000-8000-00000000000b"


Follow = Callable[..., Following]


def unexpected(path: Path) -> None:
    raise AssertionError(path)


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Begins to follow; what is open is closed at the end."""
    with ExitStack() as ends:
        yield lambda *arguments, **more: ends.enter_context(Following(*arguments, **more))


def given(following: Following) -> list[bytes]:
    """The lines of one look, as the file has them."""
    return [line + b"\n" for line in following.lines()]


def test_what_was_there_is_not_given_and_what_comes_is_given_once(tmp_path: Path, follow: Follow) -> None:
    """Of an old chain that is written again, of a new file of it, and of a new chain."""
    chain = Chain(tmp_path)
    chain.write(("start", {}))
    following = follow([tmp_path], unexpected)
    assert given(following) == []
    lines = chain.write(intent(1))
    assert given(following) == lines
    assert given(following) == []
    lines = chain.write(outcome(1))
    chain.file = 2
    lines += chain.write(intent(2))
    lines += Chain(tmp_path, SECOND).write(("start", {}))
    (tmp_path / "decisions.derived.sqlite").write_text("no chain\n")
    assert given(following) == lines
    assert given(following) == []


@pytest.mark.parametrize("cut", [1, 20, -1])
def test_a_line_that_is_not_whole_is_waited_for(tmp_path: Path, follow: Follow, cut: int) -> None:
    """Also one that was begun before: it is given whole, and never in parts."""
    chain = Chain(tmp_path)
    chain.write(("start", {}))
    (line,) = chain.lines(intent(1))
    chain.append([line[:cut]])
    following = follow([tmp_path], unexpected)
    assert given(following) == []
    chain.append([line[cut:]])
    assert given(following) == [line]


def test_an_unfinished_line_that_is_cut_off_was_never_given(tmp_path: Path, follow: Follow) -> None:
    """As the next start does after a crash; it is no change of what was given."""
    chain = Chain(tmp_path)
    following = follow([tmp_path], unexpected)
    first = chain.write(("start", {}))
    chain.append([b'{"v":1,"seq":2,"ts":"2026'])
    assert given(following) == first
    os.truncate(chain.path, len(first[0]))
    assert given(following) == []
    lines = chain.write(intent(1), outcome(1))
    assert given(following) == lines


def test_lines_are_whole_however_they_are_written(tmp_path: Path, follow: Follow) -> None:
    """In pieces of any size, with looks between them, and in blocks shorter than a line."""
    chain = Chain(tmp_path)
    following = follow([tmp_path], unexpected, block=16)
    lines = chain.lines(("start", {}), *(intent(number, reason="x" * number) for number in range(40)))
    left, found, choose = b"".join(lines), [], random.Random(7)  # noqa: S311 - sizes of pieces
    while left:
        size = choose.choice((1, 15, 16, 17, 300, 2000))
        chain.append([left[:size]])
        left = left[size:]
        found += given(following)
    assert found == lines


def test_what_is_taken_away_is_given_to_its_end(tmp_path: Path, follow: Follow) -> None:
    """A chain may be written to its end and retired between two looks; put back, it is not given again."""
    directory, archive = tmp_path / "audit", tmp_path / "archive"
    for folder in (directory, archive):
        folder.mkdir()
    chain = Chain(directory)
    following = follow([directory], unexpected)
    lines = chain.write(("start", {}))
    assert given(following) == lines
    lines = chain.write(intent(1), ("stop", {"open": 0}))
    moved = chain.path.rename(archive / chain.path.name)
    assert given(following) == lines
    assert given(following) == []
    moved.rename(chain.path)
    assert given(following) == []


def test_lines_that_change_after_they_were_given_are_said(tmp_path: Path, follow: Follow) -> None:
    """A batch that was taken back after a fault of the disk, or somebody's edit; then it goes on behind the change."""
    told: list[Path] = []
    chain = Chain(tmp_path)
    following = follow([tmp_path], told.append)
    chain.write(("start", {}), intent(1))
    assert len(given(following)) == 2
    os.truncate(chain.path, 100)
    assert given(following) == []
    assert told == [chain.path]
    chain.append([b"x\n", *(lines := chain.lines(outcome(1)))])
    assert given(following)[-1:] == lines


def test_a_replaced_file_and_what_is_no_file_end_nothing(tmp_path: Path, follow: Follow) -> None:
    """A link or a pipe in the place of a file is passed over, and never waited for."""
    chain = Chain(tmp_path)
    following = follow([tmp_path], lambda _: None)
    chain.write(("start", {}))
    assert len(given(following)) == 1
    chain.path.unlink()
    os.mkfifo(chain.path)
    (tmp_path / f"{SECOND}.000001.jsonl").symlink_to("/etc/passwd")
    assert given(following) == []
    chain.path.unlink()
    lines = Chain(tmp_path, SECOND[:-1] + "c").write(("start", {}))
    assert given(following) == lines


def opened() -> int:
    """How many files this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


def test_few_files_are_held_open(tmp_path: Path, follow: Follow) -> None:
    """However many chains are written."""
    following = follow([tmp_path], unexpected)
    chains = [Chain(tmp_path, f"{SECOND[:-3]}{number:03}") for number in range(100)]
    before = opened()
    for _ in range(2):
        lines = [line for chain in chains for line in chain.write(("stop", {"open": 0}))]
        assert sorted(given(following)) == sorted(lines)
        assert opened() <= before + MOST_OPEN


@contextmanager
def following(directory: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`audit follow`, which has looked at the directory once."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        words = [*COMMAND, "audit", "follow", *arguments, str(directory)]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


def read_from(process: subprocess.Popen[bytes], chain: Chain) -> bytes:
    """Writes records until the first is read: how long the command takes to begin is not known."""
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        chain.write(intent(1), outcome(1))
        time.sleep(0.1)
        if found := process.stdout.read():
            os.set_blocking(process.stdout.fileno(), True)
            return bytes(found)
    raise AssertionError("nothing was followed")


def events(text: bytes) -> Sequence[str]:
    return [line.split()[2] for line in text.decode().splitlines()]


def test_ctrl_c_ends_with_130_and_every_line_is_whole(tmp_path: Path) -> None:
    """Without a traceback; what was read until then is records, in their order."""
    chain = Chain(tmp_path)
    with following(tmp_path) as process:
        found = read_from(process, chain)
        interrupt(process)
        process.wait(END_S)
        assert process.stdout is not None
        assert process.stderr is not None
        found += process.stdout.read()
        assert (process.returncode, process.stderr.read()) == (130, b"")
    assert set(events(found)) == {"intent", "outcome"}
    assert found.endswith(b"\n")
    numbers = [int(line.split()[1]) for line in found.splitlines()]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert re.search(rf"intent +decision_id={an_id(1)} team=billing".encode(), found)


def test_a_reader_that_leaves_ends_it_with_0(tmp_path: Path) -> None:
    """Also while nothing is written."""
    with following(tmp_path) as process:
        read_from(process, Chain(tmp_path))
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(END_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_a_line_that_is_no_record_is_said_and_not_printed(tmp_path: Path) -> None:
    """On standard error, without its bytes; the next record is printed."""
    chain = Chain(tmp_path)
    with following(tmp_path) as process:
        read_from(process, chain)
        chain.append([b"\x1b[2J\n"])
        chain.write(("stop", {"open": 0}))
        assert process.stdout is not None
        while b"stop" not in process.stdout.readline():
            pass
        process.stdout.close()
        assert process.wait(END_S) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b"audit follow: a line is no record: not JSON; see audit verify\n"


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    """A directory without a chain is not: a gateway may begin one."""
    done = command("audit", "follow", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (64, "")
    assert "no such file or directory" in done.stderr
