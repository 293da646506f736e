"""Approvals: bound to who asked, what, which runs, which policies and a time; given by others; used once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.core.errors import AuditUnavailable, Conflict, NotAnApprover, NotFound, StateUnavailable, Throttled
from gateway.core.outcome import Cancelled
from gateway.core.plan import Approval, Budget, Denial, Plan
from gateway.core.request import Principal
from gateway.core.run import CANCELLED
from gateway.execution.in_flight import Done
from gateway.execution.plans.draft import Withdrawal
from gateway.state.approvals import MOST_OF_ONE, Word
from tests.execution.bench import ANN, BOB, REQUEST, RULE, URL, runs
from tests.execution.fakes import HeldUpstream, MemoryRuns
from tests.execution.gates.waiting import ASKS, ROB, SUE, WITH_REASON, Fleet, asking, plan_of
from tests.support.waiting import soon

MINUTE = 60_000


async def waiting(fleet: Fleet) -> str:
    """The plan of Ann's cancel, which waits."""
    return plan_of(await fleet.a.refused())


async def test_a_cancel_above_the_bound_waits_with_its_plan_and_sends_nothing() -> None:
    """The answer has the plan, who may approve it and who has; that it waits is on record under its decision."""
    fleet = Fleet()
    refused = await fleet.a.refused()
    assert (refused.code, refused.status, plan_of(refused)) == ("approval_required", 409, "d1")
    assert (refused.members["state"], refused.members["runs"]) == ("awaiting_approval", 5)
    approvals = refused.members["approvals"]
    assert isinstance(approvals, dict)
    assert (approvals["needed"], approvals["by"], approvals["given"]) == (1, ["platform"], [])
    assert fleet.upstream.orders == []
    assert fleet.a.on_record() == [("d1", "asked")]
    assert fleet.admissions.taken == {}


async def test_the_identical_cancel_meanwhile_is_the_same_plan_and_looks_nothing_up() -> None:
    """At any gateway; however often."""
    fleet = Fleet()
    plan, looked = await waiting(fleet), len(fleet.account.looks)
    for one in (fleet.a, fleet.b, fleet.a):
        assert plan_of(await one.refused()) == plan
    assert len(fleet.account.looks) == looked
    assert fleet.a.on_record() == [("d1", "asked")]


async def test_once_approved_the_identical_cancel_is_carried_out() -> None:
    """At another gateway too. The intent names the plan and who approved it; the record has all of it in order."""
    fleet = Fleet()
    plan = await waiting(fleet)
    after = await fleet.b.says(plan)
    assert [one.principal for one in after.given()] == ["platform/rob"]
    done = await fleet.b.cancel()
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(200, 5)
    [intent] = fleet.b.log.named("intent")
    assert isinstance(intent, Plan)
    assert (intent.plan_id, intent.approved_by) == (plan, ("platform/rob",))
    assert fleet.b.on_record() == [(plan, "approved")]


async def test_the_plan_can_be_applied_by_its_id_as_well() -> None:
    """Before it is approved that is refused with the same answer."""
    fleet = Fleet()
    plan = await waiting(fleet)
    with pytest.raises(Conflict) as early:
        await fleet.b.applied(plan)
    assert (early.value.code, plan_of(early.value)) == ("approval_required", plan)
    await fleet.a.says(plan)
    done = await fleet.b.applied(plan)
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(200, 5)


async def test_a_plan_that_was_made_to_be_seen_waits_when_it_is_applied() -> None:
    """Under its own ID."""
    fleet = Fleet()
    draft = await fleet.a.pipeline.plan(fleet.a.call("p1", policies=fleet.policies))
    assert not isinstance(draft, Denial)
    with pytest.raises(Conflict) as refused:
        await fleet.a.applied("p1")
    assert (refused.value.code, plan_of(refused.value)) == ("approval_required", "p1")
    await fleet.a.says("p1")
    assert isinstance(await fleet.a.applied("p1"), Done)


async def test_exactly_the_approved_runs_that_still_run_are_cancelled() -> None:
    """Runs that began since are not, and those that have ended are left out."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    ended, *others = runs(5)
    fleet.account.runs = [replace(ended, state=CANCELLED), *others, replace(others[0], run_id="wfr_new")]
    done = await fleet.a.cancel()
    assert isinstance(done, Done)
    assert fleet.a.sent() == [run.run_id for run in others]


async def test_it_is_used_once() -> None:
    """The same cancel afterwards is a new request, which has to be approved anew."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    assert isinstance(await fleet.a.cancel(), Done)
    fleet.account.runs = [replace(run, run_id=f"wfr_again_{at}") for at, run in enumerate(runs(5))]
    for one in (fleet.a, fleet.b):
        refused = await one.refused()
        assert (refused.code, plan_of(refused) != plan) == ("approval_required", True)
        with pytest.raises(Conflict) as over:
            await one.applied(plan)
        assert over.value.code == "plan_applied"
    fleet.pass_time(ASKS.within_ms)
    with pytest.raises(Conflict) as late:
        await fleet.a.applied(plan)
    assert late.value.code == "plan_applied"
    assert len(fleet.upstream.orders) == 1


@pytest.mark.parametrize("again", ["cancel", "apply"])
async def test_a_claim_whose_answer_is_lost_does_not_use_it_up(again: str) -> None:
    """Nothing was sent: the gateway that claimed it still applies it, once, and no other gateway does."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.plans.faults.after = {"claim"}
    with pytest.raises(StateUnavailable):
        await fleet.a.cancel()
    fleet.plans.faults.after = ()
    with pytest.raises(Conflict) as elsewhere:
        await fleet.b.applied(plan)
    assert (elsewhere.value.code, fleet.upstream.orders) == ("plan_applied", [])
    done = await (fleet.a.cancel() if again == "cancel" else fleet.a.applied(plan))
    assert isinstance(done, Done)
    assert (done.outcome, done.plan.plan_id) == (Cancelled(200, 5), plan)
    with pytest.raises(Conflict) as over:
        await fleet.a.applied(plan)
    assert (over.value.code, len(fleet.upstream.orders)) == ("plan_applied", 1)


async def test_many_after_a_claim_whose_answer_was_lost_send_once() -> None:
    """However they come, over two gateways; the others join it, wait anew or are told that it was applied."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.plans.faults.after = {"claim"}
    with pytest.raises(StateUnavailable):
        await fleet.a.applied(plan)
    fleet.plans.faults.after = ()
    asked = [one.cancel() for one in (fleet.a, fleet.a, fleet.b)] + [one.applied(plan) for one in (fleet.a, fleet.a)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, Done | Conflict)] == []
    assert len(fleet.upstream.orders) == 1


async def test_an_approval_that_holds_no_more_ends_also_after_a_lost_claim() -> None:
    """It is recorded once; the same cancel then begins anew."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.plans.faults.after = {"claim"}
    with pytest.raises(StateUnavailable):
        await fleet.a.cancel()
    fleet.plans.faults.after = ()
    fleet.revoked.add(ROB.name)
    assert (await fleet.a.refused()).code == "approval_void"
    again = await fleet.a.refused()
    assert (again.code, plan_of(again) != plan) == ("approval_required", True)
    assert fleet.a.on_record().count((plan, "void")) == 1


async def test_of_many_that_claim_it_at_once_one_sends() -> None:
    """Over two gateways; the others join it, or are told that it was applied."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    asked = [one.cancel() for one in (fleet.a, fleet.b)] + [one.applied(plan) for one in (fleet.a, fleet.b)]
    ends = await asyncio.gather(*asked, return_exceptions=True)
    assert [end for end in ends if not isinstance(end, Done | Conflict)] == []
    assert len(fleet.upstream.orders) == 1


async def test_another_request_another_reason_and_another_caller_wait_for_themselves() -> None:
    """What was approved is approved of exactly that cancel."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    names = {
        plan_of(await fleet.a.refused(WITH_REASON)),
        plan_of(await fleet.a.refused(replace(REQUEST, count=400))),
        plan_of(await fleet.a.refused(who=BOB)),
    }
    assert len(names | {plan}) == 4
    with pytest.raises(NotFound):
        await fleet.a.applied(plan, BOB)
    assert fleet.upstream.orders == []


async def test_changed_policies_void_it() -> None:
    """For the cancel, for the apply, and for whoever would approve; it is on record, and ends the plan."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.policies = asking(digest="other")
    refused = await fleet.a.refused()
    assert (refused.code, refused.members["cause"]) == ("approval_void", "policy")
    assert fleet.a.on_record() == [(plan, "asked"), (plan, "approved"), (plan, "void")]
    with pytest.raises(Conflict) as void:
        await fleet.b.applied(plan)
    assert void.value.code == "approval_void"
    assert plan_of(await fleet.a.refused()) != plan
    assert fleet.upstream.orders == []


async def test_policies_that_change_before_anybody_has_approved_begin_it_anew() -> None:
    """The caller is not told of an approval that there never was; nobody approves under policies that are gone."""
    fleet = Fleet()
    plan = await waiting(fleet)
    fleet.policies = asking(digest="other")
    with pytest.raises(Conflict) as void:
        await fleet.b.says(plan)
    assert void.value.code == "approval_void"
    refused = await fleet.a.refused()
    assert (refused.code, plan_of(refused) != plan) == ("approval_required", True)


async def test_another_rule_that_admits_the_request_now_voids_it() -> None:
    """It may ask for other people, and its policies may be the same: rules have windows."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    by_night = replace(RULE, id="night", approval=Approval(by=("board",), over=2))
    fleet.policies = replace(asking(), rules=(by_night,))
    assert (await fleet.a.refused()).code == "approval_void"
    assert fleet.upstream.orders == []


async def test_runs_other_than_the_approved_ones_are_not_cancelled() -> None:
    """Whoever approves says which runs; a plan whose rows were changed afterwards does not match."""
    fleet = Fleet()
    plan = await waiting(fleet)
    with pytest.raises(Conflict) as other:
        await fleet.a.says(plan, digest="0" * 64)
    assert (other.value.code, other.value.members["cause"]) == ("approval_void", "runs")
    await fleet.a.says(plan)
    fleet.approvals.rows[plan] = replace(fleet.approvals.rows[plan], plan_digest="0" * 64)
    assert (await fleet.a.refused()).code == "approval_void"
    assert fleet.upstream.orders == []


async def test_an_approver_whose_key_is_gone_voids_it() -> None:
    """Also where others have approved as well."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    await fleet.a.says(plan, SUE)
    fleet.revoked = {"platform/sue"}
    refused = await fleet.a.refused()
    assert (refused.code, refused.members["cause"]) == ("approval_void", "approver")
    assert fleet.upstream.orders == []


async def test_what_was_approved_in_time_and_not_used_expires() -> None:
    """On record with the decision that it began with; the cancel begins anew, and the plan is not applied."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.pass_time(ASKS.within_ms)
    with pytest.raises(Conflict) as void:
        await fleet.b.applied(plan)
    assert void.value.code == "approval_void"
    with pytest.raises(Conflict) as late:
        await fleet.b.says(plan, SUE)
    assert late.value.code == "approval_void"
    await fleet.a.approving.record_ends()
    await fleet.a.approving.record_ends()
    assert fleet.a.on_record() == [(plan, "asked"), (plan, "approved"), (plan, "expired")]
    assert plan_of(await fleet.a.refused()) != plan
    assert fleet.upstream.orders == []


async def test_an_end_that_could_not_be_recorded_is_recorded_later() -> None:
    """Never not at all."""
    fleet = Fleet()
    plan = await waiting(fleet)
    fleet.pass_time(ASKS.within_ms)
    fleet.a.log.refuses = "full"
    with pytest.raises(AuditUnavailable):
        await fleet.a.approving.record_ends()
    fleet.a.log.refuses = None
    await fleet.a.approving.record_ends()
    assert fleet.a.on_record() == [(plan, "asked"), (plan, "expired")]


async def test_the_requester_is_told_who_rejected_it_and_why() -> None:
    """By the identical cancel, which asks nobody again before the time is up, and by an apply."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.b.says(plan, word="reject", reason="not during the sale")
    for refused in [await fleet.a.refused(), await fleet.b.refused()]:
        assert (refused.code, refused.members["state"]) == ("plan_rejected", "rejected")
        assert "platform/rob: not during the sale" in refused.sentence
    with pytest.raises(Conflict) as applied:
        await fleet.a.applied(plan)
    assert applied.value.code == "plan_rejected"
    with pytest.raises(Conflict) as late:
        await fleet.a.says(plan, SUE)
    assert late.value.code == "plan_rejected"
    assert fleet.b.on_record() == [(plan, "rejected")]
    fleet.pass_time(ASKS.within_ms)
    assert (await fleet.a.refused()).code == "approval_required"


async def test_one_rejection_stops_what_others_have_approved() -> None:
    """Also one's own approval."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    await fleet.a.says(plan, word="reject")
    assert (await fleet.a.refused()).code == "plan_rejected"


async def test_said_again_it_is_answered_again_and_counts_once() -> None:
    """Without a second record."""
    fleet = Fleet(policies=asking(replace(ASKS, count=2)))
    plan = await waiting(fleet)
    for one in (fleet.a, fleet.b, fleet.a):
        assert len((await one.says(plan)).given()) == 1
    assert (await fleet.a.refused()).code == "approval_required"
    for one in (fleet.a, fleet.b):
        await one.says(plan, SUE, word="reject")
    assert fleet.a.on_record() == [(plan, "asked"), (plan, "approved"), (plan, "rejected")]
    assert fleet.b.on_record() == []


async def test_two_are_asked_for_where_the_rule_says_two() -> None:
    """The answer says who has approved so far."""
    fleet = Fleet(policies=asking(replace(ASKS, count=2)))
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    refused = await fleet.a.refused()
    assert (refused.code, "1 has approved: platform/rob" in refused.sentence) == ("approval_required", True)
    await fleet.b.says(plan, SUE)
    assert isinstance(await fleet.a.cancel(), Done)


TOKEN = Principal("platform", "https://i.example#rob")


@pytest.mark.parametrize(
    ("who", "cause"),
    [
        (ANN, "not_of_the_team"),
        (BOB, "not_of_the_team"),
        (Principal("search", "rob"), "not_of_the_team"),
        (Principal("platform", "ann"), "same_person"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_who_is_not_asked_cannot_approve(who: Principal, cause: str) -> None:
    """Neither another team, nor the requester: a key of the same id in another team is the same person."""
    fleet = Fleet()
    plan = await waiting(fleet)
    words: tuple[Word, ...] = ("approve", "reject")
    for word in words:
        with pytest.raises(NotAnApprover) as refused:
            await fleet.a.says(plan, who, word)
        assert (refused.value.status, refused.value.code, refused.value.cause) == (403, "not_an_approver", cause)
    assert fleet.approvals.voices == {}


async def test_a_team_that_may_approve_its_own_needs_two_persons_all_the_same() -> None:
    """Nobody approves what they have asked for."""
    fleet = Fleet(policies=asking(replace(ASKS, by=("team",))))
    plan = await waiting(fleet)
    with pytest.raises(NotAnApprover):
        await fleet.a.says(plan, ANN)
    await fleet.a.says(plan, BOB)
    assert isinstance(await fleet.a.cancel(), Done)


async def test_a_second_key_is_no_second_person_where_the_token_says_so() -> None:
    """The `sub` is compared, whatever the issuer and the team."""
    fleet = Fleet(policies=asking(replace(ASKS, count=2)))
    plan = await waiting(fleet)
    await fleet.a.says(plan, TOKEN)
    with pytest.raises(NotAnApprover) as same:
        await fleet.a.says(plan, Principal("platform", "https://other.example#rob"))
    assert same.value.cause == "same_person"
    await fleet.a.says(plan, ROB)  # nothing says that this key is the same person's
    assert isinstance(await fleet.a.cancel(), Done)


async def test_slices_below_the_bound_do_not_avoid_it() -> None:
    """What the team cancelled within the time counts, also where others asked, and whatever became unknown."""
    fleet = Fleet(MemoryRuns(runs(2)))
    assert isinstance(await fleet.a.cancel(), Done)
    fleet.account.runs = [replace(runs(1)[0], run_id="wfr_more")]
    refused = await fleet.b.refused(who=BOB)
    assert (refused.code, "beside 2 within the last 30m." in refused.sentence) == ("approval_required", True)
    fleet.pass_time(ASKS.within_ms)
    assert isinstance(await fleet.b.cancel(who=BOB, request=replace(REQUEST, count=9)), Done)


async def test_two_slices_at_once_do_not_avoid_it_either() -> None:
    """The second sees what the first has reserved, though nothing of it has come back."""
    fleet = Fleet(MemoryRuns(runs(2)), HeldUpstream())
    first = asyncio.create_task(fleet.a.cancel())
    assert isinstance(fleet.upstream, HeldUpstream)
    await soon(fleet.upstream.called.is_set)
    assert (await fleet.b.refused(who=BOB)).code == "approval_required"
    fleet.upstream.answer.set_result(Cancelled(200, 2))
    assert isinstance(await first, Done)


async def test_what_was_approved_counts_as_well() -> None:
    """So that an approval is no allowance for more."""
    fleet = Fleet()
    await fleet.a.says(await waiting(fleet))
    await fleet.a.cancel()
    fleet.account.runs = [replace(runs(1)[0], run_id="wfr_more")]
    assert (await fleet.a.refused(who=BOB)).code == "approval_required"


async def test_nothing_to_cancel_needs_no_approval() -> None:
    """A client that asks until nothing is left is told so."""
    fleet = Fleet()
    await fleet.a.says(await waiting(fleet))
    await fleet.a.cancel()
    fleet.account.runs = []
    done = await fleet.a.cancel()
    assert isinstance(done, Done)
    assert done.outcome == Cancelled(None, 0)


async def test_an_intent_that_is_not_durable_does_not_use_it_up() -> None:
    """The claim and what was reserved are given back, and the same cancel goes on later."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    fleet.a.log.refuses = "full"
    with pytest.raises(AuditUnavailable):
        await fleet.a.cancel()
    fleet.a.log.refuses = None
    await fleet.a.pipeline.plans.written(2)
    assert fleet.upstream.orders == []
    done = await fleet.b.cancel()
    assert isinstance(done, Done)
    assert (done.outcome, done.plan.plan_id) == (Cancelled(200, 5), plan)


async def test_a_word_that_is_not_on_record_does_not_count() -> None:
    """It can be said again."""
    fleet = Fleet()
    plan = await waiting(fleet)
    fleet.a.log.refuses = "full"
    with pytest.raises(AuditUnavailable):
        await fleet.a.says(plan)
    fleet.a.log.refuses = None
    assert (await fleet.a.refused()).code == "approval_required"
    await fleet.a.says(plan)
    assert isinstance(await fleet.a.cancel(), Done)


async def test_a_plan_whose_wait_is_not_on_record_does_not_wait() -> None:
    """The caller is told that the record cannot be written; the next cancel begins anew."""
    fleet = Fleet()
    log, keep = fleet.a.log, fleet.a.log.keep

    async def kept(event: str, members: object) -> None:
        if event == "approval":
            raise AuditUnavailable("full")
        await keep(event, members)  # type: ignore[arg-type]

    log.keep = kept  # type: ignore[method-assign]
    with pytest.raises(AuditUnavailable):
        await fleet.a.cancel()
    log.keep = keep  # type: ignore[method-assign]
    assert await fleet.a.approving.waiting_for("platform") == []
    assert plan_of(await fleet.a.refused()) == "d2"


@pytest.mark.parametrize("lost", ["wait_for_approval", "confirm_wait"])
async def test_a_plan_whose_answer_was_lost_is_on_record_before_it_waits(lost: str) -> None:
    """Nobody sees or approves it before; the next identical cancel, at any gateway, records it, and has it wait."""
    fleet = Fleet()
    fleet.plans.faults.after = {lost}
    with pytest.raises(StateUnavailable):
        await fleet.a.cancel()
    fleet.plans.faults.after = ()
    assert lost == "confirm_wait" or fleet.a.on_record() == []
    plan = plan_of(await fleet.b.refused())
    assert (plan, fleet.a.on_record() + fleet.b.on_record()) == ("d1", [("d1", "asked")])
    await fleet.b.says(plan)
    assert isinstance(await fleet.a.cancel(), Done)
    assert fleet.b.on_record() == ([("d1", "asked")] if lost == "wait_for_approval" else []) + [("d1", "approved")]


@pytest.mark.parametrize("ends", ["before the record", "after the record"])
async def test_a_plan_whose_gateway_was_killed_before_it_waits_is_approved_by_nobody(ends: str) -> None:
    """It is not listed, not seen and not approved, until the identical cancel has it on record."""
    fleet = Fleet()
    faults = fleet.plans.faults
    faults.after, faults.before = ({"wait_for_approval"}, ()) if ends == "before the record" else ((), {"confirm_wait"})
    with pytest.raises(StateUnavailable):
        await fleet.a.cancel()
    faults.after, faults.before = (), ()
    assert await fleet.b.approving.waiting_for("platform") == []
    with pytest.raises(NotFound):
        await fleet.b.approving.seen_by("platform", "d1")
    with pytest.raises(NotFound):
        await fleet.b.says("d1")
    assert plan_of(await fleet.b.refused()) == "d1"
    assert fleet.b.on_record() == [("d1", "asked")]
    await fleet.b.says("d1")
    assert isinstance(await fleet.b.cancel(), Done)


@pytest.mark.parametrize("fails", ["waiting_like", "wait_for_approval", "waiting"])
async def test_a_store_that_is_away_lets_nothing_go(fails: str) -> None:
    """503, and nothing sent; later it goes on where it was."""
    fleet = Fleet()
    plan = await waiting(fleet) if fails != "wait_for_approval" else None
    fleet.plans.faults.before = {fails}
    with pytest.raises(StateUnavailable):
        await (fleet.a.applied(plan) if fails == "waiting" and plan else fleet.a.cancel())
    fleet.plans.faults.before = ()
    assert fleet.upstream.orders == []
    assert (await fleet.a.refused()).code == "approval_required"


async def test_four_plans_of_one_caller_wait_and_are_not_dropped() -> None:
    """A fifth is refused with how many may; plans that are only looked at drop none of them."""
    fleet = Fleet()
    names = [plan_of(await fleet.a.refused(replace(REQUEST, count=400 + n))) for n in range(MOST_OF_ONE)]
    with pytest.raises(Throttled) as full:
        await fleet.a.cancel()
    assert (full.value.cause, full.value.limit) == ("approvals", MOST_OF_ONE)
    for number in range(12):
        await fleet.a.pipeline.plan(fleet.a.call(f"p{number}", policies=fleet.policies))
    assert [plan_of(await fleet.b.refused(replace(REQUEST, count=400 + n))) for n in range(MOST_OF_ONE)] == names


async def test_its_requester_stops_it_and_that_is_on_record() -> None:
    """It is approved by nobody any more, and the same cancel is a new request."""
    fleet = Fleet()
    plan = await waiting(fleet)
    await fleet.a.says(plan)
    stopped = await fleet.b.pipeline.plans.halted(ANN, plan, Withdrawal(ANN, "s1", None))
    assert stopped.state.value == "stopped"
    await fleet.b.pipeline.plans.halted(ANN, plan, Withdrawal(ANN, "s2", None))
    assert len(fleet.b.log.named("withdrawn")) == 1
    with pytest.raises(Conflict) as over:
        await fleet.b.says(plan, SUE)
    assert over.value.code == "plan_stopped"
    assert plan_of(await fleet.a.refused()) != plan
    fleet.pass_time(ASKS.within_ms)
    await fleet.a.approving.record_ends()
    assert (plan, "expired") not in fleet.a.on_record()


async def test_a_team_sees_what_waits_for_it_with_every_run() -> None:
    """And nobody else does; only as long as it waits."""
    fleet = Fleet()
    plan = await waiting(fleet)
    [found] = await fleet.b.approving.waiting_for("platform")
    assert (found.plan_id, found.requester) == (plan, "team/ann")
    seen, _ = await fleet.b.approving.seen_by("platform", plan)
    assert [run.run_id for run in seen.resolved.runs] == [run.run_id for run in runs(5)]
    with pytest.raises(NotFound):
        await fleet.b.approving.seen_by("search", plan)
    await fleet.a.says(plan)
    await fleet.a.cancel()
    with pytest.raises(NotFound):
        await fleet.b.approving.seen_by("platform", plan)
    assert await fleet.b.approving.waiting_for("platform") == []


async def test_a_budget_and_an_approval_count_the_same_runs() -> None:
    """One reservation; what does not fit into the budget is approved by nobody."""
    fleet = Fleet(policies=asking(budget=Budget(24 * 60 * MINUTE, runs=6)))
    await fleet.a.says(await waiting(fleet))
    done = await fleet.a.cancel()
    assert isinstance(done, Done)
    assert done.plan.reserved is not None
    assert done.plan.reserved.left_runs == 1
    fleet.account.runs = [replace(run, run_id=f"wfr_again_{at}") for at, run in enumerate(runs(5))]
    assert isinstance(await fleet.a.cancel(), Denial)


async def test_reading_approves_nothing() -> None:
    """However often a scanner follows the links."""
    fleet = Fleet()
    plan = await waiting(fleet)
    before = dict(fleet.approvals.rows), dict(fleet.plans.rows), fleet.a.on_record()
    for _ in range(10):
        await fleet.a.approving.waiting_for("platform")
        await fleet.a.approving.seen_by("platform", plan)
        await fleet.a.pipeline.plans.find(ANN, plan)
    assert (dict(fleet.approvals.rows), dict(fleet.plans.rows), fleet.a.on_record()) == before
    assert (await fleet.a.refused()).code == "approval_required"


def test_the_runs_of_these_tests_are_of_one_workflow() -> None:
    """So that the rule covers all of them."""
    assert {run.workflow_url for run in runs(5)} == {URL}
