"""Waiting for a condition, and what verification says of an audit directory."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from gateway.audit.evidence.verify import verify


def until(condition: Callable[[], bool]) -> None:
    """Waits until the condition holds."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def findings(directory: Path) -> set[str]:
    """What verification says of the chains."""
    return {report.finding.name for report in verify(sorted(directory.iterdir()), checkpoints={}, whole=True)}
