"""Rules with `runs: {cap}`: a part is taken, the rest is left and said, and nothing is ordered twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.outcome import Cancelled, NotSent, Unknown
from gateway.core.request import CANCEL_RUNS, RUN_IDS
from gateway.core.run import CANCELLED, HANDLED, Listing, Resolution, Skip
from gateway.edge import answers
from gateway.execution.in_flight import Done
from gateway.execution.plans.handled import KEPT_S, MOST, Earlier, Handled
from gateway.policy.rules import Policies
from tests.execution.bench import BOB, REQUEST, RULE, Bench, runs
from tests.execution.fakes import HeldUpstream, MemoryRuns, PromptUpstream, StillClock

CAPPED = Policies((replace(RULE, resolution=Resolution(cap=100)),), "capped")


def capped(number: int, **members: object) -> Bench:
    """A pipeline whose rule takes a hundred at most, and an account with so many runs."""
    return Bench(MemoryRuns(runs(number)), live=CAPPED, policies=CAPPED, **members)  # type: ignore[arg-type]


async def cancelled(bench: Bench, name: str) -> Done:
    """A cancel under the rule with the cap, whose answer was written."""
    result = await bench.pipeline.run(bench.call(name, policies=CAPPED))
    assert isinstance(result, Done), result
    bench.pipeline.answered(result, caller_gone=False)
    return result


async def test_a_loop_takes_every_run_once_and_is_told_when_nothing_is_left() -> None:
    """The documented loop goes on while something was cancelled; upstream's index lags behind all of it."""
    bench, numbers, more = capped(428), [], []
    for number in range(6):
        done = await cancelled(bench, f"d{number}")
        assert isinstance(done.outcome, Cancelled)
        numbers.append(done.outcome.cancelled)
        more.append(done.result.more)
        assert answers.outcome(done.result, done.plan.decision_id).status == 200
    assert numbers == [100, 100, 100, 100, 28, 0]
    assert more == [True] * 4 + [False] * 2
    assert sorted(bench.sent()) == sorted(run.run_id for run in runs(428))


async def test_what_was_left_out_is_said() -> None:
    """In headers of the answer: the cap, and that more match."""
    done = await cancelled(capped(150), "d1")
    headers = dict(answers.outcome(done.result, "d1").headers)
    assert (headers[b"gateway-narrowed"], headers[b"gateway-more"]) == (b"runs=100", b"true")
    assert done.plan.narrowed == {"runs": [REQUEST.count, 100]}
    done = await cancelled(capped(100), "d1")
    assert b"gateway-more" not in dict(answers.outcome(done.result, "d1").headers)


async def test_after_an_early_end_the_first_order_too_is_looked_at_by_id() -> None:
    """What was not listed may be another run under one of the IDs."""
    bench = capped(150)
    await cancelled(bench, "d1")
    assert bench.account.looks[1:] == [[run.run_id for run in runs(100)]]
    bench = capped(100)
    await cancelled(bench, "d1")
    assert len(bench.account.looks) == 1


async def test_nothing_cancelled_while_runs_are_left_is_no_success() -> None:
    """A client's loop would end at a 200 with nothing cancelled, and its author believe that all is done."""
    young = Policies((replace(RULE, resolution=Resolution(cap=100, older_than_ms=10**12)),), "young")
    bench = Bench(MemoryRuns(runs(3)), live=young, policies=young)
    result = await bench.pipeline.run(bench.call("d1", policies=young))
    assert isinstance(result, Done)
    assert result.outcome == Cancelled(None, 0)
    answer = answers.outcome(result.result, "d1")
    assert answer.status == 409
    assert b'"code":"nothing_cancelled"' in answer.body
    assert b"3 runs younger than the rule allows" in answer.body


async def test_a_run_that_an_order_has_cancelled_is_left_out_as_done() -> None:
    """For ten minutes, because upstream's index lags."""
    bench = capped(3)
    await cancelled(bench, "d1")
    done = await cancelled(bench, "d2")
    assert (done.outcome, set(done.skipped), done.result.more) == (Cancelled(None, 0), {Skip.DONE}, False)
    assert answers.outcome(done.result, "d2").status == 200
    bench.clock.steady_s += KEPT_S
    assert (await cancelled(bench, "d3")).outcome == Cancelled(200, 3)


async def test_a_run_of_unknown_fate_is_not_ordered_again_and_not_said_to_be_gone() -> None:
    """A loop would end at a 200, and the runs may be at work; when their states were read they may be ordered again."""
    bench = capped(3, upstream=PromptUpstream([Unknown("read_timeout")]))
    await cancelled(bench, "d1")
    done = await cancelled(bench, "d2")
    assert (done.outcome, set(done.skipped), done.result.more) == (Cancelled(None, 0), {Skip.DONE}, True)
    assert answers.outcome(done.result, "d2").status == 409
    bench.pipeline.plans.settled({"decision_id": "d1", "source": "read_back", "cancelled": 0})
    assert (await cancelled(bench, "d3")).outcome == Cancelled(200, 3)


async def test_where_fewer_were_cancelled_than_ordered_the_rest_is_ordered_again() -> None:
    """Nobody knows which of them still run."""
    bench = capped(3, upstream=PromptUpstream([Cancelled(200, 2)]))
    await cancelled(bench, "d1")
    assert (await cancelled(bench, "d2")).outcome == Cancelled(200, 3)


async def test_while_an_order_is_out_no_other_names_its_runs() -> None:
    """Another caller's look-up leaves them out, and is told that more match."""
    bench = capped(3, upstream=HeldUpstream())
    first = asyncio.create_task(cancelled(bench, "d1"))
    assert isinstance(bench.upstream, HeldUpstream)
    await bench.upstream.called.wait()
    second = await bench.pipeline.run(bench.call("d2", BOB, policies=CAPPED))
    assert isinstance(second, Done)
    assert (second.outcome, second.result.more, len(bench.upstream.orders)) == (Cancelled(None, 0), True, 1)
    bench.upstream.answer.set_result(Cancelled(200, 3))
    assert (await first).outcome == Cancelled(200, 3)


@pytest.mark.parametrize("certain", [True, False])
async def test_what_an_earlier_process_ordered_is_left_out_until_it_was_read_back(*, certain: bool) -> None:
    """An order that was on its way when the process ended leaves open whether its runs are gone."""
    bench = capped(3)
    bench.pipeline.recall(Earlier(RUN_IDS, run.run_id, run.created_ms, 5.0, "before", certain) for run in runs(3))
    done = await cancelled(bench, "d1")
    assert (done.outcome, set(done.skipped), done.result.more) == (Cancelled(None, 0), {Skip.DONE}, not certain)
    bench.pipeline.plans.settled({"decision_id": "before", "source": "read_back", "cancelled": 0})
    assert (await cancelled(bench, "d2")).outcome == Cancelled(200, 3)


async def test_an_order_that_was_certainly_not_sent_leaves_its_runs_alone() -> None:
    """They are cancelled by the next request."""
    bench = capped(3, upstream=PromptUpstream([NotSent("connect_error")]))
    await cancelled(bench, "d1")
    assert (await cancelled(bench, "d2")).outcome == Cancelled(200, 3)


async def test_a_run_that_was_started_again_under_its_id_is_not_done() -> None:
    """The run that was cancelled is known by its creation time."""
    bench = capped(3)
    await cancelled(bench, "d1")
    bench.account.runs = [replace(run, created_ms=run.created_ms + 60_000) for run in runs(3)]
    assert (await cancelled(bench, "d2")).outcome == Cancelled(200, 3)


def test_of_the_runs_that_were_ordered_a_bounded_number_is_kept() -> None:
    """The oldest are forgotten; a run that upstream shows as ended stays as it is shown."""
    clock = StillClock()
    handled, many = Handled(clock), runs(MOST + 5)
    for part in (many[:10], many[10:]):
        handled.begin("d", part)
        handled.end("d", part, Cancelled(200, len(part)))
    assert [(run.run_id, run.created_ms) in handled.of(CANCEL_RUNS) for run in (many[4], many[5], many[-1])] == [
        False,
        True,
        True,
    ]
    shown = handled.corrected(Listing((many[-1], replace(many[-2], state=CANCELLED))))
    assert [run.state for run in shown.runs] == [HANDLED, CANCELLED]
