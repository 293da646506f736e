"""A gateway that is forked from one that has loaded everything is to tests what a fresh one is."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from tests.support.forked import ABLE, MEASURED, Forked, Process, started
from tests.support.gateway import RunningGateway, Setup

COMMANDS = (
    ["--version"],
    ["--help"],
    ["keys", "new"],
    ["audit", "verify", "nowhere"],
    ["check", "--config", "nowhere.yaml"],
    ["test", "--wrong"],
)
"""One of every exit code that needs no upstream."""

pytestmark = [
    pytest.mark.skipif(not ABLE, reason="a process that is another one's child cannot be waited for here"),
    pytest.mark.skipif(
        any(name.startswith(MEASURED) for name in os.environ), reason="nothing is forked where it counts"
    ),
]


def ran(arguments: Sequence[str], directory: Path, *, fresh: bool = False) -> tuple[int, bytes, bytes]:
    """The exit code of a command in a directory, and what it writes there."""
    directory.mkdir()
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        process = started(arguments, stdout=out, stderr=err, cwd=directory, environment=os.environ, fresh=fresh)
        assert isinstance(process, Forked) != fresh
        code = process.wait()
    return code, (directory / "out").read_bytes(), (directory / "err").read_bytes()


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_says_the_same_and_ends_with_the_same_code(arguments: Sequence[str], tmp_path: Path) -> None:
    """In the directory that it was started in, whichever way it was."""
    forked, fresh = ran(arguments, tmp_path / "forked"), ran(arguments, tmp_path / "fresh", fresh=True)
    assert forked == fresh


def begun(directory: Path, environment: Mapping[str, str]) -> Process:
    """A command that says its version."""
    with (directory / "out").open("wb") as out:
        return started(["--version"], stdout=out, stderr=out, environment=environment)


def test_what_an_interpreter_reads_when_it_starts_makes_a_process_fresh(tmp_path: Path) -> None:
    """Of a variable that is another one, or is missing, a forked process would not know; the gateway's own it reads."""
    without = {name: value for name, value in os.environ.items() if name != "PATH"}
    for environment in ({**os.environ, "PYTHONHASHSEED": "7"}, {**os.environ, "LC_ALL": "C"}, without):
        assert not isinstance(process := begun(tmp_path, environment), Forked)
        assert process.wait() == 0
    assert isinstance(process := begun(tmp_path, {**os.environ, "QSTASH_GATEWAY_KEY": "made-up"}), Forked)
    assert process.wait() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_signal_reaches_it_and_its_end_is_seen(number: int, code: int, tmp_path: Path) -> None:
    """By whoever waits, and whoever waits too long is told; after that a signal reaches nobody."""
    with RunningGateway(Setup("http://127.0.0.1:9", tmp_path / "gateway")) as gateway:
        assert isinstance(gateway.process, Forked)
        assert gateway.process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            gateway.process.wait(0)
        gateway.process.send_signal(number)
        assert gateway.process.wait() == gateway.process.poll() == code
        gateway.process.send_signal(number)


def test_it_leads_a_session_of_its_own(tmp_path: Path) -> None:
    """A signal for the process group of the tests, as Ctrl-C is, does not end it."""
    with RunningGateway(Setup("http://127.0.0.1:9", tmp_path / "gateway")) as gateway:
        assert os.getsid(gateway.process.pid) == gateway.process.pid
