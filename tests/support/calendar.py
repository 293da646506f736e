"""A process under another date: its calendar is moved, and how fast time passes is left alone.

`python -m tests.support.calendar --days 400 -- COMMAND …` runs a command, and all that it starts, under that date.
A library that is loaded before all others moves the calendar, so it reaches child processes and native libraries too.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

DAY_S = 86_400
SOURCE = Path(__file__).with_name("moved_clock.c")


def built(directory: Path, source: Path = SOURCE) -> Path | None:
    """Returns a library to be loaded before all others, compiled into `directory`; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = directory / source.with_suffix(".so").name
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


def environment(library: Path, *, days: int) -> dict[str, str]:
    """Returns this process's environment for a process whose calendar is `days` ahead."""
    return {**os.environ, "LD_PRELOAD": str(library), "MOVED_CLOCK_S": str(days * DAY_S)}


class Calendar:
    """A calendar that is set while processes run: `environment` is for them."""

    def __init__(self, library: Path, path: Path) -> None:
        self._path = path
        self.environment = {**environment(library, days=0), "MOVED_CLOCK_FILE": str(path)}
        self.set(days=0)

    def set(self, *, days: float) -> None:
        """Moves it to so many days from the machine's."""
        new = self._path.with_suffix(".new")
        new.write_text(str(int(days * DAY_S)))
        new.rename(self._path)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.support.calendar", description=__doc__)
    parser.add_argument("--days", type=int, default=400)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="calendar-") as name:
        library = built(Path(name))
        if library is None:
            sys.stderr.write("There is no C compiler here (Debian: gcc).\n")
            return 2
        return subprocess.run(arguments.command, env=environment(library, days=arguments.days), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
