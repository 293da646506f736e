"""A field of plain values that a policy may bound is known in the index, in proposals, in offers and of runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.authoring.offers import MADE_UP
from gateway.core.request import ByFilter
from gateway.core.run import Run
from gateway.policy.choose import selects
from gateway.policy.format.conditions import VALUE_FIELDS
from gateway.policy.index.fields import ALLOWED, DENIED
from gateway.policy.index.rules import asked, seen
from gateway.policy.model import MEMBERS, RUN_MEMBERS, ValueCondition, values

RUN = Run("wfr_1", "https://a.example.com/b", 1_795_000_000_000, "RUN_STARTED")


@pytest.mark.parametrize("table", [MEMBERS, RUN_MEMBERS, MADE_UP], ids=["requests", "runs", "examples"])
def test_every_table_has_every_field(table: dict[str, str]) -> None:
    """A field that is missing in one would be a crash, or a bound that nothing keeps."""
    assert table.keys() == VALUE_FIELDS.keys()
    assert VALUE_FIELDS.keys() <= ALLOWED.keys() & DENIED.keys()


@pytest.mark.parametrize("field", VALUE_FIELDS)
def test_a_value_of_a_field_is_found_in_requests_and_runs(field: str) -> None:
    """Each field by its own member, and by no other."""
    value = VALUE_FIELDS[field](MADE_UP[field])
    request = ByFilter(**{MEMBERS[field]: (value,)})  # type: ignore[arg-type]
    many = RUN_MEMBERS[field] == MEMBERS[field]
    run = replace(RUN, **{RUN_MEMBERS[field]: (value,) if many else value})  # type: ignore[arg-type]
    assert request.carried == {field}
    assert asked(request) == {field: (value,)}
    assert values(run, field) == seen(run)[field] == (value,)
    assert [name for name in VALUE_FIELDS if seen(run)[name]] == [field]
    assert selects(request, run)
    assert not selects(request, RUN)
    assert ValueCondition(field, any_of=frozenset((value,))).contains(request, 0)
    assert not ValueCondition(field, any_of=frozenset(("other",))).contains(request, 0)
