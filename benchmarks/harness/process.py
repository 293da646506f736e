"""A program on one core, in a session of its own, with its output in a file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.harness.machine import CannotMeasure, on_core

STOP_S = 40


class Process:
    """Started by its constructor; ended by `stop`."""

    def __init__(
        self, command: Sequence[str], *, core: int, directory: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log = directory / "output"
        with self.log.open("wb") as output, on_core(core):
            self._popen = subprocess.Popen(
                command,
                cwd=directory,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._popen.poll() is None

    def said(self) -> str:
        """The end of its output."""
        return self.log.read_text(errors="replace")[-2000:]

    def signal(self, number: int) -> None:
        """Sends one signal to the process itself."""
        self._popen.send_signal(number)

    def stop(self) -> int:
        """SIGTERM and the exit code. Raises: CannotMeasure, after SIGKILL for its whole session, if it does not end."""
        if self.running:
            self._popen.terminate()
        try:
            return self._popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()
            raise CannotMeasure(f"A process did not end within {STOP_S} s of SIGTERM; see {self.log}.") from None
