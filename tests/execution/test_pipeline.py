"""Judged, recorded, sent once, recorded: the laws of one request's way."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType

import pytest

from gateway.core.errors import AuditUnavailable, ShuttingDown, Throttled
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Denial, Order
from gateway.core.request import ActionRequest, ByFilter, Dialect, Principal
from gateway.execution.in_flight import MOST_JOINS, Done, WaitEnded
from gateway.execution.pipeline import Pipeline
from gateway.execution.ports import Call, OrderPort
from gateway.policy.conditions import CountCondition, UrlCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.execution.fakes import NOTHING_SENT, BrokenUpstream, HeldUpstream, MemoryLog, PromptUpstream, StillClock
from tests.support.waiting import PATIENCE_S, soon

URL = "https://a.example/api"
ANN, BOB = Principal("team", "ann"), Principal("team", "bob")
REQUEST = ActionRequest(ByFilter(workflow_urls=(URL,), exact=True), 100)
OTHER = replace(REQUEST, count=7)
RULE = Rule(
    policy="team",
    id="own",
    effect=Effect.ALLOW,
    conditions={"workflowUrl": UrlCondition(exact=frozenset((URL,)))},
    count=CountCondition(cap=50),
    teams=frozenset(("team",)),
)


POLICIES = Policies((RULE,), "digest")
"""One rule: one exact URL, capped to 50."""


def pipeline(upstream: OrderPort, log: MemoryLog) -> Pipeline:
    """A pipeline to that upstream, with that log."""
    return Pipeline(upstream=upstream, upstream_url="https://up.example", audit=log, clock=StillClock())


def call(
    decision_id: str,
    *,
    policies: Policies = POLICIES,
    principal: Principal = ANN,
    request: ActionRequest = REQUEST,
    gone: bool = False,
) -> Call:
    """A request whose caller stays or has gone."""

    async def has_gone() -> bool:
        return gone

    return Call(policies, principal, request, decision_id, "127.0.0.1", has_gone, lambda: POLICIES)


async def settled(result: object) -> Done:
    """The result as a settled one."""
    assert isinstance(result, Done)
    return result


async def test_the_intent_stands_before_the_order_and_the_outcome_after_it() -> None:
    """Record, act, record; what is sent is the effective request."""
    log, upstream = MemoryLog(), PromptUpstream()
    result = await settled(await pipeline(upstream, log).run(call("d1")))
    assert [name for name, _, _ in log.events] == ["intent", "outcome"]
    assert upstream.orders == [Order(REQUEST.selection, 50)]  # type: ignore[arg-type]
    assert (result.outcome, result.plan.narrowed) == (Cancelled(200, 50), {"count": [100, 50]})


async def test_without_a_durable_intent_nothing_is_sent() -> None:
    """No record, no cancel."""
    upstream = PromptUpstream()
    with pytest.raises(AuditUnavailable):
        await pipeline(upstream, MemoryLog(refuses="full")).run(call("d1"))
    assert upstream.orders == []


async def test_a_denial_is_recorded_and_sends_nothing() -> None:
    """Policy refuses before there is a plan."""
    log, upstream = MemoryLog(), PromptUpstream()
    request = ActionRequest(ByFilter(labels=("x",)), 1)
    assert isinstance(await pipeline(upstream, log).run(call("d1", request=request)), Denial)
    assert ([name for name, _, _ in log.events], upstream.orders) == (["denied"], [])


@pytest.mark.parametrize(
    "outcome",
    [Cancelled(200, 3), Accepted(202, "a1"), Refused(401, "no"), NOTHING_SENT, Unknown("timeout"), Unknown("x", 500)],
    ids=lambda outcome: outcome.name,
)
async def test_every_outcome_is_closed_exactly_once(outcome: Outcome) -> None:
    """Whatever comes back, the intent gets one closing record with it."""
    log = MemoryLog()
    result = await settled(await pipeline(PromptUpstream([outcome]), log).run(call("d1")))
    assert (result.outcome, [closing.outcome for closing in log.closings()]) == (outcome, [outcome])


async def test_more_cancelled_than_ordered_is_recorded_as_such() -> None:
    """`over_cancelled` is what upstream did beyond the count it was sent."""
    log = MemoryLog()
    await pipeline(PromptUpstream([Cancelled(200, 170)]), log).run(call("d1"))
    assert log.closings()[0].over_cancelled == 120


async def test_an_error_of_our_own_code_after_the_receipt_is_an_unknown_outcome() -> None:
    """After the intent nothing raises."""
    log = MemoryLog()
    result = await settled(await pipeline(BrokenUpstream(), log).run(call("d1")))
    assert isinstance(result.outcome, Unknown)
    assert len(log.closings()) == 1


async def test_an_identical_request_in_flight_joins_and_is_not_sent_again() -> None:
    """Both callers get the true outcome of one order; dialects do not matter; the joiner has no second intent."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    second = asyncio.create_task(gateway.run(call("d2", request=replace(REQUEST, dialect=Dialect.BODY))))
    await soon(lambda: bool(log.named("joined")))
    upstream.answer.set_result(Cancelled(200, 50))
    outcomes = [(await settled(await task)).outcome for task in (first, second)]
    assert (outcomes, len(upstream.orders)) == ([Cancelled(200, 50)] * 2, 1)
    assert [name for name, _, _ in log.events] == ["intent", "joined", "outcome"]
    joined = log.named("joined")[0]
    assert isinstance(joined, dict)
    assert (joined["decision_id"], joined["joins"]) == ("d2", "d1")


async def test_a_repeat_that_comes_while_the_intent_is_being_written_joins_too() -> None:
    """Two identical requests never become two orders, however close they are."""
    log, upstream = MemoryLog(gate=asyncio.Event()), PromptUpstream()
    gateway = pipeline(upstream, log)
    tasks = [asyncio.create_task(gateway.run(call(f"d{n}"))) for n in range(3)]
    await soon(lambda: len(log.named("joined")) == 2)
    assert log.gate is not None
    log.gate.set()
    await asyncio.gather(*tasks)
    assert len(upstream.orders) == 1


async def test_so_many_join_a_cancel_and_the_others_are_told_and_counted() -> None:
    """Repeats make no durable records without end: beyond sixteen the answer is 429 at once, with where to look."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    tasks = [asyncio.create_task(gateway.run(call(f"d{number}"))) for number in range(MOST_JOINS + 1)]
    await soon(lambda: len(log.named("joined")) == MOST_JOINS)
    for number in range(50):
        repeat = gateway.run(call(f"late{number}"))
        with pytest.raises(Throttled, match="decision d0") as refused:
            await asyncio.wait_for(repeat, PATIENCE_S)
        assert (refused.value.cause, refused.value.limit) == ("joins", MOST_JOINS)
    upstream.answer.set_result(Cancelled(200, 50))
    outcomes = [(await settled(await task)).outcome for task in tasks]
    assert (outcomes, len(upstream.orders)) == ([Cancelled(200, 50)] * (MOST_JOINS + 1), 1)
    assert (len(log.named("joined")), log.closings()[0].joins_left_out) == (MOST_JOINS, 50)


async def test_who_is_above_its_limits_joins_and_begins_nothing() -> None:
    """`join` waits for what is under way; without it, or where policy refuses by now, there is nothing to wait for."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    assert await gateway.join(call("d0")) is None
    assert not gateway.any_to_join(ANN)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    assert (gateway.any_to_join(ANN), gateway.any_to_join(BOB)) == (True, False)
    assert await gateway.join(call("d2", request=OTHER)) is None
    assert await gateway.join(call("d3", policies=Policies((), "none"))) is None
    second = asyncio.create_task(gateway.join(call("d4")))
    await soon(lambda: bool(log.named("joined")))
    upstream.answer.set_result(Cancelled(200, 50))
    assert (await settled(await second)).outcome == Cancelled(200, 50)
    gateway.answered(await settled(await first), caller_gone=False)
    assert not gateway.any_to_join(ANN)
    assert [name for name, _, _ in log.events] == ["intent", "joined", "outcome"]


async def test_what_is_joined_late_counts_too() -> None:
    """An outcome that can still be joined makes no more records than one under way."""
    log = MemoryLog()
    gateway = pipeline(PromptUpstream(), log)
    first = await settled(await gateway.run(call("d0", gone=True)))
    gateway.answered(first, caller_gone=True)
    for number in range(MOST_JOINS):
        await settled(await gateway.join(call(f"j{number}")))
    with pytest.raises(Throttled):
        await gateway.join(call("late"))
    assert len(log.named("joined")) == MOST_JOINS


@pytest.mark.parametrize(("principal", "request_"), [(BOB, REQUEST), (ANN, OTHER)], ids=["principal", "request"])
async def test_another_principal_or_another_request_does_not_join(
    principal: Principal, request_: ActionRequest
) -> None:
    """Identical means the same principal and an equal typed request."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    tasks = [asyncio.create_task(gateway.run(call("d1")))]
    tasks.append(asyncio.create_task(gateway.run(call("d2", principal=principal, request=request_))))
    await soon(lambda: len(upstream.orders) == 2)
    upstream.answer.set_result(Cancelled(200, 1))
    await asyncio.gather(*tasks)
    assert (len(upstream.orders), log.named("joined")) == (2, [])


async def test_after_an_answer_to_a_connected_caller_a_repeat_is_a_new_request() -> None:
    """The documented loop sends the same request again and again: each is its own cancel."""
    upstream = PromptUpstream()
    gateway = pipeline(upstream, MemoryLog())
    for number in range(3):
        result = await settled(await gateway.run(call(f"d{number}")))
        gateway.answered(result, caller_gone=False)
    assert len(upstream.orders) == 3


async def test_an_outcome_whose_caller_had_gone_is_joined_by_the_repeat() -> None:
    """A dropped answer is repeated by the client; the repeat gets the true number and nothing is sent again."""
    log, upstream = MemoryLog(), PromptUpstream([Cancelled(200, 42)])
    gateway = pipeline(upstream, log)
    first = await settled(await gateway.run(call("d1", gone=True)))
    gateway.answered(first, caller_gone=True)
    repeat = await settled(await gateway.run(call("d2")))
    assert (repeat.outcome, len(upstream.orders)) == (Cancelled(200, 42), 1)
    assert log.closings()[0].caller_gone
    gateway.answered(repeat, caller_gone=False)
    await gateway.run(call("d3"))
    assert len(upstream.orders) == 2


async def test_a_failed_intent_leaves_nothing_to_join() -> None:
    """The next identical request stands on its own."""
    log, upstream = MemoryLog(refuses="full"), PromptUpstream()
    gateway = pipeline(upstream, log)
    with pytest.raises(AuditUnavailable):
        await gateway.run(call("d1"))
    log.refuses = None
    await gateway.run(call("d2"))
    assert len(upstream.orders) == 1


async def test_a_caller_that_goes_away_does_not_stop_its_cancel() -> None:
    """The call is finished and recorded without anybody waiting for it."""
    log, upstream = MemoryLog(), HeldUpstream()
    task = asyncio.create_task(pipeline(upstream, log).run(call("d1", gone=True)))
    await upstream.called.wait()
    task.cancel()
    upstream.answer.set_result(Cancelled(200, 5))
    await soon(lambda: bool(log.closings()))
    assert log.closings()[0].outcome == Cancelled(200, 5)


async def test_a_stopping_gateway_takes_no_new_intent() -> None:
    """After the signal a permitted request is refused, and nothing is sent."""
    log, upstream = MemoryLog(), PromptUpstream()
    gateway = pipeline(upstream, log)
    await gateway.stop(1)
    with pytest.raises(ShuttingDown):
        await gateway.run(call("d1"))
    assert (log.events, upstream.orders) == ([], [])


async def test_a_call_that_outlives_the_grace_period_is_closed_as_unknown() -> None:
    """Given up, never lost: the intent gets its closing record before the process ends."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    task = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    await gateway.stop(0)
    assert [closing.outcome for closing in log.closings()] == [Unknown("stopping")]
    assert (await settled(await task)).outcome == Unknown("stopping")


async def test_an_intent_that_became_durable_while_stopping_is_closed_as_not_sent() -> None:
    """Between the intent and the send the signal came: certainly nothing left."""
    log, upstream = MemoryLog(gate=asyncio.Event()), PromptUpstream()
    gateway = pipeline(upstream, log)
    task = asyncio.create_task(gateway.run(call("d1")))
    await asyncio.sleep(0)
    stopping = asyncio.create_task(gateway.stop(5))
    await asyncio.sleep(0)
    assert log.gate is not None
    log.gate.set()
    await stopping
    assert ([closing.outcome for closing in log.closings()], upstream.orders) == ([NotSent("stopping")], [])
    assert (await settled(await task)).outcome == NotSent("stopping")


async def test_a_repeat_joins_also_while_the_gateway_stops() -> None:
    """It is told the true outcome: "nothing was sent" would be untrue for it."""
    log, upstream = MemoryLog(), HeldUpstream()
    gateway = pipeline(upstream, log)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    stopping = asyncio.create_task(gateway.stop(5))
    await asyncio.sleep(0)
    second = asyncio.create_task(gateway.run(call("d2")))
    await soon(lambda: bool(log.named("joined")))
    upstream.answer.set_result(Cancelled(200, 50))
    await stopping
    assert [(await settled(await task)).outcome for task in (first, second)] == [Cancelled(200, 50)] * 2


@pytest.mark.parametrize("over_limits", [False, True])
async def test_a_repeat_whose_note_is_being_written_is_never_told_that_nothing_was_sent(over_limits: bool) -> None:
    """From the moment it joined, the end of its wait leaves the outcome open, whatever it waits for."""
    log, upstream = MemoryLog(note_gate=asyncio.Event()), HeldUpstream()
    gateway = pipeline(upstream, log)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    again = gateway.join if over_limits else gateway.run
    second: asyncio.Task[object] = asyncio.create_task(again(call("d2")))
    await soon(lambda: bool(log.named("joined")))
    second.cancel()
    with pytest.raises(WaitEnded):
        await second
    upstream.answer.set_result(Cancelled(200, 50))
    assert (await settled(await first)).outcome == Cancelled(200, 50)


class BrokenNotes(MemoryLog):
    """A log with an error of our own code in the way of its notes."""

    async def note(self, event: str, members: Mapping[str, object]) -> None:
        raise ZeroDivisionError


async def test_a_repeat_whose_note_fails_is_told_the_true_outcome() -> None:
    """Nothing about the record of a repeat makes it a request that sent nothing."""
    log, upstream = BrokenNotes(), HeldUpstream()
    gateway = pipeline(upstream, log)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    second = asyncio.create_task(gateway.run(call("d2")))
    found: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: found.append(context["found"]))
    await soon(lambda: found)
    upstream.answer.set_result(Cancelled(200, 50))
    assert [(await settled(await task)).outcome for task in (first, second)] == [Cancelled(200, 50)] * 2
    assert found == ["a repeat is not on record"]


async def test_a_repeat_that_waits_to_be_judged_is_never_told_that_nothing_was_sent() -> None:
    """It repeats a cancel under way; "try again" would make a second one of it."""
    log, upstream = MemoryLog(), HeldUpstream()
    many = Policies((*(replace(RULE, id=f"r{number}") for number in range(30_000)), RULE), "many")
    gateway = pipeline(upstream, log)
    first = asyncio.create_task(gateway.run(call("d1")))
    await upstream.called.wait()
    second = asyncio.create_task(gateway.run(call("d2", policies=many)))
    other = asyncio.create_task(gateway.run(call("d3", policies=many, request=OTHER)))
    await asyncio.sleep(0)
    second.cancel()
    other.cancel()
    with pytest.raises(WaitEnded):
        await second
    with pytest.raises(asyncio.CancelledError) as ended:
        await other
    assert not isinstance(ended.value, WaitEnded)
    upstream.answer.set_result(Cancelled(200, 50))
    await first


@pytest.mark.parametrize("turns", range(12))
async def test_whenever_a_wait_ends_it_is_told_apart_from_a_request_that_began_nothing(turns: int) -> None:
    """Turn by turn: a request that was cancelled without `WaitEnded` has no order, then and later."""
    log, upstream = MemoryLog(), PromptUpstream()
    task = asyncio.create_task(pipeline(upstream, log).run(call("d1")))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    began_nothing = False
    try:
        await task
    except WaitEnded:
        pass
    except asyncio.CancelledError:
        began_nothing = True
    for _ in range(20):
        await asyncio.sleep(0)
    assert not (began_nothing and upstream.orders)


async def test_a_cancel_without_a_look_up_is_read_in_the_pipeline() -> None:
    """From judgement to close no code runs of plans, orders in turn and second looks, and no thread judges."""
    entered: set[str] = set()

    def called(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            entered.add(f"{frame.f_globals.get('__name__')}.{frame.f_code.co_name}")

    gateway = pipeline(PromptUpstream(), MemoryLog())
    sys.setprofile(called)
    try:
        await settled(await gateway.run(call("d1")))
    finally:
        sys.setprofile(None)
    rooms = {name.rpartition(".")[0] for name in entered if name.startswith("gateway.execution")}
    assert rooms == {f"gateway.execution.{name}" for name in ("pipeline", "in_flight", "judging", "ports", "closing")}
    judging = {name.rpartition(".")[2] for name in entered if name.startswith("gateway.execution.judging")}
    assert judging == {"takes_long", "decide"}
    assert "gateway.policy.decide.decide" in entered
