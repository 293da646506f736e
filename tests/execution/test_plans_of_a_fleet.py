"""Plans that several gateways know: shown, applied and stopped by any of them, and sent by one alone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import orjson
import pytest

from gateway.core.errors import AuditUnavailable, Conflict, NotFound, StateUnavailable
from gateway.core.outcome import Cancelled
from gateway.core.plan import Denial
from gateway.core.request import Principal
from gateway.core.run import CANCELLED
from gateway.edge.pages.plans import plan_members
from gateway.execution.in_flight import Done, Told
from gateway.execution.plans.draft import State, Withdrawal
from gateway.execution.plans.drafts import LIFETIME_S, SHOWN_S
from gateway.execution.plans.planner import WAIT_S
from gateway.execution.plans.shelf import Shelf
from tests.execution.bench import ANN, BOB, NOTHING, Bench, runs
from tests.execution.fakes import HeldUpstream, MemoryLog, MemoryRuns, PromptUpstream, StillClock
from tests.support.state.plans import MemoryPlans
from tests.support.waiting import soon


@dataclass
class Fleet:
    """Gateways A and B with one account, one upstream, one clock and one store."""

    account: MemoryRuns = field(default_factory=lambda: MemoryRuns(runs(3)))
    upstream: PromptUpstream | HeldUpstream = field(default_factory=PromptUpstream)
    clock: StillClock = field(default_factory=StillClock)

    def __post_init__(self) -> None:
        self.store = MemoryPlans(self.clock)
        self.a, self.b = self.gateway("A"), self.gateway("B")

    def gateway(self, instance: str) -> Bench:
        """One more gateway, which knows nothing yet."""
        shelf = Shelf(self.store, instance=instance, clock=self.clock)
        return Bench(self.account, self.upstream, clock=self.clock, shelf=shelf)

    async def written(self) -> None:
        """Waits until the store knows what each of the two has to say."""
        for one in (self.a, self.b):
            await one.pipeline.plans.written(2)

    def rewrite(self, name: str, change: Callable[[dict[str, object]], object]) -> None:
        """Changes the document of a plan behind the gateways' backs."""
        row = self.store.rows[name]
        members = orjson.loads(row.document)
        change(members)
        self.store.rows[name] = replace(row, document=orjson.dumps(members))


async def shown(bench: Bench, name: str = "p1", principal: Principal = ANN) -> Mapping[str, object]:
    """The plan as its caller sees it at a gateway."""
    draft = await bench.pipeline.plans.find(principal, name)
    return plan_members(draft, expires_in_s=bench.pipeline.plans.expires_in_s(draft))


async def apply(bench: Bench, plan: str = "p1", *, name: str = "d1") -> Told:
    """Applies a plan at a gateway, under the policies of now, and takes the answer."""
    draft = await bench.pipeline.plans.find(ANN, plan)
    done = await bench.pipeline.apply(bench.call(name, policies=bench.live or NOTHING), draft)
    if isinstance(done, Done):
        bench.pipeline.answered(done, caller_gone=False)
    return done


async def refused(bench: Bench, *, name: str = "d2") -> str:
    """The code with which a gateway refuses to apply the plan."""
    with pytest.raises(Conflict) as caught:
        await apply(bench, name=name)
    return caught.value.code


async def halted(bench: Bench, name: str = "p1") -> State:
    """Stops a plan at a gateway; the state that its caller is shown."""
    return (await bench.pipeline.plans.halted(ANN, name, Withdrawal(ANN, "s1", None))).state


async def test_a_plan_made_at_one_gateway_is_shown_and_applied_by_another() -> None:
    """Both show the same, before and after; exactly its runs are cancelled, and each is looked at by its ID first."""
    fleet = Fleet()
    await fleet.a.plan()
    assert await shown(fleet.b) == await shown(fleet.a)
    looked = len(fleet.account.looks)
    done = await apply(fleet.b)
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(200, 3)
    assert fleet.account.looks[looked:] == [[run.run_id for run in runs(3)]]
    assert done.plan.plan_id == "p1"
    await fleet.written()
    assert await shown(fleet.a) == await shown(fleet.b)
    assert (await shown(fleet.a))["state"] == "applied"
    assert (await shown(fleet.a))["cancelled"] == 3
    assert [await refused(one) for one in (fleet.a, fleet.b)] == ["plan_applied"] * 2
    assert len(fleet.upstream.orders) == 1


async def test_it_is_nobody_elses_at_any_gateway() -> None:
    """Another principal is told what it is told of a plan that never was."""
    fleet = Fleet()
    await fleet.a.plan()
    for one in (fleet.a, fleet.b):
        with pytest.raises(NotFound):
            await one.pipeline.plans.find(BOB, "p1")
        with pytest.raises(NotFound):
            await one.pipeline.plans.halted(BOB, "p1", Withdrawal(BOB, "s1", None))
        assert await one.pipeline.plans.listed(BOB) == []
    assert (await shown(fleet.a))["state"] == "ready"


async def test_every_gateway_lists_the_plans_of_all_the_newest_first() -> None:
    """Each once, with what became of it."""
    fleet = Fleet()
    for name, one in (("p1", fleet.a), ("p2", fleet.b), ("p3", fleet.a)):
        await one.plan(name)
        fleet.clock.wall_ms += 1000
    await apply(fleet.b, "p1")
    await fleet.written()
    for one in (fleet.a, fleet.b):
        found = await one.pipeline.plans.listed(ANN)
        assert [(draft.plan_id, draft.state.value) for draft in found] == [
            ("p3", "ready"),
            ("p2", "ready"),
            ("p1", "applied"),
        ]


async def test_operators_see_the_plans_of_all_callers_at_every_gateway() -> None:
    """The newest first, also those of which this gateway knows nothing; a part of them never looks like all."""
    fleet = Fleet()
    await fleet.a.plan("p1")
    fleet.clock.wall_ms += 1000
    await fleet.b.plan("p2")
    for one in (fleet.a, fleet.b):
        assert [draft.plan_id for draft in await one.pipeline.plans.listed(None)] == ["p2", "p1"]
    fleet.store.faults.before = ["plans_of"]
    with pytest.raises(StateUnavailable):
        await fleet.a.pipeline.plans.listed(None)


async def test_of_two_gateways_that_apply_a_plan_at_once_one_sends() -> None:
    """The other answers 409; the runs are ordered once."""
    fleet = Fleet()
    await fleet.a.plan()
    drafts = [await one.pipeline.plans.find(ANN, "p1") for one in (fleet.a, fleet.b)]
    calls = [
        one.pipeline.apply(one.call(name), draft)
        for one, name, draft in zip((fleet.a, fleet.b), ("d1", "d2"), drafts, strict=True)
    ]
    ends = await asyncio.gather(*calls, return_exceptions=True)
    [done] = [end for end in ends if isinstance(end, Done)]
    [lost] = [end for end in ends if isinstance(end, Conflict)]
    assert (done.outcome, lost.code) == (Cancelled(200, 3), "plan_applied")
    assert len(fleet.upstream.orders) == 1


async def test_requests_at_one_gateway_that_read_a_plan_together_send_it_once() -> None:
    """Even where the second goes on only when the first has ended and been answered."""
    fleet = Fleet()
    await fleet.a.plan()
    first, second = [await fleet.b.pipeline.plans.find(ANN, "p1") for _ in range(2)]
    done = await fleet.b.pipeline.apply(fleet.b.call("d1"), first)
    assert isinstance(done, Done)
    fleet.b.pipeline.answered(done, caller_gone=False)
    with pytest.raises(Conflict) as caught:
        await fleet.b.pipeline.apply(fleet.b.call("d2"), second)
    assert (caught.value.code, len(fleet.upstream.orders)) == ("plan_applied", 1)


async def test_a_holder_that_sleeps_is_waited_for_by_nobody_and_sends_alone() -> None:
    """While it sleeps with the claim nobody else sends; gone for long, the plan has ended, and awake it sends once."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.a.log.gate = asyncio.Event()
    asleep = asyncio.create_task(apply(fleet.a))
    await soon(lambda: fleet.store.rows["p1"].claimed_by == "A")
    assert (await refused(fleet.b), (await shown(fleet.b))["state"]) == ("plan_applied", "applying")
    fleet.store.gone.add("A")
    assert (await refused(fleet.b), (await shown(fleet.b))["state"]) == ("plan_applied", "unknown")
    assert fleet.upstream.orders == []
    fleet.a.log.gate.set()
    done = await asleep
    assert isinstance(done, Done)
    await fleet.written()
    assert (done.outcome, (await shown(fleet.b))["state"]) == (Cancelled(200, 3), "applied")
    assert len(fleet.upstream.orders) == 1


async def test_what_ended_while_the_holder_slept_is_not_ordered() -> None:
    """Awake, it looks at each run of the order by its ID once more."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.b.log.gate = asyncio.Event()
    asleep = asyncio.create_task(apply(fleet.b))
    await soon(lambda: fleet.store.rows["p1"].claimed_by == "B")
    fleet.account.runs = [replace(run, state=CANCELLED) for run in runs(3)]
    fleet.b.log.gate.set()
    done = await asleep
    assert isinstance(done, Done)
    assert (done.outcome, fleet.upstream.orders) == (Cancelled(None, 0), [])


async def test_policy_is_judged_again_where_the_plan_is_applied() -> None:
    """What A permitted B refuses, by the policies of now; nothing is claimed."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.b.live = NOTHING
    assert isinstance(await apply(fleet.b), Denial)
    assert (fleet.store.rows["p1"].claimed_by, fleet.upstream.orders) == (None, [])
    assert (await shown(fleet.a))["state"] == "ready"


async def test_a_claim_is_given_back_where_no_intent_came_of_it() -> None:
    """Then another gateway can apply the plan."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.b.log.refuses = "disk_full"
    with pytest.raises(AuditUnavailable):
        await apply(fleet.b)
    assert fleet.store.rows["p1"].claimed_by is None
    done = await apply(fleet.a, name="d2")
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(200, 3)


async def test_a_claim_that_could_not_be_given_back_ends_the_plan() -> None:
    """Whether the store took it back or not, this gateway applies it no more."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.a.log.refuses, fleet.store.faults.before = "disk_full", ("give_back",)
    with pytest.raises(AuditUnavailable):
        await apply(fleet.a)
    fleet.a.log.refuses, fleet.store.faults.before = None, ()
    assert [await refused(one) for one in (fleet.a, fleet.b)] == ["plan_refused"] * 2
    assert fleet.upstream.orders == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_without_an_answer_to_its_claim_nothing_is_sent(when: str) -> None:
    """It is 503; the same gateway may ask again, and no other once the claim may hold."""
    fleet = Fleet()
    await fleet.a.plan()
    setattr(fleet.store.faults, when, ("claim",))
    with pytest.raises(StateUnavailable):
        await apply(fleet.b)
    assert (fleet.upstream.orders, fleet.b.events) == ([], [])
    setattr(fleet.store.faults, when, ())
    if when == "after":
        assert await refused(fleet.a) == "plan_applied"
    done = await apply(fleet.b)
    assert isinstance(done, Done)
    assert (done.outcome, len(fleet.upstream.orders)) == (Cancelled(200, 3), 1)


async def test_a_plan_is_stopped_from_any_gateway_before_it_is_applied() -> None:
    """Also by one that did not make it; then nobody applies it, and both say why."""
    fleet = Fleet()
    await fleet.a.plan()
    assert await halted(fleet.b) is State.STOPPED
    assert [await refused(one) for one in (fleet.a, fleet.b)] == ["plan_stopped"] * 2
    assert [(await shown(one))["state"] for one in (fleet.a, fleet.b)] == ["stopped"] * 2
    assert fleet.upstream.orders == []


async def test_a_stop_that_comes_while_a_plan_is_about_to_be_claimed_wins() -> None:
    """The claim is refused, and nothing is recorded as an intent."""
    fleet = Fleet()
    await fleet.a.plan()
    draft = await fleet.a.pipeline.plans.find(ANN, "p1")
    assert await halted(fleet.b) is State.STOPPED
    with pytest.raises(Conflict) as caught:
        await fleet.a.pipeline.apply(fleet.a.call("d1"), draft)
    assert (caught.value.code, fleet.a.events) == ("plan_stopped", ["plan"])


async def test_a_plan_that_another_gateway_applies_is_stopped_behind_its_order() -> None:
    """The one that is asked says that it is at work; the holder learns it with its next beat and sends no more."""
    fleet = Fleet(MemoryRuns(runs(250)), HeldUpstream())
    assert isinstance(fleet.upstream, HeldUpstream)
    await fleet.a.plan()
    applying = asyncio.create_task(apply(fleet.a))
    await fleet.upstream.called.wait()
    assert await halted(fleet.b) is State.APPLYING
    fleet.a.pipeline.plans.stop_asked(fleet.store.stops("A"))
    fleet.upstream.answer.set_result(Cancelled(200, 100))
    done = await applying
    assert isinstance(done, Done)
    assert done.result.stop is not None
    assert (done.outcome, done.result.stop.by) == (Cancelled(200, 100), ANN.name)
    await fleet.written()
    seen = await shown(fleet.b)
    assert (seen["state"], seen["cancelled"], seen["orders"]) == ("stopped", 100, {"planned": 3, "sent": 1})
    assert await halted(fleet.b) is State.STOPPED


async def test_a_plan_that_is_still_looked_up_is_known_everywhere() -> None:
    """Its ID was told with 409 or 202; once it is ready any gateway applies it."""
    fleet = Fleet(MemoryRuns(runs(3), held=asyncio.Event()))
    assert fleet.account.held is not None
    looking = asyncio.create_task(fleet.a.pipeline.plan(fleet.a.call("p1")))
    await soon(lambda: bool(fleet.account.looks))
    await asyncio.wait({looking}, timeout=WAIT_S + 2)
    assert (await shown(fleet.b))["state"] == "looking"
    assert await refused(fleet.b) == "plan_pending"
    fleet.account.held.set()
    await soon(lambda: fleet.store.rows["p1"].state == "ready")
    assert isinstance(await apply(fleet.b), Done)


async def test_a_look_up_whose_gateway_died_is_not_waited_for() -> None:
    """After the time that it may take at most, it has failed."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.rewrite("p1", lambda members: members.update(state="looking"))
    assert (await shown(fleet.b))["state"] == "looking"
    fleet.clock.wall_ms += 100_000
    assert (await shown(fleet.b))["state"] == "failed"
    assert await refused(fleet.b) == "plan_refused"


async def test_a_plan_lives_as_long_at_every_gateway() -> None:
    """It can be applied for ten minutes, by the clock of the wall, and is shown for ten more."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.clock.wall_ms += round(LIFETIME_S * 1000)
    assert (await shown(fleet.b))["state"] == "expired"
    with pytest.raises(NotFound):
        await apply(fleet.b)
    fleet.clock.wall_ms += round((SHOWN_S - LIFETIME_S) * 1000)
    with pytest.raises(NotFound):
        await shown(fleet.b)


OTHER_RUN = {
    "workflowRunId": "wfr_else",
    "workflowUrl": "https://a.example/api",
    "workflowState": "RUN_STARTED",
    "workflowRunCreatedAt": 1_794_000_000_000,
    "labels": [],
}


@pytest.mark.parametrize(
    "change",
    [
        lambda members: members["runs"].append(OTHER_RUN),
        lambda members: members["runs"].pop(),
        lambda members: members["runs"][0].update(workflowRunCreatedAt=1_794_000_000_999),
        lambda members: members["runs"][0].update(workflowUrl="no url"),
        lambda members: members.update(team="others"),
        lambda members: members.update(subject="bob"),
        lambda members: members.update(v=2),
        lambda members: members.update(plan="p2"),
        lambda members: members.update(state="approved"),
        lambda members: members.update(runs=None),
        lambda members: members.update(times=[1]),
        lambda members: members["request"].update(filter={"labels": "nightly"}),
        lambda members: members["request"].update(filter={"password": ["x"]}),
        lambda members: members["request"].update(count=True),
        lambda members: members.pop("permit"),
        lambda members: members.update(orders="many"),
    ],
)
async def test_a_plan_that_was_changed_in_the_store_is_never_applied(
    change: Callable[[dict[str, object]], object],
) -> None:
    """It is 409 with what to do, wherever it is asked for; a list leaves it out, and it can still be stopped."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.rewrite("p1", change)
    assert [await refused(one) for one in (fleet.a, fleet.b)] == ["plan_damaged"] * 2
    with pytest.raises(Conflict, match="Plan again"):
        await shown(fleet.b)
    assert await fleet.b.pipeline.plans.listed(ANN) == []
    with pytest.raises(Conflict):
        await halted(fleet.b)
    assert (fleet.store.rows["p1"].stopped_by, fleet.upstream.orders) == (ANN.name, [])


async def test_a_document_of_another_team_is_not_shown_under_ones_own_name() -> None:
    """The owner beside the document and the one in it have to be the same."""
    fleet = Fleet()
    await fleet.a.plan()
    row = fleet.store.rows["p1"]
    fleet.store.rows["p1"] = replace(row, team="other", principal="other/bob")
    with pytest.raises(Conflict):
        await fleet.b.pipeline.plans.find(Principal("other", "bob"), "p1")


async def test_a_document_that_is_no_json_is_refused() -> None:
    """As one that was changed."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.store.rows["p1"] = replace(fleet.store.rows["p1"], document=b'{"v":1,"v":1}')
    assert await refused(fleet.b) == "plan_damaged"


async def test_nothing_in_the_store_tells_a_secret_or_a_monotonic_time() -> None:
    """The document has the names that are known, and no time below a wall clock's."""
    fleet = Fleet()
    fleet.clock.steady_s = 123.25
    await fleet.a.plan()
    members = orjson.loads(fleet.store.rows["p1"].document)
    assert all(time > 10**12 for time in members["times"])
    assert b"123.25" not in fleet.store.rows["p1"].document


async def test_a_cancel_that_is_answered_at_once_needs_no_store() -> None:
    """Neither its look-up nor its orders: the store is not asked once."""
    fleet = Fleet()
    fleet.store.faults.before = ("*",)
    done = await fleet.a.run()
    assert (done.outcome, fleet.store.faults.asked) == (Cancelled(200, 3), [])


async def test_without_the_store_no_plan_is_told_and_none_is_applied() -> None:
    """Both are 503; when it is back, a plan that it does not have yet is kept before it is claimed."""
    fleet = Fleet()
    fleet.store.faults.before = ("*",)
    with pytest.raises(StateUnavailable):
        await fleet.a.plan()
    for what in (fleet.a.pipeline.plans.find(ANN, "p1"), fleet.a.pipeline.plans.listed(ANN), halted(fleet.b)):
        with pytest.raises(StateUnavailable):
            await what
    fleet.store.faults.before = ()
    assert (await shown(fleet.a))["state"] == "ready"
    assert isinstance(await apply(fleet.a), Done)
    assert fleet.store.rows["p1"].claimed_by == "A"


async def test_what_became_of_a_plan_is_written_when_the_store_is_back() -> None:
    """No order waits for it."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.store.faults.before = ("keep_plan",)
    assert isinstance(await apply(fleet.a), Done)
    assert (await shown(fleet.b))["state"] == "applying"
    fleet.store.faults.before = ()
    await fleet.written()
    assert (await shown(fleet.b))["state"] == "applied"


async def test_a_store_that_hangs_delays_no_order() -> None:
    """What is written behind waits alone."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.store.faults.held = ("keep_plan",)
    assert isinstance(await asyncio.wait_for(apply(fleet.a), 2), Done)
    fleet.store.faults.hangs.set()
    await fleet.written()
    assert (await shown(fleet.b))["state"] == "applied"


async def test_a_plan_that_was_read_is_never_fresh() -> None:
    """Even right after its look-up a run that has ended is not ordered by a gateway that did not look itself."""
    fleet = Fleet()
    await fleet.a.plan()
    fleet.account.runs = [replace(run, state=CANCELLED) if run.run_id == "wfr_0001" else run for run in runs(3)]
    done = await apply(fleet.b)
    assert isinstance(done, Done)
    assert (done.outcome, fleet.b.sent()) == (Cancelled(200, 2), ["wfr_0000", "wfr_0002"])


async def test_the_log_of_the_one_that_applies_has_the_intent() -> None:
    """The plan is on record where it was made, and its intent names it where it was applied."""
    fleet = Fleet()
    fleet.b.log = MemoryLog()
    await fleet.a.plan()
    await apply(fleet.b)
    assert (fleet.a.events, fleet.b.pipeline.plans.get(ANN, "p1").sent is not None) == (["plan"], True)
