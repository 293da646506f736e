"""The machine: its cores, the programs that must be there, and the facts that go with every figure."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.harness.builds import described

_SYSTEM_PROGRAMS = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where Debian keeps nginx, which is not in everyone's PATH."""

_PACKAGES = {"nginx": "nginx-light", "wrk": "wrk"}


class CannotMeasure(Exception):
    """Nothing was measured, or what was measured does not count; the text is for the person who started it."""


@dataclass(frozen=True, slots=True)
class Cores:
    """One core for the gateway alone, another for the stub, the load and this process."""

    gateway: int
    load: int


def two_cores() -> Cores:
    """Two of the cores that this process may use. Raises: CannotMeasure."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise CannotMeasure("Two cores are needed, one for the gateway and one for its load; here is one.")
    return Cores(allowed[0], allowed[1])


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """This thread runs on one core, and so does for good what it starts meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def program(name: str) -> str:
    """The path of a program of the system. Raises: CannotMeasure."""
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_PROGRAMS)
    if found is None:
        raise CannotMeasure(_missing_program(name))
    return found


def missing_programs(names: Iterable[str]) -> list[str]:
    """A sentence for each program that is not here."""
    everywhere = f"{os.environ.get('PATH', '')}:{_SYSTEM_PROGRAMS}"
    return [_missing_program(name) for name in names if shutil.which(name, path=everywhere) is None]


def _missing_program(name: str) -> str:
    return f"{name} is not here: on Debian, apt-get install {_PACKAGES.get(name, name)}."


def facts(directory: Path) -> dict[str, object]:
    """What the figures depend on; `directory` is where the audit logs are written."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": described(),
        "file_system": file_system(directory),
        "load_before": round(os.getloadavg()[0], 2),
        "commit": _commit(),
    }


def file_system(directory: Path) -> str:
    """The type of the file system below a directory; on a tmpfs fdatasync costs nothing and means nothing."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    within = [(point, kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(within, key=lambda mount: len(mount[0]))[1] if within else "unknown"


def version(command: Iterable[str]) -> str:
    """The first thing like a version number in what a program says of itself; empty if there is none."""
    done = subprocess.run([*command], capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r"\d+\.\d+\.\d+", done.stdout + done.stderr)
    return found[0] if found else ""


def _processor() -> str:
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return "unknown"
    command = [git, "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    return done.stdout.strip() or "unknown"
