"""The lints of budgets fire where a budget does nothing or one team can use it up, and not beside that."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.authoring.lints.finding import Finding
from tests.authoring.test_lint import found, require

OWN = 'workflowUrl: {exact: ["https://a.example/x"]}, resolve: true'


def budgeted(budget: str, *, teams: str = "[a]", rule: str = f"{OWN}, runs: {{cap: 10}}") -> str:
    """A file with one rule, which has this budget."""
    return f"version: 1\nname: t\nteams: {teams}\nallow:\n  - {{id: r, {rule}, budget: {budget}}}\n"


def of_budgets(directory: Path, text: str) -> list[Finding]:
    """The findings about budgets."""
    return [one for one in found(directory, text) if one.id.startswith("budget-")]


def test_a_budget_of_every_team_is_found(tmp_path: Path) -> None:
    """One team can use it up; the finding stands at the rule and says what to write."""
    [one] = of_budgets(tmp_path, budgeted("{runs: 50, per: 24h}", teams='["*"]'))
    assert (one.id, one.place.line, one.fix) == (
        "budget-of-all",
        5,
        "Write 'shared: team', or 'shared: key', in the budget.",
    )
    assert one.message == "t/r is for every team, and all of them share one budget: one team can use it up."


@pytest.mark.parametrize(
    ("budget", "teams"),
    [
        ("{runs: 50, per: 24h, shared: team}", '["*"]'),
        ("{runs: 50, per: 24h, shared: key}", '["*"]'),
        ("{runs: 50, per: 24h}", "[a]"),
        ("{runs: 50, per: 24h, shared: rule}", "[a, b]"),
    ],
    ids=["of each team", "of each key", "of one team", "of named teams"],
)
def test_a_budget_that_no_unnamed_team_can_use_up_is_not(tmp_path: Path, budget: str, teams: str) -> None:
    """Each has its own, or the file names those who share it."""
    assert of_budgets(tmp_path, budgeted(budget, teams=teams)) == []


@pytest.mark.parametrize(
    ("rule", "most"),
    [
        (f"{OWN}, runs: {{cap: 10}}", 10),
        (f"{OWN}, runs: {{max: 10}}", 10),
        (f"{OWN}, runs: {{cap: 100}}, count: {{max: 10}}", 10),
        (f"{OWN}, runs: {{cap: 100}}, count: {{cap: 10}}", 10),
        ("workflowRunIds: {max: 10, prefix: [wfr_]}, owner: unchecked", 10),
    ],
    ids=["runs.cap", "runs.max", "count.max", "count.cap", "IDs"],
)
def test_a_budget_whose_requests_never_come_to_its_runs_is_found(tmp_path: Path, rule: str, most: int) -> None:
    """Five requests of at most ten runs are fifty: a bound of fifty does nothing, one of 49 does."""
    [idle] = of_budgets(tmp_path, budgeted(f"{{runs: {5 * most}, requests: 5, per: 24h}}", rule=rule))
    assert (idle.id, idle.place.line) == ("budget-idle", 5)
    assert f"never come to more than {5 * most}, so the {5 * most} runs of its budget never count" in idle.message
    assert idle.fix == f"Write fewer than {5 * most} runs, or none."
    assert of_budgets(tmp_path, budgeted(f"{{runs: {5 * most - 1}, requests: 5, per: 24h}}", rule=rule)) == []


def test_a_guardrail_that_bounds_each_request_counts(tmp_path: Path) -> None:
    """Its cap makes the budget idle, but only where it always holds."""
    budget = budgeted("{runs: 100, requests: 10, per: 24h}", rule=f"{OWN}, runs: {{cap: 50}}")
    assert of_budgets(tmp_path, budget) == []
    [idle] = of_budgets(tmp_path, budget + require("count: {cap: 10}"))
    assert idle.id == "budget-idle"
    sometimes = require('count: {cap: 10}, until: "2999-01-01T00:00:00Z"')
    assert of_budgets(tmp_path, budget + sometimes) == []


@pytest.mark.parametrize("budget", ["{runs: 1000, per: 24h}", "{requests: 5, per: 24h}"])
def test_a_budget_with_one_bound_is_never_idle(tmp_path: Path, budget: str) -> None:
    """There is nothing that it could do instead."""
    assert of_budgets(tmp_path, budgeted(budget)) == []
