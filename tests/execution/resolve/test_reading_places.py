"""Look-ups that give up pages on their way leave the places for readings to others."""

from __future__ import annotations

from tests.execution.resolve.account import INVOICE, REMINDER, SEARCH, runs_of
from tests.execution.resolve.conftest import Build
from tests.execution.resolve.house import exactly

LOOK_UPS = 40
"""Look-ups of one principal, one after another, each begun without its filter in vain; far fewer take every place."""


def test_a_team_that_plans_again_and_again_keeps_no_other_team_from_its_runs(build: Build) -> None:
    """Pages that a look-up no longer wants are answered in milliseconds, and do not hold places until a deadline."""
    house = build(latency_ms=20)
    mine, others = runs_of(INVOICE, 30, name="mine"), runs_of(SEARCH, 2_000, name="others")
    house.begin([*mine, *others, *runs_of(REMINDER, 3, name="second")])
    answers = [house.plan(exactly(INVOICE), team="below")]
    while len(answers) < LOOK_UPS and answers[-1].status == 201:
        answers.append(house.plan(exactly(INVOICE), team="below"))
    victim = house.cancel(exactly(REMINDER), team="second")
    assert (victim.status, len(answers)) == (200, LOOK_UPS), victim.body
