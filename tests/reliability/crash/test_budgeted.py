"""Deaths under a budget, in short; `python -m tests.reliability.crash` is the long form."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

import pytest

from gateway.state.admissions import Restored
from tests.reliability.crash import reserved, strace
from tests.reliability.crash.__main__ import report
from tests.reliability.crash.budgeted import BEFORE_INTENT, BudgetBatch, PostgresBatch, once
from tests.reliability.crash.laws import TOLD_OTHERWISE, Recorded, recorded
from tests.reliability.crash.ledger import Sent
from tests.reliability.crash.load import Told, call
from tests.reliability.crash.loop import run_batch
from tests.reliability.crash.points import REACH_S
from tests.reliability.crash.reserved import broken_laws
from tests.reliability.crash.stores import Row
from tests.reliability.crash.victim import Tracer, Victim
from tests.support.state.postgres import binaries

QUERY = next(
    query for query in (f"workflowRunIds=wfr_a{n}&workflowRunIds=wfr_b{n}&count=2" for n in range(9)) if once(query)
)


def needed(kind: type[BudgetBatch]) -> None:
    """Skips the test where strace or the server is not there; where CI=true, fails it."""
    strace.required()
    if kind is PostgresBatch and binaries() is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed: pip install --require-hashes -r requirements/dev.txt")
        pytest.skip("PostgreSQL is not installed")


@pytest.mark.parametrize("kind", [BudgetBatch, PostgresBatch])
def test_killed_at_any_point_no_reservation_is_lost_or_doubled(kind: type[BudgetBatch]) -> None:
    """A death at each named point: store, record and upstream agree on each decision, and nothing is sent twice."""
    needed(kind)
    tally = run_batch(seed=1, points=kind.names(), kind=kind)
    assert not +tally.broken, report(tally, kind, seed=1, took_s=0)
    assert sum(tally.kills.values()) == len(kind.names())
    assert tally.given_back[BEFORE_INTENT]


@pytest.mark.parametrize("kind", [BudgetBatch, PostgresBatch])
def test_what_died_between_the_reservation_and_its_intent_is_given_back(
    kind: type[BudgetBatch], tmp_path: Path
) -> None:
    """The recovery of that chain gives it back, with its key: the same request is sent then, for the first time."""
    needed(kind)
    batch = kind(1, tmp_path)
    asyncio.run(batch.within(lambda: died_before_its_intent(batch)))
    assert batch.tally.broken == Counter()


async def died_before_its_intent(batch: BudgetBatch) -> None:
    """One request, of which the gateway dies when its intent is about to be written; then it is asked for again."""
    victim, told = await batch._born(), Told()
    await Tracer(victim, batch._trace).attach("write:signal=KILL:when=1", paths=victim.next_segments(1))
    await call(victim.port, victim.key, iter([QUERY]), told, headers=once)
    assert await victim.until_ended(REACH_S)
    assert [(row.runs, row.requests, row.closed) for row in await batch._store.rows()] == [(2, 1, False)]
    assert recorded(victim.segments()).intents == {}
    heir = await batch._born()
    [row] = await batch._at_rest()
    assert (row.runs, row.requests, row.withdrawn) == (0, 0, True)
    await call(heir.port, heir.key, iter([QUERY]), told, headers=once)
    assert told.answers[QUERY][0] == 200
    assert [entry.query for entry in batch._ledger.sent] == [QUERY]
    await ended(heir)


async def ended(victim: Victim) -> None:
    """Its end in order."""
    assert await victim.stop()


def test_each_broken_law_of_a_reservation_is_seen() -> None:
    """Every way in which store, record, upstream and callers may differ is counted under its law."""
    name = QUERY
    sent, told = [Sent(name, 1)], Told({name: (200, {"cancelled": 1})})
    record = Recorded({name: ["d1"]}, {"d1": [{"outcome": "cancelled", "cancelled": 1}]})
    row = Row("d1", "a", 1, 1, closed=True, withdrawn=False)
    known = Restored("d1", "a", 0, "r", "r", runs=1, requests=1, cancelled=1, closed=True)
    assert broken_laws(record, sent, told, [row], [known]) == Counter()
    lost = broken_laws(record, sent, told, [], [known])
    assert lost == Counter({reserved.NOT_AS_RECORDED: 1, reserved.NOT_AS_SENT: 2})
    doubled = [row, Row("d2", "a", 1, 1, closed=True, withdrawn=False)]
    assert broken_laws(record, sent, told, doubled, [known]) == Counter(
        {reserved.NOT_AS_RECORDED: 1, reserved.NOT_AS_SENT: 1}
    )
    kept = Row("d1", "a", 2, 1, closed=True, withdrawn=False)
    assert broken_laws(record, sent, told, [kept], [known])[reserved.NOT_AS_SENT] == 1
    untrue = Told({name: (409, {"code": "outcome_unknown", "cancelled": None})})
    assert broken_laws(record, sent, untrue, [row], [known]) == Counter({TOLD_OTHERWISE: 1})
    true = Told({name: (409, {"code": "outcome_unknown", "cancelled": 1})})
    assert broken_laws(record, sent, true, [row], [known]) == Counter()
