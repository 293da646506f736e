"""Every load error of `budget`: with its place and one sentence, which docs/policies.md lists as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.config import state_problems
from gateway.policy.format.keys import MAX_BUDGET
from gateway.policy.format.load import load_policies
from tests.policy.test_load import HEAD, rule_faults
from tests.support.project import ROOT

OWN = 'workflowUrl: {exact: ["https://a.example/x"]}, resolve: true, runs: {cap: 10}'
UNKNOWN_RUNS = "a budget counts runs, so it stands only where they are known: beside 'resolve: true' or workflowRunIds"
BOUNDS_NOTHING = "the budget bounds nothing: write 'runs', 'requests', or both"
NO_STATE = (
    "has a budget, which has to outlive the process, so the configuration needs 'state', like state: {url: "
    '"sqlite:state.db"}'
)


def of_budget(members: str, *, effect: str = "allow") -> list[str]:
    """The problems of a rule with these members, without their places."""
    return [fault.split(": ", 1)[1] for fault in rule_faults(effect, f", {members}")]


def test_a_budget_over_runs_that_nobody_knows_is_refused_at_its_place() -> None:
    """A filter that is sent as it is cancels a number that only QStash knows."""
    [fault] = rule_faults("allow", ", label: {any_of: [x]}, budget: {runs: 5, per: 1h}")
    assert fault.startswith("5:")
    assert fault.endswith(UNKNOWN_RUNS)
    [requests] = rule_faults("allow", ", label: {any_of: [x]}, budget: {requests: 5, per: 1h}")
    assert requests.endswith(UNKNOWN_RUNS)


def test_a_budget_that_bounds_nothing_is_refused() -> None:
    """It would look like a bound."""
    assert of_budget(f"{OWN}, budget: {{per: 1h}}") == [BOUNDS_NOTHING]


NO_PER = "the key 'per' is missing"
NO_DURATION = "expected a duration: a whole number and s, m, h or d, like 24h"
NO_NUMBER = f"expected 1 to {MAX_BUDGET}, found "
NOBODY = "expected rule or team or key"
NO_KEY = "known are runs, requests, per, shared"
IN_A_REQUIRE = "'budget' is not allowed here: it exists in an allow"
IN_A_DENY = "'budget' is not allowed here: in a deny only exact, prefix, any_of, within_last and selects exist"


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ("{runs: 5}", NO_PER),
        ("{runs: 0, per: 1h}", f"{NO_NUMBER}0"),
        (f"{{runs: {MAX_BUDGET + 1}, per: 1h}}", f"{NO_NUMBER}{MAX_BUDGET + 1}"),
        ("{requests: 0, per: 1h}", f"{NO_NUMBER}0"),
        (f"{{requests: {MAX_BUDGET + 1}, per: 1h}}", f"{NO_NUMBER}{MAX_BUDGET + 1}"),
        ("{runs: five, per: 1h}", "expected a whole number in plain digits, found 'five'"),
        ("{runs: 5, per: 1w}", f"'1w': {NO_DURATION}"),
        ("{runs: 5, per: 0s}", f"'0s': {NO_DURATION}"),
        ("{runs: 5, per: 1h, shared: everybody}", f"'everybody': {NOBODY}"),
        ("{runs: 5, per: 1h, unit: run}", f"unknown key 'unit': {NO_KEY}"),
        ("5", "expected a mapping, found a single value"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_is_expected(budget: str, said: str) -> None:
    """One problem for each, at the value or the place where it is missing."""
    assert of_budget(f"{OWN}, budget: {budget}") == [said]


@pytest.mark.parametrize(("effect", "said"), [("deny", IN_A_DENY), ("require", IN_A_REQUIRE)])
def test_a_budget_stands_in_an_allow_only(effect: str, said: str) -> None:
    """What refuses takes nothing."""
    assert of_budget("label: {any_of: [x]}, budget: {runs: 5, per: 1h}", effect=effect) == [said]


def test_a_budget_without_a_store_is_refused_at_its_rule(tmp_path: Path) -> None:
    """It would count nothing from one process to the next; rules without one need none."""
    (tmp_path / "t.yaml").write_text(
        f"{HEAD}allow:\n  - {{id: r, {OWN}, budget: {{runs: 5, per: 1h}}}}\n  - {{id: s, {OWN}}}\n"
    )
    policies = load_policies(tmp_path)
    [problem] = state_problems(policies, has_state=False)
    assert (problem.line, problem.message) == (5, f"t/r {NO_STATE}")
    assert list(state_problems(policies, has_state=True)) == []


@pytest.mark.parametrize(
    "sentence",
    [
        UNKNOWN_RUNS,
        BOUNDS_NOTHING,
        NO_PER,
        NO_DURATION,
        NO_NUMBER,
        NOBODY,
        NO_KEY,
        IN_A_REQUIRE,
        IN_A_DENY,
        NO_STATE,
    ],
)
def test_the_errors_are_listed_where_people_look_for_them(sentence: str) -> None:
    """docs/policies.md has each sentence as it is said."""
    rows = [line for line in (ROOT / "docs" / "policies.md").read_text().splitlines() if line.startswith("| `")]
    assert any(sentence in row for row in rows)
