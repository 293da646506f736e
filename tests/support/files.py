"""Files as the tests write and read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.support.project import ROOT

RECORDED = ROOT / "tests" / "wire" / "clients.jsonl"
RECORDED_ACTIONS = ROOT / "tests" / "wire" / "actions.jsonl"


def put(path: Path, text: str) -> None:
    """Replaces a file in one step."""
    new = path.with_name(f"{path.name}.new")
    new.write_text(text)
    new.rename(path)


def recorded() -> list[dict[str, Any]]:
    """What official clients put on the wire."""
    return [json.loads(line) for line in RECORDED.read_text().splitlines()]


def recorded_actions() -> list[dict[str, Any]]:
    """What official clients put on the wire for the other calls that destroy."""
    return [json.loads(line) for line in RECORDED_ACTIONS.read_text().splitlines()]
