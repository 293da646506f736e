"""What of a plan's runs is shown to whom."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from gateway.core.request import ActionRequest, ByFilter, ByIds
from gateway.core.run import MOST_GROUPS, Resolution, Run, Skip
from gateway.edge.pages.plans import plan_members
from gateway.execution.plans.draft import Draft
from gateway.policy.conditions import RunIdCondition, UrlCondition
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies
from tests.execution.bench import ANN, REQUEST, RULE, Bench, runs
from tests.execution.fakes import MemoryRuns
from tests.support.steps import steps

PAYROLL = "https://payroll.example.com/salaries"
ANYBODYS = Run("wfr_1", PAYROLL, 1_794_000_000_000, labels=("salaries",))
NAMED = ActionRequest(ByIds(("wfr_1",)), 1)
TRUSTED = Rule(
    "p", "ids", Effect.ALLOW, {"workflowRunIds": RunIdCondition(9)}, teams=frozenset((ANN.team,)), owner_unchecked=True
)


async def test_a_plan_of_ids_taken_on_trust_shows_no_more_than_the_ids() -> None:
    """Who may name any ID does not learn by it what others run."""
    for rule, shows in ((TRUSTED, False), (replace(TRUSTED, owner_unchecked=False), True)):
        bench = Bench(MemoryRuns([ANYBODYS]))
        plan = await bench.pipeline.plan(bench.call("p1", request=NAMED, policies=Policies((rule,), "trust")))
        assert isinstance(plan, Draft)
        members = plan_members(plan, expires_in_s=600)
        assert members["runs"] == 1
        assert "wfr_1" in str(members["sample"])
        assert (PAYROLL in str(members), "salaries" in str(members)) == (shows, shows)


@pytest.mark.parametrize(
    ("bounds", "number", "says"),
    [
        (Resolution(cap=100), 150, (100, 0, True, False)),
        (Resolution(cap=100), 100, (100, 0, False, True)),
        (Resolution(max_runs=500), 150, (100, 50, True, True)),
    ],
    ids=["ended-early", "all-there-are", "more-than-were-asked-for"],
)
async def test_a_plan_says_whether_all_that_match_are_counted(
    bounds: Resolution, number: int, says: tuple[int, int, bool, bool]
) -> None:
    """So that whoever asks a person can name the true total where it is known, and else does not."""
    policies = Policies((replace(RULE, resolution=bounds),), "bounded")
    bench = Bench(MemoryRuns(runs(number)), live=policies, policies=policies)
    plan = await bench.pipeline.plan(bench.call("p1", request=replace(REQUEST, count=100), policies=policies))
    assert isinstance(plan, Draft)
    shown = plan_members(plan, expires_in_s=600)
    beyond = len(plan.resolved.skipped.get(Skip.BEYOND_COUNT, ()))
    assert (shown["runs"], beyond, shown["more"], shown["read_to_end"]) == says


async def test_a_plan_is_shown_at_the_same_cost_however_many_runs_and_labels_it_has() -> None:
    """What is told of its runs was counted when they were judged, and no more is told than a person would read."""
    said = {"workflowUrl": UrlCondition(prefix=(PAYROLL,))}
    rule = Rule("p", "own", Effect.ALLOW, said, teams=frozenset((ANN.team,)), resolution=Resolution())
    counted = []
    for number in (MOST_GROUPS, 1500):
        found = [
            Run(f"wfr_{at}", f"{PAYROLL}/{at}", 1_794_000_000_000 + at, labels=tuple(f"l{at}-{n}" for n in range(20)))
            for at in range(number)
        ]
        bench, asked = Bench(MemoryRuns(found)), ActionRequest(ByFilter(workflow_urls=(f"{PAYROLL}/",)), number)
        plan = await bench.pipeline.plan(bench.call("p1", request=asked, policies=Policies((rule,), "d")))
        assert isinstance(plan, Draft)
        counted.append(steps(partial(plan_members, plan, expires_in_s=600)))
        members = plan_members(plan, expires_in_s=600)
        assert (members["runs"], len(members["by_label"])) == (number, MOST_GROUPS)  # type: ignore[arg-type]
    assert 0 < counted[1] <= 1.2 * counted[0]
