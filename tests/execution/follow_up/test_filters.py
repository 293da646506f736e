"""A tracked filter is wider than what was sent exactly where it may select another run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.plan import Order
from gateway.core.request import ActionRequest, ByFilter
from gateway.execution.fates import is_wider

URLS = ("https://a.example/x", "https://a.example/y", "https://b.example/")
KEYS = ("a", "b", "c-1", "d.e")
DATE_MS = 1_795_000_000_000
FILTERS = st.builds(
    lambda urls, exact, dates, ips, keys, labels: (
        ByFilter(tuple(urls), bool(urls) and exact, dates[0], dates[1], tuple(ips), tuple(keys), tuple(labels))
        if urls or any(dates) or ips or keys or labels
        else ByFilter(labels=("a",))
    ),
    st.lists(st.sampled_from(URLS), unique=True),
    st.booleans(),
    st.sampled_from([(None, None), (DATE_MS, None), (None, DATE_MS), (DATE_MS, DATE_MS + 5)]),
    st.lists(st.sampled_from(("192.0.2.1", "2001:db8::1")), unique=True),
    st.lists(st.sampled_from(KEYS), unique=True),
    st.lists(st.sampled_from(KEYS), unique=True),
)


def alone(value: object) -> object:
    """A list of one as its one value."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def as_text(value: object) -> object:
    """Every value as the text it has on the wire."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
    return value


def with_commas(value: object) -> object:
    """Several values as one text."""
    return ",".join(value) if isinstance(value, list) else value


def shown(selection: ByFilter, spelt: Callable[[object], object] = lambda value: value) -> dict[str, object]:
    """The filter of an order as upstream may show it."""
    wire = ActionRequest(selection, 10).wire()
    return {name: spelt(value) for name, value in wire.items() if name != "count"}


@given(selection=FILTERS, spelt=st.sampled_from([alone, as_text, with_commas, lambda value: value]))
def test_the_filter_that_was_sent_is_not_wider_however_it_is_spelt(
    selection: ByFilter, spelt: Callable[[object], object]
) -> None:
    """One value may stand alone or in a list, several with commas, numbers and flags as text; more fields narrow."""
    told = shown(selection, spelt)
    assert not is_wider(Order(selection, 10), told)
    assert not is_wider(Order(selection, 10), {**told, "count": 10, "host": "a.example", "orderBy": None})


@given(selection=FILTERS, data=st.data())
def test_a_field_that_is_missing_or_empty_is_wider(selection: ByFilter, data: st.DataObject) -> None:
    """Without it upstream selects runs that the order does not."""
    told = shown(selection)
    name = data.draw(st.sampled_from(sorted(told)))
    empty: object = data.draw(st.sampled_from([None, "", [], [""], {}, False, 0, [None], 1.5]))
    assert is_wider(Order(selection, 10), {key: value for key, value in told.items() if key != name})
    assert is_wider(Order(selection, 10), told | {name: empty})


@given(selection=FILTERS, data=st.data())
def test_another_value_is_wider(selection: ByFilter, data: st.DataObject) -> None:
    """Also beside those that were sent, and also behind a comma."""
    told = shown(selection)
    name = data.draw(st.sampled_from(sorted(set(told) - {"workflowUrlExactMatch"})))
    value = told[name]
    if isinstance(value, list):
        assert is_wider(Order(selection, 10), told | {name: [*value, "zzz"]})
        assert is_wider(Order(selection, 10), told | {name: [f"{value[0]},zzz"]})
        assert is_wider(Order(selection, 10), told | {name: [*value, ""]})
    else:
        assert is_wider(Order(selection, 10), told | {name: 1})


def test_fewer_values_are_not_wider() -> None:
    """A server that reads one label of two selects fewer runs."""
    order = Order(ByFilter(labels=("a", "b")), 10)
    assert not is_wider(order, {"label": "a"})


@pytest.mark.parametrize("name", ["labels", "Label", "LABEL"])
def test_a_field_under_another_name_is_not_taken_for_it(name: str) -> None:
    """Names are case-sensitive upstream; what is not known to be the filter is not believed."""
    assert is_wider(Order(ByFilter(labels=("a",)), 10), {name: ["a"]})
