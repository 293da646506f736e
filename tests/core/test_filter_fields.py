"""What a filter is judged by is what is sent: no field of it can be left out between the one and the other."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from urllib.parse import parse_qsl

import pytest

from gateway.core.parse import NAMES, Body, parse_cancel
from gateway.core.plan import Order
from gateway.core.request import REPEATABLE, WIRES, ByFilter, CancelRequest, wires_of
from tests.core.strategies import MEMBERS, NOW_MS, POOLS

VALUES: dict[str, object] = {
    "workflow_urls": ("https://a.example/x", "https://a.example/y"),
    "exact": True,
    "from_date": NOW_MS - 1,
    "to_date": NOW_MS,
    **{MEMBERS[name]: POOLS[name][:2] for name in POOLS},
}
"""A value for each member, as long as a query allows."""

MEMBER_NAMES = [one.name for one in fields(ByFilter) if one.init]
ALL = ByFilter(**VALUES)  # type: ignore[arg-type]
WIRE = dict(zip(MEMBER_NAMES, WIRES, strict=True))


def alone(member: str) -> ByFilter:
    """A filter with as little as can be beside this member."""
    needed = {"workflow_urls"} if member == "exact" else set()
    return ByFilter(**{name: value_of(name) for name in {member, *needed}})  # type: ignore[arg-type]


def value_of(member: str) -> object:
    """The value to test a member with."""
    if member not in VALUES:
        pytest.fail(f"no value to test {member} with: give it some in tests/core/strategies.py (POOLS, MEMBERS)")
    return VALUES[member]


def texts(value: object) -> list[str]:
    """A value as a query writes it."""
    if isinstance(value, tuple):
        return list(value)
    return ["true" if value is True else str(value)]


def test_every_member_has_a_value_here_and_stands_in_the_order_of_the_query() -> None:
    """A new one is tested as the others are, and its parameter is one of the call's."""
    assert sorted(VALUES) == sorted(MEMBER_NAMES)
    assert [wire.name for wire in WIRES] == [name for name in NAMES if name not in ("workflowRunIds", "count")]


@pytest.mark.parametrize("member", MEMBER_NAMES)
@pytest.mark.parametrize("beside", ["alone", "beside all others"])
def test_a_member_is_in_the_pairs_the_order_and_the_record(member: str, beside: str) -> None:
    """With every value that it has, under its own name, whatever stands beside it."""
    selection, wire, value = ALL if beside == "beside all others" else alone(member), WIRE[member], value_of(member)
    sent = texts(value)
    assert [value for name, value in selection.pairs() if name == wire.name] == sent
    query = Order(selection, 100).query
    assert [value for name, value in parse_qsl(query) if name == wire.name] == sent
    recorded = CancelRequest(selection, 100).wire()[wire.name]
    assert recorded == (sent if isinstance(value, tuple) else value)
    assert (wire.name in REPEATABLE) is isinstance(value, tuple)


@pytest.mark.parametrize("member", MEMBER_NAMES)
def test_what_selects_is_carried(member: str) -> None:
    """By the field that policies know it as, so that a rule without that field does not admit it."""
    assert alone(member).carried == {WIRE[member].field}
    assert ALL.carried == {wire.field for wire in WIRES}


@pytest.mark.parametrize("member", [*MEMBER_NAMES, "all"])
def test_what_is_sent_reads_back_as_what_was_judged(member: str) -> None:
    """Nothing of the filter is lost on the way, in either direction."""
    selection = ALL if member == "all" else alone(member)
    assert parse_cancel(Order(selection, 7).query.encode(), Body()) == CancelRequest(selection, 7)


@pytest.mark.parametrize("member", [name for name in MEMBER_NAMES if isinstance(VALUES.get(name), tuple)])
def test_every_value_of_a_listed_member_is_checked(member: str) -> None:
    """One that no request can carry, one given twice, and more than there may be."""
    good = VALUES[member]
    assert isinstance(good, tuple)
    for wrong in ((*good, "a b"), (good[0], good[0]), tuple(f"{good[0]}{number}" for number in range(101))):
        with pytest.raises(ValueError, match=f"^{WIRE[member].name}: "):
            ByFilter(**{member: wrong})  # type: ignore[arg-type]


def test_a_filter_whose_members_are_all_empty_is_none() -> None:
    """Whatever kind of empty they are: upstream would read it as every run."""
    empties: list[dict[str, object]] = [{}, {"labels": []}, {"from_date": 0}, {"exact": True}, {"workflow_urls": ()}]
    for empty in empties:
        with pytest.raises(ValueError, match=r"at least one field|only beside workflowUrl"):
            ByFilter(**empty)  # type: ignore[arg-type]


def test_a_member_that_does_not_say_how_it_is_sent_is_refused() -> None:
    """When the module is loaded, before any request."""

    @dataclass(frozen=True)
    class Forgetful(ByFilter):
        regions: tuple[str, ...] = field(default=())

    with pytest.raises(TypeError, match=r"not sent: regions$"):
        wires_of(Forgetful)
