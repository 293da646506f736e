"""The chart of throughput as an SVG file: horizontal bars, a panel for each number of connections; pure."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

Panel = tuple[str, Sequence[tuple[str, float]]]

_WIDTH = 720
_NAMES = 130
_BAR = 18
_GAP = 6
_TITLE = 30
_OURS = "#0b6e4f"
_OTHERS = "#9aa5b1"


def svg(title: str, panels: Sequence[Panel]) -> str:
    """A document of its own; every panel has its title and its bars (name, value), all on one scale."""
    longest = max((value for _, group in panels for _, value in group), default=1.0)
    body, top = [_text(0, 20, title, weight="bold")], 2 * _TITLE
    for name, group in panels:
        body.append(_text(0, top - 10, name, weight="bold"))
        for label, value in group:
            body += _row(label, value, top=top, share=value / longest)
            top += _BAR + _GAP
        top += _TITLE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" font-family="sans-serif" font-size="13">'
    )
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>", ""])


def _row(label: str, value: float, *, top: int, share: float) -> list[str]:
    # The number stands behind its bar, so that the longest bar leaves room for it.
    length = max(1, round(share * (_WIDTH - _NAMES - 60)))
    color = _OURS if label.startswith("gateway") else _OTHERS
    middle = top + _BAR - 5
    return [
        _text(0, middle, label),
        f'<rect x="{_NAMES}" y="{top}" width="{length}" height="{_BAR}" fill="{color}"/>',
        _text(_NAMES + length + 6, middle, f"{value:.2f}"),
    ]


def _text(x: int, y: int, text: str, *, weight: str = "normal") -> str:
    return f'<text x="{x}" y="{y}" font-weight="{weight}">{escape(text)}</text>'
