"""Budgets: reserved before the intent, settled by what is certain, and never above what the rule allows."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import AuditUnavailable, StateUnavailable
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Progress, Refused, Unknown
from gateway.core.plan import Budget, Denial, Reserved
from gateway.core.request import Principal
from gateway.edge import answers
from gateway.execution.gates.left import drawn_on
from gateway.execution.gates.settling import RETRY_S
from gateway.execution.in_flight import Done
from gateway.state.admissions import Admission, Reservation
from tests.callers import virtual_time
from tests.execution.fakes import HeldUpstream, MemoryLog, StillClock
from tests.execution.gates.keeping import ANN, BOB, CAT, NAME, Gateway, prompt, runs
from tests.support.state.admissions import MemoryAdmissions, a_budget
from tests.support.waiting import soon

DAY_MS = 86_400_000


async def test_runs_are_reserved_before_the_intent_which_names_them() -> None:
    """A crash after the intent can never leave runs that no budget counts."""
    gateway = Gateway(upstream=HeldUpstream())
    running = asyncio.create_task(gateway.run(runs(30)))
    await soon(lambda: gateway.log.named("intent"))
    (plan,) = gateway.log.named("intent")
    assert plan.reserved == Reserved(NAME, NAME, 30, 70, None, gateway.store.now_ms + DAY_MS)  # type: ignore[attr-defined]
    assert gateway.store.kept(NAME) == [30]
    running.cancel()


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Cancelled(200, 30), [30]),
        (Cancelled(200, 12), [12]),
        (Cancelled(200, 45), [45]),
        (Refused(401, "no"), [0]),
        (NotSent("dns"), []),
        (Accepted(202, "a1"), [30]),
        (Unknown("timeout"), [30]),
        (Unknown("partial_audit", 504, Progress(10, (), ("wfr_1",))), [30]),
    ],
    ids=lambda value: value.name if isinstance(value, Outcome) else None,
)
async def test_what_is_certain_settles_a_reservation_and_what_is_not_keeps_it(
    outcome: Outcome, kept: list[int]
) -> None:
    """What was not cancelled is there again; what nobody knows is not."""
    gateway = Gateway(upstream=prompt([outcome]))
    await gateway.run(runs(30))
    await gateway.takes.stop(1)
    assert gateway.store.kept(NAME) == kept


async def test_not_enough_left_refuses_the_whole_request_and_says_what_is_left() -> None:
    """Nothing is cut, sent or taken. The record names the rule and the cause, the answer what is left."""
    gateway = Gateway()
    await gateway.outcome(runs(90))
    denied = await gateway.run(runs(20, first=90))
    assert isinstance(denied, Denial)
    answer = answers.denial(denied, "d")
    assert (answer.status, gateway.sent, gateway.store.kept(NAME)) == (403, 1, [90])
    assert b'"code":"budget_exhausted"' in answer.body
    assert b'"left":10' in answer.body
    assert dict(answer.headers)[b"gateway-budget"].startswith(b"left=10;reset=")
    (record,) = gateway.log.named("denied")
    assert (record["rule"], record["cause"]) == (NAME, "budget_exhausted")  # type: ignore[index]
    assert await gateway.outcome(runs(10, first=90)) == Cancelled(200, 10)


async def test_a_request_above_the_whole_budget_is_told_that_it_never_fits() -> None:
    """And how many would; when the budget is whole again does not matter to it."""
    denied = await Gateway().run(runs(101))
    assert isinstance(denied, Denial)
    assert denied.reason.endswith("It never fits: ask for at most 100 runs at a time.")


async def test_requests_above_the_budget_are_throttled() -> None:
    """The answer is the 429 that clients know, with when to come again; what was not sent does not count."""
    gateway = Gateway(budget=a_budget(None, requests=2), upstream=prompt([NotSent("dns")]))
    for number in range(3):
        await gateway.outcome(runs(1, first=number))
    denied = await gateway.run(runs(1, first=9))
    assert isinstance(denied, Denial)
    answer = answers.denial(denied, "d")
    headers = dict(answer.headers)
    assert answer.status == 429
    assert b'"code":"throttled"' in answer.body
    assert (headers[b"burst-ratelimit-remaining"], int(headers[b"retry-after"]) > 0) == (b"0", True)


@pytest.mark.parametrize(
    ("budget", "left"),
    [
        (Budget(DAY_MS, 100), (40, 40, 40)),
        (Budget(DAY_MS, 100, shared="team"), (40, 40, 100)),
        (Budget(DAY_MS, 100, shared="key"), (40, 100, 100)),
    ],
    ids=lambda value: value.shared if isinstance(value, Budget) else None,
)
async def test_a_budget_is_shared_by_the_rule_the_team_or_the_key(budget: Budget, left: tuple[int, ...]) -> None:
    """Ann takes 60; Bob is of her team, Cat of another."""
    gateway = Gateway(budget=budget)
    await gateway.outcome(runs(60), who=ANN)

    async def left_to(who: Principal) -> int | None:
        found = await gateway.takes.left([drawn_on(NAME, budget, who)])
        return None if found is None else found[0].runs

    assert (await left_to(ANN), await left_to(BOB), await left_to(CAT)) == left


async def test_the_window_slides_on_the_clock_of_the_store() -> None:
    """What was taken a whole `per` ago is there again, whatever this machine's clock says."""
    gateway = Gateway()
    await gateway.outcome(runs(100))
    assert isinstance(await gateway.run(runs(1)), Denial)
    gateway.store.now_ms += DAY_MS
    assert await gateway.outcome(runs(100)) == Cancelled(200, 100)


@pytest.mark.parametrize("asked", [100, 70, 34, 10, 1])
async def test_never_more_is_reserved_than_the_rule_allows(asked: int) -> None:
    """However many ask at once, at however many gateways, and whatever comes of each."""
    store = MemoryAdmissions()
    gateways = [Gateway(store, name=name) for name in "abc"]
    told = await asyncio.gather(
        *(gateway.run(runs(asked, first=100 * number)) for gateway in gateways for number in range(60))
    )
    sent = sum(isinstance(one, Done) for one in told)
    assert (sent, sum(store.kept(NAME))) == (100 // asked, 100 // asked * asked)


async def test_an_answer_says_what_is_left_after_it() -> None:
    """30 were reserved and 12 cancelled: 88 are left, which the store is told behind the answer."""
    gateway = Gateway(upstream=prompt([Cancelled(200, 12)]))
    done = await gateway.run(runs(30))
    assert isinstance(done, Done)
    said = dict(answers.outcome(done.result, "d").headers)[b"gateway-budget"]
    assert said.startswith(b"left=88;reset=")


async def test_a_store_that_does_not_answer_sends_nothing() -> None:
    """Nobody knows what is left, so the request is refused; no intent stands on record."""
    gateway = Gateway(MemoryAdmissions(fails="unreachable"))
    with pytest.raises(StateUnavailable):
        await gateway.run(runs(1))
    assert (gateway.sent, gateway.log.named("intent")) == (0, [])


def test_a_reservation_whose_answer_was_lost_is_given_back() -> None:
    """And what was withdrawn does not come into force when it arrives late."""

    async def scenario() -> None:
        gateway = Gateway(MemoryAdmissions(loses_answers=True))
        with pytest.raises(StateUnavailable):
            await gateway.run(runs(40))
        gateway.store.loses_answers = False
        await asyncio.sleep(RETRY_S)
        assert gateway.store.kept(NAME) == []
        with pytest.raises(StateUnavailable):
            await gateway.store.admit(Admission("a1", "a", Reservation(NAME, NAME, 40, a_budget())))
        assert gateway.store.kept(NAME) == []

    virtual_time.run(scenario())


async def test_a_reservation_without_an_intent_is_given_back() -> None:
    """No record, no cancel, and no run of the budget gone."""
    gateway = Gateway(log=MemoryLog(refuses="full"))
    with pytest.raises(AuditUnavailable):
        await gateway.run(runs(40))
    await gateway.takes.stop(1)
    assert (gateway.sent, gateway.store.kept(NAME)) == (0, [])


def test_the_store_is_told_until_it_has_it_and_the_answer_does_not_wait() -> None:
    """A store that goes away after the intent costs the caller nothing; it learns the number when it is back."""

    async def scenario() -> None:
        upstream = HeldUpstream()
        gateway = Gateway(upstream=upstream)
        running = asyncio.create_task(gateway.run(runs(40)))
        await upstream.called.wait()
        gateway.store.fails = "unreachable"
        upstream.answer.set_result(Cancelled(200, 15))
        done = await running
        assert isinstance(done, Done)
        await asyncio.sleep(30)
        assert gateway.store.kept(NAME) == [40]
        gateway.store.fails = None
        await gateway.takes.stop(60)
        assert gateway.store.kept(NAME) == [15]

    virtual_time.run(scenario())


async def test_what_a_follow_up_finds_settles_an_unknown_outcome() -> None:
    """Once it is a number."""
    gateway = Gateway(upstream=prompt([Unknown("timeout"), Unknown("timeout")]))
    for number, found in enumerate((7, 22), 1):
        await gateway.run(runs(30, first=30 * number))
        gateway.takes.learnt({"decision_id": f"a{number}", "cancelled": None})
        gateway.takes.learnt({"decision_id": f"a{number}", "cancelled": found})
    await gateway.takes.stop(1)
    assert gateway.store.kept(NAME) == [7, 22]


async def test_a_rule_without_a_budget_takes_nothing() -> None:
    """And asks the store nothing: it may be away."""
    gateway = Gateway(MemoryAdmissions(fails="unreachable"), budget=None)
    assert await gateway.outcome(runs(500)) == Cancelled(200, 500)
    (plan,) = gateway.log.named("intent")
    assert plan.reserved is None  # type: ignore[attr-defined]


async def test_what_is_left_is_known_for_the_metric_by_rule() -> None:
    """The least of its teams, as far as requests have shown it; after the window all of it."""
    now_ms = StillClock().now_ms()
    gateway = Gateway(MemoryAdmissions(now_ms), budget=Budget(DAY_MS, 100, shared="team"))
    assert gateway.takes.left_runs() == {}
    await gateway.outcome(runs(60), who=ANN)
    await gateway.outcome(runs(10), who=CAT)
    assert gateway.takes.left_runs() == {NAME: 40}
