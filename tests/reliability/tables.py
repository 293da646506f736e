"""Tables in Markdown, as docs/reliability.md shows them: what a command prints can be pasted there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence


def table(titles: Sequence[str], rows: Iterable[Sequence[object]], *, texts: int = 1) -> list[str]:
    """Returns the lines of a table whose first `texts` columns are words, and the others numbers."""
    head = [f"| {' | '.join(titles)} |", "|" + "---|" * texts + "---:|" * (len(titles) - texts)]
    return head + [f"| {' | '.join(map(_cell, row))} |" for row in rows]


def laws_table(laws: Iterable[str], broken: Counter[str]) -> list[str]:
    """Returns the lines of the table of laws: how often each was broken."""
    return table(("law", "broken"), [(law, broken[law]) for law in laws])


def _cell(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
