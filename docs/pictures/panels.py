"""`python docs/pictures/panels.py`: draws `metrics.json`, a recorded minute of the dashboard's queries, as an SVG."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TypedDict

RECORD = Path(__file__).with_name("metrics.json")
WIDTH, HEIGHT, GAP, COLUMNS = 480, 200, 16, 2
"""Pixels: of a panel, between panels, and how many stand side by side."""
LEFT, TOP, BOTTOM, NAMES = 56, 34, 24, 150
"""Pixels of a panel around its lines: for the numbers, the title, the times, and the names of the series."""
MOST = 7
"""The most series of one panel that are drawn; how many more there are is written below them."""
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#6b7280")
UNITS = {"s": " s", "ops": "/s", "d": " d", "short": "", "bool": ""}
SPAN_S = 60


class Series(TypedDict):
    """One line: its name, and a value for each step, None where there is none."""

    name: str
    values: list[float | None]


class Panel(TypedDict):
    """One panel as it was recorded."""

    title: str
    unit: str
    series: list[Series]


def drawn(panels: Sequence[Panel]) -> str:
    """Return the SVG of all panels."""
    rows = -(-len(panels) // COLUMNS)
    width, height = COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + GAP) + GAP
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="11">'
    )
    shapes = ["<title>A minute of a busy gateway</title>", f'<rect width="{width}" height="{height}" fill="#f3f4f6"/>']
    for number, panel in enumerate(panels):
        x, y = GAP + (number % COLUMNS) * (WIDTH + GAP), GAP + (number // COLUMNS) * (HEIGHT + GAP)
        shapes += [f'<g transform="translate({x} {y})">', *_panel(panel), "</g>"]
    return "\n".join([head, *shapes, "</svg>", ""])


def _panel(panel: Panel) -> Iterator[str]:
    yield f'<rect width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#ffffff" stroke="#d1d5db"/>'
    yield f'<text x="12" y="21" font-size="13" fill="#111827">{escape(panel["title"])}</text>'
    # The tallest lines are drawn, so that nothing that stands out is left out.
    series = sorted(panel["series"], key=lambda one: -max((value or 0 for value in one["values"]), default=0))
    top = max((value or 0 for one in series for value in one["values"]), default=0) or 1.0
    right, floor = WIDTH - NAMES, HEIGHT - BOTTOM
    for share in (0, 0.5, 1):
        y = floor - share * (floor - TOP)
        yield f'<path d="M{LEFT} {y:g}H{right}" stroke="#e5e7eb"/>'
        text = f"{share * top:.3g}{UNITS[panel['unit']]}"
        yield f'<text x="{LEFT - 6}" y="{y + 4:g}" text-anchor="end" fill="#6b7280">{text}</text>'
    for share in (0, 1):
        anchor, x = ("start", LEFT) if share == 0 else ("end", right)
        yield f'<text x="{x}" y="{HEIGHT - 8}" text-anchor="{anchor}" fill="#6b7280">{share * SPAN_S} s</text>'
    for number, one in enumerate(series[:MOST]):
        colour, y = COLOURS[number], TOP + 10 + number * 18
        yield f'<path d="{_line(one["values"], top)}" fill="none" stroke="{colour}" stroke-width="1.5"/>'
        yield f'<path d="M{right + 8} {y - 4}h10" stroke="{colour}" stroke-width="3"/>'
        yield f'<text x="{right + 22}" y="{y}" fill="#374151">{escape(_short(one["name"]))}</text>'
    if len(series) > MOST:
        yield f'<text x="{right + 22}" y="{TOP + 10 + MOST * 18}" fill="#6b7280">and {len(series) - MOST} more</text>'


def _line(values: Sequence[float | None], top: float) -> str:
    """Return the path of one series; it begins anew after a gap."""
    wide, high = (WIDTH - NAMES - LEFT) / (len(values) - 1), HEIGHT - BOTTOM - TOP
    parts, drawing = [], False
    for step, value in enumerate(values):
        if value is not None:
            x, y = LEFT + step * wide, HEIGHT - BOTTOM - value / top * high
            parts.append(f"{'L' if drawing else 'M'}{x:.1f} {y:.1f}")
        drawing = value is not None
    return "".join(parts) or "M0 0"


def _short(name: str) -> str:
    return name if len(name) <= 21 else f"{name[:9]}…{name[-11:]}"


def main() -> int:
    """Write the picture, and return 0."""
    RECORD.with_suffix(".svg").write_text(drawn(json.loads(RECORD.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
