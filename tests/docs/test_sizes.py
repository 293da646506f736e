"""What CONTRIBUTING says of how long a function, a module and a room may be."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest

from tests.support.project import ROOT

MOST_LINES, MOST_OF_A_MODULE, MOST_OF_A_ROOM = 40, 400, 9
MODULES = sorted((ROOT / "gateway").rglob("*.py"))


def test_the_bounds_are_those_that_people_are_told() -> None:
    """In one sentence of the page."""
    page = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    assert "A function has at most 40 lines, a module at most 400, a room at most nine modules" in page


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_and_its_functions_can_be_read_at_once(path: Path) -> None:
    """Signature, docstring and comments count as well: whoever reads reads them too."""
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_OF_A_MODULE
    long = [
        (node.name, lines)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (lines := (node.end_lineno or 0) - node.lineno + 1) > MOST_LINES
    ]
    assert long == []


def test_a_room_has_few_modules() -> None:
    """Its `__init__` aside, which only says what it is for."""
    rooms = Counter(path.parent for path in MODULES if path.stem != "__init__")
    assert {room.name: count for room, count in rooms.items() if count > MOST_OF_A_ROOM} == {}
