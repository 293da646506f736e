"""Policies from before rules named actions mean what they meant."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from gateway.core.request import Action
from gateway.policy.model import ONLY_RUNS
from tests.policy.old_policies import KEPT, decisions, digest, policies

TEXTS: dict[str, str] = json.loads(KEPT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: TEXTS[text])
def test_every_policy_of_the_suite_is_judged_as_before(text: str) -> None:
    """Permit or deny, the rule, what is sent, which runs are chosen, and the nearest that would be allowed."""
    assert digest(text) == TEXTS[text]


def test_every_rule_of_theirs_is_about_runs_alone() -> None:
    """No old rule covers another action, of which its author did not know."""
    rules = [rule for text in TEXTS for rule in policies(text).rules]
    assert {rule.actions for rule in rules} == {ONLY_RUNS} == {frozenset((Action.CANCEL_RUNS,))}


def test_the_requests_find_both_answers() -> None:
    """Thousands of decisions, of which neither kind is rare, and many whose runs are looked up."""
    found = Counter[str]()
    for text in TEXTS:
        for made in decisions(text):
            found["chosen" if made.get("chosen") else "permit" if made.get("permit") else "deny"] += 1
    assert found.total() >= 4000
    assert min(found.values()) >= 200, found
