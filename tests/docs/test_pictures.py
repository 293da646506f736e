"""Pictures are made of text by a command, and show what is there."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures"
GATEWAY = ROOT / "gateway"
DRAW = runpy.run_path(str(PICTURES / "draw.py"))
PANELS = runpy.run_path(str(PICTURES / "panels.py"))
DASHBOARD = json.loads((ROOT / "docs" / "examples" / "grafana.json").read_text())


@pytest.mark.parametrize("source", sorted(PICTURES.glob("*.txt")), ids=lambda path: path.stem)
def test_a_picture_is_what_its_text_draws(source: Path) -> None:
    """`make pictures` changes nothing."""
    assert source.with_suffix(".svg").read_text() == DRAW["drawn"](source.read_text())


def test_the_panels_are_those_of_the_dashboard_and_what_their_record_draws() -> None:
    """What was recorded is what the dashboard asks, panel by panel, and each shows something."""
    record = json.loads((PICTURES / "metrics.json").read_text())
    assert (PICTURES / "metrics.svg").read_text() == PANELS["drawn"](record)
    titles = [(panel["title"], panel["fieldConfig"]["defaults"]["unit"]) for panel in DASHBOARD["panels"]]
    assert [(panel["title"], panel["unit"]) for panel in record] == titles
    assert [panel["title"] for panel in record if not panel["series"]] == []


def test_every_step_of_a_cancel_is_a_module() -> None:
    """Between the caller and QStash each name of the walk is a file of the gateway."""
    _, _, *steps, _ = (PICTURES / "cancel.txt").read_text().strip().splitlines()
    modules = [step.partition("|")[0].strip() for step in steps]
    assert len(modules) == 7
    assert [name for name in modules if not (GATEWAY / f"{name}.py").is_file()] == []


def test_the_walks_agree() -> None:
    """The README's line, the picture and the numbered walk name the same modules in the same order."""
    _, _, *steps, _ = (PICTURES / "cancel.txt").read_text().strip().splitlines()
    drawn = [step.partition("|")[0].strip() for step in steps]
    line = re.search(r"^edge/protocol → [^`]*", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert line is not None
    assert re.split(r"\s*→\s*", line[0].strip()) == drawn
    walk = (ROOT / "docs" / "architecture.md").read_text().partition("\n1. ")[2].partition("\nA plan: ")[0]
    assert sorted(drawn, key=lambda name: walk.index(f"`{name}`")) == drawn


def test_a_line_that_is_no_step_is_refused() -> None:
    """A bar too many or too few would draw something else than was meant."""
    with pytest.raises(ValueError, match="a bar"):
        DRAW["drawn"]("title\none two")
