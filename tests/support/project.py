"""The files of this repository, as whoever clones it has them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@cache
def _listed() -> tuple[str, ...]:
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ()
    return tuple(sorted(set(done.stdout.splitlines())))


def project_files() -> tuple[str, ...]:
    """Returns the paths that git holds or would take, relative to the root; skips the test where git cannot say."""
    listed = tuple(name for name in _listed() if (ROOT / name).is_file())
    if not listed:
        pytest.skip("git does not know this directory")
    return listed
