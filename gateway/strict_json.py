"""JSON read in exactly one way: one object in UTF-8 without a byte-order mark, distinct keys, no NaN or Infinity."""

from __future__ import annotations

import json


def json_object(content: bytes) -> dict[str, object]:
    """The object in `content`.

    Raises:
        ValueError: it is anything else, or nested too deeply to read.
    """
    try:
        # A decoded str is read as it is: no UTF-16 is guessed, and a byte-order mark is an error.
        value = _DECODER.decode(content.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind of error for every unreadable content
    return value


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("duplicate key")
    return members


def _refuse(constant: str) -> object:
    raise ValueError(f"{constant} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_distinct, parse_constant=_refuse)
