"""What of a plan's runs is shown to whom."""

from __future__ import annotations

from dataclasses import replace

from gateway.cancel import ByRunIds, CancelRequest
from gateway.drafts import Draft
from gateway.plans import plan_members
from gateway.policy.model import Effect, Rule, RunIdCondition
from gateway.policy.rules import Policies
from gateway.run import Run
from tests.pipeline.bench import ANN, Bench
from tests.pipeline.fakes import MemoryRuns

PAYROLL = "https://payroll.example.com/salaries"
ANYBODYS = Run("wfr_1", PAYROLL, 1_794_000_000_000, labels=("salaries",))
NAMED = CancelRequest(ByRunIds(("wfr_1",)), 1)
TRUSTED = Rule(
    "p", "ids", Effect.ALLOW, {"workflowRunIds": RunIdCondition(9)}, teams=frozenset((ANN.team,)), owner_unchecked=True
)


async def test_a_plan_of_ids_taken_on_trust_shows_no_more_than_the_ids() -> None:
    """Who may name any ID does not learn by it what others run."""
    for rule, shows in ((TRUSTED, False), (replace(TRUSTED, owner_unchecked=False), True)):
        bench = Bench(MemoryRuns([ANYBODYS]))
        plan = await bench.pipeline.plan(Policies((rule,), "trust"), ANN, NAMED, arrival=bench.arrival("p1"))
        assert isinstance(plan, Draft)
        members = plan_members(plan, expires_in_s=600)
        assert members["runs"] == 1
        assert "wfr_1" in str(members["sample"])
        assert (PAYROLL in str(members), "salaries" in str(members)) == (shows, shows)
