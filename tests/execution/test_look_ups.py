"""Look-ups leave room for others: for other teams, and for other callers while runs are judged."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace

import pytest

from gateway.core.errors import LookupFailed, Throttled
from gateway.core.outcome import Cancelled
from gateway.core.request import Everything, Filter, Principal
from gateway.core.run import Listing, LookUp
from gateway.execution.in_flight import Done
from gateway.execution.judging import RUNS_AT_ONCE
from gateway.execution.plans.draft import Draft
from gateway.execution.plans.drafts import MOST_OF_A_TEAM
from gateway.policy.conditions import Condition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.execution.bench import ANN, BOB, POLICIES, RULE, Bench, runs
from tests.execution.fakes import MemoryRuns
from tests.support.waiting import soon

CLEO, DAN = Principal("team", "cleo"), Principal("search", "dan")


async def test_a_team_leaves_places_to_other_teams() -> None:
    """However many keys it has; its third look-up is throttled, and another team's begins."""
    bench = Bench(MemoryRuns(runs(3), held=asyncio.Event()))
    first = [asyncio.create_task(bench.run(who.subject, principal=who)) for who in (ANN, BOB)]
    await soon(lambda: len(bench.account.looks) == MOST_OF_A_TEAM)
    with pytest.raises(Throttled) as throttled:
        await bench.run("d3", principal=CLEO)
    assert (throttled.value.limit, throttled.value.retry_after_s) == (MOST_OF_A_TEAM, 5)
    both = Policies((RULE, replace(RULE, id="other", teams=frozenset((DAN.team,)))), "both")
    other = asyncio.create_task(bench.pipeline.run(bench.call("d4", DAN, policies=both)))
    await soon(lambda: len(bench.account.looks) == MOST_OF_A_TEAM + 1)
    assert bench.account.held is not None
    bench.account.held.set()
    # All three mean the same runs, which are ordered once.
    assert [(await one).outcome for one in first] == [Cancelled(200, 3), Cancelled(None, 0)]
    assert isinstance(await other, Done)
    assert (await bench.run("d5", principal=CLEO)).outcome == Cancelled(None, 0)


class Watched(Mapping[str, Condition]):
    """Conditions that remember which threads looked at them."""

    def __init__(self) -> None:
        self.threads: set[int] = set()

    def __getitem__(self, name: str) -> Condition:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        self.threads.add(threading.get_ident())
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("number", [RUNS_AT_ONCE, RUNS_AT_ONCE + 1])
async def test_many_runs_are_judged_beside_the_loop(number: int) -> None:
    """2,000 runs under many rules take long; other callers are served meanwhile."""
    watched = Watched()
    guard = Rule("guard", "any", Effect.REQUIRE, watched, teams=frozenset(("*",)))
    bench = Bench(MemoryRuns(runs(number)))
    policies = Policies((*POLICIES.rules, guard), "watched")
    plan = await bench.pipeline.plan(bench.call("p1", policies=policies))
    assert isinstance(plan, Draft)
    assert len(plan.resolved.runs) == number
    beside = watched.threads - {threading.get_ident()}
    assert bool(beside) is (number > RUNS_AT_ONCE)


class Away(MemoryRuns):
    """A log that cannot be read when it is waited for."""

    async def running(self, selection: Filter | Everything, look: LookUp) -> Listing:
        await super().running(selection, look)
        raise LookupFailed("unreachable", "QStash cannot be reached.", reason="refused")


@pytest.mark.parametrize("stays", [True, False])
async def test_a_look_up_that_fails_late_is_told_to_operators(*, stays: bool) -> None:
    """Whoever waited for it has been answered that it goes on; whoever still waits is answered that it failed."""
    bench = Bench(Away(runs(3), held=asyncio.Event()))
    asked = asyncio.create_task(bench.pipeline.plan(bench.call("p1")))
    await soon(lambda: len(bench.account.looks) == 1)
    if not stays:
        asked.cancel()
        await asyncio.wait([asked])
    assert bench.account.held is not None
    bench.account.held.set()
    await soon(lambda: bench.planned("p1").failure is not None)
    if stays:
        with pytest.raises(LookupFailed):
            await asked
        assert bench.lines.said == []
        return
    [(event, members)] = bench.lines.said
    assert (event, members["decision_id"], members["cause"], members["reason"]) == (
        "lookup_failed", "p1", "unreachable", "refused"
    )  # fmt: skip
    assert "Nothing was sent and nothing was cancelled." in str(members["said"])
