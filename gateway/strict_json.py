"""JSON read in exactly one way: one object in UTF-8 without a byte-order mark, distinct keys, no NaN or Infinity."""

from __future__ import annotations

import json


def json_object(content: bytes) -> dict[str, object]:
    """The object in `content`.

    Raises:
        ValueError: it is anything else, or nested too deeply to read.
    """
    try:
        # A decoded str keeps json.loads from guessing UTF-16, and makes a byte-order mark an error.
        value = json.loads(content.decode("utf-8"), object_pairs_hook=_distinct, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for every unreadable content
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")
