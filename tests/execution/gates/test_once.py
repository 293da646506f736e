"""An Idempotency-Key: what was done with it is done once, and every repeat is told the truth of it."""

from __future__ import annotations

import asyncio

import pytest

from gateway.core.errors import AuditUnavailable, Conflict, KeyReused, StateUnavailable
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Denial
from gateway.edge import answers
from gateway.execution.in_flight import Done, Replay, Told
from gateway.state.admissions import ONCE_MS
from tests.callers import virtual_time
from tests.execution.fakes import HeldUpstream, MemoryLog
from tests.execution.gates.keeping import ANN, BOB, Gateway, prompt, runs
from tests.support.state.admissions import MemoryAdmissions, a_budget
from tests.support.waiting import soon


def said(told: Told) -> tuple[int, bytes]:
    """Status and body of what a request is told, whoever it is told to."""
    if isinstance(told, Done):
        answer = answers.outcome(told.result, told.plan.decision_id)
        return answer.status, answer.body
    assert isinstance(told, Replay)
    answer = answers.replayed(told, "repeat")
    headers = dict(answer.headers)
    assert (headers[b"gateway-replayed"], headers[b"gateway-decision"]) == (b"true", b"repeat")
    return answer.status, answer.body


async def test_a_repeat_is_told_what_the_first_was_and_sends_nothing() -> None:
    """The recorded status and body, a decision of its own, and a record that says whom it joins."""
    gateway = Gateway()
    first = await gateway.run(runs(3), key="k")
    repeat = await gateway.run(runs(3), key="k")
    assert isinstance(repeat, Replay)
    assert (said(repeat), gateway.sent) == (said(first), 1)
    (joined,) = gateway.log.named("joined")
    assert (joined["decision_id"], joined["joins"]) == ("a2", "a1")  # type: ignore[index]
    assert repeat.budget is not None


async def test_the_intent_says_which_key_it_is_sent_for_and_never_the_key() -> None:
    """As the SHA-256 of it with the principal: the same key of another principal is another one."""
    gateway = Gateway()
    for who in (ANN, BOB):
        assert await gateway.outcome(runs(3), who=who, key="secret") == Cancelled(200, 3)
    plans = gateway.log.named("intent")
    hashes = {plan.idempotency for plan in plans}  # type: ignore[attr-defined]
    assert len(hashes) == 2
    assert all(len(one) == 64 and "secret" not in one for one in hashes)


async def test_another_request_with_the_key_is_refused() -> None:
    """It is a mistake of its caller, and neither of the two answers would be true of it."""
    gateway = Gateway()
    await gateway.run(runs(3), key="k")
    with pytest.raises(KeyReused) as refused:
        await gateway.run(runs(4), key="k")
    assert (refused.value.status, refused.value.code, gateway.sent) == (422, "idempotency_key_reused", 1)


async def test_two_keys_are_two_requests_and_no_key_joins_no_key() -> None:
    """Whoever names a new key wants it done anew, even while the same is under way."""
    upstream = HeldUpstream()
    gateway = Gateway(upstream=upstream)
    running = [asyncio.create_task(gateway.run(runs(3), key=key)) for key in ("k", "l", None)]
    await soon(lambda: len(upstream.orders) == 3)
    upstream.answer.set_result(Cancelled(200, 3))
    await asyncio.gather(*running)


async def test_a_hundred_callers_with_one_key_at_three_gateways_are_one_order_and_a_hundred_true_answers() -> None:
    """One sends; the others join it, or wait for the gateway that does."""
    store, upstream = MemoryAdmissions(), HeldUpstream()
    gateways = [Gateway(store, upstream=upstream, name=name) for name in "abc"]
    asked = [asyncio.create_task(gateways[n % 3].run(runs(3), key="k")) for n in range(100)]
    await upstream.called.wait()
    await asyncio.sleep(0.1)
    upstream.answer.set_result(Cancelled(200, 2))
    told = await asyncio.gather(*asked)
    assert len(upstream.orders) == 1
    assert {said(one) for one in told} == {(200, b'{"cancelled":2}')}


@pytest.mark.parametrize(
    ("outcome", "free"),
    [
        (Cancelled(200, 0), False),
        (Refused(403, "no"), False),
        (Refused(429, "slow"), True),
        (NotSent("dns"), True),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_what_certainly_did_nothing_yet_leaves_the_key_free(outcome: Outcome, free: bool) -> None:
    """A refusal for the pace is to be repeated: with the same key, or nobody could."""
    gateway = Gateway(upstream=prompt([outcome]))
    first = await gateway.run(runs(3), key="k")
    again = await gateway.run(runs(3), key="k")
    assert (isinstance(again, Done), gateway.sent) == (free, 2 if free else 1)
    assert free or said(again) == said(first)


@pytest.mark.parametrize("outcome", [Unknown("timeout"), Accepted(202, "a1")], ids=lambda outcome: outcome.name)
async def test_an_unknown_outcome_is_never_sent_again_and_its_number_is_told_once_settled(outcome: Outcome) -> None:
    """For 24 hours; then the key is forgotten."""
    gateway = Gateway(upstream=prompt([outcome]))
    await gateway.run(runs(3), key="k")
    with pytest.raises(Conflict) as unknown:
        await gateway.run(runs(3), key="k")
    assert (unknown.value.code, unknown.value.members["decision"]) == ("outcome_unknown", "a1")
    assert unknown.value.members["cancelled"] is None
    gateway.takes.learnt({"decision_id": "a1", "cancelled": 2})
    await gateway.takes.stop(1)
    with pytest.raises(Conflict) as settled:
        await gateway.run(runs(3), key="k")
    assert (settled.value.members["cancelled"], gateway.sent) == (2, 1)
    gateway.store.now_ms += ONCE_MS
    assert await gateway.outcome(runs(3), key="k") == Cancelled(200, 3)


async def test_a_key_whose_gateway_is_gone_is_an_unknown_outcome() -> None:
    """It may have sent: nobody sends again."""
    store = MemoryAdmissions()
    upstream = HeldUpstream()
    first = asyncio.create_task(Gateway(store, upstream=upstream).run(runs(3), key="k"))
    await upstream.called.wait()
    store.gone.add("a")
    other = Gateway(store, name="b")
    with pytest.raises(Conflict) as unknown:
        await other.run(runs(3), key="k")
    assert (unknown.value.code, other.sent) == ("outcome_unknown", 0)
    first.cancel()


def test_a_repeat_does_not_wait_for_ever_for_another_gateway() -> None:
    """It is told that the first is still under way, and may ask again with the same key."""

    async def scenario() -> None:
        store, upstream = MemoryAdmissions(), HeldUpstream()
        first = asyncio.create_task(Gateway(store, upstream=upstream).run(runs(3), key="k"))
        await upstream.called.wait()
        with pytest.raises(Conflict, match="still under way"):
            await Gateway(store, name="b").run(runs(3), key="k")
        upstream.answer.set_result(Cancelled(200, 3))
        await first
        assert isinstance(await Gateway(store, name="b").run(runs(3), key="k"), Replay)

    virtual_time.run(scenario())


def test_a_repeat_of_what_was_not_sent_is_sent_by_the_gateway_that_waits() -> None:
    """The first had no intent, so nothing stands in the way of the second."""

    async def scenario() -> None:
        store, written = MemoryAdmissions(), asyncio.Event()
        first = Gateway(store, log=MemoryLog(refuses="full", gate=written))
        running = asyncio.create_task(first.run(runs(3), key="k"))
        await asyncio.sleep(0.1)
        other = Gateway(store, name="b")
        waiting = asyncio.create_task(other.outcome(runs(3), key="k"))
        await asyncio.sleep(0.1)
        written.set()
        with pytest.raises(AuditUnavailable):
            await running
        assert (await waiting, first.sent, other.sent) == (Cancelled(200, 3), 0, 1)

    virtual_time.run(scenario())


async def test_a_refused_request_does_not_take_the_key() -> None:
    """Once the budget is there, the same request with the same key is sent."""
    gateway = Gateway(budget=a_budget(5))
    await gateway.outcome(runs(5))
    assert isinstance(await gateway.run(runs(3), key="k"), Denial)
    gateway.store.now_ms += 86_400_000
    assert await gateway.outcome(runs(3), key="k") == Cancelled(200, 3)


def test_an_answer_that_the_store_does_not_have_yet_is_repeated_from_memory() -> None:
    """The store goes away after the intent: the answer is given, and at this gateway given again once it is back."""

    async def scenario() -> None:
        upstream = HeldUpstream()
        gateway = Gateway(upstream=upstream)
        running = asyncio.create_task(gateway.run(runs(3), key="k"))
        await upstream.called.wait()
        gateway.store.fails = "unreachable"
        upstream.answer.set_result(Cancelled(200, 3))
        first = await running
        with pytest.raises(StateUnavailable):
            await gateway.run(runs(3), key="k")
        gateway.store.fails = None
        repeat = await gateway.run(runs(3), key="k")
        assert (isinstance(repeat, Replay), said(repeat), len(upstream.orders)) == (True, said(first), 1)
        await gateway.takes.stop(60)

    virtual_time.run(scenario())
