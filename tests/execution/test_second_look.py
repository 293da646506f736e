"""The runs of an order are looked at again: together where nothing was hidden, else by their IDs; in linear work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gateway.core.outcome import Cancelled
from gateway.core.plan import Permit, orders_of
from gateway.core.request import ActionRequest, ByIds
from gateway.core.run import Resolution, Resolved, Run, Skip
from gateway.execution.judging import Judging
from gateway.execution.plans.handled import Handled
from gateway.execution.plans.recheck import SecondLook
from tests.execution.bench import REQUEST, Bench, runs
from tests.execution.fakes import MemoryRuns

AS_OF_MS = 1_794_999_999_000


def names(found: list[Run]) -> list[str]:
    """Their IDs."""
    return [run.run_id for run in found]


async def test_what_a_whole_list_had_shown_is_looked_at_again_together() -> None:
    """Each further order once, since the time of upstream at which the list began."""
    bench = Bench(MemoryRuns(runs(250), as_of_ms=AS_OF_MS))
    assert (await bench.run()).outcome == Cancelled(200, 250)
    found = names(runs(250))
    assert bench.account.again == [(found[100:200], AS_OF_MS), (found[200:], AS_OF_MS)]


@pytest.mark.parametrize(("as_of_ms", "narrowed"), [(None, False), (AS_OF_MS, True), (None, True)])
async def test_each_run_is_asked_for_by_its_id_where_something_may_be_hidden(
    as_of_ms: int | None, narrowed: bool
) -> None:
    """By a filter, which hides another team's run under one of the IDs, or by a time that nobody knows."""
    bench = Bench(MemoryRuns(runs(250), as_of_ms=as_of_ms, narrowed=narrowed))
    await bench.run()
    found = names(runs(250))
    assert bench.account.again == []
    assert bench.account.looks[1:] == [*([found[:100]] if narrowed else []), found[100:200], found[200:]]


async def test_runs_that_were_named_are_looked_at_again_by_their_names() -> None:
    """Their look-up had begun with the IDs."""
    bench = Bench(MemoryRuns(runs(3), as_of_ms=AS_OF_MS))
    request = ActionRequest(ByIds(tuple(names(runs(3)))), 3)
    look = second_look(bench, runs(3), request=request)
    await look(look.plan.orders[0], 2)
    assert (bench.account.again, bench.account.looks) == ([], [names(runs(3))])


async def test_a_run_that_was_restarted_is_left_out_and_named() -> None:
    """In the record and to the caller, in the word of today."""
    bench = Bench(MemoryRuns(runs(150), as_of_ms=AS_OF_MS))
    again = bench.account.runs[120]

    def restarts() -> None:
        if bench.upstream.orders:
            fresh = replace(again, created_ms=AS_OF_MS + 1)
            bench.account.runs = [fresh if run.run_id == again.run_id else run for run in bench.account.runs]

    bench.account.before = restarts
    settled = await bench.run()
    assert settled.skipped == {Skip.RESTARTED: (again.run_id,)}
    assert bench.log.closings()[0].skipped == {Skip.RESTARTED: (again.run_id,)}
    assert again.run_id not in bench.sent()


class Counted(tuple[Run, ...]):
    """Runs that count how often one of them is taken."""

    __slots__ = ()
    taken = 0

    def __iter__(self) -> Iterator[Run]:
        for run in super().__iter__():
            Counted.taken += 1
            yield run


def second_look(bench: Bench, found: list[Run], *, request: ActionRequest = REQUEST) -> SecondLook:
    """The check of a plan of these runs."""
    permit = Permit("team/tree", "permit", None, request, resolution=Resolution(max_runs=1_000))
    call = bench.call("d1", request=request)
    plan = call.planned(permit, orders_of(found), resolved=Resolved(Counted(found)))
    return SecondLook(
        plan,
        call,
        bench.account,
        bench.clock,
        0.0,
        Judging(bench.clock),
        Handled(bench.clock),
        as_of_ms=bench.account.as_of_ms,
    )


@pytest.mark.parametrize("number", [500, 1_000])
async def test_the_runs_of_a_plan_are_walked_once_however_many_orders_it_has(number: int) -> None:
    """Each order takes its own hundred; the work grows with the runs, not with their square."""
    bench = Bench(MemoryRuns(runs(number), as_of_ms=AS_OF_MS))
    look = second_look(bench, runs(number))
    Counted.taken = 0
    for at, order in enumerate(look.plan.orders, 1):
        await look(order, at)
    assert Counted.taken <= number
