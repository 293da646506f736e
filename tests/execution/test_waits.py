"""Orders that QStash refuses with 429: when they are sent again, how long that is waited for, and what ends the wait.

Time is that of a loop whose clock jumps, so that a minute takes none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Pace, Progress, Refused, Unknown
from gateway.core.plan import Order, Receipt
from gateway.core.request import ActionRequest, ByFilter, ByIds
from gateway.core.run import Skip
from gateway.execution.in_flight import Done
from gateway.execution.plans.draft import State
from gateway.execution.plans.waiting import LEAST_S, MOST_AGAIN, MOST_WAITS_S, Patience, wait_s
from gateway.policy.conditions import RunIdCondition, UrlCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.upstream.shares import Lanes, TeamShare
from tests.callers.virtual_time import run
from tests.execution.bench import ANN, NOTHING, URL, Bench, runs
from tests.execution.fakes import MemoryRuns, PromptUpstream
from tests.support.waiting import soon

SLOW = Refused(429, "slow", 60, pace=Pace(retry_after_s=5))
THREADS_S = 0.05
"""Many runs are judged on a thread; it has ended long before."""
NAMES = [one.run_id for one in runs(250)]


def refused(seconds: int) -> Refused:
    """A 429 whose limit resets after so many seconds, by upstream's clock."""
    return Refused(429, "slow", 60, pace=Pace(1_000_000, 1_000_000 + seconds))


@dataclass
class TimedUpstream(PromptUpstream):
    """Answers as told, and notes when each order came, in seconds of the loop."""

    times_s: list[float] = field(default_factory=list)

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        self.times_s.append(asyncio.get_running_loop().time())
        return await super().send(order, receipt)


Scenario = Callable[[Bench, TimedUpstream], Awaitable[None]]


def acted(outcomes: Sequence[Outcome], scenario: Scenario, *, number: int = 3) -> Bench:
    """The bench after a scenario in which upstream answers so."""
    benches: list[Bench] = []

    async def act() -> None:
        upstream = TimedUpstream(list(outcomes))
        benches.append(Bench(MemoryRuns(runs(number)), upstream))
        await scenario(benches[0], upstream)

    run(act(), threads_s=THREADS_S)
    return benches[0]


def chunks(bench: Bench) -> list[tuple[object, object, object]]:
    """Each record of an order: its number, the attempt and what came of it."""
    return [
        (members["number"], members.get("attempt"), members["outcome"])
        for members in bench.log.named("chunk")
        if isinstance(members, dict)
    ]


@pytest.mark.parametrize(
    ("pace", "seconds"),
    [
        (Pace(100, 107), 7),
        (Pace(100, 107, 3), 7),
        (Pace(100, 100), LEAST_S),
        (Pace(100, 99, 3), 3),
        (Pace(100, 99), None),
        (Pace(None, 107, 3), 3),
        (Pace(100, None, 3), 3),
        (Pace(None, 107), None),
        (Pace(100, None), None),
        (Pace(None, None, 0), LEAST_S),
        (Pace(), None),
        (Pace(1_800_000_000, 1_800_000_007_000), 1_798_200_007_000),
    ],
)
def test_the_wait_is_until_the_reset_by_upstreams_clock_else_as_it_says(pace: Pace, seconds: int | None) -> None:
    """`Burst-RateLimit-Reset` less `Date`, else `Retry-After`; a reset that is no time ahead says nothing."""
    assert wait_s(pace) == seconds


PACES = st.builds(Pace, *[st.none() | st.integers(0, 10**15 - 1) | st.integers(1_000, 1_030)] * 3)
LIST = Order(ByIds(("wfr_a",)), 1)


@given(st.lists(PACES, max_size=40), st.integers(1, 3))
def test_no_plan_waits_longer_than_a_minute_in_all(paces: list[Pace], attempt: int) -> None:
    """Whatever upstream says, and however often it says it."""
    patience = Patience()
    waits = [patience.wait_s(LIST, Refused(429, "", pace=pace), attempt) for pace in paces]
    assert sum(wait for wait in waits if wait is not None) <= MOST_WAITS_S
    assert all(wait is None or wait >= LEAST_S for wait in waits)


@pytest.mark.parametrize(
    ("order", "outcome", "attempt"),
    [
        (Order(ByFilter(workflow_urls=(URL,)), 10), SLOW, 1),
        (LIST, SLOW, MOST_AGAIN + 1),
        (LIST, replace(SLOW, upstream_status=412), 1),
        (LIST, replace(SLOW, upstream_status=401), 1),
        (LIST, Unknown("timeout", 429), 1),
        (LIST, Unknown("status", 500), 1),
        (LIST, NotSent("dns"), 1),
        (LIST, Accepted(202, "act"), 1),
        (LIST, Cancelled(200, 0), 1),
        (LIST, Refused(429, "slow", 60), 1),
    ],
    ids=lambda one: getattr(one, "name", None),
)
def test_nothing_else_is_ever_sent_again(order: Order, outcome: Outcome, attempt: int) -> None:
    """Only run IDs, only after a 429 that says when to come again, and only so often."""
    assert Patience().wait_s(order, outcome, attempt) is None


def test_an_order_that_was_refused_for_the_pace_is_sent_again_when_it_may_be() -> None:
    """Its runs are cancelled, both attempts are on record, and nobody came too early."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        assert (await bench.run()).outcome == Cancelled(200, 250)
        first, second, third, fourth = upstream.times_s
        assert (first, third, fourth) == (0, second, second)
        assert 7 <= second < 8

    bench = acted([refused(7)], scenario, number=250)
    assert bench.sent() == [*NAMES[:100], *NAMES]
    assert chunks(bench) == [(1, 1, "refused"), (1, 2, "cancelled"), (2, None, "cancelled"), (3, None, "cancelled")]


def test_an_order_is_sent_again_three_times_and_then_the_plan_ends_as_it_did() -> None:
    """What was certain stays certain: nothing of the second order was cancelled."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        outcome = (await bench.run()).outcome
        assert outcome == Unknown("partial_refused", 429, Progress(100, tuple(NAMES[100:]), ()))
        assert len(upstream.orders) == 1 + 1 + MOST_AGAIN

    bench = acted([Cancelled(200, 100), *[SLOW] * 9], scenario, number=250)
    attempts = range(1, MOST_AGAIN + 2)
    assert chunks(bench) == [(1, None, "cancelled"), *((2, attempt, "refused") for attempt in attempts)]


@pytest.mark.parametrize(
    "said", [Refused(429, "slow", 60), refused(MOST_WAITS_S + 1), refused(-1)], ids=["nothing", "too long", "the past"]
)
def test_an_order_is_not_sent_again_where_nobody_says_when_or_it_would_be_too_late(said: Refused) -> None:
    """The caller is told as before that upstream throttles."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        assert (await bench.run()).outcome == said
        assert len(upstream.orders) == 1
        assert asyncio.get_running_loop().time() < 1

    assert chunks(acted([said], scenario)) == [(1, None, "refused")]


def test_the_minute_is_that_of_the_plan() -> None:
    """Two orders share it: what the first has waited is gone."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        outcome = (await bench.run()).outcome
        assert outcome == Unknown("partial_refused", 429, Progress(100, tuple(NAMES[100:]), ()))
        assert len(upstream.orders) == 3
        assert asyncio.get_running_loop().time() < MOST_WAITS_S

    acted([refused(40), Cancelled(200, 100), refused(40)], scenario, number=250)


@pytest.mark.parametrize("then", [Unknown("timeout"), Accepted(202, "act"), NotSent("dns"), Refused(403, "no")])
def test_after_any_other_outcome_nothing_is_sent_again(then: Outcome) -> None:
    """The second attempt may have been carried out, so there is no third."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        await bench.run()
        assert len(upstream.orders) == 2

    acted([SLOW, then, Cancelled(200, 3)], scenario)


def test_an_order_that_is_sent_again_was_looked_at_again_by_its_ids() -> None:
    """However fresh the look-up is: a run that ended meanwhile, or was started anew, is not in it."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        bench.account.as_of_ms = 1_794_999_999_000
        first, second, third = bench.account.runs

        def meanwhile() -> None:
            if upstream.orders:
                bench.account.runs = [replace(first, state="RUN_SUCCESS"), replace(second, created_ms=7), third]

        bench.account.before = meanwhile
        done = await bench.run()
        assert done.outcome == Cancelled(200, 1)
        assert done.skipped == {Skip.FINISHED: (first.run_id,), Skip.RESTARTED: (second.run_id,)}

    bench = acted([SLOW], scenario)
    assert bench.account.again == []
    assert bench.account.looks[1:] == [NAMES[:3]]
    assert bench.sent() == [*NAMES[:3], NAMES[2]]


def test_where_nothing_is_left_to_send_again_the_number_is_certain() -> None:
    """Every run of the order has ended while it waited: nothing was cancelled, and nothing went wrong."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        def meanwhile() -> None:
            if upstream.orders:
                bench.account.runs = [replace(one, state="RUN_SUCCESS") for one in bench.account.runs]

        bench.account.before = meanwhile
        assert (await bench.run()).outcome == Cancelled(None, 0)

    assert len(acted([SLOW], scenario).upstream.orders) == 1


@pytest.mark.parametrize(("live", "cause"), [(None, "revoked"), (NOTHING, "denied")])
def test_key_and_policies_come_before_an_order_that_is_sent_again(live: Policies | None, cause: str) -> None:
    """What changed while it waited counts."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        def meanwhile() -> None:
            if len(upstream.orders) == 2:
                bench.live = live

        bench.account.before = meanwhile
        outcome = (await bench.run()).outcome
        assert isinstance(outcome, Unknown)
        assert outcome.cause == f"partial_{cause}"
        assert len(upstream.orders) == 2

    acted([Cancelled(200, 100), SLOW], scenario, number=150)


def test_the_record_of_an_attempt_stands_before_the_next() -> None:
    """An order whose record is not durable is not sent again."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        bench.log.durable = False
        await bench.run()
        assert len(upstream.orders) == 1

    acted([SLOW], scenario)


def test_what_is_sent_as_it_was_asked_is_never_sent_again() -> None:
    """Neither a filter nor a list of IDs that nobody looked up: only a plan has orders that may be."""
    said = {"workflowUrl": UrlCondition(prefix=(URL,))}
    by_filter = Rule("p", "f", Effect.ALLOW, said, teams=frozenset((ANN.team,)))
    named = {"workflowRunIds": RunIdCondition(9)}
    by_ids = Rule("p", "i", Effect.ALLOW, named, teams=frozenset((ANN.team,)), owner_unchecked=True)
    for rule, selection in ((by_filter, ByFilter(workflow_urls=(f"{URL}/",))), (by_ids, ByIds(("wfr_a",)))):

        async def scenario(
            bench: Bench, upstream: TimedUpstream, rule: Rule = rule, selection: ByFilter | ByIds = selection
        ) -> None:
            call = bench.call("d1", request=ActionRequest(selection, 1), policies=Policies((rule,), "d"))
            done = await bench.pipeline.run(call)
            assert isinstance(done, Done), done
            assert (done.outcome, len(upstream.orders)) == (SLOW, 1)

        acted([SLOW], scenario)


def test_a_process_that_ends_does_not_wait() -> None:
    """The wait ends at once; what was refused is certain, and nothing more is sent."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        running = asyncio.create_task(bench.run())
        await soon(lambda: len(upstream.orders) == 2)
        await bench.pipeline.stop(30)
        assert asyncio.get_running_loop().time() < 5
        outcome = (await running).outcome
        assert outcome == Unknown("partial_stopping", 429, Progress(100, tuple(NAMES[100:150]), ()))

    bench = acted([Cancelled(200, 100), refused(50)], scenario, number=150)
    assert [closing.outcome.name for closing in bench.log.closings()] == ["unknown"]
    assert len(bench.upstream.orders) == 2


def test_a_person_ends_a_wait_by_stopping_the_plan() -> None:
    """At once, with the certain number: the order that waited was not carried out."""

    async def scenario(bench: Bench, upstream: TimedUpstream) -> None:
        await bench.plan()
        running = asyncio.create_task(bench.apply())
        await soon(lambda: len(upstream.orders) == 2)
        bench.planned("p1").stop(ANN.name)
        done = await running
        assert asyncio.get_running_loop().time() < 5
        assert isinstance(done, Done)
        assert done.outcome == Cancelled(200, 100)
        assert done.result.stop is not None
        assert (done.result.stop.orders_sent, done.result.stop.unsent) == (2, tuple(NAMES[100:150]))
        assert bench.planned("p1").state is State.STOPPED

    bench = acted([Cancelled(200, 100), refused(50)], scenario, number=150)
    assert [closing.stopped_by for closing in bench.log.closings()] == [ANN.name]
    assert len(bench.upstream.orders) == 2


def test_a_plan_that_waits_holds_no_connection_of_its_team() -> None:
    """Others of the team send meanwhile, and the look-up of another principal begins."""

    async def act() -> None:
        upstream = TimedUpstream([refused(30)])
        bench = Bench(MemoryRuns(runs(3)), upstream, lanes=Lanes(2, TeamShare(several=True), wait_s=1))
        waiting = asyncio.create_task(bench.run())
        await soon(lambda: bool(upstream.orders))
        other = ActionRequest(ByFilter(workflow_urls=(URL,)), 400)
        assert (await bench.run("d2", request=other)).outcome == Cancelled(200, 3)
        assert upstream.times_s[1] < 5
        # What the other has cancelled meanwhile is left out.
        assert (await waiting).outcome == Cancelled(None, 0)

    run(act())
