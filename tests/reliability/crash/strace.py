"""Whether system calls can be tampered with here."""

from __future__ import annotations

import os
import shutil

import pytest


def required() -> None:
    """Skips the test where there is no strace; where CI=true, fails it."""
    if shutil.which("strace") is not None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail("strace is missing")
    pytest.skip("strace is not installed")
