"""Killed processes, in short; `python -m tests.reliability.crash` is the long form."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from tests.reliability.crash import laws, restarted, strace
from tests.reliability.crash.__main__ import holds, report
from tests.reliability.crash.laws import Recorded, violations
from tests.reliability.crash.ledger import Sent
from tests.reliability.crash.load import Told
from tests.reliability.crash.loop import Batch, run_batch
from tests.reliability.crash.points import POINTS, Scene
from tests.reliability.crash.resolved import BETWEEN_ORDERS, IN_A_WAIT, SENT_AGAIN, PlanBatch
from tests.reliability.crash.restarted import RestartBatch
from tests.support.waiting import until

ROUNDS = 28
PLAN_ROUNDS = 10
RESTARTS = 20


def test_killed_at_any_point_nothing_is_unrecorded_open_or_sent_twice() -> None:
    """Four deaths at each named point: every cancel has its intent, every intent one closing, every number is true."""
    strace.required()
    names = Batch.names()
    tally = run_batch(seed=1, points=[names[number % len(names)] for number in range(ROUNDS)])
    assert holds(tally), report(tally, Batch, seed=1, took_s=0)
    assert sum(tally.kills.values()) == ROUNDS


def test_killed_at_any_point_of_a_plan_no_run_is_cancelled_outside_of_it_or_twice() -> None:
    """A death at each named point, three of them within a plan: what was sent was planned and intended before."""
    strace.required()
    tally = run_batch(seed=1, points=PlanBatch.names(), kind=PlanBatch)
    assert not +tally.broken, report(tally, PlanBatch, seed=1, took_s=0)
    reached = [tally.between[name] for name in (BETWEEN_ORDERS, IN_A_WAIT, SENT_AGAIN)]
    assert (sum(tally.kills.values()), reached) == (PLAN_ROUNDS, [1, 1, 1])


def test_killed_while_failed_runs_are_restarted_none_is_restarted_twice() -> None:
    """A death at each named point: not by the repeat under a key, not by the loop that is run again, not by both."""
    strace.required()
    tally = run_batch(seed=1, points=RestartBatch.names(), kind=RestartBatch)
    assert not +tally.broken, report(tally, RestartBatch, seed=1, took_s=0)
    assert sum(tally.kills.values()) == len(RestartBatch.names())
    assert tally.cancels >= RESTARTS


class AtOnce(Batch):
    """The event loop of its gateways writes the records."""

    durability = "os"
    points: ClassVar = {name: POINTS[name] for name in ("at random", "after intent", "after send", "before outcome")}


def test_killed_while_the_event_loop_writes_leaves_what_a_thread_leaves() -> None:
    """The same laws where no sync is waited for: nothing is unrecorded, open or sent twice."""
    strace.required()
    tally = run_batch(seed=1, points=[*AtOnce.points, *AtOnce.points], kind=AtOnce)
    assert holds(tally), report(tally, AtOnce, seed=1, took_s=0)


async def _stops_half_way(scene: Scene) -> bool:
    Interrupted.pids.append(scene.victim.pid)
    raise TimeoutError


class Interrupted(Batch):
    """The rounds themselves fail, while a gateway serves."""

    points: ClassVar = {"half-way": _stops_half_way}
    pids: ClassVar[list[int]] = []


def test_a_batch_that_does_not_end_is_counted_and_leaves_no_gateway_behind(tmp_path: Path) -> None:
    """The other batches go on and there is a table, which says so; why is kept beside the record."""
    batch = Interrupted(1, tmp_path)
    kept = batch.to_the_end(batch.run(["half-way"]))
    assert (batch.tally.broken, kept) == (Counter({laws.NOT_ENDED: 1}), str(tmp_path))
    assert "TimeoutError" in (tmp_path / "failed").read_text()
    assert not holds(batch.tally)
    until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in Interrupted.pids))


def _record(outcome: dict | None = None, *, query: str = "a") -> Recorded:
    closed = {} if outcome is None else {"d1": [{"cancelled": None, **outcome}]}
    return Recorded({query: ["d1"]}, closed)


def test_each_broken_law_is_seen() -> None:
    """What the comparison is for: every way in which the accounts may differ is counted under its law."""
    sent = [Sent("a", 2)]
    true = {"outcome": "cancelled", "cancelled": 2}
    assert violations(_record(true), sent, {"a": (200, {"cancelled": 2})}) == Counter()
    assert violations(_record(true), [], {}) == Counter({laws.WRONG_NUMBER: 1})
    assert violations(_record({**true, "cancelled": 1}), sent, {}) == Counter({laws.WRONG_NUMBER: 1})
    assert violations(Recorded(), sent, {}) == Counter({laws.NO_INTENT: 1})
    assert violations(_record(), sent, {}) == Counter({laws.NOT_ONCE: 1})
    assert violations(Recorded({"a": ["d1"]}, {"d1": [true, true]}), sent, {}) == Counter({laws.NOT_ONCE: 1})
    assert violations(Recorded({}, {"d1": [true]}), [], {}) == Counter({laws.NOT_ONCE: 1})
    assert violations(_record(true), sent * 2, {}) == Counter({laws.TWICE: 1})
    assert violations(_record({"outcome": "not_sent"}), sent, {}) == Counter({laws.SENT_AFTER_ALL: 1})
    assert violations(_record(true), sent, {"a": (200, {"cancelled": 1})}) == Counter({laws.TOLD_OTHERWISE: 1})
    assert violations(_record({"outcome": "unknown"}), sent, {"a": (200, {"cancelled": 2})}) == Counter(
        {laws.TOLD_OTHERWISE: 1}
    )
    assert violations(_record(true), sent, {"a": (503, {})}) == Counter({laws.TOLD_OTHERWISE: 1})


def test_each_broken_law_of_restarts_is_seen() -> None:
    """An entry that was restarted twice, and every way in which record, upstream and callers may differ."""
    intent = {"event": "intent", "decision_id": "d1", "orders": ["POST /v2/workflows/dlq/restart?dlqIds=a"]}
    done = {"event": "outcome", "decision_id": "d1", "outcome": "cancelled", "cancelled": 1}
    sent, told = [Sent("dlqIds=a", 1)], Told({"dlqIds=a": (200, {"workflowRuns": [{}]})})

    def broken(*records: dict, sent: list[Sent] = sent, told: Told = told, often: int = 1) -> Counter[str]:
        return restarted.broken_laws(records, sent, told, {"a": often})

    assert broken(intent, done) == Counter()
    assert broken(intent, done, often=2) == Counter({restarted.RESTARTED_TWICE: 1})
    assert broken(told=Told()) == Counter({laws.NO_INTENT: 1})
    assert broken(intent, told=Told()) == broken(intent, done, done, told=Told()) == Counter({laws.NOT_ONCE: 1})
    assert broken(intent, {**done, "cancelled": 2}, told=Told()) == Counter({laws.WRONG_NUMBER: 1})
    not_sent = {**done, "outcome": "not_sent", "cancelled": None}
    assert broken(intent, not_sent, told=Told()) == Counter({laws.SENT_AFTER_ALL: 1})
    unknown = {**done, "outcome": "unknown", "cancelled": None}
    assert broken(intent, unknown) == Counter({laws.TOLD_OTHERWISE: 1})
    assert broken(intent, unknown, told=Told({"dlqIds=a": (409, {"code": "outcome_unknown"})})) == Counter()
    assert broken(intent, done, told=Told({"dlqIds=a": (503, {})})) == Counter({laws.TOLD_OTHERWISE: 1})
