"""Pictures are made of text by a command, and show what is there."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
GATEWAY = Path(__file__).parents[2] / "gateway"
DRAW = runpy.run_path(str(PICTURES / "draw.py"))


@pytest.mark.parametrize("source", sorted(PICTURES.glob("*.txt")), ids=lambda path: path.stem)
def test_a_picture_is_what_its_text_draws(source: Path) -> None:
    """`make pictures` changes nothing."""
    assert source.with_suffix(".svg").read_text() == DRAW["drawn"](source.read_text())


def test_every_step_of_a_cancel_is_a_module() -> None:
    """Between the caller and QStash each name of the walk is a file of the gateway."""
    _, _, *steps, _ = (PICTURES / "cancel.txt").read_text().strip().splitlines()
    modules = [step.partition("|")[0].strip() for step in steps]
    assert len(modules) == 10
    assert [name for name in modules if not (GATEWAY / f"{name}.py").is_file()] == []


def test_a_line_that_is_no_step_is_refused() -> None:
    """A bar too many or too few would draw something else than was meant."""
    with pytest.raises(ValueError, match="a bar"):
        DRAW["drawn"]("title\none two")
