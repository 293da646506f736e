"""Plans that wait for approval: one for each cancel, few for each team, and what is said of them counts once."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import update

from gateway.core.plan import Budget
from gateway.state.admissions import Admission, Admitted, Closed, Exhausted, NeedsApproval, Reservation, Unapproved
from gateway.state.approvals import MOST_OF_A_TEAM, MOST_OF_ONE, End, Full, Unheard, Voice, Waiting
from gateway.state.plans import KeptPlan
from gateway.store.opened import SqlStore
from gateway.store.tables import ADMISSIONS, GATEWAYS, now_ms
from tests.support.waiting import eventually

HOUR = 3_600_000
ANN, ROB, SUE = "billing/ann", "platform/rob", "platform/sue"


def plan(name: str, state: str = "awaiting_approval") -> KeptPlan:
    return KeptPlan(name, "billing", ANN, state, "runs", b"{}", 0, 4_000_000_000_000)


def wish(name: str = "p", *, who: str = ANN, request: str = "request", within_ms: int = HOUR) -> Waiting:
    return Waiting(
        plan_id=name,
        instance="one",
        team=who.partition("/")[0],
        requester=who,
        person=f"key:{who.partition('/')[2]}",
        request_sha256=request,
        rule="billing/own",
        by=("platform", "sre_1"),
        needed=1,
        plan_digest="runs",
        policy_digest="policies",
        within_ms=within_ms,
    )


async def waits(store: SqlStore, name: str = "p", *, within_ms: int = HOUR) -> Waiting:
    found = await store.wait_for_approval(wish(name, within_ms=within_ms), plan(name))
    assert isinstance(found, Waiting)
    await store.confirm_wait(name)
    return found


def voice(name: str = "v", who: str = ROB, *, word: str = "approve", plan_id: str = "p", person: str = "") -> Voice:
    said = "reject" if word == "reject" else "approve"
    return Voice(name, plan_id, who, person or f"key:{who}", "key 1", said, "fine", "runs", "policies")  # type: ignore[arg-type]


async def says(store: SqlStore, said: Voice) -> Waiting | None:
    assert isinstance(await store.hear(said), Waiting)
    return await store.confirm(said.voice_id)


async def test_a_plan_waits_for_as_long_as_was_said_by_the_clock_of_the_store(store: SqlStore) -> None:
    """It is read as it was written; so is the plan, which is kept with it."""
    found = await waits(store)
    assert found.until_ms - found.asked_ms == HOUR
    assert found == replace(wish(), asked_ms=found.asked_ms, until_ms=found.until_ms, now_ms=found.now_ms)
    assert await store.waiting("q") is None
    kept = await store.plan("p")
    assert kept is not None
    assert (kept.state, kept.expires_ms > found.until_ms) == ("awaiting_approval", True)


async def test_an_identical_cancel_finds_the_plan_that_waits(store: SqlStore) -> None:
    """Also one that wants a plan of its own at the same moment; another request, or another caller, does not."""
    found = await asyncio.gather(*(store.wait_for_approval(wish(name), plan(name)) for name in "pqrs"))
    names = {one.plan_id for one in found if isinstance(one, Waiting)}
    assert len(names) == 1
    again = await store.waiting_like(ANN, "request", "one")
    assert {again and again.plan_id} == names
    assert await store.waiting_like(ANN, "another", "one") is None
    assert await store.waiting_like(ROB, "request", "one") is None


async def test_what_is_claimed_stopped_or_late_is_not_found(store: SqlStore) -> None:
    """The same cancel is a new request then."""
    await waits(store)
    await store.claim("p", "one")
    assert await store.waiting_like(ANN, "request", "two") is None
    await store.give_back("p", "one")
    assert await store.waiting_like(ANN, "request", "two") is not None
    await store.stop_plan("p", ANN)
    assert await store.waiting_like(ANN, "request", "two") is None
    await waits(store, "q", within_ms=1)
    await eventually(lambda: _none(store))


async def test_a_plan_that_is_not_on_record_yet_is_not_listed_and_nothing_is_said_of_it(store: SqlStore) -> None:
    """It is known to its identical cancel alone, which has it wait."""
    assert isinstance(await store.wait_for_approval(wish(), plan("p")), Waiting)
    assert await store.waiting_for("platform") == []
    assert await store.hear(voice()) is Unheard.GONE
    found = await store.waiting_like(ANN, "request", "one")
    assert found is not None
    assert not found.asked
    await store.confirm_wait("p")
    assert [one.asked for one in await store.waiting_for("platform")] == [True]
    assert isinstance(await store.hear(voice()), Waiting)


async def test_a_gateway_finds_and_ends_what_it_has_claimed_itself(store: SqlStore) -> None:
    """The answer to its claim may have been lost, which it alone knows; no other gateway finds it, or ends it."""
    await waits(store)
    await store.claim("p", "one")
    found = await store.waiting_like(ANN, "request", "one")
    assert found is not None
    assert found.claimed_by == "one"
    assert await store.waiting_like(ANN, "request", "two") is None
    assert not await store.end_waiting("p", End.VOID, "two")
    assert await store.end_waiting("p", End.VOID, "one")
    assert await store.waiting_like(ANN, "request", "one") is None


async def _none(store: SqlStore) -> bool:
    return await store.waiting_like(ANN, "request", "one") is None


async def test_four_wait_for_one_and_sixteen_for_a_team(store: SqlStore) -> None:
    """Those above are refused; what has ended makes room."""
    for number in range(MOST_OF_ONE):
        await store.wait_for_approval(wish(f"a{number}", request=f"a{number}"), plan(f"a{number}"))
    assert await store.wait_for_approval(wish("b", request="b"), plan("b")) == Full(MOST_OF_ONE, "you")
    for number in range(MOST_OF_A_TEAM - MOST_OF_ONE):
        who = f"billing/{number}"
        assert isinstance(await store.wait_for_approval(wish(f"c{number}", who=who), plan(f"c{number}")), Waiting)
    whose = await store.wait_for_approval(wish("d", who="billing/last"), plan("d"))
    assert whose == Full(MOST_OF_A_TEAM, "your team")
    await store.end_waiting("a0", End.VOID, "one")
    assert isinstance(await store.wait_for_approval(wish("e", who="billing/last"), plan("e")), Waiting)
    assert isinstance(await store.wait_for_approval(wish("f", who="search/ann"), plan("f")), Waiting)


async def test_a_team_is_shown_what_waits_for_it_and_nothing_else(store: SqlStore) -> None:
    """By its whole name."""
    for name in ("p", "q"):
        await store.wait_for_approval(wish(name, request=name), plan(name))
        await store.confirm_wait(name)
    assert {one.plan_id for one in await store.waiting_for("platform")} == {"p", "q"}
    assert {one.plan_id for one in await store.waiting_for("sre_1")} == {"p", "q"}
    for team in ("plat", "form", "sreX1", "billing", "%"):
        assert await store.waiting_for(team) == []
    assert len(await store.waiting_for(None)) == 2
    await store.end_waiting("p", End.EXPIRED, "one")
    assert [one.plan_id for one in await store.waiting_for("platform")] == ["q"]


async def test_what_is_said_counts_once_it_is_confirmed(store: SqlStore) -> None:
    """Said again before, it takes the place of what was said; after, it changes nothing."""
    await waits(store)
    first = await store.hear(voice("v1"))
    assert isinstance(first, Waiting)
    again = await store.hear(voice("v2"))
    assert isinstance(again, Waiting)
    assert again.given() == ()
    assert await store.confirm("v1") is None
    after = await store.confirm("v2")
    assert after is not None
    assert [one.principal for one in after.given()] == [ROB]
    heard = await store.hear(voice("v3"))
    assert isinstance(heard, Waiting)
    assert [one.voice_id for one in heard.given()] == ["v2"]


async def test_one_person_is_one_person_under_every_name(store: SqlStore) -> None:
    """The requester, under that name or as that person; and whoever has approved already."""
    await waits(store)
    assert await store.hear(voice(who=ANN)) is Unheard.SAME_PERSON
    assert await store.hear(voice(who=ROB, person="key:ann")) is Unheard.SAME_PERSON
    await says(store, voice("v1", ROB, person="sub:rob"))
    assert await store.hear(voice("v2", SUE, person="sub:rob")) is Unheard.SAME_PERSON
    assert isinstance(await store.hear(voice("v2", SUE, person="sub:sue")), Waiting)


async def test_one_person_that_speaks_under_two_names_at_once_is_one_person(store: SqlStore) -> None:
    """What was taken first keeps the other out, though it is not on record yet."""
    await waits(store)
    assert isinstance(await store.hear(voice("v1", ROB, person="sub:rob")), Waiting)
    assert await store.hear(voice("v2", SUE, person="sub:rob")) is Unheard.SAME_PERSON
    after = await says(store, voice("v3", ROB, person="sub:rob"))
    assert after is not None
    assert [one.voice_id for one in after.given()] == ["v3"]


async def test_nobody_is_heard_about_other_runs_other_policies_or_what_does_not_wait(store: SqlStore) -> None:
    """Each is told that it is over."""
    await waits(store)
    for said in (
        replace(voice(), plan_digest="other"),
        replace(voice(), policy_digest="other"),
        voice(plan_id="q"),
    ):
        assert await store.hear(said) is Unheard.GONE
    await store.claim("p", "one")
    assert await store.hear(voice()) is Unheard.GONE


@pytest.mark.parametrize("number", range(4))
async def test_a_plan_is_claimed_or_rejected_and_never_both(store: SqlStore, number: int) -> None:
    """Whoever comes first."""
    await waits(store)
    assert isinstance(await store.hear(voice(word="reject")), Waiting)
    asked = [store.claim("p", "one"), store.confirm("v")]
    await asyncio.gather(*(asked if number % 2 else reversed(asked)))
    found = await store.waiting("p")
    assert found is not None
    assert found.claimed is (found.end is None)
    assert found.rejected() is not None


async def test_a_rejection_is_found_by_the_identical_cancel_until_its_time_is_up(store: SqlStore) -> None:
    """So that it is answered by whom, and nobody is asked again and again."""
    await waits(store)
    after = await says(store, voice(word="reject"))
    assert after is not None
    assert after.end is End.REJECTED
    found = await store.waiting_like(ANN, "request", "one")
    assert found is not None
    assert found.rejected() is not None
    kept = await store.plan("p")
    assert kept is not None
    assert (kept.state, kept.stopped_by) == ("rejected", ROB)
    assert await store.claim("p", "one") is False


async def test_what_is_written_behind_revives_no_plan_that_has_ended(store: SqlStore) -> None:
    """A gateway may have more to say of it, later."""
    await waits(store)
    await says(store, voice(word="reject"))
    await store.keep_plan(plan("p"))
    kept = await store.plan("p")
    assert kept is not None
    assert kept.state == "rejected"


async def test_a_plan_whose_time_is_up_is_recorded_by_its_gateway(store: SqlStore) -> None:
    """Until it has said that it is; one that was applied or stopped is recorded elsewhere."""
    for name in ("p", "claimed", "stopped"):
        await store.wait_for_approval(wish(name, request=name, within_ms=1), plan(name))
    await store.claim("claimed", "one")
    await store.stop_plan("stopped", ANN)
    await store.beat("one", 0)
    await eventually(lambda: _due(store, "one", ["p"]))
    assert await store.expired("two") == []
    assert await _due(store, "one", ["p"])
    assert await store.end_waiting("p", End.EXPIRED, "one")
    assert not await store.end_waiting("p", End.EXPIRED, "one")
    assert await _due(store, "one", [])


async def test_the_plans_of_a_gateway_that_has_died_are_recorded_by_another(store: SqlStore) -> None:
    """By one alone, though several ask."""
    await waits(store, within_ms=1)
    await store.beat("one", 0)
    await store._database.write(lambda one: one.execute(update(GATEWAYS).values(seen_ms=now_ms() - 60_000)).rowcount)
    await store.beat("two", 0)
    await eventually(lambda: _due(store, "two", ["p"]))
    assert await store.expired("one") == []


async def _due(store: SqlStore, instance: str, names: list[str]) -> bool:
    return [one.plan_id for one in await store.expired(instance)] == names


def slice_of(decision: str, runs: int, *, over: int = 50, team: str = "billing") -> Admission:
    free = Unapproved(over, HOUR)
    return Admission(decision, "one", Reservation("billing/own", f"billing/own {team}", runs, Budget(HOUR), team, free))


async def test_slices_below_the_bound_do_not_avoid_it(store: SqlStore) -> None:
    """Whatever the team did under the rule counts, approved or not; another team's does not."""
    assert isinstance(await store.admit(slice_of("a", 30)), Admitted)
    assert await store.admit(slice_of("b", 21)) == NeedsApproval(30)
    assert isinstance(await store.admit(slice_of("c", 20)), Admitted)
    assert await store.admit(slice_of("d", 1)) == NeedsApproval(50)
    assert isinstance(await store.admit(slice_of("e", 50, team="search")), Admitted)
    assert isinstance(await store.admit(slice_of("f", 0)), Admitted)
    await store.close("a", Closed(5))
    assert await store.admit(slice_of("g", 26)) == NeedsApproval(25)
    assert isinstance(await store.admit(slice_of("h", 25)), Admitted)


async def test_slices_at_one_moment_do_not_avoid_it_either(store: SqlStore) -> None:
    """They queue: each sees those before it."""
    found = await asyncio.gather(*(store.admit(slice_of(f"d{number}", 20)) for number in range(6)))
    assert sum(isinstance(one, Admitted) for one in found) == 2
    assert {one.before for one in found if isinstance(one, NeedsApproval)} == {40}


async def test_what_an_earlier_revision_has_taken_counts_for_every_team(store: SqlStore) -> None:
    """It does not say whose it was."""
    await store.admit(slice_of("a", 30))
    await store._database.write(lambda one: one.execute(update(ADMISSIONS).values(team=None)).rowcount)
    assert await store.admit(slice_of("b", 21, team="search")) == NeedsApproval(30)


async def test_a_budget_comes_before_an_approval(store: SqlStore) -> None:
    """Nobody is asked to approve what does not fit."""
    tight = Reservation("billing/own", "billing/own", 60, Budget(HOUR, runs=10), "billing", Unapproved(50, HOUR))
    assert isinstance(await store.admit(Admission("a", "one", tight)), Exhausted)
