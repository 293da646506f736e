"""One object in one reading: how it is read quickly makes no difference to what is read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forms.strict_json import json_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=3), VALUES, max_size=4)
SPELLINGS: list[dict[str, Any]] = [
    {},
    {"separators": (",", ":")},
    {"separators": (",", ":"), "ensure_ascii": False},
    {"indent": 1},
]


@given(OBJECTS, st.sampled_from(SPELLINGS))
def test_every_spelling_of_an_object_is_read_as_that_object(value: dict[str, Any], spelling: dict[str, Any]) -> None:
    """Compact or not, escaped or not; to the last digit, and true is not 1."""
    found = json_object(json.dumps(value, **spelling).encode("utf-8", "surrogatepass"))
    assert repr(found) == repr(value)


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1,"a":2}',
        b'{"a":{"b":1,"b":1}}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":1}x',
        b'{"a":"\xff"}',
        '{"a":1}'.encode("utf-16"),
        b'{"a":01}',
        b"[1]",
        b"1",
        b"",
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
)
def test_what_has_two_readings_or_none_is_refused(content: bytes) -> None:
    """A duplicate key, a constant that is not JSON, another encoding, no object, too deep."""
    with pytest.raises(ValueError, match=r"."):
        json_object(content)
