"""Numbers in sentences: `1 run`, `2 runs`."""

from __future__ import annotations


def counted(number: int, one: str, many: str | None = None) -> str:
    """Returns the number with what is counted; `many` is its plural where that is not `one` with an s."""
    return f"{number} {one if number == 1 else many or f'{one}s'}"
