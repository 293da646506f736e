"""The figures beside the committed ones of the same build of Python, and which of them may not grow; pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from benchmarks.compare.report import NONE, table

BASELINE = Path(__file__).parents[1] / "instructions.json"
"""By build: by figure: the value."""

JUDGED = "instructions"
"""The figures that begin so are the same each time, within a few per cent; the others are only shown."""

LIMIT = 0.10
"""More instructions than this above the baseline are a failure."""

Figures = Mapping[str, float]


def grown(figures: Figures, baseline: Figures) -> list[str]:
    """Returns a sentence for each judged figure that is more than the limit above its baseline, or that is missing."""
    found = []
    for name, before in baseline.items():
        if not name.startswith(JUDGED):
            continue
        if name not in figures:
            found.append(f"{name}: not measured, and the baseline has it.")
        elif figures[name] > before * (1 + LIMIT):
            found.append(f"{name}: {figures[name] / before - 1:+.1%}, and at most {LIMIT:+.0%} is allowed.")
    return found


def report(figures: Figures, baseline: Figures) -> str:
    """Returns a table: each figure now, in the baseline, and its change."""
    rows = [[name, shown(value), shown(baseline.get(name)), _change(value, baseline.get(name))]
            for name, value in figures.items()]  # fmt: skip
    rows += [[name, NONE, shown(value), "not measured"] for name, value in baseline.items() if name not in figures]
    return table(["for one request", "now", "baseline", "change"], rows)


def shown(value: float | None) -> str:
    """Returns a figure as people write it: large ones whole, small ones with a decimal."""
    if value is None:
        return NONE
    return f"{value:,.0f}" if value >= 1000 else f"{value:.1f}"


def _change(value: float, before: float | None) -> str:
    return "new" if not before else f"{value / before - 1:+.1%}"
