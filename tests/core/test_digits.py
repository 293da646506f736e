"""Numbers are ASCII digits to the last one: `int` takes every script's digits, and upstream does not."""

from __future__ import annotations

import unicodedata
from urllib.parse import quote

import pytest

from gateway.core.errors import MalformedRequest
from gateway.core.parse import Body
from gateway.operations.calls.cancel_runs import parse_cancel


@pytest.fixture(scope="module")
def other_digits() -> list[str]:
    """Those of every script but ours."""
    return [chr(code) for code in range(0x80, 0x110000) if unicodedata.category(chr(code)) == "Nd"]


@pytest.mark.parametrize("number", ["count=1{}", "fromDate=178999999900{}", "toDate={}789999999000"])
def test_a_digit_of_another_script_is_none(number: str, other_digits: list[str]) -> None:
    """Also where it stands behind an ASCII digit."""
    for digit in other_digits:
        with pytest.raises(MalformedRequest):
            parse_cancel(f"label=a&{number.format(quote(digit))}".encode("ascii"), Body())
