"""A freeze stands between a permit and its intent, and before every order."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.errors import Conflict, StateUnavailable
from gateway.core.outcome import Cancelled, NotSent, Outcome, Unknown
from gateway.core.plan import Denial, Order, Permit, Plan, Receipt
from gateway.core.request import ActionRequest, ByIds, Principal
from gateway.execution.gates.freezes import FreezesInForce
from gateway.execution.gates.state_gate import StateGate
from gateway.execution.in_flight import Done, Replay, Result
from gateway.execution.pipeline import Pipeline
from gateway.execution.plans.draft import Draft
from gateway.execution.ports import Call
from gateway.policy.conditions import RunIdCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from gateway.state.admissions import Binding
from gateway.state.freezes import Freeze, Scope, Snapshot
from tests.execution.bench import Bench, runs
from tests.execution.fakes import MemoryLog, MemoryRuns, PromptUpstream, StillClock
from tests.execution.test_pipeline import ANN, OTHER, call, settled

EVERYTHING = Scope()
ID = "01890000-0000-7000-8000-00000000000a"
FREEZE = Freeze(ID, EVERYTHING, "QStash is acting up", "platform/ops", 1_795_000_000_000)
NOTHING = Snapshot(1_795_000_000_000, 0, ())


class Trips:
    """Whatever the gate freezes by itself."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str | None, str]] = []

    def __call__(self, team: str, rule: str | None, why: str) -> None:
        self.seen.append((team, rule, why))


def freezes(*, snapshot: Snapshot | None = NOTHING, clock: StillClock | None = None) -> FreezesInForce:
    """Freezes as they were read, if they were."""
    found = FreezesInForce(clock or StillClock())
    if snapshot is not None:
        found.take(snapshot)
    return found


def gated(found: FreezesInForce, upstream: PromptUpstream, log: MemoryLog, trips: Trips | None = None) -> Pipeline:
    """A pipeline behind these freezes."""
    gate = StateGate(found, trips or Trips())
    return Pipeline(upstream=upstream, upstream_url="https://up.example", audit=log, clock=StillClock(), gate=gate)


async def test_a_frozen_request_is_refused_with_who_and_why_and_nothing_is_sent() -> None:
    """On record it is `denied`, under the rule that admits it."""
    found, upstream, log = freezes(), PromptUpstream(), MemoryLog()
    found.hold(replace(FREEZE, until_ms=FREEZE.at_ms + 3_600_000))
    denial = await gated(found, upstream, log).run(call("d1"))
    assert isinstance(denial, Denial)
    assert denial.barrier is not None
    assert (denial.barrier.code, denial.rule) == ("frozen", "team/own")
    members = dict(denial.barrier.members)
    assert (members["freeze"], members["by"], members["why"]) == (ID, "platform/ops", "QStash is acting up")
    assert str(members["until"]).endswith("Z")
    assert "platform/ops" in denial.reason
    [recorded] = log.named("denied")
    assert isinstance(recorded, dict)
    assert (recorded["cause"], recorded["rule"], recorded["enforced"]) == ("frozen", "team/own", "deny")
    assert (upstream.orders, [name for name, _, _ in log.events]) == ([], ["denied"])


@pytest.mark.parametrize(
    ("scope", "stops"),
    [
        (Scope("team"), True),
        (Scope("other"), False),
        (Scope(None, "team/own"), True),
        (Scope(None, "team/more"), False),
        (Scope("team", "team/own"), True),
        (Scope("other", "team/own"), False),
    ],
)
async def test_a_freeze_stops_what_lies_in_its_scope(scope: Scope, stops: bool) -> None:
    """And nothing else."""
    found = freezes()
    found.hold(replace(FREEZE, scope=scope))
    result = await gated(found, PromptUpstream(), MemoryLog()).run(call("d1"))
    assert isinstance(result, Denial if stops else Done)


async def test_before_the_freezes_were_read_nothing_is_sent() -> None:
    """A gateway that has just started does not know what was frozen while it was away."""
    upstream, log = PromptUpstream(), MemoryLog()
    with pytest.raises(StateUnavailable) as refused:
        await gated(freezes(snapshot=None), upstream, log).run(call("d1"))
    assert (refused.value.cause, refused.value.status) == ("not_read_yet", 503)
    assert (upstream.orders, log.events) == ([], [])


async def test_a_freeze_ends_by_itself_by_the_clock_of_the_store() -> None:
    """However wrong the clock of this machine is."""
    clock = StillClock(wall_ms=0)
    found = freezes(clock=clock)
    found.hold(replace(FREEZE, until_ms=FREEZE.at_ms + 1_000))
    clock.steady_s += 0.999
    assert found.about("team", None) is not None
    clock.steady_s += 0.001
    assert found.about("team", None) is None


class Freezing(StateGate):
    """A gate at which somebody freezes between the first question and the second."""

    def __init__(self, found: FreezesInForce) -> None:
        super().__init__(found, Trips())
        self.found = found

    async def enter(self, call: Call, permit: Permit, draft: Draft | None) -> Denial | Replay | Draft | None:
        entered = await super().enter(call, permit, draft)
        self.found.hold(FREEZE)
        return entered


async def test_what_was_frozen_during_a_look_up_gets_no_intent() -> None:
    """The freeze is asked for again just before it."""
    upstream, log = PromptUpstream(), MemoryLog()
    line = gated(freezes(), upstream, log)
    line.gate = Freezing(freezes())
    assert isinstance(await line.run(call("d1")), Denial)
    assert (upstream.orders, [name for name, _, _ in log.events]) == ([], ["denied"])


async def test_what_was_frozen_while_the_intent_was_written_is_not_sent() -> None:
    """The intent is closed as `not_sent`, and the caller is told why."""
    found, upstream, log = freezes(), PromptUpstream(), MemoryLog(gate=asyncio.Event())
    running = asyncio.create_task(gated(found, upstream, log).run(call("d1")))
    await asyncio.sleep(0)
    assert log.gate is not None
    await asyncio.sleep(0.01)
    found.hold(FREEZE)
    log.gate.set()
    done = await settled(await running)
    assert (done.outcome, upstream.orders) == (NotSent("frozen"), [])


async def test_a_joined_request_is_not_asked_whether_it_is_frozen() -> None:
    """It sends nothing: it waits for what was sent before."""
    found, log = freezes(), MemoryLog(gate=asyncio.Event())
    line = gated(found, PromptUpstream(), log)
    first = asyncio.create_task(line.run(call("d1")))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(line.run(call("d2")))
    await asyncio.sleep(0.01)
    found.hold(FREEZE)
    assert log.gate is not None
    log.gate.set()
    for done in await asyncio.gather(first, second):
        assert (await settled(done)).outcome == NotSent("frozen")


class Taken:
    """What a gate takes besides: it remembers what it was asked, and may refuse."""

    def __init__(self, refusal: Denial | None = None) -> None:
        self.refusal = refusal
        self.seen: list[str] = []

    async def enter(self, call: Call, permit: object) -> Denial | None:
        self.seen.append("enter")
        return None

    async def overtaken(self, conflict: Conflict, call: Call, permit: object) -> Denial | None:
        self.seen.append("overtaken")
        return None

    async def admit(self, plan: Plan, call: Call) -> Plan | Denial:
        self.seen.append("admit")
        return self.refusal or plan

    async def withdraw(self, plan: Plan) -> None:
        self.seen.append("withdraw")

    async def close(self, plan: Plan, call: Call, result: Result) -> None:
        self.seen.append("close")


async def test_nothing_is_taken_for_a_frozen_request() -> None:
    """The freeze comes before budgets; before it a repeat is told what was done, which stops nothing."""
    takes, found = Taken(), freezes()
    line = gated(found, PromptUpstream(), MemoryLog())
    line.gate = StateGate(found, Trips(), takes)
    once = Binding("key", "request")
    assert isinstance(await line.run(replace(call("d1"), once=once)), Done)
    assert takes.seen == ["enter", "admit", "close"]
    found.hold(FREEZE)
    assert isinstance(await line.run(replace(call("d2", request=OTHER), once=once)), Denial)
    assert takes.seen == ["enter", "admit", "close", "enter"]


@pytest.mark.parametrize(
    ("outcome", "trips"), [(Cancelled(200, 3), 1), (Cancelled(200, 2), 0), (Unknown("timeout"), 0)]
)
async def test_an_order_by_ids_that_cancels_more_than_was_sent_trips_the_switch(outcome: object, trips: int) -> None:
    """For the rule that admitted it, and the team."""
    switch = Trips()
    gate = StateGate(freezes(), switch)
    line = Pipeline(
        upstream=PromptUpstream([outcome]),  # type: ignore[list-item]
        upstream_url="https://up.example",
        audit=MemoryLog(),
        clock=StillClock(),
        gate=gate,
    )
    await line.run(by_ids("d1"))
    assert [(team, rule) for team, rule, _ in switch.seen] == [("team", "ids/any")] * trips
    assert all("d1 cancelled 1 more run" in why for _, _, why in switch.seen)


async def test_a_filter_that_cancels_more_than_its_count_trips_nothing() -> None:
    """That is known of one contract, and is said in the answer and by an alert."""
    switch = Trips()
    line = gated(freezes(), PromptUpstream([Cancelled(200, 99)]), MemoryLog(), switch)
    done = await settled(await line.run(call("d1")))
    assert (done.result.over_cancelled, switch.seen) == (49, [])


def by_ids(decision_id: str, *, principal: Principal = ANN) -> Call:
    """A cancel of two runs by their IDs, under a rule that looks at nothing."""
    rule = Rule(
        policy="ids",
        id="any",
        effect=Effect.ALLOW,
        conditions={"workflowRunIds": RunIdCondition(max=9)},
        teams=frozenset(("team",)),
        owner_unchecked=True,
    )
    asked = ActionRequest(ByIds(("wfr_1", "wfr_2")), 2)
    return call(decision_id, policies=Policies((rule,), "digest"), principal=principal, request=asked)


class Counting(PromptUpstream):
    """An upstream behind which somebody freezes once some orders have been sent."""

    def __init__(self, found: FreezesInForce, after: int) -> None:
        super().__init__()
        self.found, self.after = found, after

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        outcome = await super().send(order, receipt)
        if len(self.orders) == self.after:
            self.found.hold(FREEZE)
        return outcome


async def test_no_order_of_a_plan_starts_after_a_freeze_is_in_force() -> None:
    """Of five orders the one that is out ends, the answer has the numbers, and the rest is named as not sent."""
    found = freezes()
    upstream = Counting(found, after=3)
    bench = Bench(MemoryRuns(runs(500)), upstream)
    bench.pipeline.gate = StateGate(found, Trips())
    await bench.plan()
    done = await bench.apply()
    assert isinstance(done, Done)
    assert len(upstream.orders) == 3
    assert isinstance(done.outcome, Unknown)
    assert (done.outcome.cause, done.outcome.progress is not None) == ("partial_frozen", True)
    assert done.outcome.progress is not None
    assert (done.outcome.progress.cancelled, len(done.outcome.progress.unsent)) == (300, 200)
    assert done.outcome.progress.unknown == ()


async def test_a_plan_that_is_frozen_before_it_is_applied_can_be_applied_after_the_thaw() -> None:
    """The refusal takes nothing of it; making and showing plans goes on meanwhile."""
    found = freezes()
    bench = Bench(MemoryRuns(runs(3)))
    bench.pipeline.gate = StateGate(found, Trips())
    found.hold(FREEZE)
    await bench.plan()
    assert isinstance(await bench.apply(), Denial)
    assert bench.upstream.orders == []
    found.let_go(replace(FREEZE, number=2, thawed_ms=FREEZE.at_ms, thawed_by="platform/ops"))
    done = await bench.apply(name="d2")
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(200, 3)
