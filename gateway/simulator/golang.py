"""A query and a JSON body as a lenient server in Go reads them; the gateway must be safe against this reading.

Every leniency here widens a cancel, and each is intended. This module shares no code with the gateway's own reading,
so that the two can be compared.
"""

from __future__ import annotations

import json
import re
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_INT = re.compile(r"[+-]?[0-9]{1,18}")


def query_values(raw: str) -> dict[str, list[str]]:
    """Parse a query like `url.ParseQuery` with its error ignored, as `r.URL.Query()` does.

    A pair with `;` or a bad `%` is dropped.
    """
    values: dict[str, list[str]] = {}
    for pair in raw.split("&"):
        if not pair or ";" in pair or _BAD_ESCAPE.search(pair):
            continue
        name, _, value = pair.partition("=")
        values.setdefault(_unescape(name), []).append(_unescape(value))
    return values


def parse_bool(text: str) -> bool:
    """Parse like `strconv.ParseBool`. Text that it cannot read counts as false, because callers drop the error."""
    return text in _TRUE


def parse_int(text: str) -> int | None:
    """Parse like `strconv.ParseInt` in base 10. Return None where it would fail and the filter would stay unset."""
    return int(text) if _INT.fullmatch(text) else None


def json_members(body: bytes) -> dict[str, object]:
    """Decode like `json.NewDecoder(body).Decode` into a struct.

    Names are case-folded, the last duplicate wins, and `null` sets nothing. Only the first value is read; anything
    after it stays in the stream.

    Raises: ValueError if the body is not JSON, or neither an object nor `null`.
    """
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    if not text:
        return {}
    decoder = json.JSONDecoder(object_pairs_hook=_fold, parse_constant=_reject)
    try:
        value, _ = decoder.raw_decode(text)
    except RecursionError as exc:
        raise ValueError("exceeded max depth") from exc
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError("cannot unmarshal a value that is no object")  # noqa: TRY004 (one error for a bad body)
    return value


def _unescape(text: str) -> str:
    return unquote_to_bytes(text.replace("+", " ")).decode("utf-8", "replace")


def _fold(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name.casefold(): value for name, value in pairs}


def _reject(constant: str) -> object:
    raise ValueError(f"invalid character in {constant}")
