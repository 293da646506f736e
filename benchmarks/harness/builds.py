"""How a Python was built; `python -m benchmarks.harness.builds` prints the path of the one to measure with.

With `--describe` it names this one and its build.

An interpreter that was optimised with profiles (PGO) spends fewer instructions on the same code.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass

CANDIDATES = ("/usr/bin/python3", "/usr/bin/python3.13", "/usr/bin/python3.12", "/usr/bin/python3.11")
_VARIABLES = ("CONFIG_ARGS", "PGO_PROF_GEN_FLAG", "PGO_PROF_USE_FLAG")
_ASK = (
    "import ensurepip, json, sys, sysconfig, venv; "
    f"print(json.dumps([sys.version_info[:2] >= (3, 11), *sysconfig.get_config_vars(*{_VARIABLES!r})]))"
)


@dataclass(frozen=True, slots=True)
class Build:
    """Whether a Python was optimised with profiles, and whether across its files."""

    pgo: bool
    lto: bool

    @property
    def words(self) -> str:
        """The optimisations in words: `PGO and LTO`, or `neither PGO nor LTO`."""
        if self.pgo and self.lto:
            return "PGO and LTO"
        return "PGO, no LTO" if self.pgo else "LTO, no PGO" if self.lto else "neither PGO nor LTO"


def read_build(arguments: str | None, generate: str | None, use: str | None) -> Build:
    """Reads the build from what `sysconfig` says: the arguments of configure, and two flags for profiles.

    Debian builds with both, gives configure neither argument, and clears the flags from the record afterwards.
    """
    cleared = bool(generate) and use == ""
    given = arguments or ""
    return Build(pgo=cleared or "--enable-optimizations" in given, lto=cleared or "--with-lto" in given)


def own_build() -> Build:
    """Reads how this Python was built."""
    return read_build(*map(sysconfig.get_config_var, _VARIABLES))


def described() -> str:
    """Names this Python and its build, as in `CPython 3.11.2 x86_64, PGO and LTO`."""
    version = f"{platform.python_implementation()} {platform.python_version()} {platform.machine()}"
    return f"{version}, {own_build().words}"


def best(candidates: Sequence[str] = CANDIDATES) -> str:
    """Returns the first Python that is new enough, built with profiles, and can make environments; else this one."""
    if own_build().pgo:
        return sys.executable
    return next(filter(_optimised, candidates), sys.executable)


def _optimised(path: str) -> bool:
    if not os.access(path, os.X_OK):
        return False
    done = subprocess.run([path, "-c", _ASK], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode != 0:
        return False
    new_enough, *values = json.loads(done.stdout)
    return bool(new_enough) and read_build(*values).pgo


if __name__ == "__main__":
    print(described() if "--describe" in sys.argv else best())
