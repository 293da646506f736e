"""Plans that somebody stops, in every state; what a plan shows of its end, and for how long."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

import pytest

from gateway.core.errors import Conflict, LookupFailed, NotFound
from gateway.core.outcome import Accepted, Cancelled, Closing, NotSent, Outcome, Progress, Refused, Unknown
from gateway.edge import answers
from gateway.edge.pages.plans import plan_members
from gateway.execution.in_flight import Done
from gateway.execution.plans.draft import Draft, Learnt, State, Withdrawal
from gateway.execution.plans.drafts import LIFETIME_S, MOST_OF_ONE, SHOWN_S
from tests.execution.bench import ANN, BOB, Bench, runs
from tests.execution.fakes import HeldUpstream, MemoryLog, MemoryRuns, PromptUpstream
from tests.support.waiting import PATIENCE_S, soon

NAMES = [one.run_id for one in runs(250)]


def shown(bench: Bench, name: str = "p1") -> Mapping[str, object]:
    """The plan as its caller sees it."""
    draft = bench.planned(name)
    return plan_members(draft, expires_in_s=bench.pipeline.plans.expires_in_s(draft))


def stop(bench: Bench, name: str = "p1") -> Draft:
    """Stops a plan of Ann's, and returns it."""
    draft = bench.planned(name)
    draft.stop(ANN.name)
    return draft


def closing(bench: Bench) -> Closing:
    """The one closing record."""
    [only] = bench.log.closings()
    return only


async def test_a_ready_plan_that_is_stopped_can_never_be_applied() -> None:
    """It says so, as often as it is stopped or applied; nothing was intended."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    for _ in range(2):
        draft = stop(bench)
        assert (draft.state, draft.at_work) == (State.STOPPED, False)
        with pytest.raises(Conflict, match="stopped") as caught:
            await bench.apply()
        assert (caught.value.code, caught.value.members["state"]) == ("plan_stopped", "stopped")
    assert (bench.events, bench.upstream.orders) == (["plan"], [])
    assert (shown(bench)["runs"], shown(bench)["outcome"]) == (3, None)


async def withdrawn(bench: Bench, name: str = "p1") -> Draft:
    """Stops a plan of Ann's as her call does, and returns it."""
    return await bench.pipeline.plans.halted(ANN, name, Withdrawal(ANN, "s1", "10.0.0.1"))


async def test_the_stop_of_a_plan_that_was_not_applied_is_on_record_once() -> None:
    """Who stopped which plan; the record has the time, and a repeat stops nothing."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    for _ in range(2):
        assert (await withdrawn(bench)).state is State.STOPPED
    assert bench.events == ["plan", "withdrawn"]
    [members] = bench.log.named("withdrawn")
    assert isinstance(members, dict)
    assert (members["decision_id"], members["plan"], members["principal"]) == ("s1", "p1", ANN.name)


async def test_the_stop_of_a_look_up_is_on_record_too() -> None:
    """It had no record before."""
    bench = Bench(MemoryRuns(runs(3), held=asyncio.Event()))
    waiting = asyncio.create_task(bench.run("d1"))
    await soon(lambda: bool(bench.account.looks))
    await withdrawn(bench, "d1")
    await asyncio.gather(waiting, return_exceptions=True)
    assert bench.events == ["withdrawn"]


async def test_a_plan_that_is_applied_or_has_ended_is_not_said_to_be_withdrawn() -> None:
    """Its outcome says who stopped it, if somebody did."""
    bench = Bench(MemoryRuns(runs(250)), HeldUpstream())
    assert isinstance(bench.upstream, HeldUpstream)
    await bench.plan()
    applying = asyncio.create_task(bench.apply())
    await bench.upstream.called.wait()
    assert (await withdrawn(bench)).at_work
    bench.upstream.answer.set_result(Cancelled(200, 100))
    await applying
    await withdrawn(bench)
    assert "withdrawn" not in bench.events
    assert closing(bench).stopped_by == ANN.name


class NoStops(MemoryLog):
    """A log that breaks at the record of a stop."""

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        if event == "withdrawn":
            raise ZeroDivisionError
        await super().note(event, members)


async def test_a_plan_is_stopped_even_if_that_cannot_be_recorded() -> None:
    """A stop is always safe; the fault is reported."""
    bench = Bench(MemoryRuns(runs(3)), log=NoStops())
    await bench.plan()
    assert (await withdrawn(bench)).state is State.STOPPED
    with pytest.raises(Conflict, match="stopped"):
        await bench.apply()


async def test_a_look_up_under_way_is_ended_and_gives_its_place_back() -> None:
    """A request that waits for it is told; the principal can look up at once."""
    bench = Bench(MemoryRuns(runs(3), held=asyncio.Event()))
    waiting = asyncio.create_task(bench.run("d1"))
    await soon(lambda: bool(bench.account.looks))
    draft = stop(bench, "d1")
    assert draft.state is State.STOPPED
    with pytest.raises(Conflict) as caught:
        await asyncio.wait_for(waiting, PATIENCE_S)
    assert caught.value.code == "plan_stopped"
    assert draft.task is not None
    assert draft.task.done()
    assert (draft.state, bench.events, bench.upstream.orders) == (State.STOPPED, [], [])
    of_runs = {"action": "cancel_runs"}
    assert shown(bench, "d1") == {"plan": "d1", "state": "stopped", "expires_in_s": 600, **of_runs}
    assert bench.account.held is not None
    bench.account.held.set()
    assert (await bench.run("d2")).outcome == Cancelled(200, 3)


async def test_a_plan_stopped_before_its_first_order_has_cancelled_nothing_for_certain() -> None:
    """The intent stands, and is closed with zero and with who stopped it."""
    bench = Bench(MemoryRuns(runs(150)), log=MemoryLog(gate=asyncio.Event()))
    await bench.plan()
    applying = asyncio.create_task(bench.apply())
    await soon(lambda: bench.planned("p1").state is State.APPLYING)
    assert stop(bench).at_work
    assert bench.log.gate is not None
    bench.log.gate.set()
    done = await applying
    assert isinstance(done, Done)
    assert (done.outcome, bench.upstream.orders) == (Cancelled(None, 0), [])
    assert (closing(bench).outcome, closing(bench).stopped_by) == (Cancelled(None, 0), ANN.name)
    assert bench.planned("p1").state is State.STOPPED
    assert (shown(bench)["outcome"], shown(bench)["orders"]) == ("not_sent", {"planned": 2, "sent": 0})


async def test_a_plan_stopped_while_an_order_is_out_ends_behind_that_order() -> None:
    """Its number counts; the next is not sent. The applier and everybody who joined reads the same 409."""
    bench = Bench(MemoryRuns(runs(250)), HeldUpstream())
    assert isinstance(bench.upstream, HeldUpstream)
    await bench.plan()
    first, second = asyncio.create_task(bench.apply(name="d1")), asyncio.create_task(bench.apply(name="d2"))
    await bench.upstream.called.wait()
    assert stop(bench).at_work
    assert stop(bench).state is State.APPLYING
    bench.upstream.answer.set_result(Cancelled(200, 100))
    for done in (await first, await second):
        assert isinstance(done, Done)
        answer = answers.outcome(done.result, "d")
        said = json.loads(answer.body)
        assert (answer.status, said["code"]) == (409, "plan_stopped")
        assert (said["cancelled"], said["orders_sent"]) == (100, 1)
        assert said["unsent"] == {"runs": 150, "sample": NAMES[100:110]}
        assert "100 runs were cancelled, 150 were not sent" in said["error"]
    assert bench.sent() == NAMES[:100]
    assert (closing(bench).outcome, closing(bench).stopped_by) == (Cancelled(200, 100), ANN.name)
    assert stop(bench).state is State.STOPPED
    assert (shown(bench)["cancelled"], shown(bench)["orders"]) == (100, {"planned": 3, "sent": 1})
    assert shown(bench)["outcome"] == "cancelled"


async def test_a_stop_between_two_orders_is_seen_after_the_look_at_the_runs_too() -> None:
    """It may come while the runs of the next order are looked at: that order is not sent."""
    bench = Bench(MemoryRuns(runs(250)))
    await bench.plan()
    bench.account.before = lambda: stop(bench) if bench.upstream.orders else None
    done = await bench.apply()
    assert isinstance(done, Done)
    assert (done.outcome, bench.sent()) == (Cancelled(200, 100), NAMES[:100])


async def stopped_while_out(bench: Bench, outcome: Outcome) -> Done:
    """What comes of a plan that is stopped while its order is on its way, which then comes to this."""
    assert isinstance(bench.upstream, HeldUpstream)
    await bench.plan()
    applying = asyncio.create_task(bench.apply())
    await bench.upstream.called.wait()
    stop(bench)
    bench.upstream.answer.set_result(outcome)
    done = await applying
    assert isinstance(done, Done)
    return done


@pytest.mark.parametrize("certain", [Refused(401, "no"), Refused(429, "slow"), NotSent("dns")], ids=str)
async def test_a_stop_while_an_order_is_refused_is_told_with_the_certain_number(certain: Outcome) -> None:
    """The order would have ended the plan by itself; what was sent is certain, so the plan counts as stopped."""
    bench = Bench(MemoryRuns(runs(250)), HeldUpstream())
    done = await stopped_while_out(bench, certain)
    assert (done.outcome, closing(bench).stopped_by) == (Cancelled(None, 0), ANN.name)
    assert answers.outcome(done.result, "d").status == 409
    assert (shown(bench)["state"], shown(bench)["outcome"]) == ("stopped", certain.name)


async def test_a_stop_while_the_runs_cannot_be_looked_at_again_is_told_with_the_certain_number() -> None:
    """The look fails, so nothing more is sent; the number of the orders before it stands."""
    bench = Bench(MemoryRuns(runs(250)))
    await bench.plan()

    def fails() -> None:
        if bench.upstream.orders:
            stop(bench)
            raise LookupFailed("unreachable", "No.")

    bench.account.before = fails
    done = await bench.apply()
    assert isinstance(done, Done)
    assert (done.outcome, closing(bench).stopped_by) == (Cancelled(200, 100), ANN.name)


async def test_a_stop_behind_the_last_order_stops_nothing() -> None:
    """All was sent and is certain: a plain success, and nobody is named for stopping it."""
    bench = Bench(MemoryRuns(runs(3)), HeldUpstream())
    done = await stopped_while_out(bench, Cancelled(200, 3))
    assert answers.outcome(done.result, "d").status == 200
    assert closing(bench).stopped_by is None
    assert stop(bench).state is State.APPLIED


@pytest.mark.parametrize("lost", [Unknown("timeout"), Accepted(202, "act")], ids=lambda one: one.name)
async def test_a_stop_makes_nothing_certain_that_is_unknown(lost: Outcome) -> None:
    """The order that was out got no answer: 504 as without the stop, and the plan says unknown."""
    bench = Bench(MemoryRuns(runs(250)), HeldUpstream())
    done = await stopped_while_out(bench, lost)
    assert answers.outcome(done.result, "d").status == 504
    assert isinstance(done.outcome, Unknown)
    assert done.outcome.progress == Progress(0, tuple(NAMES[100:]), tuple(NAMES[:100]))
    assert closing(bench).stopped_by is None
    assert shown(bench)["state"] == "unknown"


async def test_a_plan_that_ended_stays_as_it_ended() -> None:
    """To stop it changes nothing and is no error: whoever repeats a stop reads how the plan ended."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    await bench.apply()
    for _ in range(2):
        assert (stop(bench).state, stop(bench).at_work) == (State.APPLIED, False)
    assert shown(bench)["outcome"] == "cancelled"


async def test_a_plan_is_stopped_by_its_principal_alone() -> None:
    """For another it is as if there were none."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    with pytest.raises(NotFound):
        bench.planned("p1", BOB)
    assert bench.pipeline.plans.of(BOB) == []


async def test_a_plan_whose_intent_fails_while_it_is_stopped_is_stopped() -> None:
    """It does not become ready again."""
    bench = Bench(MemoryRuns(runs(3)), log=MemoryLog(gate=asyncio.Event()))
    await bench.plan()
    applying = asyncio.create_task(bench.apply())
    await soon(lambda: bench.planned("p1").state is State.APPLYING)
    stop(bench)
    bench.log.refuses = "full"
    assert bench.log.gate is not None
    bench.log.gate.set()
    await asyncio.gather(applying, return_exceptions=True)
    assert bench.planned("p1").state is State.STOPPED


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        (Cancelled(200, 3), "applied"),
        (NotSent("dns"), "applied"),
        (Refused(401, "no"), "applied"),
        (Unknown("timeout"), "unknown"),
        (Accepted(202, "act"), "unknown"),
    ],
    ids=lambda one: getattr(one, "name", one),
)
async def test_a_plan_says_what_came_of_it(outcome: Outcome, state: str) -> None:
    """In the word of the record; what nobody knows ends it as unknown."""
    bench = Bench(MemoryRuns(runs(3)), PromptUpstream([outcome]))
    await bench.plan()
    done = await bench.apply()
    assert isinstance(done, Done)
    assert (shown(bench)["state"], shown(bench)["outcome"]) == (state, done.outcome.name)
    assert shown(bench)["orders"] == {"planned": 1, "sent": 1}


async def test_what_is_learnt_later_stands_in_the_plan() -> None:
    """By the decision that applied it; what is learnt of another changes nothing."""
    bench = Bench(MemoryRuns(runs(3)), PromptUpstream([Unknown("timeout")]))
    await bench.plan()
    await bench.apply(name="d1")
    bench.pipeline.plans.settled({"decision_id": "d9", "source": "read_back", "cancelled": 9})
    assert shown(bench)["settled"] is None
    bench.pipeline.plans.settled({"decision_id": "d1", "source": "read_back", "cancelled": 2})
    assert bench.planned("p1").settled == Learnt(bench.clock.now_ms(), "read_back", 2)
    settled = shown(bench)["settled"]
    assert isinstance(settled, dict)
    assert (settled["source"], settled["cancelled"]) == ("read_back", 2)
    assert str(settled["at"]).endswith("Z")


async def test_a_plan_whose_time_is_over_is_shown_as_expired_for_a_while() -> None:
    """Its runs are not kept, it is applied no more, and then it is gone."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan()
    bench.clock.steady_s += LIFETIME_S
    assert shown(bench) == {"plan": "p1", "state": "expired", "expires_in_s": 0, "action": "cancel_runs"}
    with pytest.raises(NotFound, match="plan again"):
        await bench.apply()
    assert stop(bench).state is State.EXPIRED
    bench.clock.steady_s += SHOWN_S - LIFETIME_S
    with pytest.raises(NotFound):
        bench.planned("p1")


async def test_what_has_ended_gives_way_before_what_can_be_applied() -> None:
    """A principal with many plans loses those that are only still shown."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan("old")
    for number in range(1, MOST_OF_ONE + 1):
        await bench.plan(f"p{number}")
        if number == 3:
            stop(bench, "p3")
    kept = [draft.plan_id for draft in bench.pipeline.plans.of(ANN)]
    assert kept == [f"p{number}" for number in range(MOST_OF_ONE, 0, -1) if number != 3] + ["old"]


async def test_a_principal_sees_its_own_plans_the_newest_first() -> None:
    """Those of another are not among them."""
    bench = Bench(MemoryRuns(runs(3)))
    await bench.plan("p1")
    await bench.plan("b1", principal=BOB)
    await bench.plan("p2")
    assert [draft.plan_id for draft in bench.pipeline.plans.of(ANN)] == ["p2", "p1"]
    assert [draft.plan_id for draft in bench.pipeline.plans.of(BOB)] == ["b1"]
