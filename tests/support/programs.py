"""Programs that come with the system and not with this project."""

from __future__ import annotations

import os
import shutil

import pytest


def needed(name: str, package: str) -> str:
    """The path of a program; without it the test is skipped, and fails where CI=true."""
    # Debian keeps servers where not everyone's PATH looks.
    path = shutil.which(name, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin")
    if path is None:
        assert os.environ.get("CI") != "true", f"{name} is not here: .ci/run installs it"
        pytest.skip(f"{name} is not here (Debian: {package})")
    return path
