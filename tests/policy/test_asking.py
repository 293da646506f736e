"""Rules that ask for approval: how they are written, and that no rule beside them lets a request go without."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from gateway.config import state_problems
from gateway.core.errors import InvalidConfiguration
from gateway.core.plan import Approval, Permit
from gateway.core.request import ActionRequest, ByFilter, Principal
from gateway.core.run import Resolution
from gateway.policy.conditions import CountCondition, UrlCondition, ValueCondition
from gateway.policy.decide import decide
from gateway.policy.format.load import load_policies, parse_policy
from gateway.policy.model import Effect, Rule
from gateway.policy.rules import Policies

URL = "https://a.example/api"
TEAM, NOW_MS = Principal("a", "k"), 1_800_000_000_000
ASKED = ActionRequest(ByFilter(workflow_urls=(URL,), exact=True), 100)
BY_URL = {"workflowUrl": UrlCondition(exact=frozenset((URL,)))}
HEAD = "version: 1\nname: t\nteams: [a]\nallow:\n"
LOOKED_UP = "resolve: true, runs: {max: 9}"


def allow(name: str, **more: object) -> Rule:
    """An `allow` of all runs of the workflow."""
    return Rule("t", name, Effect.ALLOW, BY_URL, teams=frozenset(("a",)), **more)  # type: ignore[arg-type]


ASKING = allow(
    "m", resolution=Resolution(max_runs=500), approval=Approval(("ops",)), count=CountCondition(cap=5), owner=None
)
OTHERS = (
    allow("a"),
    allow("b", resolution=Resolution(max_runs=500)),
    allow("z", resolution=Resolution(cap=100)),
)


@pytest.mark.parametrize("rules", list(permutations((ASKING, *OTHERS))))
def test_of_several_rules_one_that_asks_is_used(rules: tuple[Rule, ...]) -> None:
    """Whatever the others leave of the count, whether or not they look the runs up, and in whatever order they come."""
    permit = decide(Policies(rules, "d"), TEAM, ASKED, NOW_MS)
    assert isinstance(permit, Permit)
    assert (permit.rule, permit.approval, permit.effective.count) == ("t/m", ASKING.approval, 5)


def test_one_that_asks_and_does_not_admit_keeps_nobody_from_another() -> None:
    """It is a preference among those that admit."""
    elsewhere = replace(ASKING, conditions={"label": ValueCondition("label", frozenset(("x",)))}, resolution=None)
    permit = decide(Policies((elsewhere, *OTHERS), "d"), TEAM, ASKED, NOW_MS)
    assert isinstance(permit, Permit)
    assert (permit.rule, permit.approval) == ("t/a", None)


def test_one_in_shadow_mode_asks_nobody() -> None:
    """What it would change is said."""
    permit = decide(Policies((replace(ASKING, shadow=True), *OTHERS), "d"), TEAM, ASKED, NOW_MS)
    assert isinstance(permit, Permit)
    assert (permit.rule, permit.approval, permit.shadow) == ("t/a", None, "t/m")


def test_what_is_left_out_is_one_person_for_any_run_within_half_an_hour(tmp_path: Path) -> None:
    """And every part can be said."""
    (tmp_path / "t.yaml").write_text(
        f"{HEAD}  - {{id: least, label: {{any_of: [x]}}, {LOOKED_UP}, approve: {{by: [ops]}}}}\n"
        f"  - {{id: most, label: {{any_of: [w]}}, {LOOKED_UP}, "
        "approve: {by: [ops, sre], count: 2, over: 50, within: 2h}}\n"
    )
    assert {rule.id: rule.approval for rule in load_policies(tmp_path).rules} == {
        "least": Approval(("ops",), 1, 0, 1_800_000),
        "most": Approval(("ops", "sre"), 2, 50, 7_200_000),
    }


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ("approve: {by: [ops]}", "stands only beside 'resolve: true'"),
        (f"{LOOKED_UP}, approve: {{over: 5}}", "by"),
        (f"{LOOKED_UP}, approve: {{by: []}}", "is empty"),
        (f"{LOOKED_UP}, approve: {{by: [ops, ops]}}", "already"),
        (f"{LOOKED_UP}, approve: {{by: ['*']}}", "a team"),
        (f"{LOOKED_UP}, approve: {{by: [ops], count: 0}}", "0"),
        (f"{LOOKED_UP}, approve: {{by: [ops], count: 6}}", "6"),
        (f"{LOOKED_UP}, approve: {{by: [ops], within: soon}}", "soon"),
        (f"{LOOKED_UP}, approve: {{by: [ops], more: 1}}", "more"),
    ],
)
def test_what_asks_for_nothing_sensible_is_a_load_error(members: str, said: str) -> None:
    """With its place."""
    with pytest.raises(InvalidConfiguration) as raised:
        parse_policy("t.yaml", f"{HEAD}  - {{id: r, label: {{any_of: [x]}}, {members}}}\n".encode())
    assert said in str(raised.value)


@pytest.mark.parametrize("kind", ["deny", "require"])
def test_only_an_allow_asks(kind: str) -> None:
    """Nothing else admits a request."""
    text = f"version: 1\nname: t\nteams: [a]\n{kind}:\n  - {{id: r, label: {{any_of: [x]}}, approve: {{by: [ops]}}}}\n"
    with pytest.raises(InvalidConfiguration, match="approve"):
        parse_policy("t.yaml", text.encode())


def test_without_state_there_is_nowhere_to_wait() -> None:
    """One sentence says what to write."""
    [problem] = state_problems(Policies((ASKING,), "d"), has_state=False)
    assert "t/m has an approval" in problem.message
    assert [*state_problems(Policies((ASKING,), "d"), has_state=True)] == []
