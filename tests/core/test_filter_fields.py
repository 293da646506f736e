"""What a filter is judged by is what is sent: no field of it can be left out between the one and the other.

A filter with a host or path is the exception: nothing of it is ever sent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from urllib.parse import parse_qsl, quote, urlencode

import pytest

from gateway.core.parse import Body
from gateway.core.plan import Order, order_of
from gateway.core.request import (
    HERE,
    REPEATABLE,
    WIRES,
    ActionRequest,
    ByFilter,
    ByFilterHere,
    Filter,
    Wire,
    filter_with,
    wires_of,
)
from gateway.operations.calls.cancel_runs import NAMES, parse_cancel
from tests.core.strategies import MEMBERS, NOW_MS, POOLS

VALUES: dict[str, object] = {
    "workflow_urls": ("https://a.example/x", "https://a.example/y"),
    "exact": True,
    "from_date": NOW_MS - 1,
    "to_date": NOW_MS,
    **{MEMBERS[name]: POOLS[name][:2] for name in POOLS},
}
"""A value for each member, as long as a query allows."""

WIRE: dict[str, Wire] = dict(zip([one.name for one in fields(ByFilterHere) if one.init], WIRES, strict=True))
SENT = [one.name for one in fields(ByFilter) if one.init]
NEVER_SENT = [name for name in WIRE if name not in SENT]
EVERY = [*WIRE, "all"]


def alone(member: str) -> Filter:
    """A filter with as little as can be beside this member; `all` is one with every member that can be sent."""
    named = SENT if member == "all" else [member, *(["workflow_urls"] if member == "exact" else [])]
    return filter_with({name: value_of(name) for name in named})


def beside_all(member: str) -> Filter:
    """A filter with this member and all that can be sent."""
    return filter_with({name: value_of(name) for name in {*SENT, member}})


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
    assert sorted(VALUES) == sorted(WIRE)
    assert [wire.name for wire in WIRES] == [name for name in NAMES if name not in ("workflowRunIds", "count")]


@pytest.mark.parametrize("member", WIRE)
@pytest.mark.parametrize("made", [alone, beside_all], ids=["alone", "beside all others"])
def test_a_member_is_in_the_pairs_the_order_and_the_record(member: str, made: Callable[[str], Filter]) -> None:
    """With every value that it has, under its own name, whatever stands beside it; or there is no order at all."""
    selection, wire, value = made(member), WIRE[member], value_of(member)
    sent = texts(value)
    assert [value for name, value in selection.pairs() if name == wire.name] == sent
    assert isinstance(selection, ByFilter) is (member in SENT)
    if isinstance(selection, ByFilter):
        query = Order(selection, 100).query
        assert [value for name, value in parse_qsl(query) if name == wire.name] == sent
    recorded = ActionRequest(selection, 100).wire()[wire.name]
    assert recorded == (sent if isinstance(value, tuple) else value)
    assert (wire.name in REPEATABLE) is isinstance(value, tuple)


@pytest.mark.parametrize("made", [alone, beside_all], ids=["alone", "beside all others"])
@pytest.mark.parametrize("member", NEVER_SENT)
def test_no_order_can_be_made_of_a_filter_that_names_a_host_or_path(member: str, made: Callable[[str], Filter]) -> None:
    """Neither by itself nor beside all that could be sent; a type checker refuses it, and so does the type."""
    request = ActionRequest(made(member), 7)
    with pytest.raises(TypeError, match="without host and path"):
        Order(request.selection, 7)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="without host and path"):
        order_of(request)


def test_what_is_never_sent_is_a_field_that_only_the_gateway_matches() -> None:
    """The two kinds of filter differ in nothing else, and neither can be made in the place of the other."""
    assert {WIRE[name].field for name in NEVER_SENT} == HERE == {"host", "path"}
    with pytest.raises(TypeError):
        ByFilter(hosts=("a.example",))  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="without host and path"):
        ByFilterHere(labels=("nightly",))


@pytest.mark.parametrize("member", WIRE)
def test_what_selects_is_carried(member: str) -> None:
    """By the field that policies know it as, so that a rule without that field does not admit it."""
    assert alone(member).carried == {WIRE[member].field}
    assert alone("all").carried == {WIRE[name].field for name in SENT}


@pytest.mark.parametrize("member", EVERY)
def test_what_is_sent_reads_back_as_what_was_judged(member: str) -> None:
    """Nothing of the filter is lost on the way, in either direction."""
    selection = alone(member)
    query = urlencode([*selection.pairs(), ("count", "7")], quote_via=quote, safe="")
    assert parse_cancel(query.encode(), Body()) == ActionRequest(selection, 7)
    assert not isinstance(selection, ByFilter) or Order(selection, 7).query == query


@pytest.mark.parametrize("member", [name for name in WIRE if isinstance(VALUES.get(name), tuple)])
def test_every_value_of_a_listed_member_is_checked(member: str) -> None:
    """One that no request can carry, one given twice, and more than there may be."""
    good = VALUES[member]
    assert isinstance(good, tuple)
    for wrong in ((*good, "a b"), (good[0], good[0]), tuple(f"{good[0]}{number}" for number in range(101))):
        with pytest.raises(ValueError, match=f"^{WIRE[member].name}: "):
            filter_with({member: wrong})


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
