"""Standard output and standard error of a serving gateway, in every state that an operator's machine leaves them in."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.simulator.exchange import Fault
from gateway.simulator.server import SimulatorServer
from tests.support.gateway import STOP_S, RunningGateway, Setup
from tests.support.waiting import until

OWN = "workflowUrl=https%3A%2F%2Fbilling.example.com%2Fapi%2Finvoice&workflowUrlExactMatch=true"
STREAMS = ["full", "closed", "unread", "unread and non-blocking", "its reader is gone"]


class Muted(RunningGateway):
    """A gateway whose streams are in the given state, so that only its port tells that it serves."""

    def __init__(self, setup: Setup, out: str, err: str) -> None:
        super().__init__(setup)
        self.states = {1: out, 2: err}
        self.kept: list[int] = []

    def start(self) -> None:
        """Starts, and asks the health page until it answers."""
        config = self.setup.write()
        self.port = int(self.setup.listen.rpartition(":")[2])
        streams = {number: self._stream(state) for number, state in self.states.items()}

        def place() -> None:
            for number, descriptor in streams.items():
                os.close(number) if descriptor is None else os.dup2(descriptor, number)

        command = [sys.executable, "-m", "gateway", "serve", "--config", str(config)]
        self.process = subprocess.Popen(command, preexec_fn=place, pass_fds=[s for s in streams.values() if s])  # noqa: PLW1509
        for descriptor in streams.values():
            if descriptor is not None:
                os.close(descriptor)
        until(lambda: self.process.poll() is not None or self.answers())
        assert self.process.poll() is None

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def answers(self) -> bool:
        """Whether the health page does."""
        try:
            return self.request("GET", "/healthz", team=None).status == 200
        except OSError:
            return False

    def _stream(self, state: str) -> int | None:
        if state == "closed":
            return None
        if state == "full":
            return os.open("/dev/full", os.O_WRONLY)
        if state == "null":
            return os.open(os.devnull, os.O_WRONLY)
        reading, writing = os.pipe()
        if "non-blocking" in state:
            fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
        # Filled, so that the first line already waits.
        os.set_blocking(writing, False)
        try:
            while True:
                os.write(writing, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(writing, "non-blocking" not in state)
        os.close(reading) if "gone" in state else self.kept.append(reading)
        return writing

    def notices(self) -> list[str]:
        """Those of `/readyz`."""
        found = self.request("GET", "/readyz", team=None).json()["notices"]
        assert isinstance(found, list)
        return found


@contextmanager
def muted(simulator: SimulatorServer, directory: Path, out: str, err: str) -> Iterator[Muted]:
    """A gateway with streams in those states."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    audit = "{directory: audit, durability: os, stdout: true}"
    gateway = Muted(Setup(simulator.url, directory, listen=f"127.0.0.1:{port}", audit=audit), out, err)
    with gateway:
        yield gateway
    for descriptor in gateway.kept:
        os.close(descriptor)


@pytest.mark.parametrize("state", STREAMS)
@pytest.mark.parametrize("streams", ["both", "output", "error"])
def test_serve_starts_answers_truly_and_ends_with_0_whatever_its_streams_are(
    simulator: SimulatorServer, tmp_path: Path, state: str, streams: str
) -> None:
    """True outcomes after the receipt, each repeat a cancel of its own, a notice for each stream, exit code 0."""
    out, err = (state if streams in ("both", name) else "null" for name in ("output", "error"))
    with muted(simulator, tmp_path / "gateway", out, err) as gateway:
        for _ in range(2):
            simulator.simulator.script(Fault(status=500, body='{"error": "boom"}'))
            answer = gateway.cancel(f"{OWN}&count=3")
            assert (answer.status, answer.json()["code"]) == (504, "outcome_unknown")
        assert gateway.cancel(f"{OWN}&count=2").status == 200
        assert len(gateway.records("intent")) == len(gateway.records("outcome")) == 3
        named = [f"standard {name}" for name in ("output", "error") if streams in ("both", name)]
        until(lambda: [" ".join(notice.split()[:2]) for notice in gateway.notices()] == named)
        assert gateway.stop() == 0


def test_a_refused_start_has_its_exit_code_where_nobody_can_read_why(tmp_path: Path) -> None:
    """Exit 3 for a configuration that cannot be used, also with `2>/dev/full`."""
    command = [sys.executable, "-m", "gateway", "serve", "--config", str(tmp_path / "nowhere.yaml")]
    with Path("/dev/full").open("wb") as full:
        assert subprocess.run(command, stdout=full, stderr=full, check=False, timeout=60).returncode == 3


def test_what_is_closed_is_not_taken_by_a_socket_or_the_record(tmp_path: Path) -> None:
    """A number that was closed at the start is held by the null device, the wrong way round: every use fails."""
    program = (
        "import os, pathlib, sys; from gateway.cli.output import occupy as keep\n"
        "keep(); at = [os.readlink(f'/proc/self/fd/{n}') for n in range(3)]\n"
        "pathlib.Path(sys.argv[1]).write_text(repr((at, os.open('/', os.O_RDONLY) > 2)))\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "found")]
    subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], check=True, timeout=60)
    assert (tmp_path / "found").read_text() == repr((["/dev/null"] * 3, True))


def test_a_library_says_no_text_of_an_exception(tmp_path: Path) -> None:
    """Its warnings are one line of JSON each: fixed words and numbers, or the class and the place of an exception."""
    program = (
        "import logging; from gateway.log import quiet_libraries\n"
        "quiet_libraries(); log = logging.getLogger('a.library')\n"
        "try: raise ValueError('CANARY\\nCANARY')\n"
        "except ValueError as fault: log.exception('it failed: CANARY'); log.error(fault); log.warning('%s', fault)\n"
        "log.error('Cancel %s running task(s)', 2)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60).stderr.decode()
    lines = [json.loads(line) for line in said.splitlines()]
    assert "CANARY" not in said
    assert [(line["event"], line["logger"]) for line in lines] == [("library", "a.library")] * 4
    assert (lines[0]["error"], lines[0]["at"]) == ("ValueError", "<string>:3")
    assert lines[3]["found"] == "Cancel 2 running task(s)"
