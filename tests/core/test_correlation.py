"""The ids that a caller gives a request: what is taken for one, and that nothing else is."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.forms.correlation import NOT_GIVEN, Correlation, correlation_of, trace_id_of
from tests.laws.growth import too_much

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WHOLE = f"00-{TRACE}-{PARENT}-01"


def read(traceparent: list[str], request_id: list[str], *, holds: str = "\0") -> Correlation:
    """The ids in these values of the two headers, of which none may hold that text."""
    return correlation_of(
        [one.encode("latin-1") for one in traceparent],
        [one.encode("latin-1") for one in request_id],
        is_secret=lambda text: holds in text,
    )


@pytest.mark.parametrize(
    ("value", "sampled"),
    [
        (WHOLE, True),
        (f"00-{TRACE}-{PARENT}-00", False),
        (f"00-{TRACE}-{PARENT}-ff", True),
        (f"cc-{TRACE}-{PARENT}-01", True),
        (f"cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like", True),
        (f"fe-{TRACE}-{PARENT}-02-", False),
    ],
)
def test_a_parent_of_version_00_or_a_later_one_is_read(value: str, sampled: bool) -> None:
    """W3C Trace Context, 3.2: of a later version the four fields of 00 are read, and what follows a dash is ignored."""
    assert read([value], []) == Correlation(TRACE, PARENT, sampled)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE}-{PARENT}-01-",
        f"cc-{TRACE}-{PARENT}-01.more",
        f"cc-{TRACE}-{PARENT}-011",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT.upper()}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{PARENT}-01",
        f"00-{TRACE}0-{PARENT}-01",
        f"0-{TRACE}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}",
        f"00-{TRACE}-{PARENT}-1",
        f"00-{TRACE}-{PARENT}-0G",
        f"00_{TRACE}_{PARENT}_01",
        f" {WHOLE}",
        f"{WHOLE} ",
        f"{WHOLE}\n",
        f"{WHOLE},{WHOLE}",
    ],
)
def test_whatever_else_stands_there_is_no_parent(value: str) -> None:
    """A trace is begun anew; the request is no worse for it."""
    assert read([value], []) == NOT_GIVEN


@pytest.mark.parametrize("value", ["a", "Order-4711_b.c", "0" * 128, "-", "..", "x_qgk_"])
def test_a_request_id_of_its_alphabet_is_taken(value: str) -> None:
    """From 1 to 128 characters."""
    assert read([], [value]).request_id == value


@pytest.mark.parametrize(
    "value",
    ["", "a b", "a\n", "a,b", "é", "0" * 129, "qgk_", "qgk_ci_1", 'a"b', "a\r\nX-Other: b", "{a}", "a/b", "a+b"],
)
def test_any_other_request_id_is_not(value: str) -> None:
    """It stands neither in the record nor in an answer."""
    assert read([], [value]) == NOT_GIVEN


def test_a_header_that_is_repeated_counts_as_malformed() -> None:
    """Two readers could take one each; the other header is read all the same."""
    assert read([WHOLE, WHOLE], ["a"]) == Correlation(request_id="a")
    assert read([WHOLE], ["a", "a"]) == Correlation(TRACE, PARENT)


def test_an_id_that_holds_a_secret_is_not_taken() -> None:
    """Each by itself."""
    assert read([WHOLE], ["my-secret-id"], holds="secret") == Correlation(TRACE, PARENT)
    assert read([WHOLE], ["mine"], holds=PARENT) == Correlation(request_id="mine")
    assert read([WHOLE], ["mine"], holds=TRACE) == Correlation(request_id="mine")


def test_a_decision_names_a_valid_trace() -> None:
    """A made trace id is accepted where it is sent on."""
    made = trace_id_of("0193a7c4-7d00-7c1b-8f1e-0123456789ab")
    assert read([f"00-{made}-{PARENT}-01"], []).trace_id == made == "0193a7c47d007c1b8f1e0123456789ab"


@given(st.lists(st.binary(max_size=80), max_size=3), st.lists(st.binary(max_size=140), max_size=3))
def test_no_bytes_make_reading_raise(traceparent: list[bytes], request_id: list[bytes]) -> None:
    """Whatever is read is of the fixed alphabets."""
    found = correlation_of(traceparent, request_id, is_secret=lambda _: False)
    assert found.request_id is None or (found.request_id.isascii() and " " not in found.request_id)
    assert (found.trace_id is None) == (found.parent_id is None)


def test_a_long_value_costs_linear_work() -> None:
    """Of what might be a parent, or an id, twice as much takes twice as long."""

    def reading(size: int) -> Callable[[], object]:
        parent, request_id = [f"cc-{TRACE}-{PARENT}-01-{'a-' * size}\0".encode()], [b"a" * 2 * size]
        return lambda: correlation_of(parent, request_id, is_secret=lambda _: False)

    assert reading(500_000)() == NOT_GIVEN
    assert too_much(reading, size=100_000) is None
