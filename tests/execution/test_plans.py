"""Look-ups and plans with the clock, the log and upstream in hand: the moments that no process can be brought to."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from gateway.core.errors import AuditUnavailable, Conflict, LookupFailed, NotFound, ShuttingDown, Throttled
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Denial
from gateway.core.request import Principal
from gateway.core.run import Resolution, Skip
from gateway.edge import answers
from gateway.execution.in_flight import Done
from gateway.execution.plans.draft import State
from gateway.execution.plans.drafts import LIFETIME_S, MOST_DRAFTS, MOST_RUNS
from gateway.policy.conditions import CountCondition
from gateway.policy.rules import Policies
from gateway.upstream.shares import Lanes, TeamShare
from tests.execution.bench import ANN, BOB, NOTHING, POLICIES, REQUEST, RULE, Bench, runs
from tests.execution.fakes import HeldUpstream, MemoryLog, MemoryRuns, PromptUpstream
from tests.support.waiting import PATIENCE_S, soon


async def test_plan_then_intent_then_each_order_with_its_record_then_the_outcome() -> None:
    """The one order in which a resolved cancel is written down."""
    bench = Bench(MemoryRuns(runs(250)))
    assert (await bench.run()).outcome == Cancelled(200, 250)
    assert bench.events == ["plan", "intent", "chunk", "chunk", "chunk", "outcome"]
    assert bench.sent() == [run.run_id for run in runs(250)]


async def test_the_record_of_an_order_stands_before_the_next_is_sent() -> None:
    """While the record of the first is not written, nothing more leaves."""
    written = asyncio.Event()
    bench = Bench(MemoryRuns(runs(150)), log=MemoryLog(chunk_gate=written))
    running = asyncio.create_task(bench.run())
    await soon(lambda: bool(bench.upstream.orders))
    for _ in range(20):
        await asyncio.sleep(0)
    assert len(bench.upstream.orders) == 1
    written.set()
    assert (await running).outcome == Cancelled(200, 150)


async def test_a_record_that_is_not_durable_stops_the_next_order() -> None:
    """No record, no cancel: also between two orders."""
    bench = Bench(MemoryRuns(runs(150)), log=MemoryLog(durable=False))
    outcome = (await bench.run()).outcome
    assert isinstance(outcome, Unknown)
    assert (outcome.cause, len(bench.upstream.orders)) == ("partial_audit", 1)


async def test_without_a_durable_plan_there_is_no_intent() -> None:
    """The plan is the first record; where it cannot be written nothing is sent."""
    bench = Bench(MemoryRuns(runs(3)), log=MemoryLog(refuses="full"))
    with pytest.raises(AuditUnavailable):
        await bench.run()
    assert (bench.events, bench.upstream.orders) == ([], [])


@pytest.mark.parametrize(
    ("second", "cause", "status"),
    [
        (Unknown("timeout"), "timeout", None),
        (Refused(429, "slow"), "partial_refused", 429),
        (NotSent("refused"), "partial_not_sent", None),
        (Accepted(202, "act"), "partial_accepted", 202),
    ],
    ids=["unknown", "refused", "not sent", "accepted"],
)
async def test_an_order_that_was_not_carried_out_ends_the_plan(second: Outcome, cause: str, status: int | None) -> None:
    """Certain, unknown and not carried out are told apart, by ID; what upstream only took on is unknown."""
    bench = Bench(MemoryRuns(runs(250)), PromptUpstream([Cancelled(200, 100), second]))
    outcome = (await bench.run()).outcome
    names = [run.run_id for run in runs(250)]
    surely_not = isinstance(second, (Refused, NotSent))
    unsent, unknown = (names[100:], []) if surely_not else (names[200:], names[100:200])
    assert outcome == Unknown(cause, status, Progress(100, tuple(unsent), tuple(unknown)))
    assert len(bench.upstream.orders) == 2


@pytest.mark.parametrize(
    "only", [Refused(401, "no"), NotSent("dns"), Refused(429, "slow", 7)], ids=lambda one: one.name
)
async def test_a_first_order_that_was_surely_not_carried_out_is_told_as_it_is(only: Outcome) -> None:
    """Nothing was cancelled, so nothing is unknown."""
    bench = Bench(MemoryRuns(runs(250)), PromptUpstream([only]))
    assert (await bench.run()).outcome == only
    assert len(bench.upstream.orders) == 1


@pytest.mark.parametrize("lower", ["cap", "most"])
async def test_a_number_that_policy_lowers_in_the_middle_holds_over_the_whole_plan(lower: str) -> None:
    """Each order alone would be small enough; together they are not."""
    bench = Bench(MemoryRuns(runs(250)))
    rule = replace(RULE, count=CountCondition(cap=150)) if lower == "cap" else replace(RULE, resolution=Resolution(150))

    def lowered() -> None:
        if bench.upstream.orders:
            bench.live = Policies((rule,), "lower")

    bench.account.before = lowered
    outcome = (await bench.run()).outcome
    assert len(bench.sent()) <= 150
    assert isinstance(outcome, Unknown)
    assert outcome.cause == "partial_denied"


def _set(bench: Bench, policies: Policies | None) -> None:
    bench.live = policies


@pytest.mark.parametrize(("live", "cause"), [(None, "revoked"), (NOTHING, "denied")])
async def test_what_has_changed_before_the_first_order_sends_nothing(live: Policies | None, cause: str) -> None:
    """The key or the rule went while the runs were looked up: an intent, closed as not sent."""
    bench = Bench(MemoryRuns(runs(3)))
    bench.account.before = lambda: _set(bench, live)
    assert (await bench.run()).outcome == NotSent(cause)
    assert (bench.upstream.orders, bench.events) == ([], ["plan", "intent", "outcome"])


async def test_a_key_that_is_revoked_while_its_order_is_judged_ends_the_plan_as_revoked() -> None:
    """The cause is the same, whether the second look meets it before the judgement or after."""
    bench = Bench(MemoryRuns(runs(3)))
    standings = [POLICIES]
    call = replace(bench.call("d1"), standing=lambda: standings.pop() if standings else None)
    result = await bench.pipeline.run(call)
    assert isinstance(result, Done)
    assert (result.outcome, standings) == (NotSent("revoked"), [])


async def test_a_look_up_is_as_old_as_its_beginning() -> None:
    """One that took three seconds is looked at again before the first order, and the restarted run is left out."""
    bench = Bench(MemoryRuns(runs(3)))
    first, *others = bench.account.runs

    def passes() -> None:
        bench.clock.steady_s += 3
        if bench.account.looks[1:]:
            bench.account.runs = [replace(first, created_ms=first.created_ms + 9), *others]

    bench.account.before = passes
    settled = await bench.run()
    assert bench.sent() == [run.run_id for run in others]
    assert settled.skipped == {Skip.RESTARTED: (first.run_id,)}


async def test_a_plan_lives_ten_minutes() -> None:
    """In the last second it can be applied; after it is gone and says so."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan("p1")
    await bench.plan("p2")
    bench.clock.steady_s += LIFETIME_S - 1
    assert isinstance(await bench.apply("p1"), Done)
    bench.clock.steady_s += 1
    with pytest.raises(NotFound, match="plan again"):
        await bench.apply("p2", name="d2")


async def test_the_oldest_plan_gives_way_and_one_that_is_applied_does_not() -> None:
    """Memory is bounded by the number of plans; a plan on its way is not forgotten under it."""
    bench = Bench(MemoryRuns(runs(3)), HeldUpstream())
    assert isinstance(bench.upstream, HeldUpstream)
    await bench.plan("p0")
    await bench.plan("p1")
    applying = asyncio.create_task(bench.apply("p0"))
    await bench.upstream.called.wait()
    for number in range(MOST_DRAFTS):
        await bench.plan(f"more{number}")
    assert bench.pipeline.plans.get(ANN, "p0").state is State.APPLYING
    with pytest.raises(NotFound):
        bench.pipeline.plans.get(ANN, "p1")
    bench.upstream.answer.set_result(Cancelled(200, 3))
    await applying


def many(number: int) -> Principal:
    """One of many subjects of a team."""
    return Principal("many", f"subject{number}")


def shared() -> Bench:
    """A bench of two teams."""
    lanes = Lanes(64, TeamShare(several=True), wait_s=1)
    return Bench(MemoryRuns(runs(3)), policies=Policies((replace(RULE, teams=frozenset(("*",))),), "d"), lanes=lanes)


async def test_the_plans_of_a_small_holder_outlive_those_of_a_large_one() -> None:
    """The largest holder gives way, not the oldest plan: a team of many subjects pushes out its own alone."""
    bench = shared()
    await bench.plan("small")
    for number in range(2 * MOST_DRAFTS):
        await bench.plan(f"m{number}", principal=many(number))
    assert bench.pipeline.plans.get(ANN, "small").state is State.READY
    kept = [number for number in range(2 * MOST_DRAFTS) if held(bench, many(number), f"m{number}")]
    assert kept == list(range(2 * MOST_DRAFTS - MOST_DRAFTS // 2, 2 * MOST_DRAFTS))


async def test_whoever_holds_most_runs_gives_way() -> None:
    """Few plans of many runs are as large as many plans of few."""
    bench = shared()
    await bench.plan("small")
    bench.account.runs = runs(500)
    for number in range(25):
        await bench.plan(f"m{number}", principal=many(number))
    assert bench.pipeline.plans.get(ANN, "small").state is State.READY
    assert sum(held(bench, many(number), f"m{number}") for number in range(25)) == MOST_RUNS // 2 // 500


def held(bench: Bench, principal: Principal, plan: str) -> bool:
    """Whether there is such a plan still."""
    try:
        return bench.pipeline.plans.get(principal, plan) is not None
    except NotFound:
        return False


async def test_a_plan_whose_intent_failed_can_be_applied_still() -> None:
    """Nothing was sent, so nothing was used up."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    bench.log.refuses = "full"
    with pytest.raises(AuditUnavailable):
        await bench.apply()
    bench.log.refuses = None
    settled = await bench.apply(name="d2")
    assert isinstance(settled, Done)
    assert settled.outcome == Cancelled(200, 3)


async def test_a_plan_that_was_denied_at_its_application_is_not_used_up() -> None:
    """When the rule is back it can be applied, once."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    bench.live = NOTHING
    assert isinstance(await bench.apply(), Denial)
    bench.live = POLICIES
    settled = await bench.apply(name="d2")
    assert isinstance(settled, Done)
    bench.pipeline.answered(settled, caller_gone=False)
    with pytest.raises(Conflict):
        await bench.apply(name="d3")
    assert len(bench.upstream.orders) == 1


async def test_an_error_of_our_own_code_in_a_look_up_ends_it() -> None:
    """It is refused, and the principal can ask again: nothing of it is held for ever."""
    bench = Bench(MemoryRuns(runs(3)))

    def breaks() -> None:
        raise ZeroDivisionError

    bench.account.before = breaks
    with pytest.raises(LookupFailed):
        await asyncio.wait_for(bench.run(), PATIENCE_S)
    bench.account.before = lambda: None
    assert (await bench.run("d2", request=replace(REQUEST, count=7))).outcome == Cancelled(200, 3)


async def test_a_process_that_ends_during_a_look_up_sends_nothing() -> None:
    """No intent was recorded: the caller is told to come again."""
    bench = Bench(MemoryRuns(runs(3), held=asyncio.Event()))
    running = asyncio.create_task(bench.run())
    await soon(lambda: bool(bench.account.looks))
    await bench.pipeline.stop(1)
    with pytest.raises(ShuttingDown):
        await running
    assert (bench.events, bench.upstream.orders) == ([], [])
    with pytest.raises(ShuttingDown):
        await bench.plan("p2")


async def test_an_order_under_way_when_the_grace_ends_is_unknown_and_the_next_is_not_sent() -> None:
    """The intent is closed with how far it came."""
    bench = Bench(MemoryRuns(runs(150)), HeldUpstream())
    assert isinstance(bench.upstream, HeldUpstream)
    running = asyncio.create_task(bench.run())
    await bench.upstream.called.wait()
    await bench.pipeline.stop(0)
    outcome = (await running).outcome
    assert isinstance(outcome, Unknown)
    assert outcome.progress is not None
    assert (len(outcome.progress.unknown), len(outcome.progress.unsent)) == (100, 50)
    assert [closing.outcome for closing in bench.log.closings()] == [outcome]


async def test_one_look_up_of_a_principal_at_a_time_and_the_same_joins() -> None:
    """Another request of the same principal is throttled; another principal is not, and orders no run again."""
    bench = Bench(MemoryRuns(runs(3), held=asyncio.Event()))
    first = asyncio.create_task(bench.run("d1"))
    await soon(lambda: bool(bench.account.looks))
    second = asyncio.create_task(bench.run("d2"))
    await soon(lambda: "joined" in bench.events)
    with pytest.raises(Throttled):
        await bench.run("d3", request=replace(REQUEST, count=7))
    other = asyncio.create_task(bench.run("d4", principal=BOB))
    await soon(lambda: len(bench.account.looks) == 2)
    assert bench.account.held is not None
    bench.account.held.set()
    assert (await first).outcome == (await second).outcome == Cancelled(200, 3)
    assert (await other).outcome == Cancelled(None, 0)
    assert len(bench.upstream.orders) == 1


async def test_more_cancelled_than_an_order_names_is_recorded_as_such() -> None:
    """Upstream did more than it was told."""
    bench = Bench(MemoryRuns(runs(150)), PromptUpstream([Cancelled(200, 100), Cancelled(200, 57)]))
    await bench.run()
    assert bench.log.closings()[0].over_cancelled == 7


async def test_an_order_that_upstream_went_beyond_is_the_last() -> None:
    """A list that was no bound shows that upstream does something else with it: it is not asked again."""
    bench = Bench(MemoryRuns(runs(250)), upstream=PromptUpstream([Cancelled(200, 5000)]))
    settled = await bench.run()
    outcome, answer = settled.outcome, answers.outcome(settled.result, "d1")
    assert (b"gateway-over-cancelled", b"4900") in answer.headers
    assert json.loads(answer.body)["over_cancelled"] == 4900
    assert isinstance(outcome, Unknown)
    assert (outcome.cause, len(bench.upstream.orders)) == ("partial_over_cancelled", 1)
    assert bench.log.closings()[0].over_cancelled == 4900


async def test_the_second_look_asks_for_each_run_by_its_id() -> None:
    """By the filter that was asked for, a run started anew by somebody else would not be seen."""
    bench = Bench(MemoryRuns(runs(150)))
    await bench.run()
    assert bench.account.looks[1:] == [[run.run_id for run in runs(150)[100:]]]
