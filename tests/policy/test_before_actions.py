"""A policy that names no action judges as it did before there were actions to name."""

from __future__ import annotations

from collections import Counter

import pytest

from gateway.core.forms.texts import PolicyText, PolicyTexts
from gateway.core.request import Action, ActionRequest, Everything, Principal
from gateway.policy.decide import decide
from gateway.policy.format.load import policies_of
from tests.policy.before_actions import NOW_MS, digest, judgements, recorded

POLICIES = recorded()


@pytest.mark.parametrize("number", range(len(POLICIES)))
def test_every_policy_of_the_suite_judges_as_it_did(number: int) -> None:
    """Decisions with their words, what is taken of the runs found, and which runs a team is shown."""
    text, before = POLICIES[number]
    assert digest(text) == before


def test_the_judgements_are_many_and_of_both_kinds() -> None:
    """Permits, refusals by rules, and choices of runs: none of them is rare."""
    made = Counter(one[0] for text, _ in POLICIES for one in judgements(text))
    assert len(POLICIES) > 150
    assert min(made["permit"], made["deny"]) > 1000, made
    assert made["taken"] > 100, made


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.CANCEL_RUNS])
def test_no_policy_of_the_suite_is_about_another_action(action: Action) -> None:
    """Whatever it allows to whom, another call that destroys stays refused."""
    for text, _ in POLICIES:
        policies = policies_of(PolicyTexts((PolicyText("p.yaml", text.encode()),)))
        for team in (*policies.teams, "nobody"):
            assert not policies.for_team(team, action).allows
            refused = decide(policies, Principal(team, "ci"), ActionRequest(Everything(), 1, action=action), NOW_MS)
            assert (refused.rule, refused.decided) == (None, "deny")
