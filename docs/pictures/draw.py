"""`python docs/pictures/draw.py`: draws every `*.txt` beside it as an SVG: a title, and steps from top to bottom.

A step is a line `name | what happens there`. The first and the last are outside the gateway.
"""

from __future__ import annotations

import sys
from html import escape
from pathlib import Path

WIDTH, STEP, BOX, LEFT, NAMES = 760, 52, 36, 20, 220
"""Pixels: of the picture, from one step to the next, of a box's height, before a box, and of a box's width."""


def drawn(text: str) -> str:
    """Return the SVG of a description. Raises: ValueError: a line is no step."""
    title, *lines = text.strip().splitlines()
    steps = [line.split("|") for line in lines]
    if any(len(step) != 2 for step in steps):
        raise ValueError("a step is a name, a bar, and what happens there")
    shapes = [shape for number, (name, what) in enumerate(steps) for shape in _step(number, len(steps), name, what)]
    height = 40 + STEP * len(steps)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        f'role="img" font-family="system-ui, sans-serif" font-size="14">'
    )
    background = f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>'
    named = [f"<title>{escape(title)}</title>", background, *shapes]
    return "\n".join([head, *named, "</svg>", ""])


def _step(number: int, steps: int, name: str, what: str) -> list[str]:
    top, middle = 20 + STEP * number, 20 + STEP * number + BOX / 2
    outside = number in (0, steps - 1)
    fill, edge = ("#f3f4f6", "#9ca3af") if outside else ("#eff6ff", "#2563eb")
    shapes = [
        f'<rect x="{LEFT}" y="{top}" width="{NAMES}" height="{BOX}" rx="6" fill="{fill}" stroke="{edge}"/>',
        f'<text x="{LEFT + 12}" y="{middle + 5:g}" fill="#111827">{escape(name.strip())}</text>',
        f'<text x="{LEFT + NAMES + 20}" y="{middle + 5:g}" fill="#374151">{escape(what.strip())}</text>',
    ]
    if number:
        x, end = LEFT + NAMES / 2, top - 2
        shapes.append(f'<path d="M{x:g} {end - 12:g}V{end:g}m-4 -5l4 5l4 -5" fill="none" stroke="#6b7280"/>')
    return shapes


def main() -> int:
    """Write every picture, and return 0."""
    for source in sorted(Path(__file__).parent.glob("*.txt")):
        source.with_suffix(".svg").write_text(drawn(source.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
