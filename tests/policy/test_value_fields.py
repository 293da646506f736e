"""A field of plain values that a policy may bound is known everywhere that requests, rules, runs and tests are made of.

Each test names the modules that it is about. It fails for a field that one of them does not have.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.authoring import cases
from gateway.authoring.offers import MADE_UP
from gateway.core.plan import order_of
from gateway.core.request import HERE, ActionRequest, Filter, filter_with
from gateway.core.run import Run
from gateway.operations.calls.cancel_runs import NAMES
from gateway.policy.choose import selects
from gateway.policy.conditions import MEMBERS, RUN_MEMBERS, ValueCondition, values
from gateway.policy.format.conditions import FIELDS, VALUE_FIELDS
from gateway.policy.index.fields import ALLOWED, DENIED
from gateway.policy.index.rules import asked, seen
from gateway.simulator import account, golang
from gateway.simulator.asked import Contract, read_asked
from gateway.simulator.runs import run_of
from gateway.upstream.runs.entries import read_entry, texts_of
from gateway.upstream.runs.narrowing import narrowing
from gateway.upstream.runs.query import parse_question
from gateway.upstream.runs.team_runs import _known
from tests.core import strategies
from tests.laws import models, reference

OF_RUNS = [field for field in VALUE_FIELDS if field not in HERE]
"""The fields that a run has besides its URL."""

RUN = Run("wfr_1", "https://a.example.com/b", 1_795_000_000_000, "RUN_STARTED")


@pytest.mark.parametrize("table", [MEMBERS, RUN_MEMBERS, MADE_UP], ids=["requests", "runs", "examples"])
def test_every_table_has_every_field(table: dict[str, str]) -> None:
    """A field that is missing in one would be a crash, or a bound that nothing keeps."""
    assert table.keys() == {*VALUE_FIELDS, "workflowRunId"}
    assert set(FIELDS) - {"created"} <= ALLOWED.keys() & DENIED.keys()


@pytest.mark.parametrize("field", VALUE_FIELDS)
def test_a_value_of_a_field_is_found_in_requests_and_runs(field: str) -> None:
    """Each field by its own member, and by no other."""
    value, request, run = VALUE_FIELDS[field](MADE_UP[field]), asking(field), having(field)
    assert request.carried == {field}
    assert asked(request, VALUE_FIELDS) == {field: (value,)}
    assert asked(request, ()) == {}
    assert values(run, field) == seen(run)[field] == (value,)
    assert [name for name in OF_RUNS if seen(run)[name]] == [field] * (field in OF_RUNS)
    assert selects(request, run)
    assert not selects(request, RUN)
    assert ValueCondition(field, any_of=frozenset((value,))).contains(request, 0)
    assert not ValueCondition(field, any_of=frozenset(("other",))).contains(request, 0)


def asking(field: str) -> Filter:
    """A request for the made-up value of one field."""
    return filter_with({MEMBERS[field]: (MADE_UP[field],)})


def having(field: str) -> Run:
    """A run with the made-up value of one field, and of no other; host and path are those of its URL."""
    if field in HERE:
        return replace(RUN, workflow_url=f"https://{MADE_UP['host']}{MADE_UP['path']}?q=/1")
    value = MADE_UP[field]
    return replace(RUN, **{RUN_MEMBERS[field]: (value,) if many(field) else value})  # type: ignore[arg-type]


def many(field: str) -> bool:
    """Whether a run may have several values."""
    return isinstance(getattr(RUN, RUN_MEMBERS[field]), tuple)


@pytest.mark.parametrize("field", VALUE_FIELDS)
def test_a_field_is_read_of_runs_and_shown_of_them(field: str) -> None:
    """`upstream/runs/entries` and `team_runs`: what a team is shown of a run reads back as that run."""
    run = having(field)
    assert read_entry(_known(run, {})) == run != RUN
    assert MADE_UP[field] in texts_of(run) or field == "callerIp"  # an address cannot hold a secret


@pytest.mark.parametrize("field", VALUE_FIELDS)
def test_a_field_is_asked_of_the_log(field: str) -> None:
    """`upstream/runs/narrowing` and `query`: by its wire name, from a cancel or from a team; host and path never."""
    assert narrowing(asking(field)) == ([] if field in HERE else [(field, MADE_UP[field])])
    assert parse_question(f"{field}={MADE_UP[field]}".encode(), events=False).selection == asking(field)
    assert field in NAMES


@pytest.mark.parametrize("field", OF_RUNS)
def test_a_field_can_stand_in_the_run_of_a_case(field: str) -> None:
    """`authoring/cases`: under its wire name, or as a list under that of its member."""
    properties = cases._run().json_schema()["properties"]
    assert isinstance(properties, dict)
    assert (RUN_MEMBERS[field] if many(field) else field) in properties


@pytest.mark.parametrize("field", OF_RUNS)
@pytest.mark.parametrize("contract", Contract)
def test_the_simulator_knows_a_field(field: str, contract: Contract) -> None:
    """Of cancels (`simulator/asked`), of runs (`simulator/runs`) and of the log (`simulator/account`)."""
    query = order_of(ActionRequest(asking(field), 1)).query
    hit, missed = run_of(_known(having(field), {})), run_of(_known(RUN, {}))
    cancel, log = read_asked(query, b"", contract), account._Asked.of(golang.query_values(query))
    assert [cancel.selects(run) for run in (hit, missed)] == [True, False]
    assert [log.lists(run, run.created_ms) for run in (hit, missed)] == [True, False]


def test_the_tests_know_every_field() -> None:
    """`tests/core/strategies` makes values of it, and `tests/laws` (models, reference) reads it a second time."""
    assert strategies.POOLS.keys() == VALUE_FIELDS.keys()
    assert {**strategies.MEMBERS, "workflowRunId": "failed_run_ids"} == MEMBERS
    assert set(models.FILTERS) & VALUE_FIELDS.keys() == set(OF_RUNS), "no model knows what is never sent"
    run = reference.Run("wfr_1", "https://example.com/example", "example", "example", "192.0.2.1", 0)
    assert {field: reference.member(field, run) for field in VALUE_FIELDS} == {
        field: MADE_UP[field] for field in VALUE_FIELDS
    }
