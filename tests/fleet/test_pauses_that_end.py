"""A pause with `Gateway-Until` is resumed once, by one gateway, on record; whatever fails, never twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import pytest

from gateway.core.errors import AuditUnavailable, StateUnavailable
from gateway.core.outcome import Accepted, Cancelled, NotSent, Outcome, Refused, Unknown
from gateway.core.plan import Denial, Order, Receipt
from gateway.core.request import Action, ActionRequest
from gateway.fleet.timed.due import LATER_MS, SOON_MS
from gateway.state.freezes import Freeze, Scope, Snapshot
from gateway.state.timed.timers import Stage
from tests.execution.fakes import PromptUpstream
from tests.fleet.endings import BOTH, HOUR_MS, Gateway, fleet, rules, switch

PAUSE, RESUME = BOTH
DONE = Cancelled(200, 1)


@dataclass
class Overtaken(PromptUpstream):
    """An upstream at which something else comes first, once, when a resume is on its way."""

    first: Callable[[], Awaitable[object]] | None = None

    async def send(self, order: Order, receipt: Receipt) -> Outcome:
        if order.action is RESUME and self.first is not None:
            first, self.first = self.first, None
            await first()
        return await super().send(order, receipt)


async def paused(gateway: Gateway, until: str = "1h") -> None:
    """A pause of the queue that ends by itself."""
    assert await gateway.outcome(switch(PAUSE, until)) == "cancelled"


def freeze(gateway: Gateway, *freezes: Freeze) -> None:
    """Puts these freezes in force, and no others."""
    number = gateway.freezes.number + 1
    gateway.freezes.take(Snapshot(gateway.clock.now_ms(), number, freezes))


async def test_it_is_resumed_when_its_time_has_come() -> None:
    """Not before; as whoever paused, and its intent names the pause."""
    [one] = fleet("a")
    await paused(one)
    assert await one.look(HOUR_MS - 1) == []
    assert one.sent == [PAUSE]
    assert await one.look(1) == []
    assert await one.look(HOUR_MS) == []
    assert one.sent == [PAUSE, RESUME]
    pause, resume = one.recorded("intent")
    assert (resume.principal, resume.ends, resume.remote) == (pause.principal, pause.decision_id, None)
    assert (pause.ends, one.store.rows) == (None, {})


async def test_how_long_it_lasts_is_recorded_and_never_sent() -> None:
    """It is a word to the gateway."""
    [one] = fleet("a")
    await paused(one, "90m")
    [order] = one.upstream.orders
    assert order.headers == ()
    [intent] = one.recorded("intent")
    assert intent.asked.wire() == {"queue": ["qn"], "count": 1, "Gateway-Until": "90m"}


async def test_one_gateway_of_the_fleet_resumes_it() -> None:
    """Of all that look at once, also where the one that paused has gone."""
    gateways = fleet("a", "b", "c")
    await paused(gateways[0])
    gateways[0].clock.wall_ms += HOUR_MS
    await asyncio.gather(*(one.due.look() for one in gateways[1:]))
    assert [action for one in gateways for action in one.sent] == [PAUSE, RESUME]


@pytest.mark.parametrize("actions", [(PAUSE,), (RESUME,), ()])
async def test_it_wants_rules_for_both(actions: tuple[Action, ...]) -> None:
    """Without the pause it is refused as any; without the resume the refusal says so. Nothing is sent or kept."""
    [one] = fleet("a", actions=actions)
    told = await one.ask(switch(PAUSE, "1h"))
    assert isinstance(told, Denial)
    assert ("no rule allows the resume that Gateway-Until asks for" in told.reason) == (actions == (PAUSE,))
    assert (one.sent, one.store.rows, len(one.log.named("denied"))) == ([], {}, 1)


async def test_without_the_store_nothing_is_sent() -> None:
    """The timer is the promise. A pause that somebody ends needs none."""
    [one] = fleet("a")
    one.store.faults.before = ("*",)
    with pytest.raises(StateUnavailable):
        await one.ask(switch(PAUSE, "1h"))
    assert one.sent == []
    assert await one.outcome(switch(PAUSE)) == "cancelled"
    await one.timed.stop(0)


async def test_an_intent_that_cannot_be_recorded_leaves_no_timer() -> None:
    """Nothing was sent."""
    [one] = fleet("a")
    one.log.refuses = "full"
    with pytest.raises(AuditUnavailable):
        await one.ask(switch(PAUSE, "1h"))
    await one.timed.stop(1)
    assert (one.sent, one.store.rows) == ([], {})


async def test_a_store_that_is_away_when_the_pause_is_certain_is_told_later() -> None:
    """The answer does not wait for ever; the time counts from when the store knows."""
    [one] = fleet("a")
    one.store.faults.before = ("switched",)
    await paused(one)
    [timer] = one.store.rows.values()
    assert timer.stage is Stage.PREPARED
    one.store.faults.before = ()
    await one.timed.stop(20)
    [timer] = one.store.rows.values()
    assert timer.stage is Stage.WAITING


@pytest.mark.parametrize(
    ("came", "notices"),
    [
        (Unknown("timeout"), 1),
        (Accepted(202, "x"), 1),
        (NotSent("dns"), 0),
        (Refused(429, ""), 0),
        (Refused(403, ""), 0),
    ],
)
async def test_a_pause_that_is_not_certain_is_not_resumed(came: Outcome, notices: int) -> None:
    """One of which nobody knows stands as a notice."""
    [one] = fleet("a")
    one.upstream.outcomes = [came]
    assert await one.outcome(switch(PAUSE, "1h")) == came.name
    told = await one.look(HOUR_MS)
    assert (one.sent, len(told)) == ([PAUSE], notices)
    assert all("queue qn" in line and "whether it was paused at all is not known" in line for line in told)


@pytest.mark.parametrize(
    ("later", "sent"),
    [
        ([switch(PAUSE)], [PAUSE, PAUSE]),
        ([switch(RESUME)], [PAUSE, RESUME]),
        ([switch(PAUSE, "2h")], [PAUSE, PAUSE]),
        ([switch(RESUME), switch(PAUSE)], [PAUSE, RESUME, PAUSE]),
        ([switch(PAUSE, name="q2")], [PAUSE, PAUSE, RESUME]),
    ],
)
async def test_a_later_word_on_the_name_replaces_the_timer(later: Sequence[ActionRequest], sent: list[Action]) -> None:
    """A pause without an end, a resume, another end; not what is about another queue."""
    [one] = fleet("a")
    await paused(one)
    for request in later:
        await one.outcome(request)
    await one.timed.stop(1)
    await one.look(HOUR_MS)
    assert one.sent == sent


async def test_a_pause_that_overtakes_the_resume_keeps_its_own_end() -> None:
    """What the gateway itself resumes is no later word of anybody."""
    [one] = fleet("a", upstream=(upstream := Overtaken()))
    await paused(one)
    upstream.first = lambda: paused(one, "2h")
    await one.look(HOUR_MS)
    assert [row.stage for row in one.store.rows.values()] == [Stage.WAITING]
    assert await one.look(2 * HOUR_MS) == []
    assert (one.sent, one.store.rows) == ([PAUSE, PAUSE, RESUME, RESUME], {})


@pytest.mark.parametrize(("action", "sent"), [(PAUSE, [PAUSE, PAUSE]), (RESUME, [PAUSE, RESUME, RESUME])])
async def test_a_later_word_of_which_nobody_knows(action: Action, sent: list[Action]) -> None:
    """A pause may mean something else, so nothing is resumed under it. A resume that may be lost is made up for."""
    [one] = fleet("a")
    await paused(one)
    one.upstream.outcomes = [Unknown("timeout")]
    await one.outcome(switch(action))
    await one.timed.stop(1)
    await one.look(HOUR_MS)
    assert one.sent == sent


@pytest.mark.parametrize("came", [Unknown("timeout"), Unknown("status", 404), Accepted(202, "x"), Refused(403, "")])
async def test_a_resume_that_may_have_been_done_or_never_will_is_not_repeated(came: Outcome) -> None:
    """It stands as a notice, until the queue is paused or resumed again."""
    [one] = fleet("a")
    one.upstream.outcomes = [DONE, came]
    await paused(one)
    await one.look(HOUR_MS)
    for _ in range(2):
        [told] = await one.look(HOUR_MS)
        assert told.startswith("queue qn, paused until ")
    assert one.sent == [PAUSE, RESUME]
    await one.outcome(switch(RESUME))
    await one.timed.stop(1)
    assert await one.look() == []


@pytest.mark.parametrize(("came", "wait_ms"), [(NotSent("dns"), SOON_MS), (Refused(429, ""), LATER_MS)])
async def test_a_resume_that_was_not_sent_is_tried_again(came: Outcome, wait_ms: int) -> None:
    """After a while, under a decision of its own."""
    [one] = fleet("a")
    one.upstream.outcomes = [DONE, came]
    await paused(one)
    assert await one.look(HOUR_MS) == []
    assert await one.look(wait_ms - 1) == []
    assert one.sent == [PAUSE, RESUME]
    assert await one.look(1) == []
    assert one.sent == [PAUSE, RESUME, RESUME]
    pause, *resumes = one.recorded("intent")
    assert len({plan.decision_id for plan in resumes}) == 2
    assert {plan.ends for plan in resumes} == {pause.decision_id}


async def test_a_record_that_is_away_leaves_it_due() -> None:
    """Without an intent nothing is sent."""
    [one] = fleet("a")
    await paused(one)
    one.log.refuses = "full"
    await one.look(HOUR_MS)
    assert one.sent == [PAUSE]
    one.log.refuses = None
    await one.look(SOON_MS)
    assert one.sent == [PAUSE, RESUME]


async def test_policy_is_asked_again_when_its_time_has_come() -> None:
    """By the rules then in force; a refusal is on record, and stands as a notice."""
    [one] = fleet("a")
    await paused(one)
    one.policies = rules(PAUSE)
    await one.look(HOUR_MS)
    [told] = await one.look(HOUR_MS)
    assert "policy does not allow the resume any more" in told
    assert one.sent == [PAUSE]
    [denied] = one.log.named("denied")
    assert isinstance(denied, dict)
    assert denied["ends"] == "a1"


async def test_a_freeze_holds_it_back_and_says_so() -> None:
    """Nothing is recorded meanwhile; when the freeze has ended it is resumed."""
    [one] = fleet("a")
    await paused(one)
    freeze(one, Freeze("f1", Scope("team", None), "at night", "platform/ops", 0, None, 1))
    for _ in range(3):
        [told] = await one.look(HOUR_MS)
        assert "held back by freeze f1" in told
    assert (one.sent, one.log.named("denied")) == ([PAUSE], [])
    freeze(one)
    assert await one.look() == []
    assert one.sent == [PAUSE, RESUME]


async def test_nothing_is_resumed_before_the_freezes_are_read() -> None:
    """Nobody knows what is frozen."""
    first, second = fleet("a", "b")
    await paused(first)
    second.freezes._ahead_ms = None
    [told] = await second.look(HOUR_MS)
    assert "nobody knows yet what is frozen" in told
    assert second.sent == []


@pytest.mark.parametrize("call", ["end_timer", "take_timer"])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_store_that_fails_in_the_middle_has_it_resumed_once(call: str, when: str) -> None:
    """Whether it did what it was asked or not: what is taken stays taken until it is known what came of it."""
    one, other = fleet("a", "b")
    await paused(one)
    setattr(one.store.faults, when, (call,))
    with pytest.raises(StateUnavailable):
        await one.look(HOUR_MS)
    setattr(one.store.faults, when, ())
    for gateway in (other, one, other):
        assert await gateway.look(SOON_MS) == []
    assert sorted([*one.sent, *other.sent]) == [PAUSE, RESUME]


async def test_the_repeat_of_a_resume_that_the_end_of_a_pause_joined_is_not_sent_again() -> None:
    """Its caller has lost the connection and asks once more; that the gateway itself has its answer does not matter."""
    upstream = Overtaken()
    [one] = fleet("a", upstream=upstream)
    await paused(one)
    looking: list[asyncio.Task[list[str]]] = []

    async def time_is_up() -> None:
        looking.append(asyncio.create_task(one.look(HOUR_MS)))
        for _ in range(20):
            await asyncio.sleep(0)

    upstream.first = time_is_up
    await one.ask(switch(RESUME), caller_gone=True)
    await looking[0]
    assert len(one.log.named("joined")) == 1
    await one.ask(switch(RESUME), caller_gone=True)
    assert one.sent == [PAUSE, RESUME]


async def test_a_gateway_that_has_gone_in_the_middle_is_named() -> None:
    """What it may have sent nobody sends again; its own next start looks at its record."""
    one, other = fleet("a", "b")
    await paused(one)
    one.clock.wall_ms += HOUR_MS
    assert await one.store.take_timer("a1", "resume", "a")
    assert await other.look() == []
    one.store.gone.add("a")
    [told] = await other.look()
    assert "whether it was resumed is not known, and it is not tried again, because gateway a has gone" in told
    assert other.sent == []
